"""The stand-in: the documented layout seen through h5py alone, and the line from generator to samples."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from itop_gen_view import RIGHT_OF, onto_image
from kt3d_itop import convert
from kt3d_itop.generate import DEMO, VERSION, compress, generate
from kt3d_itop.standin_people import ACTIONS, Doing, figures_of, true_joints
from kt3d_itop.standin_room import Room, sample_room
from kt3d_itop.standin_sensor import SIDE, TOP, VIEWS, shadow

from kt3d_bench.errors import UsageError
from kt3d_bench.records import Sample
from kt3d_bench.synth.boxes import Box, in_front

MARKER = "kt3d-generated.json"
FRAMES = 40
LAYOUT = {
    "depth_map": {"data": ((240, 320), "float16"), "id": ((), "|S8")},
    "labels": {
        "id": ((), "|S8"),
        "is_valid": ((), "uint8"),
        "visible_joints": ((15,), "int16"),
        "image_coordinates": ((15, 2), "int16"),
        "real_world_coordinates": ((15, 3), "float16"),
        "segmentation": ((240, 320), "int8"),
    },
}


def read(folder: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    packed = (folder / f"ITOP_{name}.h5.gz").read_bytes()
    with h5py.File(io.BytesIO(gzip.decompress(packed)), "r") as file:
        return {key: file[key][:] for key in file}


class StandIn:
    """One small stand-in, its files read once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: list[tuple[int, int]] = []
        self.counts = generate(folder, people=2, frames=FRAMES, seed=4, workers=1,
                               progress=lambda done, total: self.steps.append((done, total)))  # fmt: skip
        self.files = {
            (view, split, kind): read(folder, f"{view}_{split}_{kind}")
            for view in ("side", "top")
            for split in ("train", "test")
            for kind in LAYOUT
        }

    def labels(self, view: str, split: str = "train") -> dict[str, npt.NDArray[Any]]:
        return self.files[view, split, "labels"]

    def depth(self, view: str, split: str = "train") -> npt.NDArray[np.float64]:
        return self.files[view, split, "depth_map"]["data"].astype(np.float64)

    def valid(self, split: str = "train") -> npt.NDArray[np.bool_]:
        return np.asarray(self.labels("side", split)["is_valid"] == 1)

    def joints(self, view: str, split: str = "train") -> npt.NDArray[np.float64]:
        return self.labels(view, split)["real_world_coordinates"].astype(np.float64)


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    return StandIn(tmp_path_factory.mktemp("generated") / "itop")


both_views = pytest.mark.parametrize("view", ["side", "top"])
both_splits = pytest.mark.parametrize("split", ["train", "test"])


def test_names_shapes_and_types_are_the_official_ones(stand_in: StandIn) -> None:
    names = [f"ITOP_{view}_{split}_{kind}.h5.gz" for view, split, kind in stand_in.files]
    assert sorted(path.name for path in stand_in.folder.iterdir()) == sorted([*names, MARKER])
    for (_, _, kind), arrays in stand_in.files.items():
        found = {name: (values.shape, values.dtype.str.replace("<", "")) for name, values in arrays.items()}
        wanted = {
            name: ((FRAMES, *shape), np.dtype(dtype).str.replace("<", ""))
            for name, (shape, dtype) in LAYOUT[kind].items()
        }
        assert found == wanted


def test_the_marker_the_counts_and_progress(stand_in: StandIn) -> None:
    marker = json.loads((stand_in.folder / MARKER).read_text(encoding="utf-8"))
    assert marker == {"dataset": "itop", "version": VERSION, "seed": 4, "people": 2, "frames": FRAMES,
                      "held_out": "test"}  # fmt: skip
    valid = {split: int(stand_in.valid(split).sum()) for split in ("train", "test")}
    assert stand_in.counts == {f"{view}-{split}": valid[split] for view in ("front", "top") for split in valid}
    assert stand_in.steps[0][0] == 0
    assert stand_in.steps[-1][0] == stand_in.steps[-1][1] >= 2 * FRAMES
    assert stand_in.steps == sorted(stand_in.steps)


