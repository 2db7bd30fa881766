"""Every board and the index from their entries: as Markdown for a code host, as pages for a browser."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kt3d_bench.files import write_whole
from kt3d_bench.leaderboard.entries import known_boards
from kt3d_bench.leaderboard.site.build import rendered_site
from kt3d_bench.leaderboard.tables import rendered_boards
from kt3d_bench.metrics.benchmarks import Benchmark, Published


def rendered_files(
    leaderboards: Path, benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]
) -> dict[Path, str]:
    """File -> text of all that is derived from entries, as ``render_boards`` writes it. Raises ``ArtefactError`` for a
    broken entry."""
    root = Path(leaderboards)
    boards = known_boards(root, benchmarks)
    return {
        **rendered_boards(root, boards, benchmarks, published),
        **rendered_site(root, boards, benchmarks, published),
    }


def render_boards(
    leaderboards: Path, benchmarks: Mapping[str, Benchmark], published: Mapping[str, Published]
) -> list[Path]:
    """Write it; returns the files. All is rendered before any is written, so a broken entry leaves the boards as they
    were."""
    files = rendered_files(leaderboards, benchmarks, published)
    for path, text in files.items():
        write_whole(path, text.encode())
    return sorted(files)
