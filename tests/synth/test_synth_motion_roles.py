"""Roles of joints are tested against human proportions; what a file does not state is reported and can be given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from synth_motion_files import NAMES, Person, walker, write_acclaim, write_bvh

from kt3d_bench.cli import main
from kt3d_bench.cli.contact_sheet import _seen_from_the_front
from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.skeletons import H36M17
from kt3d_bench.synth import clip_from_motion, read_amc, read_bvh, read_motions
from kt3d_bench.synth.motion.anatomy import contradictions
from kt3d_bench.synth.motion.folder import Settings, motion_settings

TWO_PART = {"Arm": "Shldr", "ForeArm": "Forearm", "UpLeg": "Thigh"}
DAZ = {"Leg": "Shin", "Foot": "Foot", "ToeBase": "Toe", "Shoulder": "Collar", "Hand": "Hand"}
CENTRAL = {"Hips": "hip", "Spine": "abdomenLower", "Spine1": "chestLower", "Neck": "neckLower", "Head": "head"}


def divided(person: Person, twist: Callable[[str], str] = lambda name: f"{name}Twist") -> Person:
    """The walker under the names of a program that gives upper arms, forearms and thighs a second bone each, which
    begins half-way and only turns about the limb."""
    names: list[str] = []
    parents: list[int] = []
    offsets: list[np.ndarray] = []
    turns: list[np.ndarray] = []
    last: dict[int, int] = {}
    for joint, name in enumerate(person.names):
        side = next((side for side in ("Left", "Right") if name.startswith(side)), "")
        stem, end = (part for part in (name.removeprefix(side).removesuffix("_end"), name.endswith("_end")))
        called = TWO_PART.get(str(stem), DAZ.get(str(stem), CENTRAL.get(str(stem), str(stem))))
        full = f"{side[:1].lower()}{called}{'Bend' if str(stem) in TWO_PART and not end else ''}{'_end' if end else ''}"
        parent = person.parents[joint]
        two = parent >= 0 and last[parent] != joint_of(names, person, parent)
        names.append(full)
        parents.append(last[parent] if parent >= 0 else -1)
        offsets.append(person.offsets[joint] / (2 if two else 1))
        turns.append(person.turns[:, joint])
        last[joint] = len(names) - 1
        if str(stem) in TWO_PART and not end:
            [child] = [other for other, above in enumerate(person.parents) if above == joint]
            names.append(twist(f"{side[:1].lower()}{called}"))
            parents.append(last[joint])
            offsets.append(person.offsets[child] / 2)
            turns.append(np.tile(np.eye(3), (len(person.root), 1, 1)))
            last[joint] = len(names) - 1
    return replace(
        person, names=tuple(names), parents=tuple(parents), offsets=np.array(offsets), turns=np.stack(turns, axis=1)
    )


def joint_of(names: list[str], person: Person, joint: int) -> int:
    """Place of a joint among the divided ones: twist bones, which follow their joints, are skipped."""
    return [place for place, name in enumerate(names) if "Twist" not in name and "Helper" not in name][joint]


def test_twist_bones_are_no_knees_and_no_elbows(tmp_path: Path) -> None:
    person = divided(walker())
    assert len(person.names) == len(NAMES) + 6
    motion, plain = read_bvh(write_bvh(tmp_path / "d.bvh", person)), read_bvh(write_bvh(tmp_path / "p.bvh", walker()))
    assert motion.names[motion.joints["shoulder_l"]] == "lShldrBend"
    assert motion.names[motion.joints["elbow_r"]] == "rForearmBend"
    assert motion.names[motion.joints["knee_l"]] == "lShin"
    assert motion.names[motion.joints["neck"]] == "neckLower"
    assert motion.doubts == ()
    for role in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist"):
        for side in "lr":
            np.testing.assert_allclose(motion.role(f"{role}_{side}"), plain.role(f"{role}_{side}"), atol=1e-3)
    one, other = clip_from_motion(motion, 50.0), clip_from_motion(plain, 50.0)
    np.testing.assert_allclose(one.rotations, other.rotations, atol=1e-3)


def test_wrong_names_are_overruled_by_the_skeletons_shape(tmp_path: Path) -> None:
    """The bone from neck to shoulder is called upper arm, and so on: no person's arm begins at the neck."""
    told = {"Shoulder": "Arm", "Arm": "ForeArm", "ForeArm": "Hand", "Hand": "Finger"}
    renamed = {side + name: side + other for side in ("Left", "Right") for name, other in told.items()}
    motion = read_bvh(write_bvh(tmp_path / "w.bvh", walker().called(renamed)))
    assert motion.names[motion.joints["shoulder_l"]] == "LeftForeArm"
    assert motion.names[motion.joints["wrist_r"]] == "RightFinger"


