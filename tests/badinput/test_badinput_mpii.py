"""MPII: one annotation file for all, so its damage stops; a damaged image costs the people in it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from badinput_bench import CUTS, EVERY_WAY, HTML, READS_EVERYTHING, Bench, refused, replace, restore

Made = Callable[[str], Bench]


def annotations(bench: Bench) -> Path:
    return bench.raw / "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"


def people(bench: Bench) -> dict[str, int]:
    """Image -> people whose samples the undamaged set gives."""
    from kt3d_bench.data.reader import ShardSet

    names = [key.rpartition("_p")[0] for key in ShardSet.open(bench.clean, "train").keys]
    return {f"{name}.jpg": names.count(name) for name in names}


def test_a_damaged_annotation_file_stops_and_loses_nothing(bench: Made, standin: Callable[[str], Path]) -> None:
    made = bench("mpii")
    assert made.prepare().exit_code == 0
    path, before = annotations(made), made.bytes_of()
    for damage in CUTS.values():
        damage(path)
        refused(made.prepare(), path, "is damaged", "unpack mpii_human_pose_v1_u12_2.zip again")
        assert made.bytes_of() == before
        restore(path, standin("mpii") / path.relative_to(made.raw))
    assert made.prepare().exit_code == 0
    assert made.is_clean()
    EVERY_WAY["a folder"](path)
    refused(made.prepare(), made.raw, "mpii_human_pose_v1_u12_1.mat")


def test_a_file_of_another_kind_in_its_place(bench: Made) -> None:
    made = bench("mpii")
    for variables, what in (
        ({"joints": np.zeros(3)}, "expected a struct RELEASE"),
        ({"RELEASE": {"annolist": np.zeros(3), "img_train": np.zeros(3)}}, "expected a struct RELEASE"),
    ):
        annotations(made).unlink()
        scipy.io.savemat(annotations(made), variables)
        refused(made.prepare(), annotations(made), what, "unpack")


def test_damaged_images_cost_the_people_in_them(bench: Made, standin: Callable[[str], Path]) -> None:
    made = bench("mpii")
    shown = people(made)
    paths = [made.raw / "images" / name for name in list(shown)[: len(EVERY_WAY) + 1]]
    for path, damage in zip(paths, [*EVERY_WAY.values(), os.unlink], strict=True):
        damage(path)
    done = made.prepare()
    assert done.exit_code == 0, done.output
    skipped = made.skipped("train")
    wanted = {path for path in paths if path.name != last_bytes(paths)}
    assert {one["where"] for one in skipped} >= {f"images/{path.name}" for path in wanted}
    assert all("unpack mpii_human_pose_v1.tar.gz again" in one["reason"] for one in skipped)
    assert made.manifest()["splits"]["train"]["samples"] == sum(shown.values()) - len(skipped)
    for path in paths:
        restore(path, standin("mpii") / path.relative_to(made.raw))
    assert made.prepare().exit_code == 0
    assert made.is_clean()


def last_bytes(paths: list[Path]) -> str:
    return dict(zip(EVERY_WAY, paths, strict=False))["without its last bytes"].name


def spoil(bench: Bench, change: Callable[[Any], None]) -> None:
    """Rewrite the annotation file with every joint of the first image that shows people changed."""
    path = annotations(bench)
    release = scipy.io.loadmat(path)["RELEASE"]
    wanted = next(iter(people(bench)))
    entries = release[0, 0]["annolist"]
    entry = next(one for one in entries.ravel() if one["image"][0, 0]["name"][0] == wanted)
    for person in entry["annorect"].ravel():
        for point in person["annopoints"][0, 0]["point"].ravel() if person["annopoints"].size else ():
            change(point)
    path.unlink()
    scipy.io.savemat(path, {"RELEASE": release}, do_compression=True)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "fewer than 4 joints annotated"),
        (np.inf, "fewer than 4 joints annotated"),
        (1e7, "all joints lie outside the image"),
        (-1e300, "all joints lie outside the image"),
    ],
)
def test_impossible_joints_cost_their_person(bench: Made, value: float, reason: str) -> None:
    made = bench("mpii")

    def change(point: Any) -> None:
        point["x"] = np.array([[value + float(point["x"][0, 0])]])

    spoil(made, change)
    done = made.prepare()
    assert done.exit_code == 0, done.output
    skipped = made.skipped("train")
    assert skipped
    assert {one["name"].rpartition("_p")[0] + ".jpg" for one in skipped} == {next(iter(people(made)))}
    assert all(reason in one["reason"] for one in skipped)


def test_a_download_that_is_still_packed_or_half_there(bench: Made) -> None:
    made = bench("mpii")
    archive = made.raw / "mpii_human_pose_v1_u12_2.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        bundle.write(annotations(made), "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat")
    annotations(made).unlink()
    whole = archive.read_bytes()
    for damage in CUTS.values():
        damage(archive)
        refused(made.prepare(), archive, "; ")
        replace(archive, whole)
    for path in (made.raw / "images").iterdir():
        path.unlink()
    refused(made.prepare(), made.raw, "images", "mpii_human_pose_v1.tar.gz")


DERIVED = {
    "image": "000000001.jpg",
    "center": [90, 90],
    "scale": 1.0,
    "joints": [[90 + 5 * joint, 80 + 3 * joint] for joint in range(16)],
    "joints_vis": [1] * 16,
}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"[{", "is not JSON"),
        (b"", "is not JSON"),
        (HTML, "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": 1}', "holds a dict, expected a list"),
        (b"[3]", "entry 0 is not an image with 16 joints"),
        (json.dumps([{**DERIVED, "joints": [[1, 2]]}]).encode(), "entry 0 is not an image with 16 joints"),
        (json.dumps([{**DERIVED, "image": 7}]).encode(), "entry 0 is not an image with 16 joints"),
        (json.dumps([{**DERIVED, "joints": [["a", "b"]] * 16}]).encode(), "entry 0 is not an image with 16 joints"),
        (json.dumps([{**DERIVED, "joints": [[10**400, 1]] * 16}]).encode(), "entry 0 is not an image with 16 joints"),
    ],
)
def test_damaged_derived_annotations(bench: Made, content: bytes, what: str) -> None:
    made = bench("mpii")
    annotations(made).unlink()
    path = made.raw / "annot/trainval.json"
    path.parent.mkdir()
    path.write_bytes(content)
    refused(made.prepare(), path, what, "download the annotations again")


def test_an_image_name_that_leads_out_of_the_folder(bench: Made) -> None:
    made = bench("mpii")
    annotations(made).unlink()
    (made.raw / "annot").mkdir()
    entries = [{**DERIVED, "image": name} for name in ("../../etc/passwd.jpg", "/etc/shadow")]
    (made.raw / "annot/trainval.json").write_text(json.dumps(entries))
    refused(made.prepare(), made.raw, "'../../etc/passwd.jpg'", "; ")


def test_joints_not_finite_in_derived_annotations(bench: Made) -> None:
    made = bench("mpii")
    annotations(made).unlink()
    (made.raw / "annot").mkdir()
    names = list(people(made))
    entries = [{**DERIVED, "image": names[0], "joints": [[float("nan"), 1e400]] * 16}, {**DERIVED, "image": names[1]}]
    (made.raw / "annot/trainval.json").write_text(json.dumps(entries))
    done = made.prepare()
    assert done.exit_code == 0, done.output
    assert [one["name"] for one in made.skipped("train")] == [f"{Path(names[0]).stem}_p1"]


@pytest.mark.skipif(READS_EVERYTHING, reason="this user may read everything")
def test_files_without_permission(bench: Made) -> None:
    made = bench("mpii")
    image = made.raw / "images" / next(iter(people(made)))
    replace(image, image.read_bytes()).chmod(0)
    done = made.prepare()
    assert done.exit_code == 0, done.output
    assert {one["where"] for one in made.skipped("train")} == {f"images/{image.name}"}
    path = annotations(made)
    replace(path, path.read_bytes()).chmod(0)
    refused(made.prepare(), path, "Permission denied")
