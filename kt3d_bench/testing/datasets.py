"""A dataset's part of the contract: card, benchmarks, generator, plan, conversion, and what is prepared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from kt3d_bench.data.manifest import Manifest
from kt3d_bench.data.plan import checked_options
from kt3d_bench.data.prepare import prepare, recording_of
from kt3d_bench.errors import Kt3dError, MissingDataError, RawDataError
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import Card, read_card
from kt3d_bench.plugins.hookspecs import DatasetPlugin, Option
from kt3d_bench.records import Sample, Skipped, WorkItem
from kt3d_bench.standins import MARKER
from kt3d_bench.testing.findings import BrokenRuleError, Checklist, require

SEED = 3
EXCERPT = (2, 8)
"""Work items of each split, and samples of each, that are converted from the author's own raw data."""
_SMALLEST = {"people": 2, "frames": 2}
_SAMPLES_PER_SHARD = 4
"""Small shards, so that two workers share the work."""
_FOREIGN = ("images/000001.jpg", "annotations/people.json", "poses/s1.mat", "train/notes.txt", "test/a.txt")
_EXCERPT_OF = "excerpt_of"


def check_dataset(plugin: DatasetPlugin, checks: Checklist, folder: Path, raw: Path | None = None) -> None:
    """Check the contract of a dataset: findings go to ``checks``, files below ``folder``.

    The converter runs on what the plugin's generator writes, or on an excerpt of ``raw``, the author's own raw data.
    """
    check = _Check(plugin, folder, raw)
    card = checks.check("card.yaml is valid and agrees with the record", check.card)
    checks.check("benchmarks.yaml and published.yaml are valid and name what exists", lambda: check.benchmarks(card))
    checks.check("convert defines plan(), convert() and describe()", check.functions)
    arguments = None
    if plugin.generate is not None:
        arguments = checks.check("generate defines generate(), VERSION and DEMO", check.smallest)
    checks.check("plan() refuses an empty folder with MissingDataError", lambda: check.refuses("empty"))
    checks.check(
        "plan() refuses another dataset's folder with MissingDataError", lambda: check.refuses("foreign", _FOREIGN)
    )
    promised: Mapping[str, int] = {}
    if raw is None:
        if plugin.generate is None:
            checks.add(
                "convert() was not run: the plugin has no generator",
                hint=f"run it on your raw data: kt3d check {plugin.name} --raw FOLDER",
            )
        if arguments is None:
            return
        checks.check("generate() leaves a folder with other files alone", lambda: check.keeps_files(arguments))
        rule = "generate() writes a stand-in and counts its samples per split"
        promised = checks.check(rule, lambda: check.generates(arguments)) or {}
        if not check.raw.is_dir():
            return
        checks.check("generate() leaves its marker and nothing unfinished", check.leaves_marker)
        checks.check("generate() writes the same bytes with two workers", lambda: check.generates_again(arguments))
    checks.check("plan() lists the same plain work for every split each time", check.plans)
    checks.check("describe() returns sentences on what is there", check.describes)
    checks.check("recorded(), where it is defined, returns ascending frames with their joints, or None", check.records)
    before = check.state_of_raw()
    manifest = checks.check(
        "prepare finds exactly the samples that generate() promised" if raw is None
        else f"prepare converts up to {EXCERPT[1]} samples of {EXCERPT[0]} work items per split",
        lambda: check.prepares(promised),
    )  # fmt: skip
    checks.check(
        "plan() and convert() do not change the raw data",
        lambda: _require_same(before, check.state_of_raw(), "these raw files changed", "open them for reading only"),
    )
    if manifest is None:
        return
    checks.check("convert() gives the same bytes with two workers", check.prepares_again)
    checks.check("the samples pass kt3d validate", check.is_sound)
    if card is not None:
        checks.check("the samples' joints have the quality that the card states", lambda: check.quality(manifest, card))


