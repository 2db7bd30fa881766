"""Every check of ``data.checks`` on a folder of shards, and the command that repairs what is wrong."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.cores import cores
from kt3d_bench.data.checks import bodies, files, images, labels
from kt3d_bench.data.checks.belonging import belonging
from kt3d_bench.data.checks.findings import Check, Finding, Measured, Outcome, Unchecked, found, judge, spread, tally
from kt3d_bench.data.index import index_path
from kt3d_bench.data.manifest import Manifest, read_manifest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.remote import complete, local_folder
from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.cards import read_card
from kt3d_bench.progress import Reporter

IMAGES = 512
"""Samples per split whose images are read by default, spread evenly: a fault of a converter shows in all of a kind."""
_CHUNK = 64

KEYS = Check("keys", "every key is used once and holds letters, digits, '_' and '-'", "none")
ACROSS = Check("keys across splits", "no key is in two splits", "none")
SUBJECTS = Check("subjects across splits", "no subject is in two splits", "none", "", "note")


@dataclass(frozen=True)
class Validation:
    """The outcome of all checks on a folder of shards."""

    folder: Path
    manifest: Manifest
    splits: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    """One per check and split ("" for the folder as a whole), in the order of checking."""
    images_read: int
    samples: int
    """Number of samples in the splits that were checked, as far as their shards can be read."""
    unchecked: tuple[Unchecked, ...] = ()
    """Checks that could not be made, with the reason."""

    def failed(self, level: str) -> list[Outcome]:
        """Return the outcomes of that level ("error" or "note") that found something."""
        return [outcome for outcome in self.outcomes if outcome.failed and outcome.check.level == level]

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong; notes do not count."""
        return not self.failed("error")

    def repairs(self, *, raw: Path | None = None) -> Iterator[str]:
        """Yield what to do about what is wrong, one sentence or command each.

        Where ``prepare`` would write the shards again, this is its command, after the removal of files that it would
        take for complete. Where the shards are as ``prepare`` wrote them, it would write the same again, and the
        sentence says so. ``raw``: the raw folder to name.
        """
        wrong = [finding for outcome in self.failed("error") for finding in outcome.findings]
        again = [finding for finding in wrong if finding.remade]
        if again:
            command = self._prepare_command(again, raw)
            removed = sorted({name for finding in again for name in finding.remove})
            if removed:
                command = f"rm {' '.join(shlex.quote(str(self.folder / name)) for name in removed)} && {command}"
            yield command
        broken = {finding.shard for finding in again if finding.shard}
        deeper = [finding for finding in wrong if not finding.remade and finding.shard not in broken]
        if deeper:
            checks = ", ".join(sorted({finding.check for finding in deeper}))
            yield (
                f"{checks}: the shards are as prepare wrote them, so it would write the same again; look at the raw "
                f"data of these samples or at the converter, then: {self._prepare_command(deeper, raw)} --overwrite"
            )

    def _prepare_command(self, findings: Sequence[Finding], raw: Path | None) -> str:
        """Return the ``kt3d prepare`` that made the shards, with the splits of the findings where not all."""
        manifest = self.manifest
        words = ["kt3d", "prepare", manifest.dataset, "--raw", str(raw or self._likely_raw())]
        words += ["--out", str(self.folder)]
        splits = {finding.split for finding in findings if finding.split}
        if splits != set(manifest.splits):
            words += [word for split in sorted(splits) for word in ("--split", split)]
        for name, value in sorted(manifest.options.items()):
            if value != _default(manifest.dataset, name, value):
                shown = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
                words += [f"--{name.replace('_', '-')}", shown]
        return shlex.join(words)

    def _likely_raw(self) -> Path:
        """Return the raw folder in the same data root, or a placeholder where it is elsewhere."""
        name, root = self.manifest.dataset, self.folder.parent.parent
        usual = [root / "raw" / name, root / "generated" / name / "raw"]
        return next((folder for folder in usual if folder.is_dir()), Path("RAW"))


