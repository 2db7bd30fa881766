"""What ``kt3d validate`` prints: a table of checks, what is wrong, what is odd, and what to type next."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.table import Table

from kt3d_bench.data.checks.findings import Outcome
from kt3d_bench.data.validate import Validation

_WIDE = 160
"""Characters of a terminal on which no row of the whole table is folded."""
_SHOWN = {"error": 5, "note": 2}
"""Findings printed of one check and split; the table counts all."""


def table(validation: Validation, width: int) -> Table:
    """One row per check over all splits: how many passed, and the worst value with where it was measured. Where the
    terminal's ``width`` allows, what must hold as well."""
    wide = width >= _WIDE
    drawn = Table(title=f"Checks of {validation.manifest.dataset} in {validation.folder}", title_justify="left")
    columns = {"check": "left", "what must hold": "left", "passed": "right", "worst": "right", "in": "left",
               "limit": "left", "": "left"}  # fmt: skip
    for name, justify in columns.items():
        if wide or name != "what must hold":
            drawn.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for outcomes in _by_check(validation.outcomes):
        worst = max(outcomes, key=lambda outcome: outcome.excess)
        tested, failed = sum(outcome.tested for outcome in outcomes), sum(outcome.failed for outcome in outcomes)
        drawn.add_row(
            worst.check.name,
            *([worst.check.what] if wide else []),
            f"{tested - failed} of {tested}",
            _value(worst),
            worst.split if worst.excess > 0 else "",
            worst.check.limit,
            {"error": "[red]WRONG[/]", "note": "[yellow]odd[/]"}[worst.check.level] if failed else "",
        )
    return drawn


def _by_check(outcomes: Iterable[Outcome]) -> list[list[Outcome]]:
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.tested:
            groups.setdefault(outcome.check.name, []).append(outcome)
    return list(groups.values())


def _value(outcome: Outcome) -> str:
    measured = outcome.check.unit and not math.isnan(outcome.worst)
    if not measured and not (outcome.check.limit and outcome.worst > 0):
        return ""
    return "0" if not outcome.worst else f"{outcome.worst:.3g} {outcome.check.unit}".strip()


def lines(validation: Validation, *, raw: Path | None = None) -> list[str]:
    """Return what was checked, what is wrong and what is odd by shard and sample, and how to repair it."""
    said = [_looked_at(validation)]
    for level, heading in (("error", "What is wrong:"), ("note", "What is odd, not wrong:")):
        failed = validation.failed(level)
        if failed:
            said += [heading, *(line for outcome in failed for line in _outcome_lines(outcome))]
    if validation.unchecked:
        said += ["What could not be checked:", *_unchecked_lines(validation)]
    if not validation.sound:
        said += ["To repair it:", *(f"  {line}" for line in validation.repairs(raw=raw))]
    return said


def _unchecked_lines(validation: Validation) -> list[str]:
    """One line per check and reason, with the splits."""
    splits: dict[tuple[str, str], list[str]] = {}
    for one in validation.unchecked:
        splits.setdefault((one.check.name, one.reason), []).append(one.split)
    return [f"  {check} ({', '.join(of)}): {reason}" for (check, reason), of in splits.items()]


def _looked_at(validation: Validation) -> str:
    manifest = validation.manifest
    origin = "generated stand-in data" if manifest.origin == "generated" else "official data"
    images = validation.images_read
    looked = f"the images of {images} of them, spread evenly (--all reads every one)" if images else "no images"
    if images and images == validation.samples:
        looked = "the images of all of them"
    return (
        f"{validation.samples} samples of {manifest.dataset} ({origin}; {', '.join(validation.splits)}): all files and "
        f"labels, {looked}."
    )


def _outcome_lines(outcome: Outcome) -> list[str]:
    first = outcome.findings[: _SHOWN[outcome.check.level]]
    places = [" ".join(dict.fromkeys(filter(None, (one.split, one.shard, one.sample)))) for one in first]
    shown = [f"  {at or 'the folder'}: {one.sentence} [{one.check}]" for at, one in zip(places, first, strict=True)]
    more = outcome.failed - len(shown)
    return [*shown, f"  ... and {more} more [{outcome.check.name}]"] if more > 0 else shown


def as_json(validation: Validation, *, raw: Path | None = None) -> dict[str, Any]:
    """Return everything, for scripts; values that were not measured are null."""

    def number(value: float) -> float | None:
        return value if math.isfinite(value) else None

    return {
        "folder": str(validation.folder),
        "dataset": validation.manifest.dataset,
        **{name: getattr(validation, name) for name in ("splits", "samples", "images_read", "sound")},
        "checks": [
            {
                "check": outcome.check.name,
                **{name: getattr(outcome.check, name) for name in ("what", "level", "limit", "unit")},
                **{name: getattr(outcome, name) for name in ("split", "tested", "failed")},
                "worst": number(outcome.worst),
                "findings": [
                    {"shard": one.shard, "sample": one.sample, "value": number(one.value), "sentence": one.sentence}
                    for one in outcome.findings
                ],
            }
            for outcome in validation.outcomes
        ],
        "unchecked": [
            {"check": one.check.name, "split": one.split, "reason": one.reason} for one in validation.unchecked
        ],
        "repairs": list(validation.repairs(raw=raw)),
    }
