"""Tables of a recipe: what was measured beside what the paper reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

from kt3d_bench.errors import PluginError
from kt3d_bench.leaderboard.ranking import Row, difference
from kt3d_bench.leaderboard.wording import NONE, column, markdown_table, reported_value, value_text
from kt3d_bench.metrics.benchmarks import Benchmark, Published, PublishedRow
from kt3d_bench.metrics.functional import METRICS
from kt3d_bench.plugins.hookspecs import Recipe, RecipeRow
from kt3d_bench.reproduction.plan import label
from kt3d_bench.reproduction.runs import Outcome

STAND_IN_NOTE = "Measured on generated stand-ins. The paper's numbers are for the real data, so no difference is shown."


def reported_row(row: RecipeRow, published: Published | None) -> PublishedRow | None:
    """Return the paper's row that is shown beside ``row``; ``None`` where it names none, or nothing is published.

    Raises ``PluginError`` when it matches no published row, or several.
    """
    if not row.reported or published is None:
        return None

    def fits(candidate: PublishedRow) -> bool:
        own = {"method": candidate.method, "category": candidate.category, "supervision": candidate.supervision}
        return all({**candidate.details, **own}.get(name) == word for name, word in row.reported.items())

    found = [candidate for candidate in (*published.rows, *published.ablation) if fits(candidate)]
    if len(found) != 1:
        raise PluginError(
            f"{dict(row.reported)} matches {len(found)} published rows of '{published.benchmark}', expected 1",
            where=f"recipe row '{label(row)}'",
            hint="name method, category, supervision or details of one of them",
        )
    return found[0]


def benchmarks(outcomes: Sequence[Outcome]) -> dict[str, Benchmark]:
    """Return the benchmarks that were tested on, in order."""
    return {outcome.result.benchmark.id: outcome.result.benchmark for outcome in outcomes}


def measured(outcomes: Sequence[Outcome], benchmark: str) -> dict[str, tuple[RecipeRow, Row]]:
    """Return label -> the recipe's row and its entries of all seeds, for one benchmark."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.result.benchmark.id == benchmark:
            found.setdefault(outcome.label, []).append(outcome)
    return {name: (ones[0].job.row, Row(None, tuple(one.result.entry for one in ones))) for name, ones in found.items()}


def cells(
    recipe: Recipe, outcomes: Sequence[Outcome], benchmark: Benchmark, published: Published | None
) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: label, seeds, per headline metric the measured value, the paper's value and, on official
    data only, their difference; then the training time of one run."""
    rows = measured(outcomes, benchmark.id)
    beside = {name: reported_row(row, published) for name, (row, _) in rows.items()}
    paper = any(beside.values())
    header = ["Row", "Seeds"]
    for metric in benchmark.headline:
        header += [column(metric), *(["paper", "difference"] if paper else [])]
    header.append("trained in (s)")
    listed = []
    for name, (_, row) in rows.items():
        line = [name, str(len(row.entries))]
        for metric in benchmark.headline:
            line.append(value_text(row, metric, interval=True))
            if paper:
                given = beside[name]
                line += _beside(row, metric, given.scores.get(metric) if given is not None else None)
        times = [entry.provenance.wall_seconds for entry in row.entries]
        known = [seconds for seconds in times if seconds is not None]
        line.append(f"{sum(known) / len(known):.0f}" if known else NONE)
        listed.append(line)
    return header, listed


def _beside(row: Row, metric: str, reported: float | None) -> list[str]:
    value = row.value(metric)
    official = all(entry.origin == "official" for entry in row.entries)
    both = reported is not None and value is not None and official
    return [reported_value(reported, metric), f"{value - reported:+.1f}" if both and reported and value else NONE]


def claims(recipe: Recipe, outcomes: Sequence[Outcome], benchmark: Benchmark) -> list[str]:
    """Return a sentence per claim of the recipe whose rows are finished: the difference, whether it is significant in a
    paired test over clips, and how much of the gap to the goal it closes."""
    rows, metric = measured(outcomes, benchmark.id), benchmark.headline[0]
    unit, sign = METRICS[metric].unit, 1 if METRICS[metric].better == "lower" else -1
    sentences = []
    for claim in recipe.claims:
        if claim.row not in rows or claim.than not in rows:
            continue
        (_, row), (_, than) = rows[claim.row], rows[claim.than]
        value, other = row.value(metric), than.value(metric)
        if value is None or other is None:
            continue
        around = difference(row, than, metric)
        verdict = "not tested: too few clips"
        if around is not None:
            gain = (-sign * around[0], -sign * around[1])
            verdict = "better" if min(gain) > 0 else "worse" if max(gain) < 0 else "not significant"
            verdict = f"[{around[0]:+.1f}, {around[1]:+.1f}], {verdict}"
        text = f"{claim.row} against {claim.than}: {value - other:+.1f} {unit} {verdict}"
        goal = rows[claim.goal][1].value(metric) if claim.goal in rows else None
        if goal is not None and goal != other:
            text += f"; {100 * (other - value) / (other - goal):.0f} % of the gap to {claim.goal} closed"
        sentences.append(text + ".")
    return sentences


def tables(recipe: Recipe, outcomes: Sequence[Outcome], published: Mapping[str, Published]) -> list[SimpleNamespace]:
    """Return a table per benchmark: ``benchmark``, ``header``, ``rows``, ``claims`` and, for stand-ins, a ``note``."""
    found = []
    for name, benchmark in benchmarks(outcomes).items():
        header, rows = cells(recipe, outcomes, benchmark, published.get(name))
        entries = [one.result.entry for one in outcomes if one.result.benchmark.id == name]
        note = STAND_IN_NOTE if any(entry.origin != "official" for entry in entries) else ""
        compared = claims(recipe, outcomes, benchmark)
        found.append(SimpleNamespace(benchmark=benchmark, header=header, rows=rows, claims=compared, note=note))
    return found


def markdown(recipe: Recipe, outcomes: Sequence[Outcome], published: Mapping[str, Published]) -> str:
    """Return the tables as Markdown, with the command that made them."""
    lines = [f"# {recipe.name}", "", recipe.summary + ".", ""]
    if outcomes:
        lines += [f"    {outcomes[-1].result.entry.provenance.command}", ""]
    for table in tables(recipe, outcomes, published):
        rows = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
        lines += [f"## {table.benchmark.title}", "", *markdown_table(table.header, rows)]
        if table.claims:
            lines += ["", "Paired over clips, 95 %:", "", *(f"- {text}" for text in table.claims)]
        if table.note:
            lines += ["", table.note]
        block = published.get(table.benchmark.id)
        if block is not None and any(one.job.row.reported for one in outcomes):
            lines += ["", f"Paper: {block.source}"]
        lines.append("")
    return "\n".join(lines)
