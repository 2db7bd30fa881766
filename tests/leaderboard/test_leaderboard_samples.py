"""Six samples of a board under two rows: which they are, what is kept of them, and what is refused."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from click.testing import CliRunner

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.leaderboard.entries import read_entries, write_entry
from kt3d_bench.leaderboard.render import render_boards
from kt3d_bench.leaderboard.samples import SAMPLES, ShownSamples, chosen, read_samples
from kt3d_bench.leaderboard.site.turning import limbs
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.skeletons import H36M17

BENCHMARK = "h36m-s9s11-64"
BOARD = f"generated/{BENCHMARK}"
Predicted = Callable[..., Path]


def hand_in(data: Path, file: Path, shards: Path, name: str, **more: bool) -> None:
    kt.submit(file, BENCHMARK, name=name, shards=shards, data=data, leaderboards=data / "leaderboards", **more)


def show(data: Path, board: str, rows: Sequence[str]) -> None:
    kt.show_samples(board, rows, data=data, leaderboards=data / "leaderboards")


@pytest.fixture
def home(prepared: Path, predicted: Predicted, tmp_path: Path) -> Path:
    """A data root with two submissions and the shards they were measured on."""
    data = tmp_path / "data"
    for name, noise in (("coarse", 90.0), ("fine", 30.0)):
        hand_in(data, predicted(f"{name}.npz", noise_mm=noise), prepared, name)
    (data / "shards").mkdir()
    (data / "shards" / "h36m").symlink_to(prepared)
    return data


def stems(home: Path) -> list[str]:
    return [Path(one.file_name).stem for one in read_entries(home / "leaderboards" / BOARD)]


def written(home: Path) -> ShownSamples:
    show(home, BOARD, stems(home))
    found = read_samples(home / "leaderboards", BOARD)
    assert found is not None
    return found


def test_samples_are_spread_over_the_clips_whatever_their_errors() -> None:
    clips = np.array([f"c{clip:02d}" for clip in range(11) for _ in range(clip % 3 + 1)])
    assert clips[chosen(clips)].tolist() == ["c00", "c02", "c04", "c06", "c08", "c10"]
    assert chosen(np.array(["b", "a", "b", "b"])) == [1, 2]


def test_the_file_holds_the_poses_as_they_are_measured(home: Path, test_set: ShardSet, tmp_path: Path) -> None:
    shown = written(home)
    assert len(shown.samples) == 6
    assert len({sample.key for sample in shown.samples}) == 6
    files = [read_predictions(tmp_path / f"{name}.npz").joints_cam_mm for name in ("coarse", "fine")]
    for sample in shown.samples:
        index = list(test_set.keys).index(sample.key)
        true = test_set.labels.joints_cam_mm[index].astype(float)
        for row, joints in enumerate(files):
            pred = joints[index].astype(float)
            error = np.linalg.norm((pred - pred[0]) - (true - true[0]), axis=1).mean()
            assert sample.error_mm(row) == pytest.approx(error, abs=0.1)
        assert np.array(sample.true_mm) == pytest.approx(true - true[0], abs=0.051)
        height, width, *_ = simplejpeg.decode_jpeg(base64.b64decode(sample.image)).shape
        assert (width, height) == (128, 128)
    path = home / "leaderboards" / BOARD / SAMPLES
    assert path.stat().st_size < 100_000
    before = path.read_bytes()
    written(home)
    assert path.read_bytes() == before


def test_the_pages_show_them_and_the_check_accepts_them(home: Path) -> None:
    shown, boards = written(home), home / "leaderboards"
    page, front = ((boards / place / "index.html").read_text() for place in (BOARD, ""))
    for text in (page, front):
        assert text.count('class="turned-pose"') == 12
        for sample in shown.samples:
            for row in (0, 1):
                assert f"{sample.key}: {sample.error_mm(row):.1f} mm" in text
    assert kt.check_boards(boards) == []
    words = ["leaderboard", "samples", BOARD, "--row", f"{stems(home)[0]}.json", "--row", stems(home)[1]]
    done = CliRunner(env={"KT3D_DATA": str(home)}).invoke(main, [*words, "--leaderboards", str(boards)])
    assert done.output.split() == ["Samples:", str(boards / BOARD / SAMPLES)]


def test_rows_that_were_measured_again_are_no_longer_shown(home: Path, predicted: Predicted, prepared: Path) -> None:
    written(home)
    hand_in(home, predicted("fine.npz", seed=5), prepared, "fine", replace=True)
    boards = home / "leaderboards"
    assert "turned-pose" not in (boards / BOARD / "index.html").read_text()
    [problem] = kt.check_boards(boards)
    assert f"{BOARD}/{SAMPLES}: its rows are not on the board, or have other predictions now" in problem


def test_a_file_that_was_edited_is_noticed(home: Path) -> None:
    written(home)
    path = home / "leaderboards" / BOARD / SAMPLES
    path.write_text(json.dumps(json.loads(path.read_text())))
    [problem] = kt.check_boards(home / "leaderboards")
    assert f"{BOARD}/{SAMPLES}: is not as the program writes it; write it again with" in problem


def test_removed_and_returned_samples_change_the_page(home: Path) -> None:
    written(home)
    boards = home / "leaderboards"
    path, page, away = boards / BOARD / SAMPLES, boards / BOARD / "index.html", home / SAMPLES
    for source, target, count in ((path, away, 0), (away, path, 12)):
        source.rename(target)
        render_boards(boards, registry.benchmarks(), registry.published(), changed_only=True)
        assert page.read_text().count('class="turned-pose"') == count


def test_noisy_images_are_kept_at_a_lower_quality_or_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def noise(self: ShardSet, index: int, modality: str) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (128, 128, 3), np.uint8)

    monkeypatch.setattr(ShardSet, "image", noise)
    written(home)
    assert (home / "leaderboards" / BOARD / SAMPLES).stat().st_size <= 100_000
    monkeypatch.setattr("kt3d_bench.leaderboard.showing.MAX_BYTES", 1000)
    with pytest.raises(kt.ArtefactError, match=r"six samples take \d+ bytes, more than the 1000 that .*plainer images"):
        written(home)


def jpeg(height: int, width: int, claim: int | None = None) -> str:
    """A black JPEG in base64; ``claim`` is what its header says of both sides."""
    content = simplejpeg.encode_jpeg(np.zeros((height, width, 3), np.uint8))
    if claim is not None:
        at = content.index(b"\xff\xc0") + 5
        content = content[:at] + struct.pack(">HH", claim, claim) + content[at + 4 :]
    return base64.b64encode(content).decode()


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "unknown field": (lambda document: document.update(extra=1), "unknown field 'extra'"),
    "a joint too few": (lambda document: document["samples"][0]["true_mm"].pop(), "samples.0.true_mm"),
    "no picture": (lambda document: document["samples"][0].update(image="<svg>"), "samples.0.image"),
    "not a JPEG": (lambda document: document["samples"][0].update(image="/9j/AAAA"), "is not a JPEG image"),
    "a claim of 65,500 px": (
        lambda document: document["samples"][0].update(image=jpeg(8, 8, claim=65500)),
        "is 65500 x 65500 px, expected 128 wide and at most 512 high",
    ),
    "too wide": (lambda document: document["samples"][0].update(image=jpeg(8, 129)), "is 129 x 8 px"),
    "too high": (lambda document: document["samples"][0].update(image=jpeg(513, 128)), "is 128 x 513 px"),
    "too many": (lambda document: document["samples"].append(document["samples"][0]), "samples"),
    "too large": (lambda document: document.update(extra="x" * 100_000), "larger than 100000 bytes"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_broken_file_is_refused(home: Path, mistake: str) -> None:
    written(home)
    path = home / "leaderboards" / BOARD / SAMPLES
    document = json.loads(path.read_text())
    spoil, said = WRONG[mistake]
    spoil(document)
    path.write_text(json.dumps(document))
    with pytest.raises(kt.ArtefactError, match=said):
        read_samples(home / "leaderboards", BOARD)
    [problem] = kt.check_boards(home / "leaderboards")
    assert said in problem


def test_samples_of_real_data_are_refused(home: Path, tmp_path: Path) -> None:
    written(home)
    real = tmp_path / "generated" / BENCHMARK
    real.mkdir(parents=True)
    (real / SAMPLES).write_bytes((home / "leaderboards" / BOARD / SAMPLES).read_bytes())
    with pytest.raises(kt.ArtefactError, match="poses and images may not be passed on"):
        read_samples(tmp_path / "generated", BENCHMARK)


def test_what_cannot_be_shown_says_why(home: Path) -> None:
    (home / "leaderboards" / BENCHMARK / "entries").mkdir(parents=True)
    coarse, fine = stems(home)
    first = read_entries(home / "leaderboards" / BOARD)[0]
    facts = first.provenance.model_copy(update={"labels_digest": "0" * 64})
    other = write_entry(home / "leaderboards", first.model_copy(update={"method": "z", "provenance": facts})).stem
    for board, rows, said in (
        ("generated/h36m", (), f"did you mean '{BOARD}'"),
        (BENCHMARK, (), "only boards of stand-ins show samples"),
        (BOARD, (), "its answer compares no two rows"),
        (BOARD, (coarse[:-1], fine), f"there is no entry '{coarse[:-1]}', did you mean '{coarse}'"),
        (BOARD, (fine, fine), "two different entries are shown side by side"),
        (BOARD, (fine, other), "of other test samples and not comparable"),
    ):
        with pytest.raises(kt.UsageError, match=said):
            show(home, board, rows)
    (home / "shards" / "h36m").unlink()
    with pytest.raises(kt.ArtefactError, match="the shards it was tested on of"):
        show(home, BOARD, (coarse, fine))
    for path in (home / "submissions").iterdir():
        path.unlink()
    with pytest.raises(kt.ArtefactError, match="predictions of"):
        show(home, BOARD, (coarse, fine))


def test_bones_have_sides_and_bridge_unknown_joints() -> None:
    pose = [(float(joint), 2.0 * joint, -1.0) for joint in range(17)]
    sides = limbs(tuple(pose))
    assert {side: len(found.ends) // 6 for side, found in sides.items()} == {"middle": 4, "left": 6, "right": 6}
    knee, ankle, hip = (H36M17.index(f"left_{name}") for name in ("knee", "ankle", "hip"))
    holed = limbs(tuple(None if joint == knee else point for joint, point in enumerate(pose)))["left"]
    assert f"M{ankle} {2 * ankle}L{hip} {2 * hip}" in holed.path
    assert len(holed.ends) // 6 == 5
