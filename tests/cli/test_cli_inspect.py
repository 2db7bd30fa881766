"""``kt3d inspect``: raw folders with what they would give and cost, shards with pictures, and everything else."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from kt3d_bench.cli import main
from kt3d_bench.cli.contact_sheet import sheet
from kt3d_bench.data.estimate import Probe, probe
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.data.prepare import prepare
from kt3d_bench.drawing import Tile, coloured_depth, contact_sheet, part_palette
from kt3d_bench.inspection import in_bytes
from kt3d_bench.metrics.predictions import write_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.records import WorkItem
from kt3d_bench.skeletons import H36M17

SIZES: dict[str, dict[str, Any]] = {
    "ubc3v": {"people": 1, "frames": 6, "test_postures": 2},
    "mpii": {"people": 8, "frames": 1},
    "itop": {"people": 4, "frames": 6},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with tiny prepared stand-ins."""
    root = tmp_path_factory.mktemp("root")
    for name, sizes in SIZES.items():
        plugin = registry.dataset(name)
        registry.load_function(plugin.generate, "generate")(
            root / "raw" / name, **sizes, seed=2, motion=None, device="cpu", workers=1,
            progress=lambda done, total: None,
        )  # fmt: skip
        prepare(plugin, raw=root / "raw" / name, out=root / "shards" / name, workers=1)
    return root


