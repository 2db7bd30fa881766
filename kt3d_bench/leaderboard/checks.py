"""Find what a pull request must not bring: edited tables or numbers, doubled or unverifiable entries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from kt3d_bench.budgets import OverBudgetError, read_whole
from kt3d_bench.errors import ArtefactError
from kt3d_bench.leaderboard.cards import CARDS, card_markdown
from kt3d_bench.leaderboard.entries import ACTION_MEAN, ENTRIES, GENERATED, Entry, encode_entry, read_entries
from kt3d_bench.leaderboard.render import rendered_files
from kt3d_bench.leaderboard.samples import SAMPLES, encode_samples, read_samples
from kt3d_bench.metrics.benchmarks import Benchmark, Published, protocol_digest
from kt3d_bench.metrics.functional import CURVE_MM, METRIC_VERSION
from kt3d_bench.metrics.uncertainty import clip_interval

_CLOSE = 2e-3
"""mm or %: rounding of per-clip means can leave that much between equal numbers."""
_FOLD_SLACK = 0.05
"""Share of the largest part: masked joints weigh parts differently, so a whole may lie a little outside of them."""


def problems(leaderboards: Path, benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]) -> list[str]:
    """Return everything that is wrong below ``leaderboards``, one sentence each; none = it can be merged."""
    root = Path(leaderboards)
    found: list[str] = []
    for folder in sorted(
        path.parent for path in (*root.glob(f"*/{ENTRIES}/"), *root.glob(f"{GENERATED}/*/{ENTRIES}/"))
    ):
        board = folder.relative_to(root).as_posix()
        benchmark = benchmarks.get(board.removeprefix(f"{GENERATED}/"))
        if benchmark is None:
            found.append(f"{board}: there is no such benchmark")
            continue
        try:
            entries = read_entries(folder)
        except ArtefactError as error:
            found.append(error.message)
            continue
        found += [f"{board}/{what}" for what in (*_folder(folder, entries), *_samples(root, board, entries))]
        for entry in entries:
            found += [f"{board}/{ENTRIES}/{entry.file_name}: {what}" for what in _entry(entry, benchmark)]
        found += [f"{board}/{ENTRIES}: {what}" for what in (*_doubled(entries), *_uneven(entries))]
    if not found:
        found += _rendered(root, benchmarks, published)
    return found


def _folder(folder: Path, entries: tuple[Entry, ...]) -> Iterator[str]:
    """Find edited entries, files that are not entries, and cards that do not match their entries."""
    for entry in entries:
        if (folder / ENTRIES / entry.file_name).read_bytes() != encode_entry(entry):
            yield f"{ENTRIES}/{entry.file_name}: is not as the program writes it; score or submit it again"
        card = folder / CARDS / f"{Path(entry.file_name).stem}.md"
        if entry.provenance.submission is not None and not card.is_file():
            yield f"{CARDS}/{card.name}: the model card is missing; submit the predictions again"
    named = {Path(entry.file_name).stem: entry for entry in entries}
    for card in sorted((folder / CARDS).glob("*")):
        known = named.get(card.stem)
        if known is None or card.suffix != ".md":
            yield f"{CARDS}/{card.name}: belongs to no entry"
        elif not _says(card, card_markdown(known), whole=False):
            yield f"{CARDS}/{card.name}: the part above the notes is not what its entry says; submit it again"
    for path in sorted((folder / ENTRIES).glob("*")):
        if path.suffix != ".json":
            yield f"{ENTRIES}/{path.name}: is not an entry"


def _samples(root: Path, board: str, entries: tuple[Entry, ...]) -> Iterator[str]:
    """Find edited samples, and samples of rows that are not on the board."""
    try:
        shown = read_samples(root, board)
    except ArtefactError as error:
        yield f"{SAMPLES}: {error.message}"
        return
    if shown is not None and shown.of(entries) is None:
        yield f"{SAMPLES}: its rows are not on the board, or have other predictions now; write or remove it"
    if shown is not None and (root / board / SAMPLES).read_bytes() != encode_samples(shown):
        yield f"{SAMPLES}: is not as the program writes it; write it again with: kt3d leaderboard samples"


def _entry(entry: Entry, benchmark: Benchmark) -> Iterator[str]:
    facts = entry.provenance
    if entry.benchmark_version > benchmark.version:
        yield f"is of version {entry.benchmark_version} of the benchmark, which has only {benchmark.version}"
    if entry.benchmark_version == benchmark.version and facts.protocol_digest not in (None, protocol_digest(benchmark)):
        yield f"was measured by another protocol than version {benchmark.version}; a new meaning needs a new version"
    if facts.metric_version > METRIC_VERSION:
        yield f"was measured by metric version {facts.metric_version}, newer than {METRIC_VERSION}"
    missing = [name for name in ("predictions_sha256", "test_manifest_digest", "sample_list_digest", "labels_digest")
               if not _is_digest(getattr(facts, name))]  # fmt: skip
    if facts.submission is None and not (_is_digest(facts.checkpoint_sha256) and facts.run):
        missing.append("a run's checkpoint_sha256 and settings, or a submission")
    if missing:
        yield f"cannot be verified: {', '.join(missing)} missing"
    for name, (low, high) in entry.intervals.items():
        value = entry.scores.get(name)
        if value is None or not low <= value <= high:
            yield f"the interval of '{name}' does not hold its value"
    yield from _inconsistent(entry)


def _inconsistent(entry: Entry) -> Iterator[str]:
    """Find numbers of one entry that contradict one another, as edited ones do."""
    if entry.clips is not None:
        counts = np.array(entry.clips.samples)
        if not entry.samples - max(entry.undefined.values(), default=0) <= counts.sum() <= entry.samples:
            yield "its clips hold more or fewer samples than it has"
        for name, means in entry.clips.means.items():
            if not _close(entry.scores.get(name), float(np.average(means, weights=counts))):
                yield f"'{name}' is not the mean of its clips"
            again, stored = clip_interval(np.array(means), counts), entry.intervals.get(name)
            if (again is None) != (stored is None) or (
                again is not None and stored is not None and not all(map(_close, again, stored))
            ):
                yield f"the interval of '{name}' is not what its clips give"
    if entry.breakdown is not None:
        curve = entry.breakdown.pck_curve
        if "pck_100" in entry.scores and not _close(entry.scores["pck_100"], curve[CURVE_MM.index(100.0)]):
            yield "'pck_100' does not lie on the PCK curve"
        for name, value in entry.scores.items():
            if name.startswith(ACTION_MEAN):
                folds = [fold.get(name.removeprefix(ACTION_MEAN)) for fold in entry.breakdown.by_action.values()]
                known = [one for one in folds if one is not None]
                if known and not _close(value, sum(known) / len(known)):
                    yield f"'{name}' is not the mean of its actions"
        known = [one for one in curve if one is not None]
        if known != sorted(known):
            yield "the PCK curve falls"
        yield from _folds_beside(entry)


def _folds_beside(entry: Entry) -> Iterator[str]:
    """Find means of a whole that do not lie between the means of its parts."""
    assert entry.breakdown is not None
    for what in ("joint", "action", "subject", "camera"):
        folds = getattr(entry.breakdown, f"by_{what}").values()
        for name, value in entry.scores.items():
            parts = [part for fold in folds if (part := fold.get(name)) is not None]
            slack = _FOLD_SLACK * max(map(abs, parts), default=0.0)
            if value is not None and parts and not min(parts) - slack <= value <= max(parts) + slack:
                yield f"'{name}' does not lie between its values by {what}"


def _uneven(entries: tuple[Entry, ...]) -> Iterator[str]:
    """Find entries whose number of samples differs from others of the same list."""
    first: dict[str, Entry] = {}
    for entry in entries:
        other = first.setdefault(entry.provenance.sample_list_digest, entry)
        if other.samples != entry.samples:
            yield (
                f"{entry.file_name} has {entry.samples} samples, {other.file_name} has {other.samples} of the same list"
            )


def _doubled(entries: tuple[Entry, ...]) -> Iterator[str]:
    """Find entries of the same predictions under two names."""
    seen: dict[tuple[str, int, int], str] = {}
    for entry in entries:
        versions = entry.benchmark_version, entry.provenance.metric_version
        keys = [(digest, *versions) for digest in sorted(entry.provenance.predictions)]
        other = next((seen[key] for key in keys if key in seen), None)
        if other is not None:
            yield f"{entry.file_name} has the same predictions as {other}"
        for key in keys:
            seen.setdefault(key, entry.file_name)


def _rendered(root: Path, benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]) -> Iterator[str]:
    for path, text in rendered_files(root, benchmarks, published).items():
        name = path.relative_to(root).as_posix()
        if not path.is_file():
            yield f"{name}: is missing; render the boards with: kt3d leaderboard build"
        elif not _says(path, text):
            yield f"{name}: is not what the entries say; render the boards with: kt3d leaderboard build"


def _says(path: Path, text: str, *, whole: bool = True) -> bool:
    """Return whether a file holds a text, or begins with it."""
    try:
        found, expected = read_whole(path), text.encode()
    except (OSError, OverBudgetError):
        return False
    return found == expected if whole else found.startswith(expected)


def _is_digest(text: str | None) -> bool:
    return text is not None and len(text) == 64 and not set(text) - set("0123456789abcdef")


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=_CLOSE)
