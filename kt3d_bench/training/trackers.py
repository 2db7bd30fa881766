"""Curves for other programs beside ``log.jsonl``: TensorBoard, Trackio, Weights & Biases. Each is an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from kt3d_bench.errors import UsageError

PROJECT = "kt3d"


class Tracker(Protocol):
    """Takes numbers by name."""

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step of a stage."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files below ``<run>/tensorboard``; curves are called ``<stage>/<name>``."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(f"{stage}/{name}", value, step)

    def close(self) -> None:
        self._writer.close()


class Online:
    """A run of Trackio or Weights & Biases, which share their functions, in the project "kt3d". The step of a stage is
    a curve of its own, ``<stage>/step``: both programs count steps over the whole run. Where they write, and whether
    they send anything, is up to their own environment variables, such as ``WANDB_MODE=offline``."""

    def __init__(self, module: Any, run: str, config: Mapping[str, Any]) -> None:
        self._module = module
        module.init(project=PROJECT, name=run, config=dict(config))

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        self._module.log({f"{stage}/{name}": value for name, value in {"step": step, **values}.items()})

    def close(self) -> None:
        self._module.finish()


def require_installed(names: Sequence[str]) -> None:
    """Raise ``UsageError`` for a tracker that is not installed, before a run takes its name."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"{name} is not installed", where="--log", hint=f"pip install 'kt3d-bench[{name}]'")


def start(names: Sequence[str], folder: Path, config: Mapping[str, Any]) -> list[Tracker]:
    """Start the trackers for the run in ``folder``; ``config`` is shown with it. Raises ``UsageError`` where one does
    not start, such as for want of a login."""
    found: list[Tracker] = []
    for name in names:
        try:
            module = importlib.import_module(name)
            found.append(TensorBoard(folder) if name == "tensorboard" else Online(module, folder.name, config))
        except Exception as error:
            for tracker in found:
                tracker.close()
            reason = f"{type(error).__name__}: {error}"
            hint = "set it up, or train without it; continue this run with --resume"
            raise UsageError(f"{name} does not start ({reason})", where="--log", hint=hint) from error
    return found
