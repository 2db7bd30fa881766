"""Human3.6M: a damaged recording costs itself alone; a damaged archive or calibration stops, with nothing lost."""

from __future__ import annotations

import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from badinput_bench import (
    CUTS,
    EVERY_WAY,
    HTML,
    READS_EVERYTHING,
    Bench,
    Damage,
    contents,
    copy_tree,
    kt3d,
    refused,
    replace,
    restore,
)
from h36m_handmade import CAMERA_IDS, write_cdf, write_video

Made = Callable[[str], Bench]
NAMES = [f"{name}{number}" for name in ("Directions", "Discussion", "Greeting", "Posing") for number in ("", " 1")]


def cdf(bench: Bench, name: str, subject: int = 1) -> Path:
    return bench.raw / f"S{subject}/MyPoseFeatures/D3_Positions/{name}.cdf"


def video(bench: Bench, name: str, camera: str = CAMERA_IDS[1], subject: int = 1) -> Path:
    return bench.raw / f"S{subject}/Videos/{name}.{camera}.mp4"


def restore_file(path: Path, bench: Bench, standin: Callable[[str], Path]) -> None:
    restore(path, standin("h36m") / path.relative_to(bench.raw))


def test_damaged_pose_files_cost_their_own_recordings(bench: Made, standin: Callable[[str], Path]) -> None:
    made = bench("h36m")
    broken = {cdf(made, name): damage for name, damage in zip(NAMES[1:], CUTS.values(), strict=False)}
    assert len(broken) == len(CUTS)
    for path, damage in broken.items():
        damage(path)
    done = made.prepare()
    assert done.exit_code == 0, done.output
    assert "Traceback" not in done.output
    assert "skipped" in done.stdout
    assert "unpack or download the archive again" in done.stdout
    assert "replace these files and run the same prepare command again" in done.stdout
    skipped = made.skipped("train")
    assert len(skipped) == 4 * len(broken)
    assert {one["where"] for one in skipped} == {str(path.relative_to(made.raw)) for path in broken}
    assert made.manifest()["splits"]["train"]["samples"] == 96 - 12 * len(broken)
    assert made.manifest()["splits"]["test"]["samples"] == 8
    whole = contents(made.clean, "*.tar")
    assert all(content == whole[name] for name, content in made.bytes_of("*.tar").items())
    for path in broken:
        restore_file(path, made, standin)
    assert made.prepare().exit_code == 0
    assert made.is_clean()


def test_damaged_videos_cost_themselves_alone(bench: Made, standin: Callable[[str], Path]) -> None:
    made = bench("h36m")
    damages: dict[Path, tuple[Damage, str]] = {
        video(made, name): (damage, "cannot be decoded") for name, damage in zip(NAMES, CUTS.values(), strict=False)
    }

    def short(path: Path) -> None:
        path.unlink()
        write_video(path, 2, (200, 200))

    def rescaled(path: Path) -> None:
        path.unlink()
        write_video(path, 3, (100, 100))

    damages[video(made, NAMES[5])] = (short, "has 2 frames for 3 poses, so frames and poses cannot be matched; unpack")
    damages[video(made, NAMES[6])] = (rescaled, "is 100 x 100 px, but calibrated are 200 x 200 px")
    for path, (damage, _) in damages.items():
        damage(path)
    done = made.prepare(workers=2)
    assert done.exit_code == 0, done.output
    skipped = {one["where"]: one["reason"] for one in made.skipped("train")}
    assert set(skipped) == {str(path.relative_to(made.raw)) for path in damages}
    for path, (_, text) in damages.items():
        assert text in skipped[str(path.relative_to(made.raw))]
    assert made.manifest()["splits"]["train"]["samples"] == 96 - 3 * len(damages)
    assert "(first: S1/Videos/" in done.stdout
    before = made.bytes_of("test-*")
    for path in damages:
        restore_file(path, made, standin)
    assert made.prepare("--split", "train").exit_code == 0
    assert made.bytes_of("test-*") == before
    assert made.is_clean()


def test_a_test_split_without_any_usable_recording_is_refused_and_training_shards_stay(
    bench: Made, standin: Callable[[str], Path]
) -> None:
    made = bench("h36m")
    assert made.prepare("--split", "train").exit_code == 0
    before = made.bytes_of("train-*")
    broken = [cdf(made, name, 9) for name in ("Directions 1", "Greeting")]
    for path in broken:
        CUTS["cut in the middle"](path)
    refused(made.prepare(), broken[0], "is cut short: it has", "unpack or download", "split test has no usable sample")
    assert made.bytes_of("train-*") == before
    assert list(made.manifest()["splits"]) == ["train"]
    for path in broken:
        restore_file(path, made, standin)
    assert made.prepare().exit_code == 0
    assert made.is_clean()


