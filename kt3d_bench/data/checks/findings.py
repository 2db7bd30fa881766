"""A check, what it measured, and what of that is worth saying.

Every check measures one number per sample (or shard, or split) and compares it with a limit. Errors say that the shards
must not be used as they are; notes say what a careful reader would look at. Shapes: n things tested.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

MOST_FINDINGS = 20
"""Findings kept of one check in one split, the worst first; all are counted."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold."""

    name: str
    what: str
    """The sentence that is true of good shards."""
    limit: str
    """The limit in words, with its unit; "" where there is nothing to measure."""
    unit: str = ""
    """Of the measured value."""
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
    """(n,) how many times the limit: above 1 fails. The common scale on which samples are ranked."""
    say: Callable[[int], str]
    """Position 0..n-1 -> what was found there, a sentence without the sample's name."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or odd."""

    check: str
    level: Literal["error", "note"]
    split: str
    shard: str
    """File name of the tar; "" for what concerns the whole split."""
    sample: str
    """Key; "" for what concerns the whole shard or split."""
    value: float
    limit: str
    sentence: str
    remove: tuple[str, ...] = ()
    """Files that must go before ``prepare`` makes the shard again, where it would take them for whole."""
    remade: bool = False
    """Whether ``prepare`` mends it: false where it would write the same again, since raw data or converter is at
    fault."""


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
    """How many times the limit that is."""
    findings: tuple[Finding, ...] = field(default=())
    """The ``MOST_FINDINGS`` worst."""


def measured(
    check: Check,
    value: npt.ArrayLike,
    limit: float,
    say: Callable[[int], str],
    *,
    indices: npt.ArrayLike | None = None,
    tested: npt.ArrayLike | None = None,
) -> Measured:
    """``value`` (N,) against one upper ``limit`` (0 = must be zero); NaN values, and those that the mask ``tested``
    leaves out, do not take part."""
    values = np.asarray(value, np.float64)
    excess = values / limit if limit else np.where(values > 0, 1 + values, 0.0)
    return ranged(check, values, excess, say, indices=indices, tested=tested)


def ranged(
    check: Check,
    value: npt.ArrayLike,
    excess: npt.ArrayLike,
    say: Callable[[int], str],
    *,
    indices: npt.ArrayLike | None = None,
    tested: npt.ArrayLike | None = None,
) -> Measured:
    """As ``measured``, with the excess given: for limits on two sides, or of each joint's own."""
    values, excesses = np.asarray(value, np.float64), np.asarray(excess, np.float64)
    numbers = np.arange(len(values)) if indices is None else np.asarray(indices, np.int64)
    keep = ~np.isnan(excesses)
    if tested is not None:
        keep &= np.asarray(tested, bool)
    at = np.flatnonzero(keep)
    return Measured(check, numbers[at], values[at], excesses[at], lambda i: say(int(at[i])))


def judge(results: Measured, split: str, keys: npt.NDArray[Any], shard_names: npt.NDArray[Any], **more: Any) -> Outcome:
    """The outcome of per-sample measurements; ``keys`` and ``shard_names`` (N,) name the samples. ``more`` = further
    fields of every finding."""
    failing = np.flatnonzero(results.excess > 1)
    ranked = failing[np.argsort(-results.excess[failing], kind="stable")][:MOST_FINDINGS]
    worst, excess = np.nan, 0.0
    if len(results.excess):
        worst, excess = results.value[np.argmax(results.excess)], results.excess.max()
    findings = tuple(
        Finding(
            check=results.check.name,
            level=results.check.level,
            split=split,
            shard=str(shard_names[results.indices[i]]),
            sample=str(keys[results.indices[i]]),
            value=float(results.value[i]),
            limit=results.check.limit,
            sentence=results.say(int(i)),
            **more,
        )
        for i in ranked
    )
    return Outcome(results.check, split, len(results.excess), len(failing), float(worst), float(excess), findings)


def tally(check: Check, split: str, tested: int, findings: Sequence[Finding]) -> Outcome:
    """The outcome of a check on shards or on a whole split, from its findings: all of those about shards are kept, and
    the first ``MOST_FINDINGS`` about samples."""
    kept = [finding for i, finding in enumerate(findings) if not finding.sample or i < MOST_FINDINGS]
    worst = max((finding.value for finding in findings), default=float("nan"))
    return Outcome(check, split, tested, len(findings), worst, 2.0 * bool(findings), tuple(kept))
