"""Mistakes planted in small stand-ins of Human3.6M, UBC3V and MPII stop ``prepare``; sound ones pass ``validate``."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from cdflib import CDF, cdfwrite

from kt3d_bench.data.prepare import checked_recording, prepare, recording_of
from kt3d_bench.data.validate import validate
from kt3d_bench.errors import PluginError, RawDataError
from kt3d_bench.plugins import registry
from kt3d_bench.records import Recorded, WorkItem

Array = np.ndarray
Change = Callable[[Array], Array]
BESIDE = "of the joints lie beside the person in the"
OPPOSITE = "have hips and shoulders on opposite sides"


def swapped(pairs: list[tuple[int, int]], count: int) -> Change:
    order = np.arange(count)
    for one, other in pairs:
        order[[one, other]] = other, one
    return lambda joints: joints[:, order]


def generated(home: Path, dataset: str, **size: Any) -> Path:
    plugin = registry.dataset(dataset)
    assert plugin.generate is not None
    registry.load_function(plugin.generate, "generate")(home / dataset, workers=1, **size)
    return home / dataset


def refused(dataset: str, raw: Path, out: Path, split: str, message: str, **options: Any) -> None:
    with pytest.raises(RawDataError, match=message):
        prepare(dataset, raw=raw, out=out, splits=[split], workers=1, options=options)


def passes(dataset: str, raw: Path, out: Path, split: str, **options: Any) -> None:
    prepare(dataset, raw=raw, out=out, splits=[split], workers=1, options=options)
    assert validate(out).sound


# Human3.6M: 32 recorded joints, world mm, z up.
LEGS_32 = [(1, 6), (2, 7), (3, 8), (4, 9), (5, 10)]
SIDES_32 = [*LEGS_32, *((left, left + 8) for left in range(16, 24))]


@pytest.fixture(scope="module")
def h36m(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight actions of S9, without the files that repeat the poses."""
    home = tmp_path_factory.mktemp("h36m")
    raw = generated(home, "h36m", seed=11, people=2, frames=1, frame_px=200, actions=8, takes=1, long_clip=False)
    for name in ("D2_Positions", "D3_Positions_mono"):
        shutil.rmtree(raw / "S9" / "MyPoseFeatures" / name)
    return raw


def poses_changed(raw: Path, change: Change) -> None:
    """Change the (n, 32, 3) poses of all recordings of S9, (8, 32, 3) as there is one pose in each."""
    paths = sorted((raw / "S9/MyPoseFeatures/D3_Positions").glob("*.cdf"))
    poses = np.concatenate([np.asarray(CDF(str(path)).varget("Pose")).reshape(1, 32, 3) for path in paths])
    for path, pose in zip(paths, change(poses), strict=True):
        path.unlink()
        with cdfwrite.CDF(path, cdf_spec={"Majority": "row_major"}) as cdf:
            facts = {"Variable": "Pose", "Data_Type": 44, "Num_Elements": 1, "Rec_Vary": True, "Dim_Sizes": [1, 96]}
            cdf.write_var({**facts, "Compress": 0}, var_data=pose.reshape(1, 1, 96).astype(np.float32))


def cameras_exchanged(raw: Path) -> None:
    for one in sorted((raw / "S9/Videos").glob("*.54138969.mp4")):
        other = one.with_name(one.name.replace("54138969", "55011271"))
        one.rename(raw / "x")
        other.rename(one)
        (raw / "x").rename(other)


def test_h36m_without_a_mistake_passes(h36m: Path, tmp_path: Path) -> None:
    passes("h36m", h36m, tmp_path, "test", partial=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda poses: np.roll(poses, 1, axis=0), BESIDE),
        (lambda poses: swapped(SIDES_32, 32)(poses) * [1, -1, 1], BESIDE),
        (lambda poses: poses / 1000, "a unit is wrong"),
        (lambda poses: swapped(LEGS_32, 32)(poses), OPPOSITE),
    ],
    ids=["exchanged recordings", "mirrored", "metres", "legs"],
)
def test_h36m_with_other_poses_is_refused(h36m: Path, tmp_path: Path, change: Change, message: str) -> None:
    raw = shutil.copytree(h36m, tmp_path / "raw")
    poses_changed(raw, change)
    refused("h36m", raw, tmp_path / "out", "test", message, partial=True)