def validate(
    shards: Path | str,
    *,
    splits: Sequence[str] | None = None,
    sampled: int | None = IMAGES,
    report: Reporter | None = None,
) -> Validation:
    """Check prepared shards: files, counts and labels of all samples, and images of ``sampled`` samples per split.

    ``shards``: a folder, or a URL whose shards are downloaded first. ``splits``: default all. ``sampled``: evenly
    spread; ``None`` = all. A shard that cannot be read is one finding; the others are checked all the same.

    Raises ``ArtefactError`` when there is no manifest that can be read, ``UsageError`` for an unknown split.
    """
    folder, report = local_folder(shards), report or Reporter()
    complete(folder, splits)
    manifest = read_manifest(folder)
    for name in splits or ():
        if name not in manifest.splits:
            raise UsageError(f"there is no split '{name}'", where=folder, hint=did_you_mean(name, manifest.splits))
    chosen = [name for name in sorted(manifest.splits) if splits is None or name in splits]
    outcomes: list[Outcome] = []
    opened: dict[str, ShardSet] = {}
    unchecked: list[Unchecked] = []
    read = 0
    for name in chosen:
        opened_split, of_files = _files(folder, manifest, name, report)
        outcomes += of_files
        if opened_split is not None:
            opened[name] = opened_split
            more, looked = _samples(opened_split, sampled, report)
            fitting, missing = belonging(opened_split, _misfits(manifest))
            outcomes += [*more, *fitting]
            unchecked += missing
            read += looked
    outcomes += _folder(folder, manifest, opened)
    samples = sum(map(len, opened.values()))
    return Validation(folder, manifest, tuple(chosen), tuple(outcomes), read, samples, tuple(unchecked))


def _misfits(manifest: Manifest) -> tuple[str, ...]:
    """Return the sequences of real data that are known not to fit their images; none of a dataset not installed."""
    known = registry.datasets().get(manifest.dataset)
    return () if known is None or manifest.origin == "generated" else read_card(known.folder).misfits


def open_whole(folder: Path, manifest: Manifest, split: str) -> tuple[ShardSet | None, list[Finding]]:
    """Open the shards of a split whose sizes and indexes fit (``None`` where none does); also return what is wrong with
    the others. Tars are not read."""
    there = [(shard, *files.shard_file(folder, shard, split)) for shard in manifest.splits[split].shards]
    usable = [(shard, index) for shard, index, _ in there if index is not None]
    broken = [wrong for _, _, wrong in there if wrong is not None]
    if not usable:
        return None, broken
    first = usable[0][1]
    same = (first.fields, first.tangential_factor)
    alike = [(shard, index) for shard, index in usable if (index.fields, index.tangential_factor) == same]
    sentence, others = "the shard holds other images than the first", [one for one in usable if one not in alike]
    broken += [found(files.FILES, split, sentence, shard=one.name, remove=(one.name,)) for one, _ in others]
    return ShardSet.of(folder, split, manifest, alike), broken


def _files(folder: Path, manifest: Manifest, split: str, report: Reporter) -> tuple[ShardSet | None, list[Outcome]]:
    """Return the shards of a split that can be read, and the outcomes of the checks of files."""
    shards, broken = open_whole(folder, manifest, split)
    listed = manifest.splits[split].shards
    missing = {finding.shard for finding in broken}
    usable = [shard for shard in listed if shard.name not in missing]
    changed: list[Finding] = []
    report.start(f"{split}: reading shards", len(usable))
    with ThreadPoolExecutor(cores()) as pool:
        for done, wrong in enumerate(pool.map(lambda shard: files.digest(folder, shard, split), usable), 1):
            changed += [wrong] if wrong else []
            report.advance(done)
    paths = () if shards is None else shards.paths
    pointing = [files.members(path, shards, number) for number, path in enumerate(paths) if shards is not None]
    return shards, [
        tally(files.FILES, split, len(listed), broken),
        tally(files.DIGEST, split, len(usable), changed),
        tally(files.MEMBERS, split, len(pointing), [wrong for wrong in pointing if wrong]),
    ]


