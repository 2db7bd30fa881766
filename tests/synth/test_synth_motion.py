"""Motion files: small ones written by hand with answers worked out on paper, and recorded ones where at hand."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from synth_motion_files import MOCAP, recorded, walker, write_acclaim, write_bvh

from kt3d_bench.errors import RawDataError
from kt3d_bench.synth import LANDMARKS, clip_from_motion, pose, read_amc, read_bvh, sample_bodies
from kt3d_bench.synth.motion.recorded import CMU_MM_PER_UNIT

BVH = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Arm
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    End Site
    {
      OFFSET 5 0 0
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.025
1 2 3 0 0 0 0 0 0
1 2 3 90 0 0 0 -90 0
"""

ASF = """:version 1.10
:units
  mass 1.0
  length 0.5
  angle deg
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name spine
     direction 0 1 0
     length 10
     axis 0 0 0 XYZ
    dof rx ry rz
  end
  begin
     id 2
     name arm
     direction 1 0 0
     length 4
     axis 0 0 90 XYZ
    dof rx
    limits (-10 170)
  end
:hierarchy
  begin
    root spine
    spine arm
  end
"""
AMC = """:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
spine 0 0 0
arm 0
2
root 1 2 3 0 0 90
spine 0 0 0
arm 90
"""


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_bvh_by_hand(tmp_path: Path) -> None:
    """File axes (x, y, z) become (z, x, y): forward, left, up. Frame 2: the root turns 90 degrees about z, so the arm
    joint lies at -x; its tip, turned by -90 about y (x -> z), keeps to z under the root's turn."""
    motion = read_bvh(written(tmp_path, "a.bvh", BVH), mm_per_unit=10, drop_rest_frame=False)
    assert motion.names == ("Hips", "Arm", "Arm_end")
    assert motion.parents == (-1, 0, 1)
    assert motion.rate_hz == pytest.approx(40)
    expected = [[(3, 1, 2), (3, 1, 12), (3, 6, 12)], [(3, 1, 2), (3, -9, 2), (8, -9, 2)]]
    assert motion.positions_mm == pytest.approx(10.0 * np.array(expected))
    assert np.array_equal(motion.joint("Arm"), motion.positions_mm[:, 1])


