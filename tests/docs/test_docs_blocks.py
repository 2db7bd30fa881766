"""Every block of code in the documentation runs as it stands, page by page."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from docs_pages import ROOT, Block, Reader, blocks, refused_words

from kt3d_bench.cli import main

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENTS = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "leaderboards" / "SUBMITTING.md"]
DOCUMENTS += sorted(ROOT.glob("datasets/*/README.md")) + sorted(ROOT.glob("plugins/*/README.md"))
NOTEBOOKS = [ROOT / "examples" / f"{name}.py" for name in ("explore_a_dataset", "train_and_compare")]
NEWCOMERS = "first-steps.md"


def _cases() -> list[object]:
    """Pages with something to run, whole; those with a block of some duration are slow tests."""
    cases = []
    for page in PAGES:
        found = [block.how for block in blocks(page) if block.how != "elsewhere"]
        if found:
            cases.append(pytest.param(page, marks=[pytest.mark.slow] if "slow" in found else [], id=page.stem))
    return cases


@pytest.mark.parametrize("page", _cases())
def test_a_pages_blocks_run(page: Path, request: pytest.FixtureRequest) -> None:
    reader: Reader = request.getfixturevalue("newcomer" if page.name == NEWCOMERS else "at_the_desk")
    for block in blocks(page):
        reader.run(block, page.name)
    if page.name == "python.md":
        scores, errors_mm = reader.names["scores"], reader.names["errors_mm"]
        assert np.mean(errors_mm) == pytest.approx(scores.overall["mpjpe_mm"], rel=1e-5)
        assert reader.names["ax"].has_data()
        truth = reader.names["test"]
        assert next(iter(reader.names["loader"]))["rgb"].shape == (min(32, len(truth)), 3, 256, 256)
        assert [sample.key for sample in reader.names["pipeline"]] == list(truth.keys)
        assert tuple(reader.names["pred"].keys) == tuple(truth.keys)
    if page.name == NEWCOMERS:
        assert list(reader.folder.glob("kt3d-data/runs/*/report.html"))
    if page.name == "your-own-picture.md":
        assert (reader.folder / "poses" / "index.html").is_file()
        assert len(reader.names["found"].keys) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_a_page_that_reads_shards_says_first_how_they_are_made(page: Path) -> None:
    text = page.read_text()
    reads = [match.start() for match in re.finditer(r"(?m)^kt3d train |kt\.load\(\"h36m\"", text)]
    if reads:
        assert 0 <= text.find("kt3d prepare") < min(reads)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_draws(notebook: Path, at_the_desk: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """Notebooks are scripts whose cells begin with ``# %%``, as jupytext reads them."""
    from matplotlib import pyplot

    text = notebook.read_text()
    assert text.startswith("# ---\n# jupyter:\n")
    assert text.count("\n# %% [markdown]\n") >= 4
    pyplot.close("all")
    at_the_desk.run(Block("python", "", text), notebook.name)
    drawn = [axes for number in pyplot.get_fignums() for axes in pyplot.figure(number).axes]
    assert len(drawn) >= 3
    assert all(axes.has_data() for axes in drawn)
    said = capsys.readouterr().out
    assert ("sound: True" if notebook.stem == "explore_a_dataset" else "knowledge-transfer ") in said
    pyplot.close("all")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_documents_exist_with_their_options(document: Path) -> None:
    """Those that cannot run here too: on clusters, on downloads, in plugins' READMEs."""
    text = document.read_text().replace("\\\n", " ")
    named = set(re.findall(r"(?<![.\w])kt3d ([a-z]+)\b", text)) - {"leaderboards"}
    assert named - set(main.commands) == set()
    lines = [line.strip() for line in re.findall(r"(?m)^(?: {4,}|)(?:kt3d|torchrun|srun) .*$", text)]
    # An ellipsis stands for what a reader fills in; options of a dataset itself pass through `prepare`.
    lines = [re.sub(r"\[[^\]]*\]", "", line.replace("...", "")) for line in lines]
    assert [words for words in map(refused_words, lines) if words] == []


def test_unknown_commands_and_options_are_found() -> None:
    assert refused_words("kt3d trian --method x") == "no command 'trian': kt3d trian --method x"
    assert "--metod" in refused_words("srun kt3d train --metod x || exit")
    assert refused_words("torchrun --nproc-per-node 8 kt3d train --method x  # words") == ""


def test_fences_that_are_not_understood_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("x\n```bash slow\nkt3d list\n```\n")
    assert blocks(page) == [Block("bash", "slow", "kt3d list\n")]
    page.write_text("x\n```bash sometimes\nkt3d list\n```\n")
    with pytest.raises(AssertionError, match=r"page\.md: a fence is none of"):
        blocks(page)
