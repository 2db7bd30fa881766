"""The file as a whole: what it says, what it must not do, and what becomes of a run with pieces missing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from report_fake import benchmarks, document, log_lines, predict, shards, whole_run, write_document

from kt3d_bench.cli import main
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.report import build
from kt3d_bench.report.build import run_to_report, write_report

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\" ' {{ 7*7 }} \u202e\x1b[31m"


class Read(HTMLParser):
    """Tags with their attributes, scripts, and the text of everything else."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.within = ""
        self.feed(content)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.within = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        if self.within == "script":
            attrs, before = self.scripts[-1]
            self.scripts[-1] = attrs, before + data
        elif self.within != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def ids(self) -> set[str | None]:
        return {attrs["id"] for _, attrs in self.tags if "id" in attrs}

    def images(self) -> list[str]:
        return [str(attrs["src"]) for tag, attrs in self.tags if tag == "img"]


def reading(path: Path) -> Read:
    return Read(path.read_text(encoding="utf-8"))


def change(run: Path, **changes: Any) -> None:
    content = yaml.safe_load((run / "run.yaml").read_text())
    write_document(run, {**content, **changes})


def test_everything_of_a_run_is_there(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    page = reading(path)
    assert {"main", "scores-0", "samples-0", "training", "run", "plotly"} <= page.ids()
    for words in (
        "toy on yard-test", "supervision: partial, 6 joints", "115.0 mm MPJPE", "on 24 samples of yard-test",
        "Tested on a generated stand-in", "kt3d train --method toy --supervision partial", "Stage 1: learn",
        "Stage 2: adapt", "pose_spread", "learning rate", "raised 'warn_collapse' in steps 1 to 20.",
        "learn 30 s, adapt 90 s; 2 min in all", "source attic real",
        "target yard-test stand-in", "attic/train", "torch 2.13",
        CHECKPOINT_WORDS, "seed 3", "width 8 (set)", "By action", "By subject", "By camera", "Best 1 0.0 mm",
        "Worst 1 230.0 mm", "right ankle",
    ):  # fmt: skip
        assert words in page.text, words
    assert len(page.images()) == 9 * 4
    assert sum(attributes.get("class") == "sample" for _, attributes in page.tags) == 9
    poses = next(text for attrs, text in page.scripts if attrs.get("class") == "poses")
    assert len(json.loads(poses)["samples"]) == 9


CHECKPOINT_WORDS = "Checkpoint " + "c" * 64


def test_groups_and_joints_hold_the_numbers_of_the_scores(run: Path) -> None:
    """Even samples stand and odd ones turn: 110 and 120 mm on average."""
    text = reading(write_report(run)).text
    assert re.search(r"stand 12 110\.0 ", text)
    assert re.search(r"turn 12 120\.0 ", text)
    assert re.search(r"S0 8 105\.0 ", text)
    stored = json.loads((run / "scores" / "yard-test.json").read_text())
    assert f"left wrist {stored['by_joint']['left_wrist']['mpjpe_mm']:.1f}" in text
    low, high = stored["intervals"]["mpjpe_mm"]
    assert f"95 % interval {low:.1f} to {high:.1f}" in text


def test_only_the_scripts_of_the_report_may_run_and_nothing_is_loaded(run: Path) -> None:
    path = write_report(run)
    page = reading(path)
    policy = next(str(attrs["content"]) for tag, attrs in page.tags if attrs.get("http-equiv"))
    runs = [text for attrs, text in page.scripts if "type" not in attrs]
    assert len(runs) == 2
    for text in runs:
        assert base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    for tag, attrs in page.tags:
        assert tag not in ("iframe", "object", "embed", "form", "base"), tag
        assert not [name for name in attrs if name.startswith("on")], attrs
        for name in ("src", "href"):
            assert str(attrs.get(name, "#")).startswith(("#", "data:image/")), attrs


def test_plotly_is_embedded_once_and_unpacks_to_the_packages_own_file(run: Path) -> None:
    import gzip
    from importlib.resources import files

    page = reading(write_report(run))
    packed = [text for attrs, text in page.scripts if attrs.get("id") == "plotly"]
    assert len(packed) == 1
    own = files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    assert gzip.decompress(base64.b64decode(packed[0])) == own
    policy = next(str(attrs["content"]) for tag, attrs in page.tags if attrs.get("http-equiv"))
    assert base64.b64encode(hashlib.sha256(own).digest()).decode() in policy
    assert (run / "report.html").stat().st_size < 4_000_000


def test_the_same_run_gives_the_same_bytes_wherever_it_lies(run: Path, tmp_path: Path) -> None:
    first = write_report(run).read_bytes()
    shutil.copytree(run.parents[1], tmp_path / "elsewhere")
    change(run, shards={**document(Path("/gone"))["shards"]})
    assert write_report(run).read_bytes() == first
    assert write_report(tmp_path / "elsewhere" / "runs" / run.name).read_bytes() == first
    assert str(tmp_path).encode() not in first


@pytest.mark.parametrize(
    "place", ["method", "command", "stage", "curve", "redistribution", "action", "settings", "role"]
)
def test_text_from_files_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(build.registry, "benchmarks", benchmarks)
    run = whole_run(tmp_path, origin="official" if place == "redistribution" else "generated")
    content = document(tmp_path / "shards" / "yard")
    if place == "method":
        content["config"]["method"] = HOSTILE
    elif place == "command":
        content["command"] = content["state"] = content["versions"][HOSTILE] = HOSTILE
    elif place == "settings":
        content["method_config"] = {HOSTILE: HOSTILE}
    elif place == "role":
        content["shards"]["source"]["name"] = content["shards"]["source"]["split"] = HOSTILE
    elif place == "stage":
        content["stages"][0]["name"] = HOSTILE
        (run / "log.jsonl").write_text(log_lines({HOSTILE: 20}))
    elif place == "curve":
        line = {"stage": "adapt", "step": 1, "losses": {HOSTILE: 1.0}, "logs": {"warn" + HOSTILE: 1.0}}
        (run / "log.jsonl").write_text(json.dumps(line) + "\n")
    elif place == "redistribution":
        manifest = json.loads((tmp_path / "shards" / "yard" / "manifest.json").read_text())
        manifest["redistribution"] = HOSTILE
        (tmp_path / "shards" / "yard" / "manifest.json").write_text(json.dumps(manifest))
    elif place == "action":
        shutil.rmtree(tmp_path / "shards")
        predict(run, ShardSet.open(shards(tmp_path / "shards" / "yard", actions=(HOSTILE,)), "test"))
    write_document(run, content)
    page = reading(write_report(run))
    assert len([text for attrs, text in page.scripts if "type" not in attrs]) == 2
    assert all(source.startswith("data:image/") for source in page.images())
    assert "alert(1)" in page.text
    assert "49" not in re.findall(r"(?<![\d.])49(?![\d.])", " ".join(page.words))
    assert not any(char in (run / "report.html").read_text() for char in "\u202e\x1b")


def test_official_images_come_with_their_terms_and_can_be_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build.registry, "benchmarks", benchmarks)
    run = whole_run(tmp_path, origin="official")
    page = reading(write_report(run))
    assert "This file holds images of the dataset behind yard-test : its terms of redistribution apply" in page.text
    assert "do not pass it on" in page.text
    assert "Not to be <passed> on." in page.text
    assert "stand-in, not on the real dataset" not in page.text
    bare = reading(write_report(run, images=False))
    assert bare.images() == []
    assert "This file holds poses (labels) of the dataset behind yard-test" in bare.text
    assert sum(attributes.get("class") == "sample" for _, attributes in bare.tags) == 9
    assert "skeletons only" in bare.text


