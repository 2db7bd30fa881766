"""Find a person's joints, such as the left knee, in a recorded skeleton: by name, or else by the tree's shape.

Names are compared without namespaces (``mixamorig:LeftLeg``), prefixes that all joints share (``Bip01 L Calf``),
separators and case. Known are the joint names of the CMU database (BVH and ASF), Mixamo, MotionBuilder, Xsens, 3ds Max
Biped, Rigify, SMPL, Poser and the LAFAN1 set. Shape: legs and arms start where three chains meet, their two longest
consecutive bones are thigh and shank, upper arm and forearm, and toes point forward.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from kt3d_bench.synth.motion.anatomy import contradictions
from kt3d_bench.synth.rig import FloatArray

REQUIRED: tuple[str, ...] = tuple(
    f"{joint}_{side}" for joint in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist") for side in "lr"
)
_LIMBS = (("hip", "knee", "ankle", "ball"), ("shoulder", "elbow", "wrist", "hand"))
_ALIASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("hip", ("upleg", "upperleg", "upplegg", "legupper", "thigh", "femur", "hip", "leg", "hipjoint")),
    ("knee", ("lowleg", "lowerleg", "leglower", "calf", "shin", "shank", "tibia", "knee", "leg")),
    ("ankle", ("ankle", "foot")),
    ("ball", ("toebase", "ball", "toe", "toes", "toe0", "toe1", "forefoot", "foot")),
    ("shoulder", ("uparm", "upperarm", "armupper", "arm", "shldr", "humerus", "shoulder")),
    ("elbow", ("lowarm", "lowerarm", "armlower", "forearm", "farm", "radius", "elbow", "arm")),
    ("wrist", ("wrist", "hand")),
    ("hand", ("middle1", "handmiddle1", "middle01", "fmiddle01", "finger2", "finger1", "hand", "handindex1end")),
)
"""For both sides, best first; each joint is used once, so a foot above a toe is an ankle, and below an ankle a ball."""
_NECK, _HEAD = ("neck", "lowerneck", "necklower", "neck1", "neck01", "spine004"), ("head", "skull", "spine006")
_LEAST_PREFIX = 3
_RIG_PREFIX = re.compile(r"^(def|org|mch)[-_.]", re.IGNORECASE)
_TWIST = re.compile(r"twist|armroll|legroll|thighroll|roll\d*$", re.IGNORECASE)
"""Bones that only turn about the limb they lie in, such as DAZ's ``lThighTwist``: never a knee or an elbow."""
_BEND = re.compile(r"bend$")
_THUMB = re.compile(r"thumb|pollex", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Tree:
    """A recorded skeleton. J joints."""

    names: tuple[str, ...]
    parents: tuple[int, ...]
    rest: FloatArray  # (J, 3) positions with all rotations zero, any unit and axes
    ends: bool
    """Whether a joint has the name of the bone that ends in it (ASF), not of those that start there (BVH)."""

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        below: list[list[int]] = [[] for _ in self.names]
        for joint, parent in enumerate(self.parents[1:], 1):
            below[parent].append(joint)
        return tuple(map(tuple, below))

    def length(self, joint: int) -> float:
        return float(np.linalg.norm(self.rest[joint] - self.rest[self.parents[joint]])) if joint else 0.0

    def is_below(self, joint: int, above: int) -> bool:
        while joint > above:
            joint = self.parents[joint]
        return joint == above

    def way_down(self, joint: int) -> list[int]:
        """Return the joints down to the farthest one, without thumbs; the first in the file wins a tie."""
        ways = [self.way_down(child) for child in self.children[joint] if not _THUMB.search(self.names[child])]
        return [joint, *max(ways, key=lambda way: sum(map(self.length, way)), default=[])]

    def reach(self, joint: int) -> float:
        return sum(self.length(below) for below in self.way_down(joint))


def find_joints(tree: Tree, poses: FloatArray) -> tuple[dict[str, int], list[str]]:
    """Return role -> joint of the file, and the roles that were not found.

    Roles: those of ``REQUIRED``, ``neck``, ``head``, ``spine``, and per side ``ball``, ``toe``, ``hand`` if the
    skeleton has them. ``poses`` (F, J, 3), y or z up, distinguish left from right if names do not.
    """
    named = _by_name(tree)
    missing = [role for role in REQUIRED if role not in named] + _out_of_order(tree, named)
    found = {} if missing else _completed(tree, named)
    if found and not contradictions(poses, found):
        return found, []
    shape = _by_shape(tree, poses)
    shaped = _completed(tree, shape) if shape else {}
    if shaped and not contradictions(poses, shaped):
        return shaped, []
    likeliest = found or shaped
    return (likeliest, []) if likeliest else (named, sorted(set(missing)))


def given_joints(tree: Tree, roles: Mapping[str, str]) -> dict[str, int]:
    """Return role -> joint for joints that the user named. Raises ``ValueError`` for a role or a name there is not."""
    known = (
        *REQUIRED,
        "neck",
        "head",
        "spine",
        *(f"{role}_{side}" for role in ("ball", "toe", "hand") for side in "lr"),
    )
    for role, name in roles.items():
        if role not in known:
            raise ValueError(f"there is no role '{role}', only {', '.join(known)}")
        if name not in tree.names:
            raise ValueError(f"the skeleton has no joint '{name}', only {', '.join(tree.names[:60])}")
    return {role: tree.names.index(name) for role, name in roles.items()}


def with_given(tree: Tree, found: Mapping[str, int], given: Mapping[str, int]) -> tuple[dict[str, int], list[str]]:
    """Return what ``find_joints`` does, with the joints that the user named in place of those found."""
    merged = {**found, **given}
    missing = [role for role in REQUIRED if role not in merged]
    return (merged, missing) if missing else ({**_completed(tree, merged), **given}, [])


def _by_name(tree: Tree) -> dict[str, int]:
    sided, central = _stems(tree.names)
    found: dict[str, int] = {}
    for side in "lr":
        used: set[int] = set()
        for role, aliases in _ALIASES:
            free = [sided[side, alias] for alias in aliases if sided.get((side, alias)) not in {None, *used}]
            if free:
                used.add(free[0])
                found[f"{role}_{side}"] = free[0]
    for role, aliases in (("neck", _NECK), ("head", _HEAD)):
        joint = next((central[alias] for alias in aliases if alias in central), None)
        if joint is not None:
            found[role] = joint
    if tree.ends:
        head = found.get("head")
        found = {role: max(tree.parents[joint], 0) for role, joint in found.items()}
        found |= {} if head is None else {"head": head}
        for side in "lr":
            found.pop(f"hand_{side}", None)
    return found


def _stems(names: Sequence[str]) -> tuple[dict[tuple[str, str], int], dict[str, int]]:
    """Return (side, stem) -> joint, and stem -> joint for names without a side; the first joint of a name counts."""
    bare = [re.split(r"[:|]", name)[-1] for name in names]
    shared = _shared_prefix(bare[1:]) if len(bare) > 3 else 0
    sided: dict[tuple[str, str], int] = {}
    central: dict[str, int] = {}
    for joint, name in enumerate(bare):
        if _TWIST.search(name):
            continue
        name = name[shared:] if joint and shared >= _LEAST_PREFIX else name
        name = _RIG_PREFIX.sub("", name)
        central.setdefault(_stem(name), joint)
        for side, rest in _sides(name):
            sided.setdefault((side, _stem(rest)), joint)
    return sided, central


def _shared_prefix(names: Sequence[str]) -> int:
    first, last = min(names), max(names)
    return next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))


