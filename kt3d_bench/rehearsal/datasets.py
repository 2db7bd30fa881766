"""A dataset's part of the contract: card, stand-in, plan, conversion, what is prepared, benchmarks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kt3d_bench.data.manifest import Manifest
from kt3d_bench.data.plan import checked_options
from kt3d_bench.data.prepare import prepare
from kt3d_bench.errors import Kt3dError, MissingDataError, RawDataError
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import Card, read_card
from kt3d_bench.plugins.hookspecs import DatasetPlugin
from kt3d_bench.records import WorkItem
from kt3d_bench.rehearsal.log import BrokenError, Log
from kt3d_bench.rehearsal.trees import require_same, tree
from kt3d_bench.standins import MARKER

SEED = 3
_SMALLEST = {"people": 2, "frames": 2}
_SAMPLES_PER_SHARD = 4
"""Small shards, so that two workers have something to share."""


@dataclass(frozen=True)
class _Stage:
    """What all parts of a dataset's rehearsal share."""

    plugin: DatasetPlugin
    folder: Path
    """Everything of this rehearsal lies below it."""

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    def function(self, module: str, name: str) -> Callable[..., Any]:
        return registry.load_function(getattr(self.plugin, module), name)

    def place(self, module: str, name: str) -> str:
        """Where the author has to look: ``plan() in kt3d_x.convert``."""
        return f"{name}() in {getattr(self.plugin, module)}"


def check_dataset(plugin: DatasetPlugin, log: Log, folder: Path) -> None:
    """Go through the contract of a dataset; findings go to ``log``, files below ``folder``."""
    stage = _Stage(plugin, folder)
    card = log.attempt("card.yaml is valid and agrees with the record", lambda: _card(plugin))
    log.attempt(
        "benchmarks.yaml and published.yaml are valid and name what is there", lambda: _benchmarks(plugin, card)
    )
    log.attempt("convert defines plan(), convert() and describe()", lambda: _functions(stage))
    arguments = log.attempt("generate defines generate(), VERSION and DEMO", lambda: _arguments(stage))
    log.attempt("plan() refuses an empty folder with MissingDataError", lambda: _refuses(stage, _empty(folder)))
    log.attempt(
        "plan() refuses another dataset's folder with MissingDataError", lambda: _refuses(stage, _foreign(folder))
    )
    if arguments is None:
        return
    log.attempt("generate() leaves a folder alone that holds somebody's files", lambda: _keeps_files(stage, arguments))
    promised = log.attempt(
        "generate() writes a stand-in and counts its samples per split", lambda: _generates(stage, arguments)
    )
    if not stage.raw.is_dir():
        return
    log.attempt("generate() leaves its marker, and nothing half-done", lambda: _leaves(stage))
    log.attempt("generate() writes the same bytes with two workers", lambda: _generates_again(stage, arguments))
    log.attempt("plan() lists the same plain work for every split each time", lambda: _plans(stage))
    log.attempt("describe() says in sentences what is there", lambda: _describes(stage))
    before = tree(stage.raw)
    manifest = log.attempt(
        "prepare finds exactly the samples that generate() promised", lambda: _prepares(stage, promised or {})
    )
    log.attempt(
        "plan() and convert() leave the raw data as it was",
        lambda: require_same(before, tree(stage.raw), "these raw files changed", "reading must not write"),
    )
    if manifest is None:
        return
    log.attempt("convert() gives the same bytes with two workers", lambda: _prepares_again(stage))
    log.attempt("the samples are sound (kt3d validate)", lambda: _sound(stage))
    if card is not None:
        log.attempt("the samples' joints are what the card says of them", lambda: _quality(stage, manifest, card))


def _card(plugin: DatasetPlugin) -> Card:
    card = read_card(plugin.folder)
    for what, said, meant in (
        ("name", card.name, plugin.name),
        ("modalities", sorted(card.modalities), sorted(plugin.modalities)),
    ):
        if said != meant:
            raise BrokenError(f"its {what} is {said}, the record's {meant}", f"change one of them; {plugin.folder}")
    return card


def _benchmarks(plugin: DatasetPlugin, card: Card | None) -> None:
    from kt3d_bench.metrics.benchmarks import PUBLISHED_FILE, read_benchmarks, read_published

    own = read_benchmarks(plugin.folder)
    registry.benchmarks()
    problems = []
    for benchmark in own:
        if benchmark.dataset != plugin.name:
            problems.append(f"{benchmark.id} tests on dataset '{benchmark.dataset}', not on this one")
        for split in (benchmark.split, benchmark.train):
            if split is not None and split not in plugin.splits:
                problems.append(f"{benchmark.id} names split '{split}', there are {', '.join(plugin.splits)}")
        if benchmark.modality not in plugin.modalities:
            problems.append(f"{benchmark.id} gives {benchmark.modality} images, which the dataset does not have")
        if card is not None and benchmark.box_rule != card.box_rule and "boxes" not in plugin.options:
            problems.append(f"{benchmark.id} has the box rule {benchmark.box_rule}, the card {card.box_rule}")
        if card is not None and benchmark.foreground != card.foreground:
            problems.append(
                f"{benchmark.id} finds the person by '{benchmark.foreground}', the card by '{card.foreground}'"
            )
        if benchmark.train is None and {one.split for one in own} >= set(plugin.splits):
            problems.append(f"{benchmark.id} leaves no split to train on: every one is tested on")
    stray = sorted(set(read_published(plugin.folder)) - {benchmark.id for benchmark in own})
    problems += [f"{PUBLISHED_FILE} speaks of '{name}', which benchmarks.yaml does not define" for name in stray]
    if problems:
        raise BrokenError("; ".join(problems), f"change benchmarks.yaml in {plugin.folder}")


