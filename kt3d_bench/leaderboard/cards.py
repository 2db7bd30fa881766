"""Model cards: a Markdown page per submitted entry. The facts come from the entry, the notes below from its author."""

from __future__ import annotations

from pathlib import Path

from kt3d_bench.budgets import read_whole
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import write_whole
from kt3d_bench.leaderboard.entries import Entry
from kt3d_bench.leaderboard.wording import as_markdown
from kt3d_bench.metrics.functional import METRICS

CARDS = "cards"
NOTES = "## Notes by the author"
_ASKED = (
    "What is the method, and where is its code?",
    "What was it trained on, and which labels of the test's dataset did it see, if any?",
    "How was the checkpoint chosen?",
    "How can the predictions be made again?",
)


def card_path(leaderboards: Path, entry: Entry) -> Path:
    return Path(leaderboards) / entry.board / CARDS / f"{Path(entry.file_name).stem}.md"


def card_markdown(entry: Entry) -> str:
    """Return the page down to the heading of the notes: a pure function of the entry."""
    facts, handed = entry.provenance, entry.provenance.submission
    lines = [
        f"# {as_markdown(entry.title or entry.method)} on `{entry.board}`",
        "",
        f"Written by `kt3d submit` for the entry `{entry.file_name}`; all above the notes is checked against it.",
        "",
        "| | |",
        "| --- | --- |",
        f"| Benchmark | `{entry.benchmark}` version {entry.benchmark_version}, {entry.samples} samples |",
        f"| Method | {as_markdown(entry.method)} |",
        f"| Supervision | {as_markdown(entry.supervision)} |",
        f"| Labels of the test's dataset seen | {as_markdown(entry.flags.target_labels_seen)} |",
        f"| External data | {as_markdown(', '.join(entry.flags.external_data)) or 'not stated'} |",
        f"| Seed | {'not stated' if entry.seed is None else entry.seed} |",
    ]
    for name, metric in METRICS.items():
        if name in entry.scores:
            value = entry.scores[name]
            around = entry.intervals.get(name)
            shown = "undefined" if value is None else f"{value:.2f} {metric.unit}"
            shown += f" [{around[0]:.2f}, {around[1]:.2f}]" if around and value is not None else ""
            lines.append(f"| {metric.title} | {shown} |")
    if entry.unanswered:
        lines.append(f"| Samples without a whole answer | {entry.unanswered}: the row is not ranked |")
    lines += [f"| Samples with {kind} | {count} |" for kind, count in entry.degenerate.items()]
    lines += [
        f"| Metric version | {facts.metric_version} |",
        f"| Predictions, SHA-256 | `{facts.predictions_sha256}` |",
        f"| Test shards, SHA-256 | `{facts.test_manifest_digest}` |",
        f"| Sample list, SHA-256 | `{facts.sample_list_digest}` |",
    ]
    if handed is not None:
        lines += [f"| Handed in as | {handed.form}, SHA-256 `{handed.file_sha256}` |"]
        lines += [f"| Code or paper | {as_markdown(handed.link) or 'not stated'} |"]
        lines += [f"| Flagged | {as_markdown(sentence)} |" for sentence in handed.suspicions]
    return "\n".join([*lines, "", NOTES, ""])


def _read(path: Path) -> str:
    try:
        return read_whole(path).decode()
    except (OSError, ValueError) as error:
        hint = "repair the notes in it, or move it away"
        raise ArtefactError(f"the model card cannot be read ({error})", where=path, hint=hint) from error


def write_card(leaderboards: Path, entry: Entry) -> Path:
    """Write the page; keep the notes that its author wrote before, else ask the questions."""
    path = card_path(leaderboards, entry)
    notes = "\n" + "\n".join(f"- {question}" for question in _ASKED) + "\n"
    if path.is_file():
        before = _read(path)
        notes = before.split(NOTES + "\n", 1)[1] if NOTES + "\n" in before else notes
    write_whole(path, (card_markdown(entry) + notes).encode())
    return path