@pytest.mark.parametrize(
    ("value", "reason"), [(np.nan, "a joint is not finite"), (3e7, "more than 20 m away"), (-np.inf, "not finite")]
)
def test_impossible_joints_cost_their_frames(bench: Made, value: float, reason: str) -> None:
    made = bench("h36m")
    path = cdf(made, "Greeting")
    rng = np.random.default_rng(0)
    poses = (np.array([0.0, 0.0, 950.0]) + rng.uniform(-500, 500, (3, 32, 3))).astype(np.float32)
    poses[1, 25] = value
    write_cdf(path, poses.reshape(3, 96))
    done = made.prepare("--split", "train")
    assert done.exit_code == 0, done.output
    assert f"skipped 4: {reason}" in done.stdout or reason in done.stdout
    assert [one["name"][-6:] for one in made.skipped("train")] == ["000001"] * 4
    assert all(reason in one["reason"] for one in made.skipped("train"))


def test_a_pose_file_of_another_kind(bench: Made) -> None:
    made = bench("h36m")
    write_cdf(cdf(made, "Greeting"), np.zeros((3, 64), np.float32))
    write_cdf(cdf(made, "Posing"), np.zeros((0, 96), np.float32))
    done = made.prepare("--split", "train")
    assert done.exit_code == 0, done.output
    assert {one["where"] for one in made.skipped("train")} == {
        f"S1/MyPoseFeatures/D3_Positions/{name}.cdf" for name in ("Greeting", "Posing")
    }


@pytest.mark.parametrize("kind", ["Videos_S9", "Poses_D3_Positions_S9"])
def test_a_damaged_archive_stops_before_anything_is_written(bench: Made, kind: str) -> None:
    made = bench("h36m")
    inside = "Videos" if kind == "Videos_S9" else "MyPoseFeatures/D3_Positions"
    archive = made.raw / f"{kind}.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted((made.raw / "S9" / inside).iterdir()):
            tar.add(path, f"S9/{inside}/{path.name}")
            path.unlink()
    copy_tree(made.clean, made.out)
    before = made.bytes_of()
    whole = archive.read_bytes()
    for damage in CUTS.values():
        damage(archive)
        refused(made.prepare(), archive, "damaged or cut short", "download the archive again and compare its MD5")
        assert made.bytes_of() == before
        replace(archive, whole)
    assert made.prepare("--overwrite").exit_code == 0
    assert made.bytes_of("*.tar") == contents(made.clean, "*.tar")


def test_a_damaged_code_archive(bench: Made) -> None:
    made = bench("h36m")
    archive = made.raw / "code-v1.2.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.write(made.raw / "metadata.xml", "Release-v1.2/metadata.xml")
    (made.raw / "metadata.xml").unlink()
    whole = archive.read_bytes()
    for damage in CUTS.values():
        damage(archive)
        refused(made.prepare(), archive, "damaged or cut short", "download the archive again")
        replace(archive, whole)


def test_a_damaged_calibration_stops(bench: Made) -> None:
    made = bench("h36m")
    path = made.raw / "metadata.xml"
    whole = path.read_bytes()
    for name, damage in CUTS.items():
        damage(path)
        what = "declares a document type" if name == "a web page" else "not well-formed"
        refused(made.prepare(), path, what, "code-v1.2.zip")
        replace(path, whole)
    path.unlink()
    refused(made.prepare(), made.raw, "metadata.xml with the cameras is missing", "code-v1.2.zip")
    assert not made.out.exists()


def test_a_camera_without_parameters(bench: Made) -> None:
    made = bench("h36m")
    path = made.raw / "metadata.xml"
    text = path.read_text()
    (w0,) = re.findall(r"<w0>\[(.*)\]</w0>", text)
    numbers = w0.split()
    without = [*numbers[: 6 * (11 + 8)], *["NaN"] * 6, *numbers[6 * (11 + 9) :]]
    for words, what in (
        (numbers[:-9], "w0 holds 291 numbers, expected the cameras' 300"),
        (without, "w0 holds no parameters for camera 55011271 of S9"),
        (["zero" if word == numbers[264] else word for word in numbers], "not a number"),
    ):
        replace(path, text.replace(w0, " ".join(words)).encode())
        refused(made.prepare(), path, what, "code-v1.2.zip")