def test_amc_by_hand(tmp_path: Path) -> None:
    """0.5 inch-units make 50.8 mm. Frame 2: the root turns the spine (+y) to -x. The arm's own x axis is its axis
    turned by 90 about z, i.e. file y; about y by 90 its +x goes to -z, which the root's turn leaves alone."""
    written(tmp_path, "07.asf", ASF)
    motion = read_amc(written(tmp_path, "07_02.amc", AMC))
    assert motion.names == ("root", "spine", "arm")
    expected = np.array([[(1, 2, 3), (1, 12, 3), (5, 12, 3)], [(1, 2, 3), (-9, 2, 3), (-9, 2, -1)]])
    assert motion.positions_mm == pytest.approx(50.8 * expected[..., [2, 0, 1]])
    assert motion.rate_hz == 120


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("OFFSET 0 10 0", "OFFSET 0 ten 0", 8, "ten"),
        ("CHANNELS 3 Zrotation", "CHANNELS 3 Wrotation", 9, "unknown channel 'Wrotation'"),
        ("1 2 3 90 0 0 0 -90 0", "1 2 3 90 0", 20, "expected 9 numbers for frame 2, found 5"),
        ("1 2 3 90 0 0 0 -90 0", "1 2 3 nan 0 0 0 -90 0", 20, "nan"),
        ("Frames: 2", "Frames: -2", 17, "-2"),
        ("JOINT Arm", "BONE Arm", 6, "BONE"),
        ("JOINT Arm", "JOINT Hips", 15, "same name 'Hips'"),
        ("Frame Time: 0.025", "Frame Time: 0", 18, "expected frames of 0.0001 to 1 s, found 2 of 0 s"),
        (
            "Frame Time: 0.025",
            "Frame Time: 33.3",
            18,
            "found 2 of 33.3 s; 'Frame Time:' is in seconds: if these are "
            "milliseconds, write 0.0333, or give the frames per second with --motion-rate",
        ),
        ("Frame Time: 0.025", "Frame Rate: 40", 18, "expected 'Frame Time:' and a number, found 'Frame Rate: 40'"),
        ("Frames: 2", "Frames: 3", 20, "expected 3 frames ('Frames:'), but the file ends after 2; the file is cut off"),
        ("Frames: 2", "Frames: 0", 18, "expected frames of 0.0001 to 1 s, found 0 of 0.025 s"),
        ("Frames: 2", "Frames: 1.5", 17, "expected a number of frames"),
        ("Frames: 2", "Frames: 100000000", 17, "100000000 frames of 3 joints are too many; cut it"),
        ("1 2 3 90 0 0 0 -90 0", "1 2 3 90 0 0 0 -90 0 7", 20, "expected 9 numbers for frame 2, found 10"),
        ("1 2 3 90 0 0 0 -90 0", "1 2 3 90 0 0 0 -9e99 0", 20, "found '-9e99'"),
        ("1 2 3 90 0 0 0 -90 0", "1 2 3 90 0 0 0 -inf 0", 20, "found '-inf'"),
        ("1 2 3 90 0 0 0 -90 0", "1 2 3 90 0 0 0 x 0", 20, "found 'x'"),
        ("MOTION", "ROOT Other", 16, "a second skeleton begins after 'Hips'; keep one person per file"),
        ("JOINT Arm", "ROOT Arm", 6, "a second root stands inside 'Hips'"),
        ("MOTION", "", 17, "expected 'MOTION', found 'Frames:'"),
        ("OFFSET 0 10 0", "", 14, "'Arm' has no OFFSET"),
        ("OFFSET 0 10 0", "OFFSET 0 10 0 OFFSET 0 1 0", 8, "'Arm' has a second OFFSET"),
        ("OFFSET 0 10 0", "OFFSET 0 10 1e300", 8, "1e300"),
        ("CHANNELS 3", "CHANNELS 2", 9, "expected 'OFFSET', 'CHANNELS'"),
        ("CHANNELS 3", "CHANNELS 7", 9, "between 0 and 6, found 7"),
        ("End Site", "End Effector", 10, "expected 'Site', found 'Effector'"),
        ("HIERARCHY", "\0HIERARCHY", 1, "this is not BVH text"),
        ("HIERARCHY", "PK\x03\x04", 1, "expected 'HIERARCHY'"),
    ],
)
def test_damaged_bvh_names_the_line(tmp_path: Path, old: str, new: str, line: int, says: str) -> None:
    path = written(tmp_path, "bad.bvh", BVH.replace(old, new))
    with pytest.raises(RawDataError, match=re.escape(says)) as caught:
        read_bvh(path)
    assert f"bad.bvh, line {line}" in caught.value.message


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_cut_bvh_is_never_read_as_a_shorter_one(tmp_path: Path, share: float) -> None:
    whole = write_bvh(tmp_path / "a.bvh", walker(20)).read_text()
    with pytest.raises(RawDataError, match=r"cut\.bvh, line \d+"):
        read_bvh(written(tmp_path, "cut.bvh", whole[: int(share * len(whole))]))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.5, 0.98])
def test_a_cut_acclaim_is_never_read_as_a_shorter_one(tmp_path: Path, share: float) -> None:
    path = write_acclaim(tmp_path, walker(20))
    for name in ("07.asf", "07_01.amc"):
        whole = (tmp_path / name).read_text()
        written(tmp_path, name, whole[: int(share * len(whole))])
        with pytest.raises(RawDataError):
            read_amc(path)
        written(tmp_path, name, whole)
    assert len(read_amc(path)) == 20


def test_a_bvh_nested_without_end_is_refused_not_followed(tmp_path: Path) -> None:
    deep = "HIERARCHY ROOT j " + "".join(f"{{ OFFSET 0 0 0 JOINT j{i} " for i in range(5000))
    with pytest.raises(RawDataError, match="nested"):
        read_bvh(written(tmp_path, "deep.bvh", deep))