def _samples(shards: ShardSet, sampled: int | None, report: Reporter) -> tuple[list[Outcome], int]:
    """Run the checks on the content of a split's shards; also return how many samples' images were read."""
    split, entry = shards.split, shards.manifest.splits[shards.split]
    names = np.array([shard.name for shard in entry.shards])
    complete = len(shards) == sum(shard.samples for shard in entry.shards)
    shard_names = np.array([path.name for path in shards.paths])[shards.shard_of]
    per_shard = {str(name): int((shard_names == name).sum()) for name in names} if complete else {}
    outcomes: list[Outcome] = []
    altered = False
    if complete:
        for check, claims in (
            (files.COUNTS, list(files.claims(entry, shards.keys, shards.labels, per_shard))),
            (files.DIGESTS, list(files.digests(entry, shards.keys, shards.labels))),
        ):
            wrong = [found(check, split, sentence) for sentence in claims if sentence]
            altered |= check is files.DIGESTS and bool(wrong)
            outcomes.append(tally(check, split, len(claims), wrong))
    doubled = [
        found(KEYS, split, sentence, sample=str(shards.keys[i]), shard=str(shard_names[i]), remade=False)
        for i, sentence in labels.bad_keys(shards.keys)
    ]
    outcomes.append(tally(KEYS, split, len(shards), doubled))
    numbers = spread(len(shards), None if altered else sampled)
    for column in measure(shards, numbers, report):
        outcome = judge(column, split, shards.keys, shard_names)
        if column.check is images.INDEX:
            # ``prepare`` takes an index that differs from its tar for complete.
            removed = (
                replace(one, remove=(index_path(Path(one.shard)).name,), remade=True) for one in outcome.findings
            )
            outcome = replace(outcome, findings=tuple(removed))
        outcomes.append(outcome)
    for check, value, sentence in bodies.split_facts(shards.labels):
        facts = [found(check, split, sentence, value=value, remade=False)] if sentence else []
        outcomes.append(Outcome(check, split, 1, len(facts), value, 2.0 * bool(facts), tuple(facts)))
    return outcomes, len(numbers) if shards.modalities else 0


def measure(
    shards: ShardSet, numbers: Sequence[int] | npt.NDArray[np.int64], report: Reporter | None = None
) -> list[Measured]:
    """Run every check per sample: those of labels on all samples, those of images on the samples ``numbers``."""
    report = report or Reporter()
    columns = [*labels.label_checks(shards.labels, shards.tangential_factor), *bodies.body_checks(shards.labels)]
    chosen = [int(number) for number in numbers]
    seen: list[list[images.Reading]] = []
    report.start(f"{shards.split}: checking images", len(chosen))
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(chosen), _CHUNK):
            part = chosen[start : start + _CHUNK]
            seen += pool.map(lambda i: images.readings(shards, i), part)
            report.advance(len(seen))
    return [column for column in (*columns, *images.gather(chosen, seen)) if len(column.excess)]


def _folder(folder: Path, manifest: Manifest, opened: dict[str, ShardSet]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    if len(opened) > 1:
        pairs = list(combinations(opened.values(), 2))
        across = [_common(ACROSS, one, other, (one.keys, other.keys)) for one, other in pairs]
        outcomes.append(tally(ACROSS, "", len(pairs), [wrong for wrong in across if wrong]))
        # "front-train" and "top-train" show the same people.
        different = [pair for pair in pairs if len({one.split.rpartition("-")[2] for one in pair}) > 1]
        people = [_common(SUBJECTS, one, other, (one.labels.subject, other.labels.subject)) for one, other in different]
        outcomes.append(tally(SUBJECTS, "", len(different), [wrong for wrong in people if wrong]))
    held = {name: len(shards) for name, shards in opened.items()}
    whole = held == {name: split.samples for name, split in manifest.splits.items()}
    claims = list(files.folder_claims(manifest, [shards.labels for shards in opened.values()] if whole else None))
    wrong = [found(files.COUNTS, "", sentence) for sentence in claims if sentence]
    outcomes.append(tally(files.COUNTS, "", len(claims), wrong))
    outcomes.append(tally(files.LEFTOVERS, "", 1, files.leftovers(folder, manifest)))
    return outcomes


def _common(check: Check, first: ShardSet, second: ShardSet, names: Sequence[npt.NDArray[Any]]) -> Finding | None:
    both = sorted(set.intersection(*(set(column.tolist()) for column in names)) - {""})
    if not both:
        return None
    what = check.name.partition(" ")[0]
    sentence = f"{len(both)} {what} are in {first.split} and in {second.split}: {', '.join(both[:5])}"
    return found(check, "", sentence, value=len(both), remade=False)


def _default(dataset: str, option: str, otherwise: Any) -> Any:
    """Return the default of a dataset's option, as JSON keeps it; ``otherwise`` when it is not installed."""
    known = registry.datasets().get(dataset)
    if known is None or option not in known.options:
        return otherwise
    default = known.options[option].default
    return list(default) if isinstance(default, tuple) else default