@both_splits
def test_ids_count_a_persons_frames_with_a_pause_after_each_clip_and_agree_between_all_files(
    stand_in: StandIn, split: str
) -> None:
    person = {"train": "00", "test": "01"}[split]
    clip = max(-(-FRAMES // 15), 3)
    wanted = [f"{person}_{frame + 50 * (frame // clip):05d}".encode() for frame in range(FRAMES)]
    for (_, part, _), arrays in stand_in.files.items():
        if part == split:
            assert arrays["id"].tolist() == wanted
    np.testing.assert_array_equal(stand_in.labels("side", split)["is_valid"], stand_in.labels("top", split)["is_valid"])


def test_people_for_training_and_testing_differ(tmp_path: Path) -> None:
    generate(tmp_path, people=7, frames=1, seed=0, workers=1)
    people = {split: read(tmp_path, f"side_{split}_labels")["id"].astype(str).tolist() for split in ("train", "test")}
    assert [name[:2] for name in people["test"]] == ["03"]
    assert [name[:2] for name in people["train"]] == ["00", "01", "02", "04", "05", "06"]


@both_splits
def test_two_joints_follow_from_the_others_and_the_top_view_from_the_side(stand_in: StandIn, split: str) -> None:
    valid = stand_in.valid(split)
    side, top = (stand_in.joints(view, split)[valid] for view in ("side", "top"))
    half_step = np.abs(np.spacing(side.astype(np.float16)).astype(np.float64)).max() / 2
    assert half_step <= 0.001
    for joints in (side, top):
        assert np.abs(joints[:, 1] - (joints[:, 2] + joints[:, 3]) / 2).max() <= 2 * half_step
        hips = (joints[:, 9] + joints[:, 10]) / 2
        assert np.abs(joints[:, 8] - (joints[:, 1] + hips) / 2).max() <= 2 * half_step
    x, y, z = np.moveaxis(side, -1, 0)
    assert np.abs(top - np.stack([x, z - 2.85, 1.5 - y], axis=-1)).max() <= 2 * half_step


@both_views
def test_image_coordinates_are_the_projected_joints(stand_in: StandIn, view: str) -> None:
    labels, valid = stand_in.labels(view), stand_in.valid()
    away = np.abs(onto_image(stand_in.joints(view)[valid]) - labels["image_coordinates"][valid])
    near = stand_in.joints(view)[valid][..., 2] > 1.0
    assert away[near].max() < 1.3


@both_views
def test_visible_joints_lie_just_behind_the_measured_surface(stand_in: StandIn, view: str) -> None:
    depth, labels, joints = stand_in.depth(view), stand_in.labels(view), stand_in.joints(view)
    behind = []
    for frame in np.flatnonzero(stand_in.valid()):
        for joint in np.flatnonzero(labels["visible_joints"][frame]):
            column, row = labels["image_coordinates"][frame, joint]
            if depth[frame, row, column] > 0:
                behind.append(joints[frame, joint, 2] - depth[frame, row, column])
    assert len(behind) > 100
    assert np.mean(np.abs(behind) < 0.17) > 0.97
    assert 0.02 < np.median(behind) < 0.12


@both_views
def test_regions_lie_at_their_joints_and_left_is_not_right(stand_in: StandIn, view: str) -> None:
    labels = stand_in.labels(view)
    hits = total = 0
    for frame in np.flatnonzero(stand_in.valid()):
        places = onto_image(stand_in.joints(view)[frame])
        for right, left in RIGHT_OF.items():
            if np.linalg.norm(places[right] - places[left]) < 20:
                continue
            for mine, other in ((right, left), (left, right)):
                rows, columns = np.nonzero(labels["segmentation"][frame] == mine)
                if len(rows) > 30:
                    middle = np.array([columns.mean(), rows.mean()])
                    hits += np.linalg.norm(middle - places[mine]) < np.linalg.norm(middle - places[other])
                    total += 1
    assert total > 50
    assert hits > 0.95 * total
    seen = set(np.unique(labels["segmentation"]).tolist())
    assert seen <= set(range(-1, 15))
    assert len(seen) >= 14


def test_subjects_mostly_face_the_side_camera_and_stand_where_they_should() -> None:
    joints = np.concatenate(
        [
            SIDE.metres(true_joints(figures_of(Doing(3, clip // 15, clip, ACTIONS[clip % 15], 1),
                                               np.random.default_rng((3, clip)))))
            for clip in range(210)
        ]
    )  # fmt: skip
    assert 0.94 < np.mean(joints[:, 2, 0] < joints[:, 3, 0]) < 1.0
    assert joints[..., 2].min() > 1.85
    assert joints[..., 2].max() < 3.8
    places = onto_image(joints)
    feet_below = (places[:, 13:, 1] > 239).any(axis=1).mean()
    assert 0.03 < feet_below < 0.2
    assert (places[:, :9, 1] <= 239).all()
    standing = np.median(joints[:, 0, 1] - joints[:, 13:, 1].mean(axis=1))
    assert 1.5 < standing < 1.75
    assert 0.22 < np.median(np.linalg.norm(joints[:, 0] - joints[:, 1], axis=1)) < 0.27
    assert 0.21 < np.median(np.linalg.norm(joints[:, 9] - joints[:, 10], axis=1)) < 0.25


@both_views
def test_images_hold_a_room_noise_that_grows_and_holes(stand_in: StandIn, view: str) -> None:
    depth, parts = stand_in.depth(view), stand_in.labels(view)["segmentation"]
    assert np.isfinite(depth).all()
    background = (depth > 0) & (parts < 0)
    assert background.mean() > 0.7
    assert 0.005 < (depth == 0).mean() < 0.1
    assert not ((parts >= 0) & (depth == 0))[stand_in.valid()].any()
    levels = np.unique(depth[depth > 1])
    assert 0.0025 < np.median(-np.diff(1 / levels)) < 0.0033
    still = background.all(axis=0)
    place, wobble = depth.mean(axis=0)[still], depth.std(axis=0)[still]
    for zone in (place < np.quantile(place, 0.25), place > np.quantile(place, 0.75)):
        assert 0.0008 < np.median(wobble[zone] / place[zone] ** 2) < 0.0022


def test_the_floor_lies_where_both_views_say_and_the_person_stands_on_it(stand_in: StandIn) -> None:
    side, top = stand_in.depth("side", "test"), stand_in.depth("top", "test")
    floor_m = np.median(top[top > 2.4])
    row = 235
    seen = side[:, row][(side[:, row] > 0) & (stand_in.labels("side", "test")["segmentation"][:, row] < 0)]
    floor_side_m = (row - 120) * 0.0035 * np.quantile(seen, 0.9)
    assert abs(1.5 + floor_side_m - floor_m) < 0.05
    valid = stand_in.valid("test")
    feet = stand_in.joints("top", "test")[valid][:, 13:, 2].max(axis=1)
    assert 0.0 < floor_m - np.median(feet) < 0.15


@both_splits
def test_frames_that_nobody_approved_are_marked_and_wrong(stand_in: StandIn, split: str) -> None:
    valid, joints = stand_in.valid(split), stand_in.joints("side", split)
    assert valid[0]
    assert 0.1 < 1 - valid.mean() < 0.8
    wrong = joints[~valid]
    zero = (wrong == 0).all(axis=(1, 2))
    right = np.median(joints[valid], axis=0)
    assert np.median(np.linalg.norm(wrong[~zero] - right, axis=-1)) > 0.25
    assert (stand_in.labels("side", split)["segmentation"][~valid][zero] == -1).all()
    assert not (joints[valid] == 0).all(axis=(1, 2)).any()


@pytest.mark.parametrize("split", ["front-train", "front-test", "top-train", "top-test"])
def test_every_promised_sample_is_found_with_its_joints(stand_in: StandIn, split: str) -> None:
    samples = [result for item in convert.plan(stand_in.folder, split, {}) for result in convert.convert(item)]
    found = [sample for sample in samples if isinstance(sample, Sample)]
    assert len(found) == stand_in.counts[split]
    view, part = ("top" if split.startswith("top") else "side"), split.split("-")[1]
    joints_mm = 1000 * stand_in.joints(view, part)[stand_in.valid(part)] * [1, -1, 1]
    stored = np.stack([sample.joints_cam_mm for sample in found if sample.joints_cam_mm is not None])
    for ours, theirs in ((10, 0), (8, 1), (14, 2), (11, 3), (16, 6), (13, 7), (7, 8), (3, 13), (6, 14)):
        np.testing.assert_allclose(stored[:, ours], joints_mm[:, theirs], atol=0.01)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def test_the_seed_alone_decides_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_itop.generate._BLOCK_FRAMES", 3)
    for name, seed, workers in (("a", 1, 1), ("b", 1, 2), ("c", 2, 1)):
        generate(tmp_path / name, people=2, frames=6, seed=seed, workers=workers)
    first, second, other = (files(tmp_path / name) for name in "abc")
    assert first == second
    for name, content in first.items():
        assert other[name] != content
        if name != MARKER:
            assert content[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00" + content[8:10]


def test_an_earlier_stand_in_is_replaced_and_real_data_is_not(tmp_path: Path) -> None:
    generate(tmp_path, people=2, frames=2, seed=0, workers=1, point_cloud=True)
    (tmp_path / "kt3d-unpacked").mkdir()
    generate(tmp_path, people=2, frames=1, seed=0, workers=1)
    assert len(read(tmp_path, "side_train_labels")["id"]) == 1
    assert len(files(tmp_path)) == 9
    assert not (tmp_path / "kt3d-unpacked").exists()
    (tmp_path / MARKER).unlink()
    before = files(tmp_path)
    with pytest.raises(UsageError, match=r"already holds ITOP_side_test_depth_map\.h5\.gz, .*which was not generated"):
        generate(tmp_path, people=2, frames=1, seed=0, workers=1)
    assert files(tmp_path) == before


def test_point_clouds_are_the_unprojected_depth(tmp_path: Path) -> None:
    generate(tmp_path, people=2, frames=1, seed=0, workers=1, point_cloud=True)
    for view in ("side", "top"):
        cloud = read(tmp_path, f"{view}_test_point_cloud")
        depth = read(tmp_path, f"{view}_test_depth_map")
        assert cloud["data"].shape == (1, 76800, 3)
        assert cloud["data"].dtype == np.float16
        assert cloud["id"].tolist() == depth["id"].tolist()
        image = depth["data"][0].astype(np.float64)
        np.testing.assert_array_equal(cloud["data"][0, :, 2].reshape(240, 320), depth["data"][0])
        points = cloud["data"][0].astype(np.float64)[image.ravel() > 0]
        rows, columns = np.nonzero(image > 0)
        np.testing.assert_allclose(onto_image(points), np.stack([columns, rows], axis=-1), atol=0.3)
        assert not cloud["data"][0].astype(np.float64)[image.ravel() == 0].any()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"people": 0, "frames": 4}, "people must be 1 to 100"),
        ({"people": 101, "frames": 4}, "people must be 1 to 100"),
        ({"people": 20, "frames": 4000}, "people_x_frames must be 1 to 60,000, found 80,000"),
        ({"people": 2, "frames": 4, "motion": Path("walk.c3d")}, "walk.c3d"),
    ],
)
def test_impossible_requests_are_refused(tmp_path: Path, arguments: dict[str, object], words: str) -> None:
    run: Callable[..., object] = generate
    with pytest.raises(UsageError, match=words):
        run(tmp_path / "x", seed=0, **arguments)
    assert list(tmp_path.iterdir()) == []