def _stem(name: str) -> str:
    return _BEND.sub("", re.sub(r"[^a-z0-9]", "", name.lower()))


def _sides(name: str) -> list[tuple[str, str]]:
    """Return the possible (side, rest) of a name: ``LeftLeg``, ``leg_l``, ``L Calf`` and ``lShin`` are all left."""
    found = []
    for side, word in (("l", "left"), ("r", "right")):
        lower = name.lower()
        if lower.startswith(word):
            found.append((side, name[len(word) :]))
        if lower.endswith(word):
            found.append((side, name[: -len(word)]))
        tokens = re.split(r"[^a-z0-9]+", lower)
        for short in (side, word, f"{side}t"):
            if short in tokens:
                found.append((side, "".join(token for token in tokens if token != short)))
        if lower.startswith(side):
            found.append((side, name[1:]))
        if name.endswith(side.upper()):
            found.append((side, name[:-1]))
    return found


def _out_of_order(tree: Tree, named: Mapping[str, int]) -> list[str]:
    """Return roles whose joint is not below the previous one in the tree, or is in the same place."""
    wrong = []
    for upper, lower in ((limb[place], limb[place + 1]) for limb in _LIMBS for place in (0, 1)):
        for side in "lr":
            above, below = named.get(f"{upper}_{side}"), named.get(f"{lower}_{side}")
            if above is None or below is None:
                continue
            apart = float(np.linalg.norm(tree.rest[above] - tree.rest[below]))
            if not tree.is_below(below, above) or above == below or apart <= 1e-9:
                wrong.append(f"{lower}_{side}")
    return wrong