def kt3d(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def lines(*words: str | Path) -> list[str]:
    result = kt3d("inspect", *words)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


# Raw folders.


def test_a_raw_folder_says_what_it_gives_and_what_that_costs(root: Path) -> None:
    said = lines(root / "raw" / "mpii")
    assert "mpii: MPII Human Pose (generated stand-in)" in said
    (gives,) = [line for line in said if "split 'train'" in line]
    found = re.search(r"gives about (\d+) samples, about ([\d.]+) kB of shards and [\d.]+ s on \d+ cores$", gives)
    assert found
    samples = read_manifest(root / "shards" / "mpii").splits["train"].samples
    assert int(found[1]) == samples
    shards = sum(path.stat().st_size for path in (root / "shards" / "mpii").glob("train-*"))
    assert float(found[2]) * 1000 == pytest.approx(shards, rel=0.35)
    assert any(
        re.search(r"These are estimates: \d+ samples of \d+ work items, converted just now, took", s) for s in said
    )
    assert said[-1] == f"Next: kt3d prepare mpii --raw {root / 'raw' / 'mpii'}"


def test_views_are_named(root: Path) -> None:
    said = lines(root / "raw" / "itop")
    for view, split in (("front", "front-train"), ("front", "front-test"), ("top", "top-train"), ("top", "top-test")):
        assert any(line.startswith(f"itop: view {view}, split '{split}' gives about ") for line in said), said


def test_an_empty_folder_names_the_files_that_are_missing_and_where_to_get_them(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "ubc3v"
    folder.mkdir(parents=True)
    text = "\n".join(lines(folder))
    for name in ("inter-pose.tar.gz", "hard-pose.tar.gz", "https://www.cs.ubc.ca/research/UBC3V/"):
        assert name in text
    assert text.splitlines()[-1] == f"Next: when it is there: kt3d inspect {folder} --dataset ubc3v"
    assert text == "\n".join(lines(folder, "--dataset", "ubc3v"))


@pytest.mark.parametrize("dataset", ["h36m", "itop", "mpii", "ubc3v"])
def test_every_dataset_says_how_to_obtain_what_is_missing(tmp_path: Path, dataset: str) -> None:
    said = lines(tmp_path, "--dataset", dataset)
    assert f"{dataset}: How to obtain what is missing:" in said
    assert any("://" in line for line in said)


PARTS = {
    "h36m": ("Videos_S9.tgz", "metadata.xml"),
    "itop": ("ITOP_side_test_labels.h5.gz",),
    "mpii": ("mpii_human_pose_v1_u12_2.zip",),
    "ubc3v": ("hard-pose.tar.gz",),
}
"""Of each dataset, names of a few official files."""


@pytest.mark.parametrize("dataset", sorted(PARTS))
def test_a_part_of_a_download_is_recognised_though_nothing_can_be_prepared_from_it(
    tmp_path: Path, dataset: str
) -> None:
    for name in PARTS[dataset]:
        (tmp_path / name).write_bytes(b"")
    said = lines(tmp_path)
    assert {line.partition(":")[0] for line in said} == {dataset, "Next"}
    assert f"{dataset}: How to obtain what is missing:" in said
    assert said[-1] == f"Next: when it is there: kt3d inspect {tmp_path} --dataset {dataset}"


@pytest.mark.parametrize("name", ["images/holiday.jpg", "notes.txt", "S1/report.pdf", "train/1/a.png"])
def test_a_folder_of_something_else_is_no_part_of_any_download(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    result = kt3d("inspect", tmp_path)
    assert result.exit_code == 1
    assert f"{tmp_path}: nothing of any dataset is here; kt3d inspect PATH --dataset NAME" in result.stderr


def test_half_a_dataset_offers_the_half_that_is_there(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "raw" / "ubc3v", tmp_path / "raw", ignore=shutil.ignore_patterns("inter-pose"))
    said = lines(tmp_path / "raw")
    assert any("split 'train' cannot be prepared" in line and "inter-pose" in line for line in said)
    assert any("split 'test' gives about 6 samples" in line for line in said)
    assert said[-1] == f"Next: kt3d prepare ubc3v --raw {tmp_path / 'raw'} --split test"


def test_damage_does_not_break_inspecting(root: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(root / "raw" / "ubc3v", tmp_path / "raw"))
    for path in folder.rglob("groundtruth.mat"):
        path.write_bytes(b"not a MATLAB file")
    said = lines(folder)
    assert any("gives about" in line or "cannot be prepared" in line for line in said)
    assert said[-1].startswith("Next: ")


def test_a_sentence_in_place_of_a_plan_is_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = registry.load(registry.dataset("mpii").convert)
    monkeypatch.setattr(convert, "deferred", lambda raw, split: 7, raising=False)
    result = kt3d("inspect", root / "raw" / "mpii")
    assert result.exit_code == 1
    assert f"module {convert.__name__}: deferred() returned 7, expected a sentence or None" in result.stderr


def test_a_file_is_no_raw_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    result = kt3d("inspect", tmp_path / "notes.txt", "--dataset", "mpii")
    assert result.exit_code == 1
    assert "raw data is a folder" in result.stderr


# The probe behind the estimates.


def plan(*names: str) -> list[WorkItem]:
    return [WorkItem(name, 4, {"name": name}) for name in names]


CONVERTER = """
import os, time
import numpy as np
from kt3d_bench import Camera, RawDataError, Sample, Skipped

def convert(item):
    name = item.payload["name"]
    if name == "crash":
        os._exit(3)
    if name == "hang":
        time.sleep(60)
    if name == "damaged":
        raise RawDataError("is damaged", where="x.bin")
    yield Skipped("a", "b")
    if name == "empty":
        return
    for number in range(100):
        time.sleep(0.01)
        yield Sample(f"{name}{number}", Camera.pinhole((100, 100), (5, 5), (10, 10)), np.zeros((17, 2)), None,
                     np.zeros(17), np.zeros(17), np.zeros(4), "", "", "", "", 0, depth_mm=np.zeros((10, 10), np.uint16))
"""


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of that name which worker processes can import too."""
    (tmp_path / "inspect_converter.py").write_text(CONVERTER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return "inspect_converter"


def test_the_probe_measures_a_few_samples(converter: str) -> None:
    found = probe(converter, plan("a", "b"))
    assert isinstance(found, Probe)
    assert (found.samples, found.items) == (8, 2)
    assert 0.01 <= found.seconds_per_sample < 1
    assert found.disk_bytes(1000) == pytest.approx(1000 * found.bytes_per_sample)


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("damaged",), "damaged: x.bin: is damaged"),
        (("crash",), "the process that read crash died"),
        (("empty",), "empty gives no sample at its beginning"),
        ((), "no work item has samples"),
    ],
)
def test_the_probe_survives_what_cannot_be_read(converter: str, names: tuple[str, ...], sentence: str) -> None:
    assert probe(converter, plan(*names)) == sentence


def test_the_probe_ends_what_never_ends(converter: str) -> None:
    started = time.monotonic()
    assert probe(converter, plan("hang"), limit_s=1.0) == "hang took longer than 1 s to begin"
    assert time.monotonic() - started < 20


def test_costs_are_summed_up() -> None:
    """10 items of 1 s and 100 samples of 0.1 s: 20 s, on four cores 5 s; more cores than items do not help. Starting
    takes 2 s."""
    cost = Probe(samples=8, items=4, bytes_per_sample=2e4, seconds_per_sample=0.1, opening_s=1.0)
    assert cost.seconds(10, 100, 4) == pytest.approx(7.0)
    assert cost.seconds(2, 100, 8) == pytest.approx(8.0)


def test_sizes_have_units_that_suit() -> None:
    assert [in_bytes(size) for size in (2e3, 1.234e6, 5e9, 7.5e12)] == ["2 kB", "1.23 MB", "5 GB", "7.5 TB"]


# Shards, and pictures of them.


def test_shards_end_with_what_to_do_next(root: Path) -> None:
    assert lines(root / "shards" / "ubc3v")[-1] == f"Next: kt3d validate {root / 'shards' / 'ubc3v'}"


def test_a_folder_of_prepared_datasets_is_listed(root: Path) -> None:
    said = lines(root / "shards")
    assert said[0] == "3 prepared datasets:"
    samples = read_manifest(root / "shards" / "mpii").splits["train"].samples
    assert any(f"mpii (generated), train {samples} samples" in line for line in said)


@pytest.mark.parametrize("by", ["dataset", "action", "worst"])
@pytest.mark.parametrize("name", ["ubc3v", "mpii"])
def test_a_contact_sheet(root: Path, tmp_path: Path, name: str, by: str) -> None:
    path = tmp_path / "deep" / "sheet.png"
    said = lines(root / "shards" / name, "--picture", path, "--by", by, "--count", "4")
    found = re.fullmatch(rf"(\d) samples in {re.escape(str(path))}", said[-1])
    assert found
    assert 1 <= int(found[1]) <= 4
    picture = cv2.imread(str(path))
    assert picture is not None
    assert picture.std() > 10


@pytest.mark.parametrize("by", ["dataset", "action", "worst"])
def test_no_sample_is_shown_twice(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: Any) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(
        "kt3d_bench.cli.contact_sheet.contact_sheet",
        lambda path, sections: drawn.extend(tile.title for _, tiles in sections for tile in tiles),
    )
    sheet([root / "shards" / "ubc3v"], tmp_path / "s.png", by=by, count=12)
    assert len(drawn) == len(set(drawn))
    assert 3 <= len(drawn) <= 13


def test_several_datasets_share_a_sheet(root: Path, tmp_path: Path) -> None:
    said = lines(root / "shards", "--picture", tmp_path / "s.png", "--count", "9")
    assert said[-1].startswith("9 samples in ") or said[-1].startswith("10 samples in ")


def test_one_split_can_be_shown(root: Path, tmp_path: Path) -> None:
    result = kt3d("inspect", root / "shards" / "ubc3v", "--picture", tmp_path / "s.png", "--split", "tets")
    assert result.exit_code == 2
    assert "did you mean 'test'?" in result.stderr
    assert lines(root / "shards" / "ubc3v", "--picture", tmp_path / "s.png", "--split", "test")[-1].startswith(
        "6 samples"
    )


def test_what_cannot_be_read_is_left_out_and_said(root: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(root / "shards" / "ubc3v", tmp_path / "shards"))
    (folder / "test-000000.tar").unlink()
    said = sheet([folder], tmp_path / "s.png", count=3)
    assert said[1] == f"Left out {folder / 'test-000000.tar'}: the shard is missing"
    (folder / "train-000000.tar").unlink()
    result = kt3d("inspect", folder, "--picture", tmp_path / "s.png")
    assert result.exit_code == 1
    assert "no shard can be read; see what is wrong: kt3d validate" in result.stderr


def test_a_picture_is_a_png(root: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("precious")
    for name in ("notes.txt", "sheet"):
        result = kt3d("inspect", root / "shards" / "mpii", "--picture", tmp_path / name)
        assert result.exit_code == 2
        assert f"{tmp_path / name}: pictures are .png files; --picture {tmp_path / name}.png" in result.stderr
        assert result.stdout == ""
    assert (tmp_path / "notes.txt").read_text() == "precious"


def test_a_picture_of_what_is_no_shards_is_refused(root: Path, tmp_path: Path) -> None:
    result = kt3d("inspect", root / "raw" / "mpii", "--picture", tmp_path / "s.png")
    assert result.exit_code == 2
    assert "only shards and motions have pictures" in result.stderr
    assert not (tmp_path / "s.png").exists()


LEFT_RGB, RIGHT_RGB = (0x1F, 0x77, 0xB4), (0xD6, 0x27, 0x28)


def standing() -> np.ndarray:
    """(17, 2) px in a crop of 100 px: left limbs at larger x, as of somebody who faces the camera."""
    joints = np.full((17, 2), 50.0)
    joints[:, 1] = np.linspace(15, 85, 17)
    for right, left in H36M17.mirror_pairs:
        joints[right, 0], joints[left, 0] = 30, 70
        joints[left, 1] = joints[right, 1]
    return joints


def tile(**changes: Any) -> Tile:
    content: dict[str, Any] = {
        "title": "key_0001",
        "caption": "S1 $walk$",
        "images": {"rgb": np.full((100, 100, 3), 200, np.uint8)},
        "joints_px": standing(),
        "joints_cam_mm": np.full((17, 3), np.nan),
        "visible": np.full(17, -1),
        "size_px": (100, 100),
    }
    return Tile(**{**content, **changes})


def columns(path: Path, rgb: tuple[int, int, int], tolerance: int = 12) -> np.ndarray:
    """x of the pixels of a colour, below the legend and the heading and above the caption of the only row."""
    picture = cv2.imread(str(path)).astype(int)[84:324]
    return np.nonzero(np.abs(picture - rgb[::-1]).sum(-1) < tolerance)[1]


def test_sides_have_colours_and_places(tmp_path: Path) -> None:
    """The panel begins 16 px from the left and enlarges 100 px to 240: x = 30 lies at 88, x = 70 at 184."""
    path = contact_sheet(tmp_path / "s.png", [("heading", [tile()])])
    blue, red = columns(path, LEFT_RGB), columns(path, RIGHT_RGB)
    assert min(len(blue), len(red)) > 50
    assert blue.max() == pytest.approx(184, abs=3)
    assert red.min() == pytest.approx(88, abs=3)
    assert red.max() < blue.max()


def test_every_image_has_a_panel_with_the_skeleton(tmp_path: Path) -> None:
    depth = np.zeros((100, 100), np.uint16)
    depth[10:90, 40:60] = 2000
    images = {"depth": depth, "parts": (depth > 0).astype(np.uint8)}
    path = contact_sheet(tmp_path / "s.png", [("heading", [tile(images=images, num_parts=2)])])
    red = columns(path, RIGHT_RGB)
    assert red.min() == pytest.approx(88, abs=3)
    assert red[red > 262].min() == pytest.approx(88 + 246, abs=3)


def test_a_pose_alone_is_drawn_from_its_pixels_or_from_the_front(tmp_path: Path) -> None:
    for number, changes in enumerate(
        (
            {"images": {}},
            {
                "images": {},
                "joints_px": np.full((17, 2), np.nan),
                "joints_cam_mm": np.pad(standing() * 20, ((0, 0), (0, 1))),
            },
        )
    ):
        path = contact_sheet(tmp_path / f"{number}.png", [("heading", [tile(**changes)])])
        blue, red = columns(path, LEFT_RGB), columns(path, RIGHT_RGB)
        assert min(len(blue), len(red)) > 50
        assert red.mean() + 10 < blue.mean()


def test_joints_that_are_not_known_are_bridged(tmp_path: Path) -> None:
    """Without a spine the trunk is drawn from hip to thorax; without the left limbs there is no blue."""
    joints = standing()
    joints[[left for _, left in H36M17.mirror_pairs]] = np.nan
    path = contact_sheet(tmp_path / "s.png", [("heading", [tile(joints_px=joints)])])
    assert len(columns(path, LEFT_RGB)) == 0
    trunk = columns(path, (0x44, 0x44, 0x44), 90)
    joints[H36M17.index("spine")] = np.nan
    path = contact_sheet(tmp_path / "t.png", [("heading", [tile(joints_px=joints)])])
    assert len(columns(path, (0x44, 0x44, 0x44), 90)) > 0.8 * len(trunk) > 80


def test_depth_shows_person_background_and_no_reading() -> None:
    depth = np.array([[0, 1000, 1500], [2000, 3000, 4000]], np.uint16)
    person = np.array([[False, True, True], [True, False, False]])
    picture = coloured_depth(depth, person)
    np.testing.assert_array_equal(picture[0, 0], (24, 24, 32))
    grey = picture[1, 1:]
    assert (grey[:, 0] == grey[:, 1]).all()
    assert (grey[:, 0] == grey[:, 2]).all()
    assert grey[0, 0] > grey[1, 0]
    near, far = picture[0, 1].astype(int), picture[1, 0].astype(int)
    assert near.sum() > far.sum()
    assert near[2] < 80 < near[0]


def test_parts_have_colours_of_their_own() -> None:
    palette = part_palette(44)
    assert len(np.unique(palette, axis=0)) == 44
    assert palette[0].min() > 200


# Everything else.


def test_predictions_say_what_to_type_next(tmp_path: Path) -> None:
    write_predictions(tmp_path / "p.npz", ["a"], np.zeros((1, 17, 3)), meta={"benchmark": "b"})
    assert lines(tmp_path / "p.npz")[-1] == f"Next: kt3d score {tmp_path / 'p.npz'}"
    write_predictions(tmp_path / "q.npz", ["a"], np.zeros((1, 17, 3)))
    assert lines(tmp_path / "q.npz")[-1] == f"Next: kt3d score {tmp_path / 'q.npz'} --benchmark ID"


def test_everything_is_said_in_json_too(root: Path, tmp_path: Path) -> None:
    shards, path = root / "shards" / "itop", tmp_path / "p.npz"
    found = json.loads(kt3d("inspect", shards, "--json").output)
    assert (found["kind"], found["path"]) == ("shards", str(shards))
    assert found["manifest"] == json.loads((shards / "manifest.json").read_text())
    assert "\n".join([*found["sentences"], f"Next: {found['next']}"]).splitlines() == lines(shards)
    write_predictions(path, ["a", "b"], np.zeros((2, 17, 3), np.float32), meta={"method": "m"})
    found = json.loads(kt3d("inspect", path, "--json").output)
    assert (found["kind"], found["samples"], found["joints"]) == ("predictions", 2, 17)
    assert found["meta"]["method"] == "m"
    found = json.loads(kt3d("inspect", root / "shards", "--json").output)
    assert (found["kind"], len(found["folders"])) == ("folder of shards", len(SIZES))
    refused = kt3d("inspect", shards, "--json", "--picture", tmp_path / "x.png")
    assert refused.exit_code == 2
    assert "--json and --picture were both given; call inspect twice" in refused.output


def test_an_npz_of_somebody_else_is_one_sentence(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{f"array{number}": np.zeros(3) for number in range(50)})
    result = kt3d("inspect", tmp_path / "x.npz")
    assert result.exit_code == 1
    assert len(result.stderr) < 300
    assert "this .npz holds no predictions" in result.stderr


def test_an_index_is_a_part_of_shards(root: Path) -> None:
    result = kt3d("inspect", root / "shards" / "ubc3v" / "train-000000.index.npz")
    assert result.exit_code == 2
    assert "this is a part of shards" in result.stderr


def test_scores_are_a_part_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "run.yaml").write_text("{}")
    np.savez(tmp_path / "scores" / "b.npz", keys=np.array(["a"]), counted=np.ones((1, 17), bool))
    result = kt3d("inspect", tmp_path / "scores" / "b.npz")
    assert result.exit_code == 2
    assert "this is a part of a run; inspect the whole" in result.stderr


def test_options_of_a_method_are_listed_with_defaults_presets_and_what_they_mean() -> None:
    pytest.importorskip("torch")
    text = kt3d("list", "martinez").output
    assert "  lift_batch_size = 64\n" in text
    assert "  width = 1024 (laptop 512, tiny 256)\n" in text
    assert "  backbone = resnet50 (laptop tiny, tiny tiny): one of resnet50, tiny.\n" in text
    assert "  batch_size = 32: Batch size of the stages with images.\n" in text
    assert "  noise = 0.3: Noise on the lifter's 2D input, in units of the pose's size. Each sample draws" in text


def test_every_method_lists_every_option() -> None:
    pytest.importorskip("torch")
    from dataclasses import fields

    for name, method in registry.methods().items():
        text = kt3d("list", name).output
        for field in fields(registry.load(method.load).Config):
            assert f"  {field.name} = " in text
