"""Render every board and the index from their entries: as Markdown for a code host, as HTML pages for a browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kt3d_bench.files import write_whole
from kt3d_bench.leaderboard.entries import ENTRIES, known_boards
from kt3d_bench.leaderboard.site.pages import rendered_site
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
) -> list[Path]:
    """Write every board as Markdown and as an HTML page; return the files.

    Pages go beside the Markdown, or into the folder ``html`` together with the entries that they link to. Everything
    is rendered before anything is written, so a broken entry leaves the boards as they were.
    """
    root = Path(leaderboards)
    boards = known_boards(root, benchmarks)
    texts = rendered_boards(root, boards, benchmarks, published)
    texts |= rendered_site(html or root, boards, benchmarks, published)
    files = {path: text.encode() for path, text in texts.items()}
    if html is not None:
        for path in (path for board in boards for path in (root / board / ENTRIES).glob("*.json")):
            files[html / path.relative_to(root)] = path.read_bytes()
    for path, content in files.items():
        write_whole(path, content)
    return sorted(files)