def test_roles_that_are_no_persons_are_refused_with_what_was_found_and_can_be_given(tmp_path: Path) -> None:
    person = walker()
    long = np.array([name in ("LeftHand", "RightHand") for name in person.names])
    path = write_bvh(tmp_path / "w.bvh", replace(person, offsets=person.offsets * np.where(long, 4.0, 1.0)[:, None]))
    with pytest.raises(RawDataError, match=r"no person's: upper arm to forearm is 0\.28 \(people: 1\.27, ") as caught:
        clip_from_motion(read_bvh(path), 50.0)
    assert "shoulder_l = LeftArm" in caught.value.message
    assert "--motion-joints shoulder_l=NAME" in (caught.value.hint or "")
    told = read_bvh(path, roles={"wrist_l": "LeftHand", "wrist_r": "RightHand", "neck": "Neck"})
    assert told.names[told.joints["neck"]] == "Neck"
    assert len(clip_from_motion(told, 50.0).rotations) > 1


def exchanged(name: str) -> str:
    return {"Left": f"Right{name[4:]}", "Righ": f"Left{name[5:]}"}.get(name[:4], name)


@pytest.mark.parametrize("limbs", [("Leg", "Foot", "Toe"), ("Arm", "Hand", "Shoulder"), ("",)])
def test_exchanged_left_and_right_names_are_overruled_by_the_feet(tmp_path: Path, limbs: tuple[str, ...]) -> None:
    def wrong(name: str) -> str:
        return exchanged(name) if any(limb in name for limb in limbs) else name

    plain = read_bvh(write_bvh(tmp_path / "p.bvh", walker()))
    assert "exchanged" not in plain.facts
    motion = read_bvh(write_bvh(tmp_path / "w.bvh", walker().called(wrong)))
    assert "left and right are exchanged in the names, by the way the feet point" in motion.facts
    for role in ("hip_l", "knee_l", "ankle_r", "shoulder_l", "wrist_r"):
        np.testing.assert_allclose(motion.role(role), plain.role(role), atol=1e-6)


def test_exchanged_names_are_doubted_where_the_shape_cannot_overrule_them(tmp_path: Path) -> None:
    joints = {role: number for number, role in enumerate(read_bvh(write_bvh(tmp_path / "p.bvh", walker())).joints)}
    motion = read_bvh(tmp_path / "p.bvh")
    poses = np.stack([motion.role(role) for role in joints], axis=1)
    assert contradictions(poses, joints) == []
    for role in ("hip", "shoulder"):
        joints[f"{role}_l"], joints[f"{role}_r"] = joints[f"{role}_r"], joints[f"{role}_l"]
    found = contradictions(poses, joints)
    assert "the left hip is on the right side, by the way the feet point" in found
    assert "the left shoulder is on the right side, by the way the feet point" in found


def test_a_head_of_an_unknown_name_is_found_above_the_neck_and_its_absence_is_said(tmp_path: Path) -> None:
    motion = read_bvh(write_bvh(tmp_path / "k.bvh", walker().called({"Head": "Kopf", "Head_end": "Kopf_end"})))
    assert motion.names[motion.joints["head"]] == "Kopf"
    person = walker()
    kept = [number for number, name in enumerate(person.names) if not name.startswith("Head")]
    headless = replace(
        person,
        names=tuple(person.names[number] for number in kept),
        parents=tuple(kept.index(person.parents[number]) if number else -1 for number in kept),
        offsets=person.offsets[kept],
        turns=person.turns[:, kept],
    )
    motion = read_bvh(write_bvh(tmp_path / "n.bvh", headless))
    assert "head" not in motion.joints
    assert "no head was found, so it follows the neck: --motion-joints head=NAME names it" in motion.facts


