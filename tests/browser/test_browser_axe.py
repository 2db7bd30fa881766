"""Boards and a report as axe-core sees them: https://github.com/dequelabs/axe-core (``npm install axe-core``)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from browser_boards import build
from browser_chromium import Page

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from report_fake import benchmarks, whole_run

from kt3d_bench.report import build as report

AXE = "KT3D_AXE"
"""Environment variable: the path of ``axe.min.js``."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("boards")
    build(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report.registry, "benchmarks", benchmarks)
        written = report.write_report(whole_run(tmp_path_factory.mktemp("report")))
    return [*sorted(folder.rglob("index.html")), written]


@pytest.mark.skipif(
    AXE not in os.environ, reason=f"not looked at with axe-core: {AXE} does not say where axe.min.js is"
)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_axe_finds_nothing(tab: Page, pages: list[Path], width: int, scheme: str) -> None:
    source = Path(os.environ[AXE]).read_text()
    tab.size(width)
    tab.prefer(scheme)
    for path in pages:
        tab.open(path)
        tab.run("document.querySelectorAll('details').forEach(e => { e.open = true; })")
        tab.run(f"{source}; 0")
        found = tab.run("axe.run().then(({violations}) => violations.map(v => [v.id, v.nodes.map(n => n.html)]))")
        assert found == [], path
    tab.messages.clear()
