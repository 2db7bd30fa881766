"""Render every board and the index from their entries: as Markdown for a code host, as HTML pages for a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kt3d_bench.files import write_all
from kt3d_bench.leaderboard.answer import answer
from kt3d_bench.leaderboard.entries import ENTRIES, GENERATED, Entry, known_boards
from kt3d_bench.leaderboard.ranking import ranked_groups
from kt3d_bench.leaderboard.samples import SAMPLES, read_samples
from kt3d_bench.leaderboard.site.about import STRIP, About, strip
from kt3d_bench.leaderboard.site.exports import board_csv, board_json, model_index
from kt3d_bench.leaderboard.site.forest import FOREST, forest, forest_text
from kt3d_bench.leaderboard.site.pages import CSV, JSON, MODEL_INDEX, PAGE, board_page, index_page, page_text
from kt3d_bench.leaderboard.tables import board_markdown, index_markdown
from kt3d_bench.metrics.benchmarks import Benchmark, Published

README = "README.md"


def rendered_files(
    leaderboards: Path,
    benchmarks: Mapping[str, Benchmark],
    published: Mapping[str, Published],
    *,
    html: Path | None = None,
    changed_only: bool = False,
    about: About | None = None,
) -> dict[Path, str]:
    """Return file -> text of every Markdown board with its forest plot and of their index, and of their pages and
    exports in the folder ``html``.

    ``changed_only`` leaves out boards that are younger than their entries and samples. ``about``: what is installed.
    Raises ``ArtefactError`` for a broken entry or broken samples.
    """
    root = Path(leaderboards)
    boards = known_boards(root, benchmarks)
    samples = {board: found for board in boards if (found := read_samples(root, board)) is not None}
    files = {root / README: index_markdown(boards, benchmarks)}
    if html is not None:
        files[html / PAGE] = page_text(index_page(boards, benchmarks, published, about, samples), about=about)
    for board, entries in boards.items():
        if changed_only and not _changed(root / board, board in samples and samples[board].of(entries) is not None):
            continue
        name = board.removeprefix(f"{GENERATED}/")
        shown = board, benchmarks[name], entries, published.get(name)
        files[root / board / README] = board_markdown(*shown)
        drawing = board_forest(entries, benchmarks[name])
        if drawing:
            files[root / board / FOREST] = drawing
        if html is not None:
            files[html / board / PAGE] = page_text(board_page(*shown, samples.get(board)), board, about)
            files[html / board / CSV] = board_csv(benchmarks[name], entries)
            files[html / board / JSON] = board_json(benchmarks[name], entries)
            files[html / board / MODEL_INDEX] = model_index(benchmarks[name], entries)
    return files


def board_forest(entries: Sequence[Entry], benchmark: Benchmark) -> str:
    """Return the forest plot of a board's first group of rows as SVG; "" where nothing is ranked."""
    groups = ranked_groups(entries, benchmark)
    drawing = forest(groups[0], benchmark, answer(groups[0], benchmark)) if groups else None
    return "" if drawing is None else forest_text(drawing)


def render_boards(
    leaderboards: Path,
    benchmarks: Mapping[str, Benchmark],
    published: Mapping[str, Published],
    *,
    html: Path | None = None,
    changed_only: bool = False,
    about: About | None = None,
) -> list[Path]:
    """Write the ``rendered_files``, pages too; return the files.

    Pages go beside the Markdown, or into the folder ``html`` together with the entries that they link to. Everything is
    rendered before anything is written, so a broken entry leaves the boards as they were.
    """
    root = Path(leaderboards)
    texts = rendered_files(root, benchmarks, published, html=html or root, changed_only=changed_only, about=about)
    files = {path: text.encode() for path, text in texts.items()}
    if html is not None:
        if about is not None and about.url:
            files[html / STRIP] = strip()
        for board in [path.parent.relative_to(html) for path in texts if path.name == PAGE]:
            for path in (root / board / ENTRIES).glob("*.json"):
                files[html / board / ENTRIES / path.name] = path.read_bytes()
    write_all(files)
    for path in files:
        if path.name == README and path.with_name(FOREST) not in files:
            path.with_name(FOREST).unlink(missing_ok=True)
    return sorted(files)


def _changed(board: Path, shows_samples: bool) -> bool:
    """Whether a board was never rendered, or entries or samples were written or removed, since."""
    pages, entries = [board / name for name in (README, PAGE, CSV, JSON, MODEL_INDEX)], board / ENTRIES
    if not all(page.is_file() for page in pages):
        return True
    rendered = min(page.stat().st_mtime_ns for page in pages)
    sources = [path for path in (entries, *entries.glob("*.json"), board / SAMPLES) if path.exists()]
    if any(path.stat().st_mtime_ns >= rendered for path in sources):
        return True
    return shows_samples != (b'class="turned-pose"' in (board / PAGE).read_bytes())
