"""Runs from Python: train one, open one, predict with it. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from kt3d_bench.files import default_data_root
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import finished, found_run, read_run, read_run_file
from kt3d_bench.training.config import RunConfig, RunOptions
from kt3d_bench.training.ranks import is_main_process

if TYPE_CHECKING:
    from kt3d_bench.loading.dataset import Dataset
    from kt3d_bench.metrics.predictions import Predictions
    from kt3d_bench.pictures.predict import PictureOptions


@dataclass(frozen=True)
class Run:
    """A training run, finished or not."""

    folder: Path
    """``<data root>/runs/<name>``: ``run.yaml``, ``log.jsonl``, ``checkpoints/``, ``predictions/``, ``scores/``."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether the final checkpoint was written."""
        return finished(self.folder)

    @property
    def in_main_process(self) -> bool:
        """Whether this is the process that reports and writes, of however many ``devices`` and ``nodes`` started."""
        return is_main_process()

    @cached_property
    def document(self) -> Mapping[str, Any]:
        """The content of ``run.yaml``: what was asked for, resolved, and what became of it."""
        return read_run(self.folder)

    @property
    def config(self) -> RunConfig:
        """What was asked for."""
        asked = self.document["config"]
        return RunConfig(**{**asked, "data_root": Path(asked["data_root"]), "log": tuple(asked.get("log", ()))})

    def predict(
        self,
        data: Dataset | str | None = None,
        *,
        shards: Path | str | None = None,
        reference: Literal["root-given", "from-depth"] | None = None,
        device: str = "auto",
        devices: int = 1,
        nodes: int = 1,
        batch_size: int = 64,
        report: Reporter | None = None,
    ) -> Predictions:
        """Predict with the final checkpoint.

        ``data``: a benchmark's id (default: the benchmark of the run's target), of which what it scores is predicted as
        ``kt3d predict`` does, into ``predictions/<id>.npz``; or what ``kt3d_bench.load`` returned, of which all
        is predicted and nothing written. ``shards``: for a benchmark, a folder or URL with its test shards.

        Poses are in mm in the camera frame, (17, 3) per sample. ``reference``: where the depth of the hip comes from,
        "root-given" (the label) or "from-depth" (the method's own estimate); default: as the benchmarks on these
        samples say, else "root-given" where the hip is labelled. ``device``: "auto", "cpu", "cuda" or "cuda:<index>".

        Raises ``UsageError`` for an unknown benchmark and for samples without the images that the method reads,
        ``ArtefactError`` for a run that is not finished, missing shards and corrupt checkpoints, ``PluginError`` where
        the method does not estimate the hip's depth although the reference is "from-depth".
        """
        from kt3d_bench.metrics.predictions import read_predictions
        from kt3d_bench.training import predict

        options: dict[str, Any] = {"device": device, "devices": devices, "nodes": nodes, "batch_size": batch_size}
        if data is None or isinstance(data, str):
            return read_predictions(predict.predict(self.folder, data, shards=shards, report=report, **options))
        return predict.predict_samples(self.folder, data.shards, reference=reference, report=report, **options)

    def predict_images(
        self, inputs: Sequence[Path | str] | Path | str, **options: Unpack[PictureOptions]
    ) -> Predictions:
        """Predict the people in anybody's pictures; see ``kt3d_bench.predict_images``, whose options these are."""
        from kt3d_bench.pictures.predict import predict_images

        return predict_images(self.folder, inputs, **options)


def train(
    method: str,
    *,
    data: Path | str | None = None,
    resume: bool = False,
    report: Reporter | None = None,
    **options: Unpack[RunOptions],
) -> Run:
    """Train a method and return the run; ``kt3d train`` does this and then predicts.

    The options are the fields of ``RunConfig``, the most important ones being ``supervision`` ("none", "partial-2d",
    ..., "full"; default "none"), ``preset`` ("paper", "small", "laptop", "tiny"; default "paper"), ``target``,
    ``source`` and ``pretrain`` (datasets or benchmarks; default: the method's), ``settings`` (options of the method),
    ``seed``, ``device``, ``name`` and ``shards`` (role -> folder or URL, where shards lie elsewhere).

    ``data``: the data root with ``shards/``; ``runs/`` and ``stages/`` are written there (default ``$KT3D_DATA``, else
    ``kt3d-data``). Missing source and pre-training shards are generated. ``resume`` continues the newest unfinished run
    of the same name. ``report`` receives progress; the default shows nothing.

    Raises ``UsageError`` for unknown names and impossible options, ``ArtefactError`` for missing target shards and
    corrupt files, ``LockedError`` where another process trains the run, ``InterruptedRunError`` when asked to stop by
    Ctrl-C or a signal, ``Kt3dError`` for a loss that is not finite.
    """
    from kt3d_bench.training.train import train as train_run

    config = RunConfig(method=method, data_root=Path(data or default_data_root()), **options)
    return Run(train_run(config, report, resume=resume))


def train_again(
    run: Path | str,
    *,
    data: Path | str | None = None,
    name: str | None = None,
    resume: bool = False,
    report: Reporter | None = None,
) -> Run:
    """Train what an earlier run was asked for, once more, and return the new run.

    ``run``: a ``run.yaml``, the folder of a run, or its name below ``<data>/runs``. Where versions, code, settings or
    samples are other ones now, ``report`` is told. ``data``, ``resume`` and errors as in ``train``.
    """
    from kt3d_bench.training.train import train as train_run

    root = Path(data or default_data_root())
    path = Path(run)
    document = read_run_file(path) if path.is_file() else read_run(found_run(run, root))
    asked = {**document["config"], "data_root": root, "name": name}
    return Run(train_run(RunConfig(**asked), report, resume=resume, like=document))


def load_run(run: Path | str | None = None, *, data: Path | str | None = None) -> Run:
    """Open a run by its folder or by its name below ``<data>/runs``; ``None`` = the one that finished last.

    Raises ``UsageError`` for a name that no run has and ``ArtefactError`` when ``run.yaml`` is missing or corrupt.
    """
    opened = Run(found_run(run, Path(data or default_data_root())))
    _ = opened.document
    return opened