@pytest.mark.parametrize(
    ("file", "old", "new", "line", "says"),
    [
        ("asf", "direction 1 0 0", "direction 1 0", 23, "expected 3 numbers"),
        ("asf", "spine arm", "spine leg", 32, "'leg' is unknown"),
        ("asf", "root spine\n", "", 31, "before it has a parent"),
        ("asf", "name arm", "name spine", 28, "named twice"),
        ("asf", "dof rx\n", "dof rw\n", 26, "unknown degrees of freedom 'rw'"),
        ("asf", "axis 0 0 90 XYZ", "axis 0 0 90 XXZ", 25, "order of the axes"),
        ("amc", "arm 90", "arm 90 1", 10, "bone 'arm' needs 1 numbers, found '90 1'"),
        ("amc", "arm 90", "hand 90", 10, "no bone 'hand' in 07.asf"),
        ("amc", "arm 90\n", "", 9, "frame 2 lacks bone 'arm'"),
        ("amc", "2\nroot", "3\nroot", 7, "expected frame 2"),
        ("amc", "1\nroot", "root", 3, "before the first frame"),
    ],
)
def test_corrupt_asf_and_amc_name_the_line(tmp_path: Path, file: str, old: str, new: str, line: int, says: str) -> None:
    texts = {"asf": ASF, "amc": AMC}
    assert old in texts[file]
    texts[file] = texts[file].replace(old, new, 1)
    written(tmp_path, "07.asf", texts["asf"])
    with pytest.raises(RawDataError, match=re.escape(says)) as caught:
        read_amc(written(tmp_path, "07_02.amc", texts["amc"]))
    name = {"asf": "07.asf", "amc": "07_02.amc"}[file]
    assert f"{name}, line {line}: " in caught.value.message


def test_more_bones_than_anybody_has_are_refused(tmp_path: Path) -> None:
    bone = "begin\nname b{}\ndirection 0 1 0\nlength 1\nend\n"
    many = ":bonedata\n" + "".join(bone.format(number) for number in range(600))
    chain = "root b0\n" + "".join(f"b{number} b{number + 1}\n" for number in range(400))
    written(tmp_path, "a.asf", many)
    with pytest.raises(RawDataError, match="more than 500"):
        read_amc(written(tmp_path, "a.amc", "1\nroot 0 0 0 0 0 0\n"))
    fewer = ":bonedata\n" + "".join(bone.format(number) for number in range(450))
    written(tmp_path, "a.asf", f"{fewer}:hierarchy\n{chain}")
    with pytest.raises(RawDataError, match="more than 100 deep"):
        read_amc(tmp_path / "a.amc")
    wide = "HIERARCHY ROOT r { OFFSET 0 0 0 CHANNELS 0 " + " ".join(
        f"JOINT j{number} {{ OFFSET 0 0 0 }}" for number in range(600)
    )
    with pytest.raises(RawDataError, match="more than 500"):
        read_bvh(written(tmp_path, "wide.bvh", wide + " }\n"))
    with pytest.raises(RawDataError, match="is not BVH text"):
        read_bvh(written(tmp_path, "line.bvh", "HIERARCHY " + "x" * 2**21))


def test_freedoms_of_bones_by_hand(tmp_path: Path) -> None:
    """ASF bones may shift and lengthen: the arm moves by 1 along its own x, which is file y, and grows from 4 to 6."""
    written(tmp_path, "07.asf", ASF.replace("dof rx\n", "dof tx l rx\n"))
    motion = read_amc(written(tmp_path, "07_02.amc", AMC.replace("arm 0", "arm 1 2 0").replace("arm 90", "arm 0 0 90")))
    expected = np.array([[(1, 2, 3), (1, 12, 3), (7, 13, 3)], [(1, 2, 3), (-9, 2, 3), (-9, 2, -1)]])
    assert motion.positions_mm == pytest.approx(50.8 * expected[..., [2, 0, 1]])


def test_missing_files_are_said(tmp_path: Path) -> None:
    with pytest.raises(RawDataError, match="cannot be read"):
        read_bvh(tmp_path / "none.bvh")
    with pytest.raises(RawDataError, match=r"there is no 07_02\.asf or 07\.asf beside it"):
        read_amc(written(tmp_path, "07_02.amc", AMC))
    written(tmp_path, "07.asf", ASF)
    empty = written(tmp_path, "07_03.amc", ":DEGREES\n")
    with pytest.raises(RawDataError, match="no frames"):
        read_amc(empty)


def test_a_motion_of_another_skeleton_names_what_it_lacks(tmp_path: Path) -> None:
    motion = read_bvh(written(tmp_path, "a.bvh", BVH))
    with pytest.raises(RawDataError, match=r"no joint was found for ankle_l, .* among Hips, Arm, Arm_end"):
        clip_from_motion(motion, 25)