def test_a_frame_time_in_milliseconds_can_be_overruled(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "m.bvh", walker(), edit=lambda text: re.sub("Frame Time: .*", "Frame Time: 8.33", text))
    with pytest.raises(RawDataError, match=r"if these are milliseconds, write 0\.00833"):
        read_bvh(path)
    assert read_bvh(path, rate_hz=120.0).rate_hz == 120.0


def test_an_unknown_role_or_joint_is_named(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "p.bvh", walker())
    with pytest.raises(UsageError, match="there is no role 'tail', only hip_l"):
        read_bvh(path, roles={"tail": "Hips"})
    with pytest.raises(UsageError, match="the skeleton has no joint 'Knee', only Hips, "):
        read_bvh(path, roles={"knee_l": "Knee"})


AT_NECK = {
    f"{role}_{side}": (sign * x, 1.4, 0.0)
    for side, sign in (("l", 1), ("r", -1))
    for role, x in (("shoulder", 0.01), ("elbow", 0.3), ("wrist", 0.55))
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"knee_l": (0.1, 0.7, 0)}, "the left thigh is "),
        ({"wrist_l": (1.2, 0, 0), "wrist_r": (-1.2, 0, 0)}, "upper arm to forearm is "),
        (AT_NECK, "distance between the shoulders to arm is "),
        ({"neck": (0, 0.9, 0)}, "distance of the neck from the shoulders' middle to trunk is "),
        ({"ankle_l": (0.1, 0.35, 0), "ankle_r": (-0.1, 0.35, 0)}, "thigh to shank is "),
    ],
)  # fmt: skip
def test_what_no_person_has_is_said(change: dict[str, tuple[float, float, float]], said: str) -> None:
    person = {
        "hip_l": (0.1, 0.9, 0), "knee_l": (0.1, 0.48, 0), "ankle_l": (0.1, 0.06, 0), "shoulder_l": (0.2, 1.4, 0),
        "elbow_l": (0.5, 1.4, 0), "wrist_l": (0.75, 1.4, 0), "neck": (0, 1.45, 0),
    }  # fmt: skip
    person |= {f"{role[:-1]}r": (-x, y, z) for role, (x, y, z) in person.items() if role.endswith("_l")}
    roles = {role: place for place, role in enumerate(person)}
    assert contradictions(np.array([list(person.values())]), roles) == []
    found = contradictions(np.array([list((person | change).values())]), roles)
    assert any(sentence.startswith(said) for sentence in found), found


def test_the_rate_of_amc_is_said_to_be_assumed_and_can_be_given(tmp_path: Path) -> None:
    path = write_acclaim(tmp_path, walker())
    [_, line] = read_motions(path).lines()
    assert "120 Hz (the rate is assumed, as AMC states none: --motion-rate sets it)" in line
    with motion_settings(Settings.parsed(60.0, "")):
        motions = read_motions(path)
        assert "60 Hz; " in motions.lines()[1]
        assert motions.marker["motion_settings"] == "Settings(rate_hz=60.0, roles=())"
    half, usual = read_amc(path, rate_hz=60.0), read_amc(path)
    np.testing.assert_array_equal(half.positions_mm, usual.positions_mm)
    assert (half.rate_hz, usual.rate_hz) == (60.0, 120.0)
    assert motions.clip(0, 10, 50.0).rate_hz == 50.0
    assert motions.recordings[0].rate_hz == 60.0


