"""``kt3d inspect``: what lies at a path, in words."""

from __future__ import annotations

from pathlib import Path

from kt3d_bench import plugins
from kt3d_bench.errors import Kt3dError, RawDataError, UsageError
from kt3d_bench.hookspecs import DatasetPlugin


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
    for folder in path.absolute().parents[:2]:
        if (folder / "manifest.json").is_file() or (folder / "run.yaml").is_file():
            kind = "shards" if (folder / "manifest.json").is_file() else "a run"
            raise UsageError(f"this is a part of {kind}", where=path, mend=f"inspect the whole: kt3d inspect {folder}")
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
    """A raw folder: what the named dataset says of it, or those datasets that could be prepared from it."""
    if dataset:
        return _sentences(plugins.dataset(dataset), path)
    lines: list[str] = []
    for plugin in plugins.datasets().values():
        splits = _splits(plugin, path)
        if splits:
            lines += _sentences(plugin, path)
            lines += [f"{plugin.name}: split '{name}' gives about {count} samples" for name, count in splits.items()]
            lines.append(f"Next: kt3d prepare {plugin.name} --raw {path}")
    if not lines:
        raise RawDataError(
            "no dataset can be prepared from this",
            where=path,
            mend="kt3d inspect PATH --dataset NAME says what that one misses here",
        )
    return lines


def _sentences(plugin: DatasetPlugin, path: Path) -> list[str]:
    describe_raw = plugins.load_function(plugin.convert, "describe")
    return [f"{plugin.name}: {sentence}" for sentence in describe_raw(path)]


def _splits(plugin: DatasetPlugin, path: Path) -> dict[str, int]:
    """Split -> expected samples, for the splits that can be prepared from ``path``."""
    plan = plugins.load_function(plugin.convert, "plan")
    options = {name: option.default for name, option in plugin.options.items()}
    found: dict[str, int] = {}
    for split in plugin.splits:
        try:
            found[split] = sum(item.expected_samples for item in plan(path, split, options))
        except Kt3dError:
            continue
    return found