class _Check:
    """The rules for one dataset; each raises ``BrokenRuleError``, or what the plugin raises."""

    def __init__(self, plugin: DatasetPlugin, folder: Path, raw: Path | None) -> None:
        self.plugin, self.folder, self.own_raw = plugin, folder, raw is not None
        self.raw = folder / "raw" if raw is None else raw
        self.splits: tuple[str, ...] = plugin.splits
        """Those of which there is raw data."""
        self.change_plan = f"change plan() in {plugin.convert}"
        self.change_convert = f"change convert() in {plugin.convert}"
        self.change_generate = f"change generate() in {plugin.generate}"

    def card(self) -> Card:
        card = read_card(self.plugin.folder)
        for what, said, meant in (
            ("name", card.name, self.plugin.name),
            ("modalities", sorted(card.modalities), sorted(self.plugin.modalities)),
        ):
            require(
                said == meant,
                f"its {what} is {said}, the record's {meant}",
                f"change one of them; {self.plugin.folder}",
            )
        return card

    def benchmarks(self, card: Card | None) -> None:
        from kt3d_bench.metrics.benchmarks import PUBLISHED_FILE, read_benchmarks, read_published

        plugin, problems = self.plugin, []
        own = read_benchmarks(plugin.folder)
        registry.benchmarks()
        for benchmark in own:
            name = benchmark.id
            if benchmark.dataset != plugin.name:
                problems.append(f"{name} tests on dataset '{benchmark.dataset}', not on this one")
            for split in (benchmark.split, benchmark.train):
                if split is not None and split not in plugin.splits:
                    problems.append(f"{name} names split '{split}', there are {', '.join(plugin.splits)}")
            if benchmark.modality not in plugin.modalities:
                problems.append(f"{name} gives {benchmark.modality} images, which the dataset does not have")
            if card is not None and benchmark.box_rule != card.box_rule and "boxes" not in plugin.options:
                problems.append(f"{name} has the box rule {benchmark.box_rule}, the card {card.box_rule}")
            if card is not None and benchmark.foreground != card.foreground:
                problems.append(f"{name} finds the person by '{benchmark.foreground}', the card by '{card.foreground}'")
            if benchmark.train is None and {one.split for one in own} >= set(plugin.splits):
                problems.append(f"{name} leaves no split to train on: every split is tested on")
        stray = sorted(set(read_published(plugin.folder)) - {benchmark.id for benchmark in own})
        problems += [f"{PUBLISHED_FILE} names '{name}', which benchmarks.yaml does not define" for name in stray]
        require(not problems, "; ".join(problems), f"change benchmarks.yaml in {plugin.folder}")

    def functions(self) -> None:
        for name in ("plan", "convert", "describe"):
            registry.load_function(self.plugin.convert, name)

    # ------------------------------------------------------------------ the generator

    def smallest(self) -> dict[str, Any]:
        """Arguments of the smallest stand-in: the module's ``CHECK``, else its ``DEMO`` with two people and frames."""
        reference = self._generator
        registry.load_function(reference, "generate")
        module = registry.load(reference)
        version, demo = getattr(module, "VERSION", None), getattr(module, "DEMO", None)
        hint = f"set it in {reference}"
        require(type(version) is int, f"VERSION is {version!r}, expected a whole number", hint)
        if not isinstance(demo, Mapping) or not {"people", "frames"} <= demo.keys():
            raise BrokenRuleError(f"DEMO is {demo!r}, expected a mapping with at least 'people' and 'frames'", hint)
        smallest = {name: min(int(demo[name]), size) for name, size in _SMALLEST.items()}
        return {**demo, **getattr(module, "CHECK", smallest)}

    @property
    def _generator(self) -> str:
        assert self.plugin.generate is not None
        return self.plugin.generate

    def _generate(self, out: Path, arguments: Mapping[str, Any], workers: int) -> Any:
        generate = registry.load_function(self._generator, "generate")
        fixed: dict[str, Any] = {"seed": SEED, "motion": None, "device": "cpu", "workers": workers}
        return generate(out, **fixed, progress=lambda done, total: None, **arguments)

    def keeps_files(self, arguments: Mapping[str, Any]) -> None:
        occupied = self.folder / "occupied"
        occupied.mkdir(parents=True)
        (occupied / "notes.txt").write_text("mine")
        hint = f"raise UsageError in generate() of {self.plugin.generate}; kt3d_bench.standins.standin_folder does"
        try:
            self._generate(occupied, arguments, 1)
        except Kt3dError:
            if [path.name for path in occupied.iterdir()] == ["notes.txt"]:
                return
            raise BrokenRuleError("it refused the folder, but changed it", hint) from None
        raise BrokenRuleError("it wrote into it", hint)

    def generates(self, arguments: Mapping[str, Any]) -> Mapping[str, int]:
        promised = self._generate(self.raw, arguments, 1)
        if not isinstance(promised, Mapping) or not all(type(count) is int for count in promised.values()):
            raise BrokenRuleError(
                f"it returned {promised!r}, expected {{split: number of samples}}", self.change_generate
            )
        require(
            promised.keys() == set(self.plugin.splits),
            f"it counts the splits {', '.join(sorted(promised))}, the record names {', '.join(self.plugin.splits)}",
            self.change_generate,
        )
        return promised

    def leaves_marker(self) -> None:
        marker = self.raw / MARKER
        change = self.change_generate
        require(marker.is_file(), f"it left no {MARKER}, so the stand-in would pass for the real data", change)
        content = json.loads(marker.read_bytes())
        right = isinstance(content, dict) and content.get("dataset") == self.plugin.name
        require(right, f"{MARKER} says {content!r}, expected the dataset {self.plugin.name}", change)
        beside = sorted(path.name for path in self.folder.glob("raw*") if path != self.raw)
        helper = f"{change}; kt3d_bench.standins helps"
        require(not beside, f"it left {', '.join(beside)} beside the stand-in", helper)

    def generates_again(self, arguments: Mapping[str, Any]) -> None:
        again = self.folder / "again"
        _stop_workers()
        self._generate(again, arguments, 2)
        _require_same(
            _digests(self.raw),
            _digests(again),
            "one worker and two write different files",
            f"let every random draw depend only on the seed and on what is drawn: generate() in {self.plugin.generate}",
        )

    # ------------------------------------------------------------------ the converter

    def _plan(self, raw: Path, split: str) -> list[WorkItem]:
        plan = registry.load_function(self.plugin.convert, "plan")
        return list(plan(raw, split, checked_options(self.plugin, {})))

    def refuses(self, name: str, files: Sequence[str] = ()) -> None:
        """``plan()`` of a folder with these files."""
        raw = self.folder / name
        raw.mkdir(parents=True)
        for path in (raw / file for file in files):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"{}")
        hint = f"raise MissingDataError with the file that was expected: plan() in {self.plugin.convert}"
        for split in self.plugin.splits:
            try:
                items = self._plan(raw, split)
            except RawDataError as error:
                if error.hint is None:
                    raise BrokenRuleError(
                        f"'{error.message}' does not say what to do next", f"give it a hint: {hint}"
                    ) from None
                if not isinstance(error, MissingDataError):
                    raise BrokenRuleError(
                        f"it raised RawDataError ('{error.what}'), as if part of split '{split}' were there", hint
                    ) from None
                continue
            raise BrokenRuleError(f"for split '{split}' it listed {len(items)} items", hint)

    def plans(self) -> None:
        self.splits = self._present()
        for split in self.splits:
            items = self._plan(self.raw, split)
            change = self.change_plan
            for item in items:
                right = isinstance(item, WorkItem)
                require(right, f"split '{split}' holds a {type(item).__name__}, expected WorkItem records", change)
            require(items, f"it lists nothing for split '{split}' of {self.raw}", change)
            for item in items:
                _require_plain(item.payload, f"item {item.name} of split '{split}'", change)
            same = self._plan(self.raw, split) == items
            require(same, f"split '{split}' was listed differently the second time", f"sort what you find: {change}")

    def _present(self) -> tuple[str, ...]:
        """The splits to convert: all of a stand-in, and of the author's own data those that are there."""
        if not self.own_raw:
            return self.plugin.splits
        present, missing = [], []
        for split in self.plugin.splits:
            try:
                self._plan(self.raw, split)
                present.append(split)
            except MissingDataError as error:
                missing.append(error)
        if not present:
            raise missing[0]
        return tuple(present)

    def describes(self) -> None:
        said = registry.load_function(self.plugin.convert, "describe")(self.raw)
        convert = self.plugin.convert
        right = isinstance(said, Sequence) and not isinstance(said, str) and all(isinstance(line, str) for line in said)
        require(right, f"it returned {said!r}, expected a list of sentences", f"change describe() in {convert}")
        deferred = getattr(registry.load(convert), "deferred", None)
        for split in self.plugin.splits:
            first = deferred(self.raw, split) if callable(deferred) else None
            what = f"deferred() returned {first!r}, expected a sentence or None"
            require(isinstance(first, str | None), what, f"change deferred() in {convert}")

    def state_of_raw(self) -> dict[str, str]:
        """Path -> digest of every raw file; of the author's own data, which may be large, its size and time."""
        return _sizes(self.raw) if self.own_raw else _digests(self.raw)

    def records(self) -> None:
        recorded = getattr(registry.load(self.plugin.convert), "recorded", None)
        if recorded is None:
            return
        for item in (item for split in self.splits for item in self._plan(self.raw, split)[: EXCERPT[0]]):
            with suppress(RawDataError):
                recording_of(recorded, item, self.plugin.convert)

    def _prepare(self, name: str, workers: int) -> Manifest:
        plugin, splits = self.plugin, self.splits if self.own_raw else None
        if self.own_raw:
            excerpt = {_EXCERPT_OF: Option(plugin.convert, "the converter whose first samples are converted")}
            plugin = replace(plugin, convert=__name__, options={**plugin.options, **excerpt})
        out, size = self.folder / name, _SAMPLES_PER_SHARD
        return prepare(
            plugin, raw=self.raw, out=out, splits=splits, workers=workers, samples_per_shard=size, check=False
        )

    def prepares(self, promised: Mapping[str, int]) -> Manifest:
        manifest = self._prepare("shards", 1)
        for split, written in manifest.splits.items():
            skipped = "; ".join(sorted({one.reason for one in written.skipped})[:3])
            told = f"; {len(written.skipped)} were skipped: {skipped}" if skipped else ""
            expected = promised.get(split, written.samples)
            require(
                written.samples == expected,
                f"split '{split}' has {written.samples} samples, promised were {expected}{told}",
                f"{self.change_convert} or the counts of generate() in {self.plugin.generate}",
            )
            require(written.samples or not self.own_raw, f"split '{split}' has no samples{told}", self.change_convert)
        return manifest

    def prepares_again(self) -> None:
        _stop_workers()
        self._prepare("shards-again", 2)
        _require_same(
            _digests(self.folder / "shards"),
            _digests(self.folder / "shards-again"),
            "one worker and two give different shards",
            f"let convert() in {self.plugin.convert} depend only on its item",
        )

    def is_sound(self) -> None:
        from kt3d_bench.data.validate import validate

        failed = validate(self.folder / "shards").failed("error")
        worst = [f"{one.check.what} - {one.findings[0].sentence}" for one in failed if one.findings]
        require(not failed, "; ".join(worst[:3]), self.change_convert)

    def quality(self, manifest: Manifest, card: Card) -> None:
        both = zip(card.joints, card.quality, manifest.quality, strict=True)
        wrong = ", ".join(row.joint for row, said, found in both if said != found)
        hint = f"change card.yaml, or convert() in {self.plugin.convert}"
        require(not wrong, f"card and samples disagree on the quality of {wrong}", hint)


