"""A check, what it measured, and its findings.

Every check measures one number per sample (or shard, or split) and compares it with a limit. An error means that the
shards must not be used as they are; a note points out something unusual. Shapes: n things tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

MOST_FINDINGS = 20
"""Findings kept of one check in one split, the worst first; all are counted."""


@dataclass(frozen=True)
class Check:
    """One condition that good shards meet."""

    name: str
    what: str
    """The sentence that is true of good shards."""
    limit: str
    """The limit in words, with its unit; "" where there is nothing to measure."""
    unit: str = ""
    level: Literal["error", "note"] = "error"


@dataclass(frozen=True, eq=False)
class Measured:
    """What one check measured on some samples of a split."""

    check: Check
    indices: npt.NDArray[np.int64]
    """(n,) which samples were tested."""
    value: npt.NDArray[np.float64]
    """(n,) the measured number, in the check's unit."""
    excess: npt.NDArray[np.float64]
    """(n,) the value as a multiple of the limit: above 1 fails. Samples are ranked by it."""
    say: Callable[[int], str]
    """Position 0..n-1 -> what was found there: a sentence without the sample's name."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd."""

    check: str
    split: str
    shard: str
    """File name of the tar; "" for what concerns the whole split."""
    sample: str
    """Key; "" for what concerns the whole shard or split."""
    value: float
    sentence: str
    remove: tuple[str, ...] = ()
    """Files to delete before ``prepare`` writes the shard again, because it would take them for complete."""
    remade: bool = False
    """Whether ``prepare`` repairs it: false where it would write the same again, since raw data or converter is
    wrong."""


def found(
    check: Check, split: str, sentence: str, *, shard: str = "", sample: str = "", value: float = 1.0,
    remove: Sequence[str] = (), remade: bool = True,
) -> Finding:  # fmt: skip
    return Finding(check.name, split, shard, sample, value, sentence, tuple(remove), remade)


@dataclass(frozen=True)
class Outcome:
    """One check in one split, over all that was tested."""

    check: Check
    split: str
    tested: int
    failed: int
    worst: float
    """The value furthest beyond (or nearest to) the limit; NaN where nothing was measured."""
    excess: float
    """That value as a multiple of the limit."""
    findings: tuple[Finding, ...] = ()
    """The ``MOST_FINDINGS`` worst."""


@dataclass(frozen=True)
class Unchecked:
    """A check that could not be made on a split."""

    check: Check
    split: str
    reason: str


Found = tuple[list[Outcome], list[Unchecked]]


def measured(
    check: Check,
    value: npt.ArrayLike,
    limit: float,
    say: Callable[[int], str],
    *,
    tested: npt.ArrayLike | None = None,
) -> Measured:
    """Compare ``value`` (N,) with one upper ``limit`` (0 = must be zero). NaN values, and those outside the mask
    ``tested``, are not tested."""
    values = np.asarray(value, np.float64)
    excess = values / limit if limit else np.where(values > 0, 1 + values, 0.0)
    return ranged(check, values, excess if tested is None else np.where(tested, excess, np.nan), say)


def ranged(
    check: Check,
    value: npt.ArrayLike,
    excess: npt.ArrayLike,
    say: Callable[[int], str],
    *,
    indices: npt.ArrayLike | None = None,
) -> Measured:
    """Do what ``measured`` does with a given excess: for limits on two sides, or one per joint."""
    values, excesses = np.asarray(value, np.float64), np.asarray(excess, np.float64)
    numbers = np.arange(len(values)) if indices is None else np.asarray(indices, np.int64)
    at = np.flatnonzero(~np.isnan(excesses))
    return Measured(check, numbers[at], values[at], excesses[at], lambda i: say(int(at[i])))


def judge(results: Measured, split: str, keys: npt.NDArray[Any], shard_names: npt.NDArray[Any]) -> Outcome:
    """Return the outcome of per-sample measurements; ``keys`` and ``shard_names`` (N,) name the samples."""
    failing = np.flatnonzero(results.excess > 1)
    ranked = failing[np.argsort(-results.excess[failing], kind="stable")][:MOST_FINDINGS]
    at = np.argmax(results.excess) if len(results.excess) else None
    worst, excess = (np.nan, 0.0) if at is None else (results.value[at], results.excess[at])
    findings = tuple(
        found(
            results.check,
            split,
            results.say(int(i)),
            shard=str(shard_names[results.indices[i]]),
            sample=str(keys[results.indices[i]]),
            value=float(results.value[i]),
            remade=False,
        )
        for i in ranked
    )
    return Outcome(results.check, split, len(results.excess), len(failing), float(worst), float(excess), findings)


def spread(total: int, count: int | None) -> npt.NDArray[np.int64]:
    """Return ``count`` of ``total`` numbers, evenly spread with both ends; all of them for ``None``."""
    if count is None or count >= total:
        return np.arange(total)
    return np.unique(np.linspace(0, total - 1, count).round().astype(np.int64))


def tally(check: Check, split: str, tested: int, findings: Sequence[Finding]) -> Outcome:
    """Return the outcome of a check on shards or on a split. Findings about shards are all kept, those about samples up
    to ``MOST_FINDINGS``."""
    kept = [finding for i, finding in enumerate(findings) if not finding.sample or i < MOST_FINDINGS]
    worst = max((finding.value for finding in findings), default=float("nan"))
    return Outcome(check, split, tested, len(findings), worst, 2.0 * bool(findings), tuple(kept))