def test_no_predictions_yet(run: Path) -> None:
    shutil.rmtree(run / "predictions")
    shutil.rmtree(run / "scores")
    page = reading(write_report(run))
    assert "The run has not predicted a benchmark yet: kt3d score predicts and scores." in page.text
    assert "Stage 2: adapt" in page.text
    assert not {"scores-0", "samples-0", "plotly"} & page.ids()
    assert (run / "report.html").stat().st_size < 300_000


def test_without_shards_stored_scores_are_shown(run: Path) -> None:
    whole = reading(write_report(run)).text
    shutil.rmtree(run.parents[1] / "shards")
    page = reading(write_report(run))
    assert "there are no shards of 'yard' to score against" in page.text
    assert "The numbers below are stored ones" in page.text
    assert page.images() == []
    for words in ("115.0 mm MPJPE", "PCK@100 ", "By joint", "Median 115.0 mm"):
        assert words in whole, words
        assert words in page.text, words
    assert "samples-0" not in page.ids()


def test_without_shards_and_scores_there_is_a_sentence(run: Path) -> None:
    shutil.rmtree(run.parents[1] / "shards")
    shutil.rmtree(run / "scores")
    page = reading(write_report(run))
    assert "there are no shards of 'yard' to score against" in page.text
    assert "There are no stored scores either" in page.text
    assert "Stage 2: adapt" in page.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(path.read_text().replace('"overall": {', '"overall": {"x": "<b>",')),
        lambda path: path.write_text(path.read_text().replace('"metric_version": ', '"metric_version": 9')),
        lambda path: path.write_text(path.read_text().replace('"pck_curve": [', '"pck_curve": [["x"],')),
        lambda path: path.unlink(),
    ],
)
def test_damaged_stored_scores_are_a_sentence_too(run: Path, damage: Any) -> None:
    shutil.rmtree(run.parents[1] / "shards")
    damage(run / "scores" / "yard-test.json")
    text = reading(write_report(run)).text
    assert "There are no stored scores either" in text
    assert "cannot be used" in text


def test_shards_elsewhere_can_be_named(run: Path, tmp_path: Path) -> None:
    (run.parents[1] / "shards" / "yard").rename(tmp_path / "moved")
    assert reading(write_report(run)).images() == []
    assert len(reading(write_report(run, shards=tmp_path / "moved", samples=1)).images()) == 3 * 4