def plan(raw: Path, split: str, options: Mapping[str, Any]) -> list[WorkItem]:
    """Return the first work items that the converter under test lists; the excerpt is prepared as any dataset is."""
    given = dict(options)
    convert = given.pop(_EXCERPT_OF)
    items, samples = EXCERPT
    return [
        replace(
            item,
            expected_samples=min(item.expected_samples, samples),
            payload={_EXCERPT_OF: convert, "payload": item.payload},
        )
        for item in islice(registry.load_function(convert, "plan")(raw, split, given), items)
    ]


def convert(item: WorkItem) -> Iterator[Sample | Skipped]:
    """Yield the first samples that the converter under test yields for an item."""
    whole = replace(item, payload=item.payload["payload"])
    return islice(registry.load_function(item.payload[_EXCERPT_OF], "convert")(whole), EXCERPT[1])


def _require_plain(value: Any, where: str, hint: str) -> None:
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        for entry in value.values():
            _require_plain(entry, where, hint)
    elif isinstance(value, tuple | list):
        for entry in value:
            _require_plain(entry, where, hint)
    elif value is not None and type(value) not in (str, int, float, bool):
        raise BrokenRuleError(
            f"the payload of {where} holds a {type(value).__name__}, which is not plain data",
            f"use str, int, float, bool, None, tuples and dicts: {hint}",
        )


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    return ((path.relative_to(folder).as_posix(), path) for path in sorted(folder.rglob("*")) if path.is_file())


def _stop_workers() -> None:
    """Stop worker processes that wait for work: they may have started before the plugin could be imported."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


def _digests(folder: Path) -> dict[str, str]:
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in _files(folder)}


def _sizes(folder: Path) -> dict[str, str]:
    return {name: f"{path.stat().st_size} {path.stat().st_mtime_ns}" for name, path in _files(folder)}


def _require_same(first: Mapping[str, str], second: Mapping[str, str], what: str, hint: str) -> None:
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    more = f" and {len(different) - 3} more" if len(different) > 3 else ""
    require(not different, f"{what}: {', '.join(different[:3])}{more}", hint)