def test_a_folder_where_a_file_should_be_and_a_video_that_is_not_there(bench: Made) -> None:
    made = bench("h36m")
    path = video(made, "Greeting", subject=9)
    EVERY_WAY["a folder"](path)
    refused(made.prepare(), made.raw, "1 files are missing: S9/Videos/Greeting.55011271.mp4", "unpack the archives")
    EVERY_WAY["a folder"](made.raw / "metadata.xml")
    refused(made.prepare(), made.raw, "metadata.xml", "code-v1.2.zip")


@pytest.mark.skipif(READS_EVERYTHING, reason="this user may read everything")
def test_files_without_permission(bench: Made) -> None:
    made = bench("h36m")
    for path in (cdf(made, "Posing"), video(made, "Greeting")):
        replace(path, path.read_bytes()).chmod(0)
    assert made.prepare("--split", "train").exit_code == 0
    assert {Path(one["where"]).suffix for one in made.skipped("train")} == {".cdf", ".mp4"}
    replace(made.raw / "metadata.xml", b"").chmod(0)
    refused(made.prepare(), made.raw / "metadata.xml", "Permission denied")


def write_boxes(path: Path, frames: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        masks = file.create_dataset("Masks", (frames, 1), h5py.ref_dtype)
        for frame in range(frames):
            mask = np.zeros((200, 200), np.uint8)
            mask[50:150, 60:140] = 1
            masks[frame, 0] = file.create_dataset(f"#refs#/{frame}", data=mask).ref


def test_damaged_official_boxes_cost_their_own_videos(bench: Made) -> None:
    made = bench("h36m")
    paths = {
        name: made.raw / f"S9/MySegmentsMat/ground_truth_bb/{name}.mat"
        for stem in ("Directions 1", "Greeting")
        for name in (f"{stem}.{camera}" for camera in CAMERA_IDS)
    }
    for path in paths.values():
        write_boxes(path)
    broken = dict(zip(list(paths.values()), CUTS.values(), strict=False))
    for path, damage in broken.items():
        damage(path)
    with h5py.File(paths[f"Greeting.{CAMERA_IDS[3]}"], "w") as file:
        file["Masks"] = np.zeros((3, 1))
    short = paths[f"Greeting.{CAMERA_IDS[2]}"]
    short.unlink()
    write_boxes(short, 0)
    done = made.prepare("--split", "test", "--boxes", "official")
    assert done.exit_code == 0, done.output
    skipped = {one["where"]: one["reason"] for one in made.skipped("test")}
    assert len(skipped) == len(CUTS) + 2 == made.manifest()["splits"]["test"]["samples"] + 6
    assert all("Segments_mat_gt_bb archive again" in reason for reason in skipped.values())
    for path in paths.values():
        path.unlink()
        write_boxes(path)
    assert made.prepare("--split", "test", "--boxes", "official").exit_code == 0
    assert made.skipped("test") == []


def test_shards_of_another_configuration_are_left_alone(bench: Made) -> None:
    made = bench("h36m")
    assert made.prepare().exit_code == 0
    before = made.bytes_of()
    refused(made.prepare("--drop", "S1 Posing"), made.out, "shards of another configuration", "choose another --out",
            "--overwrite")  # fmt: skip
    refused(
        kt3d("prepare", "mpii", "--raw", made.raw, "--out", made.out, "--workers", "1"), made.raw, "found", "unpack"
    )
    assert made.bytes_of() == before
    cdf(made, "Posing").unlink()
    for camera in CAMERA_IDS:
        video(made, "Posing", camera).unlink()
    refused(made.prepare(), made.out, "train shards of other recordings", "choose another --out", "--overwrite")
    assert made.bytes_of() == before


def test_wrong_options_name_the_flag(bench: Made) -> None:
    made = bench("h36m")
    refused(made.prepare("--train-every", "0"), "--train-every is 0", "expected 1 or more", code=2)
    refused(made.prepare("--boxes", "offical"), "--boxes of h36m: there is no choice 'offical'", "did you mean", code=2)
    refused(made.prepare("--drop", "S9 Greting"), "--drop names 'S9 Greting'", "did you mean 'S9 Greeting'?", code=2)
    refused(made.prepare("--subjects", "S2"), "--subjects names S2", "labelled are", code=2)


def test_html_everywhere_names_one_file(bench: Made) -> None:
    made = bench("h36m")
    for path in made.raw.rglob("*.*"):
        if path.suffix in (".mp4", ".cdf"):
            replace(path, HTML)
    refused(
        made.prepare(), made.raw / "S1/MyPoseFeatures/D3_Positions", "is damaged or cut short (", "download", "31 more"
    )