def _completed(tree: Tree, found: Mapping[str, int]) -> dict[str, int]:
    """Add the ends of feet and hands, and the middle of the back, if the tree has them."""
    joints = dict(found)
    for side in "lr":
        for above, first, last in (("ankle", "ball", "toe"), ("wrist", "", "hand")):
            start = joints[f"{above}_{side}"]
            way = [joint for joint in tree.way_down(start)[1:] if tree.length(joint) > 1e-9]
            if first and (f"{first}_{side}" not in joints or not tree.is_below(joints[f"{first}_{side}"], start)):
                joints.pop(f"{first}_{side}", None)
                if way:
                    joints[f"{first}_{side}"] = way[0]
            known = joints.get(f"{last}_{side}")
            if known is None or known == start or not tree.is_below(known, start):
                joints.pop(f"{last}_{side}", None)
                end = [joint for joint in way if joint != joints.get(f"{first}_{side}")]
                if end:
                    joints[f"{last}_{side}"] = end[-1]
    if "neck" not in joints:
        joints["neck"] = _meeting(tree, joints["shoulder_l"], joints["shoulder_r"])
    if "head" not in joints and (head := _top(tree, joints)) is not None:
        joints["head"] = head
    back: list[int] = []
    joint = joints["neck"]
    while joint > 0:
        back.insert(0, joint)
        joint = tree.parents[joint]
    heights = np.cumsum([0.0, *map(tree.length, back)])
    between = [
        (abs(height / heights[-1] - 0.4), joint)
        for joint, height in zip(back, heights[1:], strict=True)
        if 0.1 * heights[-1] < height < 0.75 * heights[-1]
    ]
    if between:
        joints["spine"] = min(between)[1]
    return joints


def _top(tree: Tree, joints: Mapping[str, int]) -> int | None:
    """Return the last joint, ends aside, of the longest way up from the neck that leads to no arm."""
    arms = [joints[f"shoulder_{side}"] for side in "lr"]
    free = [
        child
        for child in tree.children[joints["neck"]]
        if not any(tree.is_below(arm, child) for arm in arms) and tree.reach(child) > 1e-9
    ]
    way = tree.way_down(max(free, key=tree.reach)) if free and not tree.ends else []
    return next((joint for joint in reversed(way) if tree.children[joint]), None)