def _functions(stage: _Stage) -> None:
    for name in ("plan", "convert", "describe"):
        stage.function("convert", name)


def _arguments(stage: _Stage) -> dict[str, Any]:
    """Arguments of the smallest stand-in: the module's ``CHECK``, else its ``DEMO`` with two people and frames."""
    stage.function("generate", "generate")
    module = registry.load(stage.plugin.generate)
    version, demo = getattr(module, "VERSION", None), getattr(module, "DEMO", None)
    if type(version) is not int:
        raise BrokenError(f"VERSION is {version!r}, expected a whole number", f"set it in {stage.plugin.generate}")
    if not isinstance(demo, Mapping) or not {"people", "frames"} <= demo.keys():
        raise BrokenError(
            f"DEMO is {demo!r}, expected a mapping with at least 'people' and 'frames'",
            f"set it in {stage.plugin.generate}",
        )
    smallest = {name: min(int(demo[name]), size) for name, size in _SMALLEST.items()}
    return {**demo, **getattr(module, "CHECK", smallest)}


def _generate(stage: _Stage, out: Path, arguments: Mapping[str, Any], workers: int) -> Mapping[str, int]:
    generate = stage.function("generate", "generate")
    promised: Mapping[str, int] = generate(
        out,
        seed=SEED,
        motion=None,
        device="cpu",
        workers=workers,
        progress=lambda done, total: None,
        **arguments,
    )
    return promised


def _generates(stage: _Stage, arguments: Mapping[str, Any]) -> Mapping[str, int]:
    promised = _generate(stage, stage.raw, arguments, 1)
    hint = f"change {stage.place('generate', 'generate')}"
    if not isinstance(promised, Mapping) or not all(type(count) is int for count in promised.values()):
        raise BrokenError(f"it returned {promised!r}, expected {{split: number of samples}}", hint)
    unknown = sorted(promised.keys() ^ set(stage.plugin.splits))
    if unknown:
        raise BrokenError(
            f"it counts the splits {', '.join(sorted(promised))}, the record names {', '.join(stage.plugin.splits)}",
            hint,
        )
    return promised


def _leaves(stage: _Stage) -> None:
    hint = f"change {stage.place('generate', 'generate')}"
    marker = stage.raw / MARKER
    if not marker.is_file():
        raise BrokenError(f"it left no {MARKER}, so the stand-in would be taken for the real data", hint)
    content = json.loads(marker.read_bytes())
    if not isinstance(content, dict) or content.get("dataset") != stage.plugin.name:
        raise BrokenError(f"{MARKER} says {content!r}, expected the dataset {stage.plugin.name}", hint)
    beside = sorted(path.name for path in stage.folder.iterdir() if path.name.startswith("raw") and path != stage.raw)
    if beside:
        raise BrokenError(f"it left {', '.join(beside)} beside the stand-in", f"{hint}; kt3d_bench.standins helps")


def _generates_again(stage: _Stage, arguments: Mapping[str, Any]) -> None:
    again = stage.folder / "again"
    _end_workers()
    _generate(stage, again, arguments, 2)
    require_same(
        tree(stage.raw),
        tree(again),
        "one worker and two write different files",
        f"let every random draw depend on the seed and on what is drawn alone: {stage.place('generate', 'generate')}",
    )


def _end_workers() -> None:
    """Let the next pool start from new processes, as a command's first one does."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True, kill_workers=True)


def _keeps_files(stage: _Stage, arguments: Mapping[str, Any]) -> None:
    occupied = stage.folder / "occupied"
    occupied.mkdir(parents=True)
    (occupied / "letter.txt").write_text("mine")
    hint = f"raise UsageError in {stage.place('generate', 'generate')}; kt3d_bench.standins.standin_folder does"
    try:
        _generate(stage, occupied, arguments, 1)
    except Kt3dError:
        if [path.name for path in occupied.iterdir()] == ["letter.txt"]:
            return
        raise BrokenError("it refused, but changed the folder all the same", hint) from None
    raise BrokenError("it wrote into it", hint)


def _plan(stage: _Stage, raw: Path, split: str) -> list[WorkItem]:
    options = checked_options(stage.plugin, {})
    return list(stage.function("convert", "plan")(raw, split, options))


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir(parents=True, exist_ok=True)
    return folder / "empty"


def _foreign(folder: Path) -> Path:
    """A folder as another dataset's may look."""
    foreign = folder / "foreign"
    for name in ("images/000001.jpg", "annotations/people.json", "poses/s1.mat", "train/notes.txt", "test/notes.txt"):
        path = foreign / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    return foreign


