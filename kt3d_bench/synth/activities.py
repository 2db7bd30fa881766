"""The table of activities: key poses in degrees, their timing, and how much people vary.

A name such as ``shoulder.flex`` stands for both sides; ``shoulder_l.flex`` for one. Signs as in ``rig.LIMITS_DEG``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kt3d_bench.synth.rig import LIMITS_DEG

Key = Mapping[str, float]


@dataclass(frozen=True)
class Activity:
    """One variant of an activity."""

    keys: tuple[Key, ...]  # Poses of the cycle, in order; an angle that is not named is 0
    cycle_s: float = 4.0
    dwell: float = 0.4  # Share of time spent still at each key; 0 = one smooth curve through all keys
    spread: float = 1.0  # How much people vary; 1 = as much as in standing
    level: float = 0.0  # 0..1 how far the soles are turned towards level
    mirror: bool = True  # Whether left and right may be swapped
    gait: str = ""
    """``walk``: the standing foot moves the body forward; ``run``: it moves at ``speed`` and leaves the ground."""
    speed: float = 0.0  # Speed of a run, leg lengths per second
    leap: float = 0.0  # Height of a jump, leg lengths
    leap_phases: tuple[float, float] = (0.0, 1.0)  # Phases at which the jump starts and ends
    seated: bool = False  # Whether a seat is needed


def _key(*layers: Key, **more: float) -> Key:
    """Merge layers of angles; later ones win, and a name without a side sets both sides."""
    full: dict[str, float] = {}
    for layer in (*layers, {name.replace("__", "."): value for name, value in more.items()}):
        for name, value in layer.items():
            if name in LIMITS_DEG:
                full[name] = value
            else:
                joint, angle = name.split(".")
                full[f"{joint}_l.{angle}"] = full[f"{joint}_r.{angle}"] = value
    return full


STAND = _key({"shoulder.abduct": 9, "shoulder.flex": 2, "elbow.flex": 14, "hip.abduct": 4, "hip.twist": 8,
              "knee.flex": 4, "hip.flex": 3, "spine.bend": 3, "neck.nod": 3, "elbow.pronate": 25})  # fmt: skip
RELAXED = _key(STAND, {"hip_l.abduct": 9, "hip_l.flex": 10, "knee_l.flex": 16, "root.roll": -2, "spine.side": 2})
SIT = _key({"root.pitch": -8, "hip.flex": 84, "hip.abduct": 8, "hip.twist": 4, "knee.flex": 86, "spine.bend": 14,
            "shoulder.flex": 26, "shoulder.abduct": 8, "elbow.flex": 52, "neck.nod": 4,
            "elbow.pronate": 40})  # fmt: skip
CROSSED = _key({"root.pitch": -12, "hip.flex": 92, "hip.abduct": 38, "hip.twist": 42, "knee_l.flex": 124,
                "knee_r.flex": 112, "ankle.flex": -20, "spine.bend": 38, "shoulder.flex": 34, "shoulder.abduct": 14,
                "elbow.flex": 42, "neck.nod": 6, "elbow.pronate": 50})  # fmt: skip
LONG_SIT = _key({"root.pitch": -18, "hip.flex": 68, "hip.abduct": 10, "knee.flex": 8, "spine.bend": 10,
                 "shoulder.flex": -30, "shoulder.abduct": 18, "elbow.flex": 8, "ankle.flex": -12,
                 "wrist.flex": -20, "neck.nod": 8})  # fmt: skip
HUG_SIT = _key({"root.pitch": -12, "hip.flex": 108, "hip.abduct": 8, "knee.flex": 108, "spine.bend": 42,
                "shoulder.flex": 66, "shoulder.abduct": 2, "elbow.flex": 30, "ankle.flex": -8})  # fmt: skip

# hip, knee, ankle and ball of one leg at eighths of the cycle, from heel strike on
_STRIDE = ((26, 4, -6, 0), (20, 11, -7, 0), (9, 7, 0, 0), (-4, 4, 10, 0), (-15, 12, 6, 22), (4, 58, -6, 20),
           (27, 68, 6, 0), (33, 36, 5, 0))  # fmt: skip
_SWING = (-20, -14, -2, 13, 20, 14, 2, -13)
_WALK = tuple(
    _key({f"{joint}_{side}.flex": value for side, leg in (("l", left), ("r", right))
          for joint, value in zip(("hip", "knee", "ankle", "ball"), leg, strict=True)},
         {"shoulder_l.flex": arm, "shoulder_r.flex": -arm - 2, "elbow_l.flex": 22 + 0.5 * arm,
          "elbow_r.flex": 22 - 0.5 * arm, "shoulder.abduct": 8, "spine.twist": -0.22 * arm, "root.yaw": 0.14 * arm,
          "spine.bend": 4, "hip.abduct": 1, "hip.twist": 6, "root.pitch": 2, "neck.turn": 0.1 * arm,
          "elbow.pronate": 20})
    for left, right, arm in zip(_STRIDE, _STRIDE[4:] + _STRIDE[:4], _SWING, strict=True)
)  # fmt: skip
_RUN = tuple(
    _key({"hip_l.flex": hip, "knee_l.flex": knee, "ankle_l.flex": ankle, "hip_r.flex": hip2, "knee_r.flex": knee2,
          "ankle_r.flex": ankle2, "shoulder_l.flex": arm, "shoulder_r.flex": -arm - 4, "elbow_l.flex": 88 + 0.4 * arm,
          "elbow_r.flex": 88 - 0.4 * arm, "shoulder.abduct": 14, "shoulder.twist": -10, "spine.twist": -0.3 * arm,
          "root.yaw": 0.18 * arm, "spine.bend": 8, "root.pitch": 9, "neck.nod": -6, "hip.abduct": 1, "hip.twist": 4})
    for hip, knee, ankle, hip2, knee2, ankle2, arm in (
        (36, 22, 4, -6, 84, -14, -34),
        (26, 40, 18, 22, 102, -10, -20),
        (2, 24, 12, 48, 88, 0, 14),
        (-20, 18, -26, 56, 66, 4, 36),
        (-6, 84, -14, 36, 22, 4, 34),
        (22, 102, -10, 26, 40, 18, 20),
        (48, 88, 0, 2, 24, 12, -14),
        (56, 66, 4, -20, 18, -26, -36),
    )
)  # fmt: skip

_PHONE = {"shoulder_r.flex": 38, "shoulder_r.abduct": 26, "shoulder_r.twist": -6, "elbow_r.flex": 134,
          "neck.tilt": -7, "neck.turn": -6, "elbow_r.pronate": -30, "wrist_r.flex": 8}  # fmt: skip
_TO_MOUTH = {"shoulder_r.flex": 46, "shoulder_r.abduct": 12, "shoulder_r.twist": -22, "elbow_r.flex": 132,
             "neck.nod": 8, "wrist_r.flex": 20}  # fmt: skip
_PLATE = {"shoulder.flex": 24, "shoulder_r.twist": -18, "elbow.flex": 88, "neck.nod": 22, "elbow.pronate": 30}
_ASIDE = {"shoulder_r.flex": 18, "shoulder_r.abduct": 18, "elbow_r.flex": 60}

TABLE: dict[str, tuple[Activity, ...]] = {
    "stand": (
        Activity((STAND, RELAXED), 9.0, level=1.0),
        Activity((_key(STAND, {"shoulder.flex": -12, "shoulder.abduct": 32, "shoulder.twist": -38, "elbow.flex": 96,
                               "wrist.flex": 10}),), 9.0, level=1.0),
    ),
    "walk": (Activity(_WALK, 1.03, 0.0, 0.45, gait="walk"),),
    "run": (Activity(_RUN, 0.72, 0.0, 0.45, gait="run", speed=4.0),),
    "sit": (
        Activity((SIT, _key(SIT, {"spine.bend": 24, "neck.turn": 20, "elbow.flex": 70})), 8.0, level=0.9, seated=True),
        Activity((_key(SIT, {"root.pitch": -18, "spine.bend": 8, "hip.flex": 76, "knee.flex": 66,
                             "shoulder.flex": 12}),), 8.0, level=0.8, seated=True),
        Activity((_key(SIT, {"hip_r.flex": 100, "hip_r.twist": 40, "hip_r.abduct": 24, "knee_r.flex": 92,
                             "shoulder.flex": 34, "elbow.flex": 62}),), 8.0, level=0.5, seated=True),
    ),
    "sit-floor": (Activity((CROSSED,), 8.0), Activity((LONG_SIT,), 8.0), Activity((HUG_SIT,), 8.0, level=0.9)),
    "reach": (
        Activity((STAND, _key(STAND, {"shoulder_r.flex": 150, "shoulder_r.abduct": 18, "elbow_r.flex": 12,
                                      "clavicle_r.raise": 18, "neck.nod": -22, "spine.side": 6})),
                 4.0, 0.25, level=1.0),
        Activity((STAND, _key(STAND, {"shoulder.flex": 88, "elbow.flex": 14, "spine.bend": 22, "root.pitch": 10,
                                      "hip.flex": 14})), 4.0, 0.25, level=1.0),
        Activity((STAND, _key(STAND, {"shoulder_r.abduct": 92, "shoulder_r.flex": 20, "elbow_r.flex": 10,
                                      "spine.side": -14, "neck.turn": -36})), 4.0, 0.25, level=1.0),
    ),
    "crouch": (
        Activity((_key({"root.pitch": 18, "hip.flex": 112, "hip.abduct": 14, "hip.twist": 12, "knee.flex": 128,
                        "spine.bend": 26, "shoulder.flex": 54, "shoulder.abduct": 8, "elbow.flex": 44,
                        "neck.nod": -14}),), 7.0, level=1.0),
        Activity((_key({"root.pitch": 4, "hip_l.flex": 92, "knee_l.flex": 94, "hip_r.flex": 2, "knee_r.flex": 92,
                        "ankle_r.flex": -30, "hip.abduct": 6, "spine.bend": 16, "shoulder.flex": 34,
                        "elbow.flex": 62, "shoulder.abduct": 6, "neck.nod": 10}),), 7.0),
        Activity((_key(STAND, {"root.pitch": 24, "hip.flex": 84, "knee.flex": 96, "spine.bend": 22, "hip.abduct": 12,
                               "shoulder.flex": 62, "elbow.flex": 40, "neck.nod": -20}),), 7.0, level=1.0),
    ),
    "kick": (
        Activity((_key(STAND, {"hip_r.flex": -18, "knee_r.flex": 52, "shoulder_l.flex": 30, "shoulder.abduct": 26,
                               "knee_l.flex": 12, "hip_l.flex": 8}),
                  _key(STAND, {"hip_r.flex": 68, "knee_r.flex": 14, "root.pitch": -12, "spine.bend": 18,
                               "shoulder_r.flex": 34, "shoulder_l.flex": -18, "shoulder.abduct": 36,
                               "hip_l.flex": -8, "ankle_r.flex": -20})), 1.8, 0.2),
    ),
    "phone": (
        Activity((_key(STAND, _PHONE),), 8.0, level=1.0),
        Activity((_key(SIT, _PHONE),), 8.0, level=0.9, seated=True),
    ),
    "eat": (
        Activity((_key(SIT, _PLATE), _key(SIT, _PLATE, _TO_MOUTH)), 3.6, 0.3, level=0.9, seated=True),
        Activity((_key(STAND, _PLATE), _key(STAND, _PLATE, _TO_MOUTH)), 3.6, 0.3, level=1.0),
    ),
    "greet": (
        Activity(tuple(_key(STAND, {"shoulder_r.flex": 40, "shoulder_r.abduct": 92 + tilt, "shoulder_r.twist": 62,
                                    "elbow_r.flex": 76 - tilt, "clavicle_r.raise": 12}) for tilt in (-10, 12)),
                 1.1, 0.0, level=1.0),
        Activity((_key(STAND, {"shoulder_r.flex": 54, "elbow_r.flex": 34, "shoulder_r.twist": -8, "spine.bend": 10}),
                  _key(STAND, {"shoulder_r.flex": 46, "elbow_r.flex": 48, "shoulder_r.twist": -8, "spine.bend": 14})),
                 1.0, 0.0, level=1.0),
        Activity((STAND, _key(STAND, {"spine.bend": 34, "hip.flex": 28, "root.pitch": 26, "neck.nod": 14})), 4.5, 0.3,
                 level=1.0),
    ),
    "pose": (
        Activity((_key(STAND, {"shoulder.flex": -14, "shoulder.abduct": 38, "shoulder.twist": -42, "elbow.flex": 98,
                               "neck.turn": 22, "hip_l.abduct": 14}),), 8.0, 0.5, 1.3, level=1.0),
        Activity((_key(STAND, {"shoulder.abduct": 88, "elbow.flex": 8}),
                  _key(STAND, {"shoulder.abduct": 138, "elbow.flex": 12})), 6.0, 0.5, 1.3, level=1.0),
        Activity((_key(STAND, {"shoulder_l.flex": 120, "shoulder_l.abduct": 70, "elbow_l.flex": 116,
                               "shoulder_r.abduct": 34, "shoulder_r.twist": -40, "elbow_r.flex": 100,
                               "spine.side": 10}),), 8.0, 0.5, 1.3, level=1.0),
    ),
    "smoke": (
        Activity((_key(STAND, _ASIDE), _key(STAND, _TO_MOUTH)), 5.0, 0.5, level=1.0),
        Activity((_key(SIT, _ASIDE), _key(SIT, _TO_MOUTH)), 5.0, 0.5, level=0.9, seated=True),
    ),
    "photo": (
        Activity((_key(STAND, {"shoulder.flex": 62, "shoulder.twist": -24, "elbow.flex": 108, "neck.nod": 8,
                               "shoulder.abduct": 10, "knee.flex": 8, "hip.flex": 6}),), 7.0, level=1.0),
        Activity((_key(STAND, {"shoulder.flex": 66, "shoulder.twist": -20, "elbow.flex": 96, "knee.flex": 46,
                               "hip.flex": 50, "root.pitch": 12, "spine.bend": 14}),), 7.0, level=1.0),
    ),
    "wait": (
        Activity((_key(RELAXED, {"shoulder.flex": 22, "shoulder.twist": -46, "elbow.flex": 92, "elbow.pronate": 30}),
                  STAND), 9.0, 0.7, level=1.0),
        Activity((RELAXED, _key(RELAXED, {"shoulder_r.flex": 24, "shoulder_r.twist": -30, "elbow_r.flex": 104,
                                          "neck.nod": 28})), 7.0, 0.6, 1.2, level=1.0),
    ),
    "point": (
        Activity((STAND, _key(STAND, {"shoulder_r.flex": 86, "shoulder_r.abduct": 24, "elbow_r.flex": 8,
                                      "neck.turn": -14, "clavicle_r.forward": 10}),
                  _key(STAND, {"shoulder_r.abduct": 88, "elbow_r.flex": 8, "neck.turn": -48, "spine.twist": -14})),
                 5.0, 0.5, level=1.0),
    ),
    "discuss": (
        Activity((_key(STAND, {"shoulder.flex": 16, "elbow.flex": 72}),
                  _key(STAND, {"shoulder.flex": 34, "shoulder.abduct": 26, "shoulder.twist": 22, "elbow.flex": 82}),
                  _key(STAND, {"shoulder_r.flex": 44, "elbow_r.flex": 96, "shoulder_l.flex": 8, "elbow_l.flex": 44,
                               "neck.turn": 18})), 4.0, 0.2, 1.3, level=1.0),
        Activity((_key(SIT, {"elbow.flex": 70}),
                  _key(SIT, {"shoulder.flex": 40, "shoulder.abduct": 22, "shoulder.twist": 22, "elbow.flex": 84}),
                  _key(SIT, {"shoulder_r.flex": 50, "elbow_r.flex": 96, "neck.turn": 18})), 4.0, 0.2, 1.2, level=0.9,
                 seated=True),
    ),
    "carry": (
        Activity((_key(STAND, {"shoulder.flex": 22, "shoulder.abduct": 8, "elbow.flex": 86, "spine.bend": -4}),),
                 6.0, level=1.0),
        Activity((_key(STAND, {"shoulder_r.abduct": 14, "elbow_r.flex": 4, "spine.side": -8, "clavicle_l.raise": 6}),),
                 6.0, level=1.0),
    ),
    "bend": (
        Activity((STAND, _key(STAND, {"root.pitch": 46, "hip.flex": 74, "knee.flex": 24, "spine.bend": 40,
                                      "shoulder.flex": 74, "elbow.flex": 12, "neck.nod": -10})), 4.0, 0.25, level=1.0),
        Activity((STAND, _key(STAND, {"root.pitch": 24, "hip.flex": 98, "knee.flex": 100, "spine.bend": 36,
                                      "shoulder_r.flex": 66, "elbow_r.flex": 18, "shoulder_l.flex": 40,
                                      "elbow_l.flex": 60})), 4.0, 0.25, level=1.0),
    ),
    "jump": (
        Activity((_key(STAND, {"root.pitch": 26, "hip.flex": 74, "knee.flex": 80, "ankle.flex": 24, "spine.bend": 22,
                               "shoulder.flex": -34, "elbow.flex": 24}),
                  _key(STAND, {"hip.flex": -4, "knee.flex": 4, "ankle.flex": -34, "shoulder.flex": 138,
                               "elbow.flex": 24, "shoulder.abduct": 26}),
                  _key(STAND, {"hip.flex": 34, "knee.flex": 46, "shoulder.flex": 60, "shoulder.abduct": 40})),
                 1.3, 0.0, leap=0.3, leap_phases=(0.34, 0.76)),
    ),
    "dance": (
        Activity((_key(STAND, {"shoulder_l.abduct": 100, "shoulder_l.flex": 30, "elbow_l.flex": 50,
                               "shoulder_r.flex": 30, "shoulder_r.abduct": 44, "elbow_r.flex": 80, "hip_l.abduct": 26,
                               "knee_r.flex": 34, "hip_r.flex": 26, "spine.side": -14}),
                  _key(STAND, {"shoulder.flex": 110, "shoulder.abduct": 60, "elbow.flex": 60, "knee.flex": 30,
                               "hip.flex": 24, "spine.twist": 20}),
                  _key(STAND, {"hip_r.flex": 70, "knee_r.flex": 80, "shoulder_l.flex": 70, "shoulder_r.abduct": 80,
                               "elbow.flex": 40, "spine.twist": -16}),
                  _key(STAND, {"hip_r.abduct": 34, "knee_l.flex": 30, "hip_l.flex": 24, "shoulder.abduct": 70,
                               "elbow.flex": 70, "shoulder.twist": 40})), 3.2, 0.0, 1.3),
    ),
    "lie": (
        Activity((_key({"root.pitch": -90, "hip.abduct": 9, "shoulder.abduct": 24, "elbow.flex": 14, "knee.flex": 6,
                        "hip.flex": 2, "ankle.flex": -25, "shoulder.flex": -8, "hip.twist": 20}),), 9.0, spread=0.5),
        Activity((_key({"root.pitch": -90, "hip_l.flex": 48, "knee_l.flex": 92, "shoulder_r.flex": 40,
                        "shoulder.abduct": 30, "elbow_r.flex": 104, "hip.abduct": 6, "ankle.flex": -10}),),
                 9.0, spread=0.5),
        Activity((_key({"root.pitch": 90, "hip.abduct": 8, "shoulder.abduct": 112, "shoulder.flex": -6,
                        "shoulder.twist": 76, "elbow.flex": 66, "ankle.flex": -40, "neck.turn": 50, "hip.twist": 4}),),
                 9.0, spread=0.5),
        Activity((_key({"root.pitch": -90, "root.roll": 82, "hip_l.flex": 40, "knee_l.flex": 58, "hip_r.flex": 62,
                        "knee_r.flex": 76, "shoulder.flex": 62, "elbow.flex": 84, "spine.bend": 16}),),
                 9.0, spread=0.5),
    ),
}  # fmt: skip
