"""Render every board and the index from their entries: as Markdown for a code host, as HTML pages for a browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kt3d_bench.files import write_whole
from kt3d_bench.leaderboard.entries import ENTRIES, known_boards
from kt3d_bench.leaderboard.site.pages import PAGE, rendered_site
from kt3d_bench.leaderboard.tables import rendered_boards
from kt3d_bench.metrics.benchmarks import Benchmark, Published


def rendered_files(
    leaderboards: Path, benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]
) -> dict[Path, str]:
    """Return file -> text of every Markdown board and of their index. Raises ``ArtefactError`` for a broken entry."""
    root = Path(leaderboards)
    return rendered_boards(root, known_boards(root, benchmarks), benchmarks, published)


def render_boards(
    leaderboards: Path,
    benchmarks: Mapping[str, Benchmark],
    published: Mapping[str, Published],
    *,
    html: Path | None = None,
    changed_only: bool = False,
) -> list[Path]:
    """Write every board and the index as Markdown and as an HTML page; return the files.

    Pages go beside the Markdown, or into the folder ``html`` together with the entries that they link to. With
    ``changed_only``, boards stay that are younger than their entries. Everything is rendered before anything is
    written, so a broken entry leaves the boards as they were.
    """
    root = Path(leaderboards)
    boards = known_boards(root, benchmarks)
    drawn = [board for board in boards if not changed_only or _changed(root / board)]
    texts = rendered_boards(root, boards, benchmarks, published, drawn)
    texts |= rendered_site(html or root, boards, benchmarks, published, drawn)
    files = {path: text.encode() for path, text in texts.items()}
    if html is not None:
        for path in (path for board in boards for path in (root / board / ENTRIES).glob("*.json")):
            files[html / path.relative_to(root)] = path.read_bytes()
    for path, content in files.items():
        write_whole(path, content)
    return sorted(files)


def _changed(board: Path) -> bool:
    """Whether a board was never rendered, or one of its entries was written or removed since."""
    pages, entries = (board / "README.md", board / PAGE), board / ENTRIES
    if not all(page.is_file() for page in pages):
        return True
    rendered = min(page.stat().st_mtime_ns for page in pages)
    return entries.is_dir() and any(path.stat().st_mtime_ns >= rendered for path in (entries, *entries.glob("*.json")))