@recorded
def test_recorded_walk_is_the_same_in_both_formats_and_walks_at_its_pace() -> None:
    amc, bvh = read_amc(MOCAP / "02_01.amc"), read_bvh(MOCAP / "02_01.bvh")
    assert len(amc) == len(bvh) == 343
    assert amc.rate_hz == bvh.rate_hz == 120
    assert bvh.dropped_frames == 1
    assert np.abs(amc.joint("rtibia") - bvh.joint("RightFoot")).max() < 0.05
    assert np.abs(amc.joint("ltoes") - bvh.joint("LeftToeBase_end")).max() < 0.05
    thorax = 2.06807 * CMU_MM_PER_UNIT
    apart = np.linalg.norm(amc.joint("rradius") - bvh.joint("RightHand"), axis=-1)
    assert apart == pytest.approx(np.full(343, thorax), abs=0.05)
    for motion, root in ((amc, "root"), (bvh, "Hips")):
        path = motion.joint(root)
        assert np.linalg.norm((path[-1] - path[0])[:2]) / (len(motion) / motion.rate_hz) == pytest.approx(
            1180, rel=0.01
        )
        assert -40 < motion.positions_mm[..., 2].min() < 40
    body = sample_bodies(np.random.default_rng(0), 1, height_mm=(1730, 1730))
    one, other = (pose(body, clip_from_motion(motion, 50.0)) for motion in (amc, bvh))
    for name in LANDMARKS:
        apart_mm = np.linalg.norm(one.landmark(name) - other.landmark(name), axis=-1).max()
        hands, legs = name.startswith(("hand", "thumb")), name.split("_")[0] in ("hip", "knee", "ankle", "heel", "toe")
        assert apart_mm < (100 if hands else 5 if legs else 30), name


@recorded
@pytest.mark.parametrize("name", ["02_01.amc", "02_01.bvh", "02_03.bvh", "05_13.bvh", "16_21.bvh"])
def test_retargeted_bones_point_where_the_recorded_ones_do(name: str) -> None:
    motion = read_amc(MOCAP / name) if name.endswith("amc") else read_bvh(MOCAP / name)
    clip = clip_from_motion(motion, motion.rate_hz, 10, 80)
    figures = pose(sample_bodies(np.random.default_rng(0), 1), clip)
    theirs = ("lfemur", "lhipjoint", "rradius", "rhumerus", "rtibia", "rfemur", "lhumerus", "lclavicle")
    if name.endswith("bvh"):
        theirs = (
            "LeftLeg",
            "LeftUpLeg",
            "RightHand",
            "RightForeArm",
            "RightFoot",
            "RightLeg",
            "LeftForeArm",
            "LeftArm",
        )
    ours = ("knee_l", "hip_l", "wrist_r", "elbow_r", "ankle_r", "knee_r", "elbow_l", "shoulder_l")
    for bone in range(0, 8, 2):
        one = figures.landmark(ours[bone]) - figures.landmark(ours[bone + 1])
        two = (motion.joint(theirs[bone]) - motion.joint(theirs[bone + 1]))[10:90]
        cosine = (one * two).sum(-1) / np.linalg.norm(one, axis=-1) / np.linalg.norm(two, axis=-1)
        assert cosine.min() > np.cos(np.radians(2))
    forward = (
        figures.landmark("toe_l") + figures.landmark("toe_r") - figures.landmark("heel_l") - figures.landmark("heel_r")
    )
    across = figures.landmark("hip_l") - figures.landmark("hip_r")
    assert np.median((np.cross([0, 0, 1.0], forward) * across).sum(-1)) > 0
    rotations = clip.rotations
    assert np.abs(rotations @ np.swapaxes(rotations, -1, -2) - np.eye(3)).max() < 1e-6
    assert np.linalg.det(rotations).min() > 0.99
    assert np.linalg.norm(np.diff(figures.landmarks_world_mm, axis=0), axis=-1).max() < 160


@recorded
def test_a_clip_longer_than_the_motion_is_refused() -> None:
    motion = read_bvh(MOCAP / "02_03.bvh")
    assert len(clip_from_motion(motion, 25)) == 36
    with pytest.raises(RawDataError, match="do not fit"):
        clip_from_motion(motion, 25, 0, 1000)