def _refuses(stage: _Stage, raw: Path) -> None:
    hint = f"raise MissingDataError with the file that was expected: {stage.place('convert', 'plan')}"
    for split in stage.plugin.splits:
        try:
            items = _plan(stage, raw, split)
        except RawDataError as error:
            if error.hint is None:
                raise BrokenError(
                    f"'{error.message}' does not say what to do next", f"give it a hint: {hint}"
                ) from None
            if not isinstance(error, MissingDataError):
                raise BrokenError(
                    f"it raised RawDataError ('{error.what}'), as if something of split '{split}' were there", hint
                ) from None
            continue
        raise BrokenError(f"for split '{split}' it listed {len(items)} items", hint)


def _plans(stage: _Stage) -> None:
    hint = f"change {stage.place('convert', 'plan')}"
    for split in stage.plugin.splits:
        items = _plan(stage, stage.raw, split)
        wrong = next((item for item in items if not isinstance(item, WorkItem)), None)
        if wrong is not None:
            raise BrokenError(f"split '{split}' holds a {type(wrong).__name__}, expected WorkItem records", hint)
        if not items:
            raise BrokenError(f"split '{split}' of its own stand-in is empty", hint)
        for item in items:
            _require_plain(item.payload, f"item {item.name} of split '{split}'", hint)
        if _plan(stage, stage.raw, split) != items:
            raise BrokenError(f"split '{split}' was listed differently the second time", f"sort what you find: {hint}")


def _require_plain(value: Any, where: str, hint: str) -> None:
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        for entry in value.values():
            _require_plain(entry, where, hint)
    elif isinstance(value, tuple | list):
        for entry in value:
            _require_plain(entry, where, hint)
    elif value is not None and type(value) not in (str, int, float, bool):
        raise BrokenError(
            f"the payload of {where} holds a {type(value).__name__}, which is no plain data",
            f"use str, int, float, bool, None, tuples and dicts: {hint}",
        )


def _describes(stage: _Stage) -> None:
    said = stage.function("convert", "describe")(stage.raw)
    if not isinstance(said, Sequence) or isinstance(said, str) or not all(isinstance(line, str) for line in said):
        raise BrokenError(
            f"it returned {said!r}, expected a list of sentences", f"change {stage.place('convert', 'describe')}"
        )
    deferred = getattr(registry.load(stage.plugin.convert), "deferred", None)
    for split in stage.plugin.splits:
        first = deferred(stage.raw, split) if callable(deferred) else None
        if not isinstance(first, str | None):
            raise BrokenError(
                f"deferred() returned {first!r}, expected a sentence or None",
                f"change {stage.place('convert', 'deferred')}",
            )


def _prepare(stage: _Stage, out: Path, workers: int) -> Manifest:
    return prepare(stage.plugin, raw=stage.raw, out=out, workers=workers, samples_per_shard=_SAMPLES_PER_SHARD)


def _prepares(stage: _Stage, promised: Mapping[str, int]) -> Manifest:
    manifest = _prepare(stage, stage.folder / "shards", 1)
    for split, count in promised.items():
        found = manifest.splits[split]
        if found.samples != count:
            reasons = "; ".join(sorted({one.reason for one in found.skipped})[:3])
            raise BrokenError(
                f"split '{split}' has {found.samples} samples, promised were {count}"
                + (f"; {len(found.skipped)} were skipped: {reasons}" if found.skipped else ""),
                f"change {stage.place('convert', 'convert')} or the counts of {stage.place('generate', 'generate')}",
            )
    return manifest


def _prepares_again(stage: _Stage) -> None:
    _prepare(stage, stage.folder / "shards-again", 2)
    require_same(
        tree(stage.folder / "shards"),
        tree(stage.folder / "shards-again"),
        "one worker and two give different shards",
        f"let {stage.place('convert', 'convert')} depend on its item alone",
    )


def _sound(stage: _Stage) -> None:
    from kt3d_bench.data.validate import validate

    failed = validate(stage.folder / "shards").failed("error")
    if failed:
        worst = [f"{one.check.what} - {one.findings[0].sentence}" for one in failed if one.findings]
        raise BrokenError("; ".join(worst[:3]), f"change {stage.place('convert', 'convert')}")


def _quality(stage: _Stage, manifest: Manifest, card: Card) -> None:
    wrong = [
        row.joint for row, said, found in zip(card.joints, card.quality, manifest.quality, strict=True) if said != found
    ]
    if wrong:
        raise BrokenError(
            f"card and samples disagree on the quality of {', '.join(wrong)}",
            f"change card.yaml, or {stage.place('convert', 'convert')}",
        )