@pytest.mark.parametrize(
    ("rate", "joints", "said"),
    [
        (0.5, "", "a rate of 0.5 Hz is not possible"),
        (None, "knee_l", "expected role=name, found 'knee_l'"),
        (None, "knee_l=", "expected role=name, found 'knee_l='"),
    ],
)
def test_wrong_settings_are_refused(rate: float | None, joints: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Settings.parsed(rate, joints)


def test_the_commands_options_reach_the_generator(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "p.bvh", walker())
    words = ["generate", "mpii", "--out", str(tmp_path / "raw"), "--people", "2", "--frames", "1", "--workers", "1"]
    alone = CliRunner().invoke(main, [*words, "--motion-rate", "30"])
    assert alone.exit_code != 0
    assert "motions are described, but there are none" in alone.output
    done = CliRunner().invoke(
        main, [*words, "--motion", str(path), "--motion-rate", "30", "--motion-joints", "head=Head,neck=Neck"]
    )
    assert done.exit_code == 0, done.output
    assert "30 Hz; ankle_l = LeftFoot" in done.output.replace("\n", " ")
    assert "rate_hz=30.0" in (tmp_path / "raw" / "kt3d-generated.json").read_text()


def test_one_line_more_than_stated_is_read_and_said_and_two_are_not(tmp_path: Path) -> None:
    stated = lambda less: lambda text: text.replace("Frames: 40", f"Frames: {40 - less}")  # noqa: E731
    motion = read_bvh(write_bvh(tmp_path / "one.bvh", walker(), edit=stated(1)))
    assert len(motion) == 40
    assert motion.notes == ("40 frames where 'Frames:' states 39",)
    with pytest.raises(RawDataError, match=r"more than the 38 lines of numbers that 'Frames:' states"):
        read_bvh(write_bvh(tmp_path / "two.bvh", walker(), edit=stated(2)))


def test_a_joint_may_have_two_end_sites(tmp_path: Path) -> None:
    second = "End Site\n{\n\tOFFSET 1 2 3\n}\n"
    path = write_bvh(tmp_path / "two.bvh", walker(), edit=lambda text: text.replace("End Site", f"{second}End Site", 1))
    motion = read_bvh(path)
    assert len(set(motion.names)) == len(motion.names) == len(NAMES) + 1
    assert any(name.endswith("_end2") for name in motion.names)


def test_without_a_neck_the_mean_of_the_collars_stands_for_it(tmp_path: Path) -> None:
    person = walker()
    kept = [joint for joint, name in enumerate(person.names) if not name.startswith(("Neck", "Head"))]
    place = {old: new for new, old in enumerate(kept)}
    headless = replace(
        person, names=tuple(person.names[joint] for joint in kept), offsets=person.offsets[kept],
        parents=tuple(place.get(person.parents[joint], -1) for joint in kept), turns=person.turns[:, kept],
    )  # fmt: skip
    motion = read_bvh(write_bvh(tmp_path / "n.bvh", headless))
    assert motion.missing == motion.doubts == ()
    assert "neck = mean of the collars" in motion.facts
    collars = (motion.joint("LeftShoulder") + motion.joint("RightShoulder")) / 2
    np.testing.assert_allclose(motion.role("neck"), collars, atol=1e-6)
    assert len(clip_from_motion(motion, 50.0).rotations) > 1


def test_inspect_describes_a_motion_and_draws_it(tmp_path: Path) -> None:
    source, picture = write_bvh(tmp_path / "w.bvh", walker()), tmp_path / "w.png"
    done = CliRunner().invoke(main, ["inspect", str(source), "--picture", str(picture), "--count", "3"])
    assert done.exit_code == 0, done.output
    for fact in ("mm per unit, y up, ", " Hz; ", "knee_l = LeftLeg", f"3 poses in {picture}"):
        assert fact in done.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    lacking = tmp_path / "l.bvh"
    lacking.write_text("HIERARCHY\nROOT Hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n"
                       "End Site\n{\nOFFSET 0 1 0\n}\n}\nMOTION\nFrames: 1\nFrame Time: 0.02\n0 0 0\n")  # fmt: skip
    told = CliRunner().invoke(main, ["inspect", str(lacking)])
    assert "No joint was found for knee_l." in told.output
    assert "--motion-joints knee_l=NAME" in told.output
    refused = CliRunner().invoke(main, ["inspect", str(lacking), "--picture", str(picture)])
    assert "joints are missing, so there is no pose to draw" in refused.output


def test_left_is_on_the_right_of_a_picture_from_the_front(tmp_path: Path) -> None:
    poses = _seen_from_the_front(read_bvh(write_bvh(tmp_path / "w.bvh", walker())))
    left, right = (poses[:, H36M17.index(f"{side}_hip"), 0] for side in ("left", "right"))
    assert (left > right).all()
    assert (poses[:, H36M17.index("thorax"), 1] < poses[:, H36M17.index("left_ankle"), 1]).all(), "y points down"
