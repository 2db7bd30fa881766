"""``kt3d inspect``: what lies at a path, in words."""

from __future__ import annotations

from pathlib import Path

from kt3d_bench import plugins
from kt3d_bench.errors import Kt3dError, RawDataError, UsageError


def describe(path: Path, dataset: str | None = None) -> list[str]:
    """Sentences on shards, a run, predictions or a raw dataset at ``path``.

    Raises ``UsageError`` when there is nothing, ``RawDataError`` when no dataset recognises it, and whatever reading
    the artefact raises.
    """
    if not path.exists():
        raise UsageError("there is nothing here", where=path)
    if path.is_file() and path.suffix == ".npz":
        return _predictions(path)
    if (path / "manifest.json").is_file():
        from kt3d_bench.shards.manifest import describe_manifest, read_manifest

        return describe_manifest(read_manifest(path))
    if (path / "run.yaml").is_file():
        return _run(path)
    return _raw(path, dataset)


def _predictions(path: Path) -> list[str]:
    from kt3d_bench.scoring.predictions import read_predictions

    predictions = read_predictions(path)
    said = [f"{name}: {value}" for name, value in sorted(predictions.meta.items())]
    return [f"{len(predictions.keys)} predictions of {predictions.joints_cam_mm.shape[1]} joints", *said]


def _run(path: Path) -> list[str]:
    from kt3d_bench.training.run import read_run

    document = read_run(path)
    config = document["config"]
    data = [
        f"{role}: {shards['dataset']} ({shards['origin']}), {shards['samples']} samples in {shards['folder']}"
        for role, shards in document["shards"].items()
    ]
    return [
        f"a run of {config['method']}, supervision {config['supervision']}, preset {config['preset']}: "
        f"{document.get('state', 'state not known')}",
        *data,
        f"started by: {document.get('command', 'not recorded')}",
    ]


def _raw(path: Path, dataset: str | None) -> list[str]:
    """What the dataset plugins say of a raw folder; only those that recognise it are quoted."""
    asked = [plugins.dataset(dataset)] if dataset else list(plugins.datasets().values())
    lines: list[str] = []
    refusals: list[str] = []
    for plugin in asked:
        look = plugins.load_function(plugin.convert, "describe")
        try:
            lines += [f"{plugin.name}: {sentence}" for sentence in look(path)]
        except Kt3dError as error:
            refusals.append(f"{plugin.name}: {error.message}")
    if not lines:
        raise RawDataError(
            f"no dataset recognises this; {'; '.join(refusals)}",
            where=path,
            mend="name the folder that holds the official download; kt3d list DATASET says how to obtain it",
        )
    return lines
