"""The limits of a machine: disk space that a run needs, foreseen; memory that ran out, explained."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from kt3d_bench.errors import ArtefactError, Kt3dError, UsageError
from kt3d_bench.method import Method, Stage
from kt3d_bench.training.interim import KEPT
from kt3d_bench.training.stages import trained_state

_MARGIN_BYTES = 64 << 20
"""For the log, predictions and the report."""


def needed_bytes(method: Method, stages: tuple[Stage, ...]) -> int:
    """Return the most that a run's files take: checkpoints inside a stage (all weights, twice those that it trains for
    Adam's moments, once more where they are averaged; one more than are kept while a new one is written), the stored
    stages and the final checkpoint."""
    whole = _bytes(method.state_dict())
    trained = [_bytes(trained_state(method, stage)) for stage in stages]
    inside = [whole + (2 + (stage.average is not None)) * own for stage, own in zip(stages, trained, strict=True)]
    return (KEPT + 1) * max(inside, default=0) + sum(trained) + whole + _MARGIN_BYTES


def require_space(folder: Path, method: Method, stages: tuple[Stage, ...]) -> None:
    """Raise ``ArtefactError`` when the disk of a run's folder cannot hold what the run will write there."""
    held = sum(path.stat().st_size for path in (folder / "checkpoints").glob("*") if path.is_file())
    need, free = needed_bytes(method, stages) - held, shutil.disk_usage(folder).free
    if need > free:
        raise ArtefactError(
            f"the run's checkpoints need {need / 1e9:.2f} GB and {free / 1e9:.2f} GB are free",
            where=folder,
            hint="free some space, or name another data root by KT3D_DATA",
        )


def _bytes(state: Mapping[str, torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in state.values())


@contextmanager
def explained(stage: Stage, settings: Mapping[str, Any], device: torch.device) -> Iterator[None]:
    """Turn the errors of a step that a setting can repair into one sentence: memory that ran out (``Kt3dError``), and
    with ``--deterministic`` an operation that cannot be repeated exactly (``UsageError``)."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        where, text = f"stage '{stage.name}'", str(error)
        if "does not have a deterministic implementation" in text:
            operation = text.partition(" ")[0]
            hint = "leave out --deterministic, or run on a CPU"
            raise UsageError(f"{operation} cannot be repeated exactly on {device}", where=where, hint=hint) from error
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in text:
            raise
        raise Kt3dError(f"ran out of memory on {device}", where=where, hint=_smaller(stage, settings)) from error


def _smaller(stage: Stage, settings: Mapping[str, Any]) -> str:
    names = [name for name, value in settings.items() if "batch" in name and value == stage.batch_size]
    half = max(1, stage.batch_size // 2)
    if names:
        return f"lower it: --set {names[0]}={half} (it is {stage.batch_size}); earlier stages are kept"
    px = settings.get("input_px")
    smaller = "choose a smaller preset" if px is None else f"lower --set input_px (it is {px})"
    return f"{smaller}: a batch has {stage.batch_size} samples"
