"""Read ``log.jsonl`` of a run as curves. The file is not trusted: what cannot be used is counted, sizes are bounded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kt3d_bench.budgets import OverBudgetError, read_whole
from kt3d_bench.errors import ArtefactError
from kt3d_bench.run_folder import RUN_FILE, read_run
from kt3d_bench.training.persistence import stretches

LOG = "log.jsonl"
MAX_BYTES = 64 << 20
MAX_LINE = 1 << 20
MAX_STAGES, MAX_SERIES = 40, 60
TOTAL, SPEED = "sum of losses", "samples per second"
WARNING = "warn"
"""Logged scalars whose names begin like this are flags: not drawn, but reported where they stay away from 0."""

Kind = Literal["loss", "rate", "log", "validation"]


@dataclass(frozen=True)
class Series:
    """One curve of one stage."""

    name: str
    kind: Kind
    """A loss, a rate (of learning; of samples), a figure of the validation curve, or any other scalar that the method
    logged."""
    steps: tuple[int, ...]
    """Increasing, each > 0."""
    values: tuple[float, ...]
    """Finite."""


@dataclass(frozen=True)
class StageLog:
    """What was logged of one stage."""

    name: str
    series: tuple[Series, ...]
    flags: tuple[Series, ...]
    """Scalars that warn."""
    steps: int
    """The last step."""
    elapsed_s: float | None
    left_out: int = 0
    """Curves beyond ``MAX_SERIES``."""

    @property
    def total(self) -> Series | None:
        """The sum of the losses of each step; ``None`` where no loss was logged."""
        sums: dict[int, list[float]] = {}
        for one in self.series:
            if one.kind == "loss":
                for step, value in zip(one.steps, one.values, strict=True):
                    sums.setdefault(step, []).append(value)
        if not sums:
            return None
        return Series(TOTAL, "loss", tuple(sums), tuple(math.fsum(values) for values in sums.values()))


def read_log(path: Path) -> tuple[dict[str, StageLog], tuple[str, ...]]:
    """Return stage -> its log, in the order of training, and sentences on what is wrong with the file. Never raises."""
    collected: dict[str, _Collected] = {}
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES)
    except FileNotFoundError:
        return {}, ()
    except OSError as error:
        return {}, (f"The log cannot be read ({error.strerror}).",)
    broken = 0
    for line in content.splitlines():
        if not line.strip():
            continue
        entry = _entry(line)
        name = entry.get("stage") if entry else None
        if entry is None or not isinstance(name, str) or (name not in collected and len(collected) >= MAX_STAGES):
            broken += 1
            continue
        collected.setdefault(name, _Collected()).add(entry)
    complaints = []
    if broken:
        complaints.append(f"{broken} lines of the log cannot be used and were skipped.")
    if size > MAX_BYTES:
        complaints.append(f"Only the first {MAX_BYTES >> 20} MiB of the log were read.")
    return {name: found.log(name) for name, found in collected.items()}, tuple(complaints)


def flag_sentences(log: StageLog) -> list[str]:
    """Return one sentence for each flag that stood for a while (``training.persistence``)."""
    sentences = []
    for flag in log.flags:
        found = stretches(flag.steps, [bool(value) for value in flag.values], log.steps)
        if found:
            spans = " and ".join(f"{first} to {last}" for first, last in found)
            end = ", and so to its end" if found[-1][1] == flag.steps[-1] else ""
            sentences.append(f"Stage '{log.name}' raised '{flag.name}' in steps {spans}{end}.")
    return sentences


def trained_elsewhere(folder: Path, digest: str, stage: str) -> tuple[str, StageLog] | None:
    """Return the run beside ``folder`` that trained a stage which ``folder`` reused, and its log; ``None`` without."""
    for path in sorted(folder.parent.glob(f"*/{RUN_FILE}")) if digest else ():
        try:
            if path.parent == folder or digest.encode() not in read_whole(path):
                continue
            stages = read_run(path.parent).get("stages")
            owns = any(one["digest"] == digest and one["name"] == stage and not one["reused"] for one in stages or ())
        except (ArtefactError, OSError, OverBudgetError, TypeError, KeyError):
            continue
        log = read_log(path.parent / LOG)[0].get(stage) if owns else None
        if log is not None:
            return path.parent.name, log
    return None


class _Collected:
    """What was read of one stage so far."""

    def __init__(self) -> None:
        self.curves: dict[tuple[Kind, str], dict[int, float]] = {}
        self.steps = 0
        self.elapsed_s: float | None = None
        self.refused: set[str] = set()

    def add(self, entry: Mapping[str, Any]) -> None:
        step = entry.get("step")
        if not isinstance(step, int) or isinstance(step, bool) or not 0 < step < 1 << 53:
            return
        self.steps = max(self.steps, step)
        self.elapsed_s = dict(_numbers({"": entry.get("elapsed_s")})).get("", self.elapsed_s)
        for kind, name, value in _scalars(entry):
            if (kind, name) not in self.curves and len(self.curves) >= MAX_SERIES:
                self.refused.add(name)
            else:
                self.curves.setdefault((kind, name), {})[step] = value

    def log(self, name: str) -> StageLog:
        series: list[Series] = []
        flags: list[Series] = []
        for (kind, title), points in self.curves.items():
            steps = tuple(sorted(points))
            flag = kind == "log" and title.startswith(WARNING)
            (flags if flag else series).append(Series(title, kind, steps, tuple(points[step] for step in steps)))
        return StageLog(name, tuple(series), tuple(flags), self.steps, self.elapsed_s, len(self.refused))


def _entry(line: bytes) -> dict[str, Any] | None:
    if len(line) > MAX_LINE:
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _scalars(entry: Mapping[str, Any]) -> Iterator[tuple[Kind, str, float]]:
    rates = {"learning rate": entry.get("lr"), SPEED: entry.get("rate")}
    kinds: tuple[tuple[Kind, Any], ...] = (
        ("loss", entry.get("losses")),
        ("validation", entry.get("validation")),
        ("log", entry.get("logs")),
        ("rate", rates),
    )
    for kind, named in kinds:
        for name, value in _numbers(named if isinstance(named, dict) else {}):
            yield kind, name, value


def _numbers(named: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in named.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300:
            yield name, float(value)