def test_a_copied_run_finds_the_shards_of_the_data_root_in_use(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.parents[1] / "shards").rename(tmp_path / "shards")
    monkeypatch.setenv("KT3D_DATA", str(tmp_path))
    assert len(reading(write_report(run, samples=1)).images()) == 3 * 4


def test_damaged_predictions_fall_back_to_stored_scores(run: Path) -> None:
    (run / "predictions" / "yard-test.npz").write_bytes(b"no zip")
    text = reading(write_report(run)).text
    assert "is not a readable .npz file" in text
    assert "115.0 mm MPJPE" in text


def test_predictions_of_an_older_checkpoint_are_said(run: Path) -> None:
    change(run, checkpoint_sha256="e" * 64)
    assert "The predictions are from another checkpoint" in reading(write_report(run)).text


def test_a_benchmark_that_is_not_installed_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build.registry, "benchmarks", dict)
    assert "The benchmark 'yard-test' is not installed" in reading(write_report(run)).text


def test_an_interrupted_run_says_where_it_stands(run: Path) -> None:
    content = document(run.parents[1] / "shards" / "yard", state="training")
    for name in ("stages", "finished", "checkpoint_sha256"):
        content.pop(name)
    write_document(run, content)
    (run / "log.jsonl").write_text(log_lines({"learn": 40, "adapt": 7}))
    shutil.rmtree(run / "predictions")
    shutil.rmtree(run / "scores")
    text = reading(write_report(run)).text
    assert "The run has not finished. Its last log entry is step 7 of stage 'adapt'." in text
    assert "here, not finished" in text
    assert "The run has not predicted a benchmark yet." in text


def test_no_log_and_reused_stages(run: Path) -> None:
    stages = [{**stage, "reused": True} for stage in document(run)["stages"]]
    change(run, stages=stages)
    (run / "log.jsonl").unlink()
    text = reading(write_report(run)).text
    assert "That run's log was not found" in text
    assert "There is no log.jsonl with curves." in text
    other = run.parent / "another"
    write_document(other, document(run))
    (other / "log.jsonl").write_text(log_lines({"learn": 40}))
    text = reading(write_report(run)).text
    assert "Its curves are from the run that trained it, another" in text
    assert "sum of losses" in text


def test_several_benchmarks_each_have_their_part(run: Path) -> None:
    shutil.copy(run / "predictions" / "yard-test.npz", run / "predictions" / "yard-root.npz")
    page = reading(write_report(run, samples=1))
    assert {"scores-0", "scores-1", "samples-0", "samples-1"} <= page.ids()
    assert "Scores on yard-root" in page.text
    assert "Poses are aligned at joint 0 before measuring" in page.text
    assert len([1 for attrs, _ in page.scripts if attrs.get("id") == "plotly"]) == 1


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="there is no run here"):
        write_report(tmp_path)


@pytest.mark.parametrize("samples", [0, 9])
def test_too_many_samples_are_refused(run: Path, samples: int) -> None:
    with pytest.raises(UsageError, match="choose 1 to 8"):
        write_report(run, samples=samples)


def test_the_newest_finished_run_is_reported_else_the_newest(run: Path) -> None:
    root = run.parents[1]
    later = root / "runs" / "later"
    write_document(later, document(root, state="training"))
    assert run_to_report(data=root) == run
    (run / "checkpoints" / "final.pt").unlink()
    assert run_to_report(data=root) == later
    with pytest.raises(ArtefactError, match="there is no finished run"):
        run_to_report(data=root / "runs")


def told(run: Path, *words: str) -> str:
    done = CliRunner().invoke(main, ["report", *words], env={"KT3D_DATA": str(run.parents[1])})
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_writes_prints_and_says_what_is_next(run: Path, tmp_path: Path) -> None:
    said = told(run)
    assert said.startswith(f"Report: {run / 'report.html'}\n")
    assert "Next: open it in a browser" in said
    out = tmp_path / "deep" / "own.html"
    assert f"Report: {out}" in told(run, run.name, "--no-images", "--samples", "1", "--out", str(out))
    assert reading(out).images() == []
    shutil.rmtree(run / "predictions")
    assert f"Next: kt3d score --run {run}" in told(run, str(run))
    (run / "checkpoints" / "final.pt").unlink()
    assert "with --resume to continue it" in told(run)


def test_the_command_refuses_in_a_sentence(run: Path) -> None:
    done = CliRunner().invoke(main, ["report", "toy-yart"], env={"KT3D_DATA": str(run.parents[1])})
    assert done.exit_code == 1 or done.exit_code == 2
    assert f"did you mean '{run.name}'" in done.output.lower() or run.name in done.output


def test_a_run_is_named_or_the_newest(run: Path) -> None:
    root = run.parents[1]
    assert write_report(run.name, data=root) == write_report(data=root) == run / "report.html"
    with pytest.raises(UsageError, match=f"there is no run '{run.name}x'.*did you mean '{run.name}'"):
        write_report(f"{run.name}x", data=root)