def named_otherwise(names: Sequence[str], joints: Mapping[str, int]) -> bool:
    """Return whether left hips or shoulders are joints that the file calls right ones, or the reverse."""
    for role in ("hip_l", "hip_r", "shoulder_l", "shoulder_r"):
        words = re.findall(r"left|right", names[joints[role]].lower())
        if words and all(word[0] != role[-1] for word in words):
            return True
    return False


def _meeting(tree: Tree, one: int, other: int) -> int:
    while not tree.is_below(other, one):
        one = tree.parents[one]
    return one


def _by_shape(tree: Tree, poses: FloatArray) -> dict[str, int]:
    """Return role -> joint, empty if the tree is not a person's: two legs, two arms, a head."""
    forks = [joint for joint in range(len(tree.names)) if len(_branches(tree, joint)) >= 3]
    if len(forks) < 2:
        return {}
    hips = forks[0]
    chest = next((joint for joint in forks[1:] if tree.is_below(joint, hips)), None)
    if chest is None:
        return {}
    legs = [child for child in _branches(tree, hips) if not tree.is_below(chest, child)][:2]
    arms = _branches(tree, chest)[:2]
    limbs = [_two_longest(tree, start) for start in (*legs, *arms)]
    if len(legs) < 2 or any(limb is None for limb in limbs):
        return {}
    found: dict[str, int] = {"neck": chest}
    for pair, roles in ((limbs[:2], _LIMBS[0]), (limbs[2:], _LIMBS[1])):
        for side, limb in zip("lr", pair, strict=True):
            assert limb is not None
            found |= {f"{role}_{side}": joint for role, joint in zip(roles, limb, strict=False)}
    if not {"ball_l", "ball_r"} <= set(found):
        return {}
    third = _branches(tree, chest)[2]
    jointed = [joint for joint in tree.way_down(third) if tree.children[joint]]
    if jointed:
        found |= {"neck": third, "head": jointed[-1]}
    return _by_hinges(found, poses)


def _branches(tree: Tree, joint: int) -> list[int]:
    """Return the children with bones of positive length below them, the farthest-reaching first."""
    reaches = {child: tree.reach(child) for child in tree.children[joint]}
    return sorted((child for child, reach in reaches.items() if reach > 1e-9), key=lambda child: -reaches[child])


def _two_longest(tree: Tree, start: int) -> tuple[int, ...] | None:
    """Return the joints where a limb's two longest consecutive bones start, meet and end, and the next one if any."""
    way = [tree.parents[start], *tree.way_down(start)]
    way = [way[0], *(joint for joint in way[1:] if tree.length(joint) > 1e-9 and not _TWIST.search(tree.names[joint]))]
    if len(way) < 3:
        return None
    spans = [float(np.linalg.norm(tree.rest[b] - tree.rest[a])) for a, b in pairwise(way)]
    pairs = [spans[place] + spans[place + 1] for place in range(len(way) - 2)]
    best = int(np.argmax(pairs))
    return tuple(way[best : best + 4])


def _by_hinges(found: Mapping[str, int], poses: FloatArray) -> dict[str, int]:
    """Swap legs or arms if the ankles' hinges, which point left, show that left is right."""
    at = {role: poses[:, joint] for role, joint in found.items()}
    hinges = [np.cross(at[f"knee_{side}"] - at[f"ankle_{side}"], at[f"ball_{side}"] - at[f"ankle_{side}"])
              for side in "lr"]  # fmt: skip
    left = hinges[0] + hinges[1]
    sided = dict(found)
    for limb in _LIMBS:
        across = (at[f"{limb[0]}_l"] - at[f"{limb[0]}_r"]) * left
        if np.median(across.sum(axis=-1)) < 0:
            for role in limb:
                for one, other in (("l", "r"), ("r", "l")):
                    sided.pop(f"{role}_{one}", None)
                    if f"{role}_{other}" in found:
                        sided[f"{role}_{one}"] = found[f"{role}_{other}"]
    return sided
