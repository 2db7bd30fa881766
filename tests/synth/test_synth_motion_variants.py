"""One motion, written as many programs write it, is always the same motion: names, units, axes, channels, dialects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from synth_motion_files import NAMES, Person, asf_bones, numbers, walker, write_acclaim, write_bvh

from kt3d_bench.errors import RawDataError
from kt3d_bench.synth import Clip, clip_from_motion, read_amc, read_bvh
from kt3d_bench.synth.rig import RIG

PERSON = walker()
Z_UP = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    motion = read_bvh(write_bvh(tmp_path_factory.mktemp("motion") / "a.bvh", PERSON))
    positions, _ = PERSON.world()
    assert motion.positions_mm == pytest.approx(positions @ Z_UP.T, abs=1e-3)
    assert motion.rate_hz == pytest.approx(60)
    assert motion.dropped_frames == 0
    return clip_from_motion(motion, motion.rate_hz)


def same(clip: Clip, expected: Clip, but: tuple[str, ...] = (), abs_: float = 1e-4) -> None:
    kept = [joint for joint, name in enumerate(RIG) if name not in but]
    assert clip.rotations[:, kept] == pytest.approx(expected.rotations[:, kept], abs=abs_)
    assert clip.travel == pytest.approx(expected.travel, abs=abs_)
    if not but:
        assert clip.lift == pytest.approx(expected.lift, abs=abs_)


def sided(left: str, right: str, names: Mapping[str, str], central: Mapping[str, str]) -> dict[str, str]:
    """``{}`` in a name stands for the side."""
    whole = dict(central)
    for side, word in (("Left", left), ("Right", right)):
        whole |= {side + name: theirs.format(word) for name, theirs in names.items()}
    return whole


TRUNK = {"Hips": "pelvis", "Spine": "spine1", "Spine1": "spine2", "Neck": "neck", "Head": "head"}
DIALECTS: dict[str, Mapping[str, str] | Callable[[str], str]] = {
    "mixamo": lambda name: f"mixamorig:{name}",
    "mixamo without colon": lambda name: f"mixamorig{name}",
    "motion builder": lambda name: f"Character1|{name}",
    "name space of name spaces": lambda name: f"scene:Actor_01:{name}",
    "lower case": str.lower,
    "lafan": {"LeftToeBase": "LeftToe", "RightToeBase": "RightToe"},
    "xsens": sided("Left", "Right", {"UpLeg": "{}Hip", "Leg": "{}Knee", "Foot": "{}Ankle", "ToeBase": "{}Toe",
                   "Shoulder": "{}Collar", "Arm": "{}Shoulder", "ForeArm": "{}Elbow", "Hand": "{}Wrist"},
                   {"Spine": "Chest", "Spine1": "Chest2"}),
    "smpl": sided("L", "R", {"UpLeg": "m_avg_{}_Hip", "Leg": "m_avg_{}_Knee", "Foot": "m_avg_{}_Ankle",
                  "ToeBase": "m_avg_{}_Foot", "Shoulder": "m_avg_{}_Collar", "Arm": "m_avg_{}_Shoulder",
                  "ForeArm": "m_avg_{}_Elbow", "Hand": "m_avg_{}_Wrist"},
                  {name: f"m_avg_{theirs}" for name, theirs in TRUNK.items()}),
    "smpl words": sided("left", "right", {"UpLeg": "{}_hip", "Leg": "{}_knee", "Foot": "{}_ankle", "ToeBase": "{}_foot",
                        "Shoulder": "{}_collar", "Arm": "{}_shoulder", "ForeArm": "{}_elbow", "Hand": "{}_wrist"},
                        TRUNK),
    "biped, names with spaces": sided("L", "R", {"UpLeg": "Bip01 {} Thigh", "Leg": "Bip01 {} Calf",
                                      "Foot": "Bip01 {} Foot", "ToeBase": "Bip01 {} Toe0",
                                      "Shoulder": "Bip01 {} Clavicle", "Arm": "Bip01 {} UpperArm",
                                      "ForeArm": "Bip01 {} Forearm", "Hand": "Bip01 {} Hand"},
                                      {name: f"Bip01 {theirs}" for name, theirs in TRUNK.items()}),
    "rigify": sided("L", "R", {"UpLeg": "DEF-thigh.{}", "Leg": "DEF-shin.{}", "Foot": "DEF-foot.{}",
                    "ToeBase": "DEF-toe.{}", "Shoulder": "DEF-shoulder.{}", "Arm": "DEF-upper_arm.{}",
                    "ForeArm": "DEF-forearm.{}", "Hand": "DEF-hand.{}"},
                    {"Hips": "DEF-spine", "Spine": "DEF-spine.001", "Spine1": "DEF-spine.003", "Neck": "DEF-spine.004",
                     "Head": "DEF-spine.006"}),
    "poser": sided("l", "r", {"UpLeg": "{}Thigh", "Leg": "{}Shin", "Foot": "{}Foot", "ToeBase": "{}Toe",
                   "Shoulder": "{}Collar", "Arm": "{}Shldr", "ForeArm": "{}ForeArm", "Hand": "{}Hand"},
                   {"Hips": "hip", "Spine": "abdomen", "Spine1": "chest", "Neck": "neck", "Head": "head"}),
    "unreal": sided("l", "r", {"UpLeg": "thigh_{}", "Leg": "calf_{}", "Foot": "foot_{}", "ToeBase": "ball_{}",
                    "Shoulder": "clavicle_{}", "Arm": "upperarm_{}", "ForeArm": "lowerarm_{}", "Hand": "hand_{}"},
                    {"Hips": "pelvis", "Spine": "spine_01", "Spine1": "spine_02", "Neck": "neck_01", "Head": "head"}),
    "no names at all": {name: f"j{number}" for number, name in enumerate(NAMES)},
    "names of nothing, sides exchanged in the file": {name: f"b{len(NAMES) - number}"
                                                      for number, name in enumerate(NAMES)},
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_joints_are_found_under_any_programs_names(tmp_path: Path, expected: Clip, dialect: str) -> None:
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", PERSON.called(DIALECTS[dialect])))
    assert not motion.missing
    for joint, theirs in zip(motion.joints, motion.joints.values(), strict=True):
        side = {"l": "Left", "r": "Right"}.get(joint[-1] if "_" in joint else "")
        assert side is None or NAMES[theirs].startswith(side), joint
    same(clip_from_motion(motion, motion.rate_hz), expected)


@pytest.mark.parametrize(("unit", "mm"), [("mm", 1), ("cm", 10), ("inch", 25.4), ("cmu", 25.4 / 0.45), ("m", 1000)])
def test_the_unit_is_found_by_the_bodys_size(tmp_path: Path, expected: Clip, unit: str, mm: float) -> None:
    for size in (0.72, 1.0, 1.3):
        motion = read_bvh(write_bvh(tmp_path / f"{unit}.bvh", PERSON.scaled(size / mm)))
        assert motion.mm_per_unit == pytest.approx(mm)
    motion = read_bvh(write_bvh(tmp_path / f"{unit}.bvh", PERSON.scaled(1 / mm)))
    same(clip_from_motion(motion, motion.rate_hz), expected)


def test_a_unit_of_no_body_gives_a_usual_leg_and_a_given_unit_holds(tmp_path: Path) -> None:
    path = write_bvh(tmp_path / "a.bvh", PERSON.scaled(0.2))
    leg = read_bvh(path).rest_mm[[NAMES.index(name) for name in ("LeftUpLeg", "LeftLeg", "LeftFoot")]]
    assert np.linalg.norm(np.diff(leg, axis=0), axis=-1).sum() == pytest.approx(850)
    assert read_bvh(path, mm_per_unit=7.0).mm_per_unit == 7.0


def test_z_up_files_stand_upright_too(tmp_path: Path, expected: Clip) -> None:
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", PERSON.turned(Z_UP)))
    same(clip_from_motion(motion, motion.rate_hz), expected)


@pytest.mark.parametrize("order", ["".join(order) for order in permutations("XYZ")])
@pytest.mark.parametrize("positions", ["root", "whole", "more"])
def test_channels_in_any_order(tmp_path: Path, expected: Clip, order: str, positions: str) -> None:
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", PERSON, order, positions))
    same(clip_from_motion(motion, motion.rate_hz), expected)


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace("\n", "\r\n").replace("\t", "    "),
        lambda text: text.replace("\n", "\r"),
        lambda text: text.replace("\n", "\n\n").replace(" ", "\t ").replace("Frame\t Time", "Frame Time"),
        lambda text: text.replace("End Site", "END SITE").replace("Xrotation", "XROTATION").replace("JOINT", "Joint"),
        lambda text: text.replace("End Site", "End Site of something"),
        lambda text: text.replace("End Site", "EndSite"),
        lambda text: text.replace("Frames: ", "FRAMES :").replace("Frame Time: ", "Frame time:"),
        lambda text: "\N{BYTE ORDER MARK}" + text.rstrip("\n"),
        lambda text: text.replace("LeftLeg\n", "LeftLeg {\n").replace("LeftLeg {\n\t\t{", "LeftLeg {\n"),
    ],
)
def test_dialects_of_the_text(tmp_path: Path, expected: Clip, edit: Callable[[str], str]) -> None:
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", PERSON, edit=edit))
    same(clip_from_motion(motion, motion.rate_hz), expected)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1", "shift_jis"])
def test_names_in_any_encoding(tmp_path: Path, expected: Clip, encoding: str) -> None:
    """Two names that become one where their bytes are replaced."""
    names = ("é", "è") if encoding == "latin-1" else ("腰", "胸")
    path = write_bvh(tmp_path / "a.bvh", PERSON)
    text = path.read_text().replace("Spine\n", f"{names[0]}\n").replace("Spine1\n", f"{names[1]}\n")
    path.write_bytes(text.encode(encoding))
    motion = read_bvh(path)
    assert set(names) < set(motion.names)
    same(clip_from_motion(motion, motion.rate_hz), expected)


@pytest.mark.parametrize(
    ("printed", "rate_hz"),
    [("0.0083333", 120), (".0083333", 120), ("0.00833333333", 120), ("0.0333", 30), ("0.04", 25), ("0.02", 50),
     ("0.033367", 29.97), ("0.016683", 59.94), ("0.017", 1 / 0.017), ("8.3333e-3", 1 / 8.3333e-3), ("1", 1)],
)  # fmt: skip
def test_a_rounded_frame_time_means_a_whole_rate(tmp_path: Path, printed: str, rate_hz: float) -> None:
    def edit(text: str) -> str:
        return text.replace("Frame Time: 0.016666667", f"Frame Time: {printed}")

    path = write_bvh(tmp_path / "a.bvh", PERSON, edit=edit)
    assert read_bvh(path).rate_hz == pytest.approx(rate_hz, rel=1e-12 if rate_hz in (120, 30, 25, 50, 1) else 1e-4)


def test_a_root_that_stays_behind_is_no_foot_on_the_floor(tmp_path: Path) -> None:
    """Some programs hang the person below a joint that never moves."""
    leap = 600 * np.clip(np.sin(2 * np.pi * np.arange(40) / 40), 0, None)
    person = replace(PERSON, root=PERSON.root + leap[:, None] * [0, 1, 0])
    still = np.tile(np.eye(3), (len(person.root), 1, 1, 1))
    referred = replace(
        person,
        names=("Reference", *person.names),
        parents=(-1, *(parent + 1 for parent in person.parents)),
        offsets=np.concatenate([np.zeros((1, 3)), person.offsets]),
        turns=np.concatenate([still, person.turns], axis=1),
        root=0 * person.root,
    )

    def edit(text: str) -> str:
        head, _, rows = text.partition("Frame Time: 0.016666667\n")
        columns = [row.split() for row in rows.splitlines()]
        rows = "\n".join(
            " ".join([*row[:6], *map(str, place), *row[9:]]) for row, place in zip(columns, person.root, strict=True)
        )
        return f"{head}Frame Time: 0.016666667\n{rows}\n"

    clips = [
        clip_from_motion(read_bvh(path), 60)
        for path in (
            write_bvh(tmp_path / "a.bvh", person),
            write_bvh(tmp_path / "b.bvh", referred, positions="more", edit=edit),
        )
    ]
    same(clips[1], clips[0])
    assert clips[0].lift.max() > 0.3


def other_rest(seed: int) -> Person:
    rests = Rotation.random(len(NAMES), rng=np.random.default_rng(seed)).as_matrix()
    return PERSON.with_other_rest(rests)


@pytest.mark.parametrize("seed", range(4))
def test_a_skeleton_that_does_not_stand_at_rest(tmp_path: Path, expected: Clip, seed: int) -> None:
    """Some files' rest pose has all bones along one axis. Only the head's turn then has no zero; its mean stands in."""
    person = other_rest(seed)
    assert person.world()[0] == pytest.approx(PERSON.world()[0], abs=1e-6)
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", person))
    clip = clip_from_motion(motion, motion.rate_hz)
    same(clip, expected, but=("neck", "head"))
    apart = np.swapaxes(clip.rotations, -1, -2) @ expected.rotations
    for name in ("neck", "head"):
        degrees = np.degrees(Rotation.from_matrix(apart[:, RIG.index(name)]).magnitude())
        assert degrees.max() < 20, "the walker's head turns by about 10 degrees off straight ahead"
        assert np.ptp(degrees) < 12


@pytest.mark.parametrize(("radians", "inches"), [(False, 0.45), (True, 0.45), (False, 1.0)])
def test_acclaim_says_the_same(tmp_path: Path, expected: Clip, radians: bool, inches: float) -> None:
    motion = read_amc(write_acclaim(tmp_path, PERSON, radians, inches), rate_hz=60)
    assert motion.mm_per_unit == pytest.approx(25.4 / inches)
    positions, _ = PERSON.world()
    for joint, bone in asf_bones().items():
        assert motion.joint(bone) == pytest.approx(positions[:, joint] @ Z_UP.T, abs=1e-3), bone
    same(clip_from_motion(motion, 60), expected)


def test_an_acclaim_unit_that_no_body_has_is_found_by_size(tmp_path: Path) -> None:
    path = write_acclaim(tmp_path, PERSON.scaled(25.4 / 1000), inches=1.0)
    text = (tmp_path / "07.asf").read_text()
    (tmp_path / "07.asf").write_text(text.replace("length 1.0", "length 0.001", 1))
    assert read_amc(path).mm_per_unit == pytest.approx(1000.0)


def test_a_bone_that_no_frame_moves_stays_at_rest(tmp_path: Path) -> None:
    """The missing thorax: its two neighbours keep their turns."""
    path = write_acclaim(tmp_path, PERSON)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("thorax ")))
    motion = read_amc(path, rate_hz=60)
    at_rest = replace(PERSON, turns=PERSON.turns.copy())
    at_rest.turns[:, NAMES.index("Spine1")] = np.eye(3)
    positions, _ = at_rest.world()
    assert motion.joint("thorax") == pytest.approx(positions[:, NAMES.index("Neck")] @ Z_UP.T, abs=1e-3)
    path.write_text("\n".join(line for number, line in enumerate(lines) if number < 60 or line[:6] != "thorax"))
    with pytest.raises(RawDataError, match=r"07_01\.amc, line \d+: frame \d lacks bone 'thorax'"):
        read_amc(path)


def without(person: Person, *stems: str) -> Person:
    kept = [joint for joint, name in enumerate(person.names) if not name.endswith(stems)]
    parents = tuple(-1 if joint == 0 else kept.index(person.parents[joint]) for joint in kept)
    names = tuple(person.names[joint] for joint in kept)
    return replace(person, names=names, parents=parents, offsets=person.offsets[kept], turns=person.turns[:, kept])


def test_what_a_skeleton_lacks_follows_the_bone_before(tmp_path: Path, expected: Clip) -> None:
    short = without(PERSON, "ToeBase_end", "Hand_end", "Head_end")
    clip = clip_from_motion(read_bvh(write_bvh(tmp_path / "a.bvh", short)), 60)
    same(clip, expected, but=("neck", "head", "ball_l", "wrist_l", "ball_r", "wrist_r"))
    headless = without(PERSON, "Head_end", "Head")
    clip_without = clip_from_motion(read_bvh(write_bvh(tmp_path / "a.bvh", headless)), 60)
    still = np.concatenate([clip.rotations[:, [RIG.index(name) for name in ("ball_l", "wrist_r")]],
                            clip_without.rotations[:, [RIG.index("head")]]], axis=1)  # fmt: skip
    assert still == pytest.approx(np.broadcast_to(np.eye(3), still.shape), abs=1e-9)


def test_half_a_person_names_the_joints_it_lacks(tmp_path: Path) -> None:
    half = without(PERSON, "Leg", "Foot", "ToeBase", "ToeBase_end")
    motion = read_bvh(write_bvh(tmp_path / "a.bvh", half))
    with pytest.raises(
        RawDataError, match="no joint was found for ankle_l, ankle_r, hip_l, hip_r, knee_l, knee_r among "
    ):
        clip_from_motion(motion, 30)


def rest_first(person: Person, rest_turns: np.ndarray) -> Person:
    turns = np.concatenate([rest_turns[None], person.turns])
    return replace(person, turns=turns, root=np.concatenate([person.root[:1], person.root]))


@pytest.mark.parametrize("rate_hz", [24.0, 60.0, 120.0])
def test_an_inserted_rest_pose_is_left_out(tmp_path: Path, rate_hz: float) -> None:
    bind = np.tile(np.eye(3), (len(NAMES), 1, 1))
    straight = bind.copy()
    for side, sign in (("Left", 1), ("Right", -1)):
        straight[NAMES.index(f"{side}UpLeg")] = Rotation.from_euler("z", -8 * sign, degrees=True).as_matrix()
        straight[NAMES.index(f"{side}Arm")] = Rotation.from_euler("z", -35 * sign, degrees=True).as_matrix()
    person = replace(PERSON, rate_hz=rate_hz)
    for rest in (bind, straight):
        motion = read_bvh(write_bvh(tmp_path / "a.bvh", rest_first(person, rest)))
        assert motion.dropped_frames == 1
        assert motion.positions_mm == pytest.approx(PERSON.world()[0] @ Z_UP.T, abs=1e-3)
    kept = read_bvh(write_bvh(tmp_path / "a.bvh", rest_first(person, bind)), drop_rest_frame=False)
    assert (len(kept), kept.dropped_frames) == (len(PERSON.root) + 1, 0)


def test_a_true_frame_is_never_left_out(tmp_path: Path) -> None:
    """Not a rest pose that is left at a human pace, not one that is held, not another pose before a jump."""
    bind = np.tile(np.eye(3), (len(NAMES), 1, 1))
    share = np.linspace(0, 1, 41)[:, None, None, None] ** 2
    target = Rotation.from_matrix(PERSON.turns[0]).as_rotvec()
    slow = Rotation.from_rotvec((share[..., 0] * target).reshape(-1, 3)).as_matrix().reshape(41, -1, 3, 3)
    left_slowly = replace(PERSON, turns=np.concatenate([slow, PERSON.turns]),
                          root=np.concatenate([np.tile(PERSON.root[:1], (41, 1)), PERSON.root]))  # fmt: skip
    held = rest_first(rest_first(PERSON, bind), bind)
    jump = rest_first(PERSON, PERSON.turns[25] @ Rotation.from_euler("x", 60, degrees=True).as_matrix())
    for person in (left_slowly, held, jump, PERSON):
        motion = read_bvh(write_bvh(tmp_path / "a.bvh", person))
        assert (len(motion), motion.dropped_frames) == (len(person.root), 0)


def test_numbers_of_the_writer_keep_their_digits() -> None:
    assert numbers(np.array([1234.5678, -1e-9])) == "1234.5678 -1e-09"
