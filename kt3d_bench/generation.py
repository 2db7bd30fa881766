"""Generated stand-ins of datasets, for trying and testing everything without a download."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kt3d_bench.cores import cores
from kt3d_bench.errors import UsageError
from kt3d_bench.files import default_data_root
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import DatasetPlugin
from kt3d_bench.progress import Reporter
from kt3d_bench.standins import check_options, held_out_options
from kt3d_bench.training.resolve import device_kind


def generate(
    dataset: str | DatasetPlugin,
    *,
    data: Path | str | None = None,
    out: Path | str | None = None,
    people: int | None = None,
    frames: int | None = None,
    seed: int = 0,
    motion: Path | str | None = None,
    motion_rate: float | None = None,
    motion_joints: str = "",
    device: str = "cpu",
    workers: int | None = None,
    held_out: str = "test",
    report: Reporter | None = None,
    **options: Any,
) -> dict[str, int]:
    """Write a licence-free stand-in of generated people in a dataset's official layout; return its samples per split.

    ``out``: an empty or new folder (default ``generated/<dataset>/raw`` below the data root ``data``, which is
    ``$KT3D_DATA``, else ``kt3d-data``). ``people``, ``frames``: the size, in terms that the dataset's README explains
    (default: a size that a laptop trains on in minutes). ``motion``: a .bvh or .amc file, or a folder of such files, to
    take poses from; ``motion_rate``: their frames per second, where a file states none or a wrong one;
    ``motion_joints``: which of their joints is which, as in "knee_l=LeftLeg,knee_r=RightLeg", where that is not found.
    ``device``: where bodies are rendered, "cpu", "cuda" or "auto". ``workers``: processes (default: one per core);
    their number changes no byte. ``held_out``: "test", or "validation" for other people in the test split, on whom
    settings are chosen; the training data is the same. ``options``: what else the dataset's generator accepts.

    Raises ``UsageError`` for an unknown dataset or option, a dataset without a generator, an ``out`` that is not empty,
    or a device that is not there; ``RawDataError`` for motion files that cannot be read.
    """
    plugin = registry.dataset(dataset) if isinstance(dataset, str) else dataset
    report = report or Reporter()
    generator = registry.generator(plugin)
    kind = device_kind(device)
    out = Path(out or Path(data or default_data_root()) / "generated" / plugin.name / "raw")
    if out.exists() and any(out.iterdir()):
        raise UsageError("is not empty", where=out, hint="choose another --out, or remove what is there")
    make = registry.load_function(generator, "generate")
    check_options(make, options)
    options |= held_out_options(make, held_out, tested=bool(registry.benchmarks_of(plugin.name)))
    small = registry.load(f"{generator}:DEMO")
    with _told_of_motions(motion_rate, motion_joints, report, None if motion is None else Path(motion)):
        counts = make(
            out,
            people=people or small["people"],
            frames=frames or small["frames"],
            seed=seed,
            motion=None if motion is None else Path(motion),
            device=kind if device == "auto" else device,
            workers=workers or cores(),
            progress=report.following(f"generate {plugin.name}"),
            **options,
        )
    return dict(counts)


@contextmanager
def _told_of_motions(rate_hz: float | None, joints: str, report: Reporter, motion: Path | None) -> Iterator[None]:
    """Report how motion files are read; inside the context generators read them in the same way."""
    if motion is None:
        if rate_hz is not None or joints:
            raise UsageError("motions are described, but there are none", hint="name them with --motion")
        yield
        return
    from kt3d_bench.synth.motion.folder import Settings, motion_settings, read_motions

    with motion_settings(Settings.parsed(rate_hz, joints)):
        for line in read_motions(motion).lines():
            report.note(line)
        yield