def test_a_recorded_motion_can_be_worn(tmp_path: Path) -> None:
    motion = Path(__file__).parents[3] / "shared" / "samples" / "mocap" / "02_01.bvh"
    if not motion.is_file():
        pytest.skip(f"no recorded motion in {motion}")
    generate(tmp_path, people=2, frames=3, seed=0, workers=1, motion=motion)
    assert json.loads((tmp_path / MARKER).read_text())["motion"] == "02_01.bvh"
    joints = read(tmp_path, "side_train_labels")["real_world_coordinates"].astype(np.float64)[0]
    assert joints[2, 0] < joints[3, 0]
    assert joints[0, 1] - joints[13:, 1].mean() > 1.4


def test_the_demo_is_small_but_not_too_small() -> None:
    total = DEMO["people"] * DEMO["frames"]
    assert 1500 <= total <= 2500


def test_rooms_and_boxes_are_seen_at_hand_computed_distances() -> None:
    room = Room(back_mm=-1500, left_mm=-2000, right_mm=2000, ceiling_mm=3000, boxes=())
    side, top = room.depth_mm(SIDE), room.depth_mm(TOP)
    assert side[120, 160] == pytest.approx(2850 + 1500)
    assert side[120, 0] == pytest.approx(2000 / (160 * 0.0035), rel=1e-6)
    assert side[239, 160] == pytest.approx(SIDE.position_mm[2] / (119 * 0.0035), rel=1e-6)
    assert top[120, 160] == pytest.approx(SIDE.position_mm[2] + 1500)
    box = Box((0.0, 0.0), (1000.0, 1000.0, 1400.0))
    assert in_front(SIDE.camera(), side, [box])[120, 160] == pytest.approx(2350)
    assert in_front(TOP.camera(), top, [box])[120, 160] == pytest.approx(SIDE.position_mm[2] + 100)
    turned = Box((0.0, 0.0), (1000.0, 1000.0, 1400.0), yaw_rad=np.pi / 4)
    assert in_front(SIDE.camera(), side, [turned])[120, 160] == pytest.approx(2850 - 500 * np.sqrt(2))
    table = Box((0.0, 0.0), (1000.0, 1000.0, 50.0), bottom_mm=700.0)
    assert in_front(SIDE.camera(), side, [table])[120, 160] == side[120, 160]
    assert (in_front(SIDE.camera(), side, [Box((2850.0, 0.0), (400.0, 400.0, 3000.0))]) == side).all()


def test_boxes_cover_no_pixel_outside_the_window_they_are_looked_for_in(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = [sample_room(np.random.default_rng(seed)) for seed in range(6)]
    quick = [room.depth_mm(view) for room in rooms for view in VIEWS]
    monkeypatch.setattr("kt3d_bench.synth.boxes.window_of", lambda camera, points: (0, 0, *camera.size_px))
    whole = [room.depth_mm(view) for room in rooms for view in VIEWS]
    for one, other in zip(quick, whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_projectors_shadow_lies_left_of_near_things_and_has_the_documented_width() -> None:
    depth_m = np.full((240, 320), 3.0, np.float32)
    depth_m[:, 200:220] = 1.0
    dark = shadow(depth_m)
    assert not dark[:, 200:].any()
    assert abs(dark[0].sum() - 285.7 * 0.075 * (1 / 1 - 1 / 3)) <= 1.5
    assert dark[:, 190:200].all()


def test_packing_keeps_the_content(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "x.h5").write_bytes(content)
    compress(tmp_path / "x.h5", tmp_path / "x.h5.gz")
    assert gzip.decompress((tmp_path / "x.h5.gz").read_bytes()) == content
    assert not (tmp_path / "x.h5").exists()
