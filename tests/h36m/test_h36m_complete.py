"""Poses of other recordings and missing recordings are refused in every layout, naming both numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from h36m_layouts import Official, Take, write_fetch, write_moon, write_plain
from kt3d_h36m import generate
from kt3d_h36m.convert import plan
from kt3d_h36m.recordings import recordings

from kt3d_bench.errors import RawDataError

PART = {"partial": True}
PLAIN = "data_3d_h36m_plain.npz"


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Official:
    """S1, S9, S5 and S11, two actions, two takes of up to 12 frames."""
    out = tmp_path_factory.mktemp("complete") / "official"
    numbers = {"people": 4, "frames": 12, "actions": 2, "takes": 2, "frame_px": 64, "long_clip": False}
    generate.generate(out, seed=8, workers=1, **numbers)
    return Official(out)


def exchanged(official: Official, out: Path) -> Path:
    """Copy the folder with the world poses of S9 and S11 exchanged, recording by recording."""
    shutil.copytree(official.root, out)
    of = {(take.subject, take.action, take.subaction): take for take in official.takes()}
    for (subject, *numbers), take in of.items():
        if subject in (9, 11):
            other = of[(20 - subject, *numbers)]
            source = official.cdf(f"S{other.subject}", "D3_Positions", other.name)
            shutil.copy(source, Official(out).cdf(f"S{subject}", "D3_Positions", take.name))
    return out


def test_poses_of_another_subject_are_refused_by_their_number(official: Official, tmp_path: Path) -> None:
    raw = exchanged(official, tmp_path / "raw")
    for folder in raw.glob("S*/MyPoseFeatures/D2_Positions"):
        shutil.rmtree(folder)
    with pytest.raises(RawDataError, match=r"do not hold the number of poses that .*metadata\.xml") as caught:
        plan(raw, "test", PART)
    lengths = {(take.subject, take.action, take.subaction): take for take in official.takes()}
    names = [one.name for key, one in lengths.items() if key[0] == 9 and differ(official, lengths, key)]
    eleven = [one for key, one in lengths.items() if key[0] == 11 and differ(official, lengths, key)]
    assert names
    assert f"{len(names) + len(eleven)} of 8 pose files" in caught.value.message
    first = lengths[min(key for key in lengths if key[0] == 9 and differ(official, lengths, key))]
    other = lengths[11, first.action, first.subaction]
    expected, found = (len(official.pose(take, "D3_Positions")) for take in (first, other))
    assert f"S9/MyPoseFeatures/D3_Positions/{first.name}.cdf holds {found}, expected {expected}" in caught.value.message
    assert "--drop" in (caught.value.hint or "")
    assert plan(official.root, "test", PART)


def differ(official: Official, takes: dict[tuple[int, int, int], Take], key: tuple[int, int, int]) -> bool:
    pair = takes[key], takes[20 - key[0], key[1], key[2]]
    one, other = (len(official.pose(take, "D3_Positions")) for take in pair)
    return one != other


def test_the_same_in_the_other_layouts(official: Official, tmp_path: Path) -> None:
    raw = Official(exchanged(official, tmp_path / "raw"))
    write_moon(raw, tmp_path / "moon")
    write_plain(raw, tmp_path / "plain" / PLAIN)
    for layout in ("moon", "plain"):
        shutil.copy(official.root / "metadata.xml", tmp_path / layout / "metadata.xml")
        with pytest.raises(RawDataError, match="do not hold the number of poses"):
            plan(tmp_path / layout, "test", PART)


def test_a_left_out_recording_is_not_counted(official: Official, tmp_path: Path) -> None:
    raw = exchanged(official, tmp_path / "raw")
    every = ",".join(f"S{take.subject} {take.name}" for take in official.takes() if take.subject in (9, 11))
    assert all("skip" in item.payload for item in plan(raw, "test", {**PART, "drop": every}))


@pytest.mark.parametrize("layout", ["official", "moon", "fetch", "plain"])
def test_missing_recordings_are_refused_in_every_layout(official: Official, tmp_path: Path, layout: str) -> None:
    raw = tmp_path / layout
    if layout == "official":
        shutil.copytree(official.root, raw)
        (raw / "kt3d-generated.json").unlink()
    elif layout == "plain":
        write_plain(official, raw / PLAIN)
    else:
        {"moon": write_moon, "fetch": write_fetch}[layout](official, raw)
    shutil.copy(official.root / "metadata.xml", raw / "metadata.xml")
    with pytest.raises(RawDataError, match=r"\d+ .*are missing"):
        plan(raw, "test", {})
    present = {(take.subject, take.name) for take in official.takes()}
    absent = [one.title for one in recordings() if (one.subject, one.file_name) not in present]
    assert plan(raw, "test", {"drop": ",".join(absent)})
    with pytest.raises(RawDataError, match="are missing"):
        plan(raw, "test", {"drop": ",".join(title for title in absent if title != "S9 Eating")})