def test_h36m_with_two_cameras_exchanged_is_refused(h36m: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(h36m, tmp_path / "raw")
    cameras_exchanged(raw)
    refused("h36m", raw, tmp_path / "out", "test", BESIDE, partial=True)


POSES = np.zeros((4, 17, 3))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (3, "returned int, expected Recorded or None"),
        (
            Recorded(np.arange(5), POSES),
            "frames int64 (5,) and joints_cam_mm float64 (4, 17, 3), expected whole",
        ),
        (Recorded(np.arange(4), POSES[:, :16]), "joints_cam_mm float64 (4, 16, 3), expected"),
        (Recorded(np.arange(4)[:, None], POSES), "frames int64 (4, 1) and"),
        (Recorded(np.arange(0), POSES), "frames int64 (0,) and"),
        (Recorded(np.arange(4.0), POSES), "frames float64 (4,) and"),
        (Recorded([0, 1, 2, 3], POSES), "frames list and"),
        (Recorded(np.array([0, 2, 1, 3]), POSES), "returned frames that do not ascend"),
        (Recorded(np.array([0, 1, 1, 3], np.uint8), POSES), "returned frames that do not ascend"),
    ],
)
def test_a_recording_that_is_filled_in_wrongly_is_named(returned: object, said: str) -> None:
    with pytest.raises(PluginError, match=re.escape(said)) as caught:
        checked_recording(returned, "some.convert.recorded, item s1")
    assert "some.convert.recorded, item s1: recorded() returned" in caught.value.message


def test_a_recording_without_frames_is_not_known() -> None:
    assert checked_recording(None, "") is None
    assert checked_recording(Recorded(np.arange(0), POSES[:0]), "") is None
    right = Recorded(np.array([3, 4, 9, 11]), POSES)
    assert checked_recording(right, "") is right


def test_an_exception_of_recorded_is_one_sentence() -> None:
    def failing(error: Exception) -> Callable[[WorkItem], None]:
        def recorded(item: WorkItem) -> None:
            raise error

        return recorded

    item = WorkItem("s1", 1, None)
    with pytest.raises(PluginError) as caught:
        recording_of(failing(KeyError("x")), item, "some.convert")
    assert caught.value.message.startswith(
        "some.convert.recorded, item s1: recorded() raised KeyError: 'x'; correct the"
    )
    assert "in recorded" in caught.value.__notes__[0]
    with pytest.raises(RawDataError, match="/raw/labels: cannot be read"):
        recording_of(failing(OSError(errno.EIO, "Input/output error", "/raw/labels")), item, "some.convert")


