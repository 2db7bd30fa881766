"""UBC3V: a damaged section costs itself, a damaged image its own sample."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io
from badinput_bench import EVERY_WAY, HTML, READS_EVERYTHING, Bench, contents, refused, replace, restore

Made = Callable[[str], Bench]


def section(bench: Bench, number: int) -> Path:
    return bench.raw / "hard-pose/test" / str(number)


def truth(bench: Bench, number: int) -> Path:
    return section(bench, number) / "groundtruth.mat"


def image(bench: Bench, number: int, kind: str = "depthRender", camera: int = 1, frame: int = 1) -> Path:
    return section(bench, number) / f"images/{kind}/Cam{camera}/mayaProject.{frame:06d}.png"


def rewrite(path: Path, change: Callable[[dict[str, Any]], None], version: str = "5") -> None:
    """The ground truth with something changed, as MATLAB would have saved it."""
    variables = {name: value for name, value in scipy.io.loadmat(path).items() if not name.startswith("__")}
    change(variables)
    path.unlink()
    scipy.io.savemat(path, variables, format=version)


def restore_all(bench: Bench, standin: Callable[[str], Path], paths: list[Path]) -> None:
    for path in paths:
        restore(path, standin("ubc3v") / path.relative_to(bench.raw))


def test_damaged_sections_cost_themselves_and_are_taken_in_once_restored(
    bench: Made, standin: Callable[[str], Path]
) -> None:
    made = bench("ubc3v")
    paths = [truth(made, number) for number in range(2, 2 + len(EVERY_WAY))]
    for path, damage in zip(paths, EVERY_WAY.values(), strict=True):
        damage(path)
    done = made.prepare()
    assert done.exit_code == 0, done.output
    skipped = made.skipped("test")
    assert [one["where"] for one in skipped] == [f"hard-pose/test/{number}/groundtruth.mat" for number in range(2, 8)]
    assert all("; " in one["reason"] for one in skipped), "no hint"
    assert made.manifest()["splits"]["test"]["samples"] == 12
    assert "replace these files and run the same prepare command again" in done.stdout
    whole = contents(made.clean, "*.tar")
    assert all(content == whole[name] for name, content in made.bytes_of("*.tar").items())
    restore_all(made, standin, paths)
    assert made.prepare().exit_code == 0
    assert made.is_clean()


def test_a_ground_truth_that_lacks_something(bench: Made) -> None:
    made = bench("ubc3v")

    def without_camera(variables: dict[str, Any]) -> None:
        cameras = variables["cameras"]
        names = [name for name in cameras.dtype.names if name != "Cam2"]
        variables["cameras"] = {name: cameras[name][0, 0] for name in names}

    def without_frames(variables: dict[str, Any]) -> None:
        cameras = variables["cameras"]
        variables["cameras"] = {name: cameras[name][0, 0] for name in cameras.dtype.names} | {"Cam2": {"name": "Cam2"}}

    def fewer_poses(variables: dict[str, Any]) -> None:
        variables["joints"] = variables["joints"][:, :1]

    def without_joints(variables: dict[str, Any]) -> None:
        del variables["joints"]

    for number, change in enumerate((without_camera, without_frames, fewer_poses, without_joints), 2):
        rewrite(truth(made, number), change)
    done = made.prepare("--split", "test")
    assert done.exit_code == 0, done.output
    skipped = {one["name"]: one for one in made.skipped("test")}
    assert "'cameras' lacks Cam2" in skipped["hard_test_0002_000001"]["reason"]
    assert skipped["hard_test_0002_000001"]["where"] == "hard-pose/test/2/groundtruth.mat"
    assert skipped["hard_test_0003_cam2_000001"]["reason"] == "no pose in groundtruth.mat"
    assert skipped["hard_test_0004_cam1_000002"]["reason"] == "no pose in groundtruth.mat"
    assert "expected 'joints' and a struct 'cameras', found cameras" in skipped["hard_test_0005_000001"]["reason"]
    assert len(skipped) == 1 + 2 + 3 + 1
    assert made.manifest()["splits"]["test"]["samples"] == 48 - 6 - 2 - 3 - 6


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "no pose in groundtruth.mat"),
        (-np.inf, "no pose in groundtruth.mat"),
        (1e30, "no pose in groundtruth.mat"),
        (5e4, "a joint is more than 20 m away from the camera"),
    ],
)
def test_impossible_joints_cost_their_frame(bench: Made, value: float, reason: str) -> None:
    made = bench("ubc3v")

    def spoil(variables: dict[str, Any]) -> None:
        pose = variables["joints"][0, 1][0, 0]
        for name in pose.dtype.names:
            pose[name][0, 12:15] = value

    rewrite(truth(made, 3), spoil)
    done = made.prepare("--split", "test")
    assert done.exit_code == 0, done.output
    assert {one["name"]: one["reason"] for one in made.skipped("test")} == {
        f"hard_test_0003_cam{camera}_000002": reason for camera in (1, 2, 3)
    }
    assert f"skipped 3: {reason}" in done.stdout


@pytest.mark.parametrize("kind", ["depthRender", "groundtruth"])
def test_damaged_images_cost_their_own_samples(bench: Made, standin: Callable[[str], Path], kind: str) -> None:
    made = bench("ubc3v")
    paths = [image(made, number, kind) for number in range(1, 1 + len(EVERY_WAY))]
    for path, damage in zip(paths, EVERY_WAY.values(), strict=True):
        damage(path)
    resized, missing = image(made, 7, kind), image(made, 8, kind, frame=2)
    small = cv2.resize(cv2.imread(str(resized), cv2.IMREAD_UNCHANGED), (256, 212), interpolation=cv2.INTER_NEAREST)
    replace(resized, cv2.imencode(".png", small)[1].tobytes())
    missing.unlink()
    done = made.prepare("--split", "test")
    assert done.exit_code == 0, done.output
    skipped = {one["where"]: one["reason"] for one in made.skipped("test")}
    assert set(skipped) == {str(path.relative_to(made.raw)) for path in (*paths, resized, missing)}
    assert "is 256 x 212" in skipped[str(resized.relative_to(made.raw))]
    assert skipped[str(missing.relative_to(made.raw))] == "is missing; unpack the archive again"
    assert made.manifest()["splits"]["test"]["samples"] == 48 - len(skipped)
    restore_all(made, standin, [*paths, resized, missing])
    assert made.prepare().exit_code == 0
    assert made.is_clean()


def test_a_class_image_with_an_unknown_colour(bench: Made, standin: Callable[[str], Path]) -> None:
    made = bench("ubc3v")
    path = image(made, 2, "groundtruth", camera=3)
    classes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    colours, counts = np.unique(classes[classes[..., 3] == 255], axis=0, return_counts=True)
    near = (np.abs(classes.astype(int) - colours[counts.argmax()]) <= 2).all(axis=-1)
    classes[near] = (12, 34, 56, 255)
    replace(path, cv2.imencode(".png", classes)[1].tobytes())
    done = made.prepare("--split", "test")
    assert done.exit_code == 0, done.output
    (skipped,) = made.skipped("test")
    assert skipped["where"] == str(path.relative_to(made.raw))
    assert "is no class image: colour (56, 34, 12) fills" in skipped["reason"]
    assert "is no region's" in skipped["reason"]
    restore_all(made, standin, [path])
    assert made.prepare().exit_code == 0
    assert made.is_clean()


def test_a_section_without_class_images_among_sections_with_them(bench: Made, standin: Callable[[str], Path]) -> None:
    made = bench("ubc3v")
    paths = sorted((section(made, 4) / "images/groundtruth").rglob("*.png"))
    for path in paths:
        path.unlink()
    done = made.prepare("--split", "test")
    assert done.exit_code == 0, done.output
    (skipped,) = made.skipped("test")
    assert skipped["where"] == "hard-pose/test/4/images/groundtruth"
    assert "holds no class images, while other sections do" in skipped["reason"]
    restore_all(made, standin, paths)
    assert made.prepare().exit_code == 0
    assert made.is_clean()


def test_images_of_another_section(bench: Made) -> None:
    made = bench("ubc3v")
    for path in section(made, 5).rglob("*.png"):
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        replace(path, cv2.imencode(".png", np.roll(picture, 250, axis=1))[1].tobytes())
    assert made.prepare("--split", "test").exit_code == 0
    (skipped,) = made.skipped("test")
    assert skipped["where"] == "hard-pose/test/5/groundtruth.mat"
    assert "joints and images disagree" in skipped["reason"]


def test_nothing_usable_is_refused_and_finished_shards_stay(bench: Made, standin: Callable[[str], Path]) -> None:
    made = bench("ubc3v")
    assert made.prepare("--split", "train").exit_code == 0
    before = made.bytes_of("train-*")
    paths = [truth(made, number) for number in range(1, 9)]
    for path in paths:
        replace(path, HTML)
    refused(made.prepare(), paths[0], "is not a MATLAB file of version 5", "download or unpack", "7 more skipped")
    assert made.bytes_of("train-*") == before
    restore_all(made, standin, paths)
    assert made.prepare().exit_code == 0
    assert made.is_clean()


def test_a_half_unpacked_download(bench: Made) -> None:
    made = bench("ubc3v")
    for number in range(1, 9):
        truth(made, number).unlink()
    refused(
        made.prepare(), section(made, 1).parent, "holds no section with a groundtruth.mat", "unpack hard-pose.tar.gz"
    )
    (made.raw / "hard-pose").rename(made.raw / "aside")
    with tarfile.open(made.raw / "hard-pose.tar.gz", "w:gz") as tar:
        tar.add(made.raw / "aside", "hard-pose")
    refused(made.prepare(), made.raw / "hard-pose.tar.gz", "is still packed", "unpack it", "tar -xf")


@pytest.mark.skipif(READS_EVERYTHING, reason="this user may read everything")
def test_files_without_permission(bench: Made) -> None:
    made = bench("ubc3v")
    for path in (truth(made, 2), image(made, 3)):
        replace(path, path.read_bytes()).chmod(0)
    assert made.prepare("--split", "test").exit_code == 0
    assert [one["where"][-3:] for one in made.skipped("test")] == ["mat", "png"]
    assert made.manifest()["splits"]["test"]["samples"] == 48 - 6 - 1