def test_prepare_checks_what_recorded_returns(h36m: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_h36m.convert.recorded", lambda item: Recorded(np.arange(5), POSES))
    with pytest.raises(PluginError, match=r"kt3d_h36m.convert.recorded, item .*: recorded\(\) returned frames int64"):
        prepare("h36m", raw=h36m, out=tmp_path, splits=["test"], workers=1, options={"partial": True})


# UBC3V: one 4 x 4 matrix per bone, cm, y up.
@pytest.fixture(scope="module")
def ubc3v(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("ubc3v"), "ubc3v", seed=3, people=1, frames=1, test_postures=24)


def bones_changed(raw: Path, change: Callable[[dict[str, Array]], dict[str, Array]]) -> None:
    for path in sorted((raw / "hard-pose/test").glob("*/groundtruth.mat")):
        content = scipy.io.loadmat(path)
        for frame in content["joints"].ravel():
            matrices = {name: np.array(frame[name][0, 0]) for name in frame.dtype.names}
            for name, matrix in change(matrices).items():
                frame[name][0, 0] = matrix
        scipy.io.savemat(path, {name: content[name] for name in ("joints", "cameras")})


def scaled(matrices: dict[str, Array]) -> dict[str, Array]:
    return {name: np.where(np.arange(16) // 12 > 0, matrix / 100, matrix) for name, matrix in matrices.items()}


def legs(matrices: dict[str, Array]) -> dict[str, Array]:
    ends = ("LegPGX", "FootPGX", "ToeBasePGX")
    sides = (("Left", "Right"), ("Right", "Left"))
    return {f"{one}{end}": matrices[f"{other}{end}"] for end in ends for one, other in sides}


def test_ubc3v_without_a_mistake_passes(ubc3v: Path, tmp_path: Path) -> None:
    passes("ubc3v", ubc3v, tmp_path, "test")


@pytest.mark.parametrize(
    ("change", "message"), [(scaled, "joints|unit|usable"), (legs, OPPOSITE)], ids=["metres", "legs"]
)
def test_ubc3v_with_other_bones_is_refused(ubc3v: Path, tmp_path: Path, change: Any, message: str) -> None:
    raw = shutil.copytree(ubc3v, tmp_path / "raw")
    bones_changed(raw, change)
    refused("ubc3v", raw, tmp_path / "out", "test", message)


def test_ubc3v_with_sections_or_cameras_exchanged_is_refused(ubc3v: Path, tmp_path: Path) -> None:
    raw = shutil.copytree(ubc3v, tmp_path / "raw")
    sections = sorted((raw / "hard-pose/test").iterdir())
    truths = [section / "groundtruth.mat" for section in sections]
    contents = [path.read_bytes() for path in truths]
    for path, content in zip(truths, [*contents[1:], contents[0]], strict=True):
        path.write_bytes(content)
    refused("ubc3v", raw, tmp_path / "out", "test", "joints|beside")
    raw = shutil.copytree(ubc3v, tmp_path / "other")
    for images in (raw / "hard-pose/test").glob("*/images/*"):
        (images / "Cam1").rename(images / "x")
        (images / "Cam2").rename(images / "Cam1")
        (images / "x").rename(images / "Cam2")
    refused("ubc3v", raw, tmp_path / "out2", "test", "joints|beside")


# MPII: 16 joints, px; what its plan finds is in tests/mpii.
@pytest.fixture(scope="module")
def mpii(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("mpii"), "mpii", seed=1, people=40, frames=1)


def points(content: Any) -> Iterator[Any]:
    """The annotated points of everybody in a release, each with x, y and id."""
    for image in content["RELEASE"][0, 0]["annolist"].ravel():
        people = image["annorect"]
        for person in people.ravel() if people.dtype.names and "annopoints" in people.dtype.names else ():
            for held in person["annopoints"].ravel() if person["annopoints"].dtype.names else ():
                yield from held["point"].ravel()


def test_mpii_passes_and_is_refused_with_exchanged_legs_and_mirrored_joints(mpii: Path, tmp_path: Path) -> None:
    passes("mpii", mpii, tmp_path / "sound", "train")
    other = dict(zip(range(6), range(5, -1, -1), strict=True))

    def legs_changed(point: Any) -> None:
        point["id"][0, 0] = other.get(int(point["id"][0, 0]), point["id"][0, 0])

    def mirrored(point: Any) -> None:
        point["x"][0, 0] = 400 - point["x"][0, 0]

    for change, message in (
        (legs_changed, OPPOSITE),
        (mirrored, "people lie beside their own head's rectangle|outside"),
    ):
        raw = shutil.copytree(mpii, tmp_path / change.__name__)
        [path] = raw.rglob("*.mat")
        content = scipy.io.loadmat(path)
        for point in points(content):
            change(point)
        scipy.io.savemat(path, {"RELEASE": content["RELEASE"]})
        refused("mpii", raw, tmp_path / f"out_{change.__name__}", "train", message)
