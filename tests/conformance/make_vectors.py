"""Writes the conformance vectors: ``python tests/conformance/make_vectors.py``. Uses nothing of the project.

Every value is computed one pose and one joint at a time, rotations by SciPy; see README.md for what the numbers mean.
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

METRIC_VERSION = 1
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
RIGHT_LEFT = ((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13))
LIMBS = {1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15, 16}
BONES_MM = (0, 130, 450, 440, 130, 450, 440, 240, 250, 115, 115, 150, 280, 250, 150, 280, 250)
Pose = list[list[float]]


def person(rng: np.random.Generator) -> np.ndarray:
    """(17, 3) mm, three to five metres in front of a camera; bones of human length in random directions."""
    joints = np.zeros((17, 3))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            way = rng.normal(size=3)
            joints[joint] = joints[parent] + BONES_MM[joint] * way / np.linalg.norm(way)
    place = np.array([rng.uniform(-800, 800), rng.uniform(-300, 300), rng.uniform(3000, 5000)])
    return joints + place


def pair(rng: np.random.Generator, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of one pose."""
    true = person(rng)
    pred = true + rng.normal(size=(17, 3)) * 50
    if kind == "rotated":
        pred = Rotation.from_rotvec(rng.normal(size=3)).apply(pred) * rng.uniform(0.7, 1.4) + rng.normal(size=3) * 300
    if kind == "mirrored":
        pred = pred * [-1, 1, 1]
    if kind == "planar":
        pred[:, 2] = 4000
    if kind == "both-planar":
        pred[:, 2], true[:, 0] = 4000, 250
    if kind == "nearly-planar":
        pred[:, 2] = 4000 + rng.normal(size=17) * 0.01
    if kind == "on-a-line":
        pred = np.outer(pred[:, 0], [0.6, 0.0, 0.8]) + np.array([0, 0, 4000])
    if kind == "tiny":
        pred = pred[0] + (pred - pred[0]) * 0.01
    if kind == "all-zero":
        pred = np.zeros((17, 3))
    if kind == "one-point":
        pred = np.tile([100.0, 200.0, 4000.0], (17, 1))
    if kind == "far-off":
        pred = pred + np.array([2000, -1500, 900])
    if kind == "thresholds":
        true = true.round()
        pred = true.copy()
        pred[:, 2] += [0, 5, 50, 100, 100.001, 99.999, 149.999, 150, 150.001, 1, 20, 75, 0, 500, 4.999, 5.001, 145]
    if kind == "perfect":
        pred = true.copy()
    return pred.round(3), true.round(3)


def similarity(pred: list[np.ndarray], true: list[np.ndarray], everything: np.ndarray, *, scale: bool,
               mirror: bool) -> np.ndarray | None:  # fmt: skip
    """``everything`` moved by the best similarity of the counted joints; ``None`` = undefined."""
    if len(pred) < 3:
        return None
    p, t = np.array(pred), np.array(true)
    p0, t0 = p - p.mean(axis=0), t - t.mean(axis=0)
    if np.abs(p0).max() < 1e-9 * max(1.0, np.abs(p).max()) or np.abs(t0).max() < 1e-9 * np.abs(t).max():
        return None
    if mirror:
        turn = orthogonal_procrustes(p0, t0)[0]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            turn = Rotation.align_vectors(t0, p0)[0].as_matrix().T
    turned = p0 @ turn
    factor = float((turned * t0).sum() / (turned * turned).sum()) if scale else 1.0
    return np.asarray(factor * (everything - p.mean(axis=0)) @ turn + t.mean(axis=0))


def distance(one: Any, other: Any) -> float:
    return math.sqrt(math.fsum((float(a) - float(b)) ** 2 for a, b in zip(one, other, strict=True)))


def mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def measured(pred: np.ndarray, true: np.ndarray, counted: list[int]) -> dict[str, float | None]:
    """Every metric of one pose."""
    answered = [joint for joint in counted if np.isfinite(pred[joint]).all()]
    complete = answered == counted
    rooted_pred, rooted_true = pred - pred[0], true - true[0]
    trunk_pred, trunk_true = pred - (pred[7] + pred[8]) / 2, true - (true[7] + true[8]) / 2

    def error(p: np.ndarray | None, t: np.ndarray) -> float | None:
        return mean([distance(p[j], t[j]) for j in counted]) if p is not None and complete else None

    def share(p: np.ndarray, t: np.ndarray, threshold: float) -> float | None:
        known = [joint for joint in counted if np.isfinite(p[joint]).all()]
        right = sum(distance(p[j], t[j]) <= threshold for j in known)
        return 100.0 * right / len(counted) if counted else None

    def area(p: np.ndarray, t: np.ndarray) -> float | None:
        shares = [share(p, t, 5.0 * step) for step in range(31)]
        return None if None in shares else mean([one for one in shares if one is not None])

    def scaled() -> np.ndarray | None:
        below = math.fsum(float(x) ** 2 for j in counted for x in rooted_pred[j]) if complete else 0.0
        above = math.fsum(float(a) * float(b) for j in counted for a, b in zip(rooted_pred[j], rooted_true[j],
                          strict=True)) if complete else 0.0  # fmt: skip
        return rooted_pred * (above / below) if below > 0 else None

    def aligned(scale: bool, mirror: bool) -> np.ndarray | None:
        if not complete:
            return None
        return similarity([pred[j] for j in counted], [true[j] for j in counted], pred, scale=scale, mirror=mirror)

    rigid = aligned(False, False)
    return {
        "mpjpe_mm": error(pred, true),
        "mpjpe_root_mm": error(rooted_pred, rooted_true),
        "mpjpe_body_mm": error(trunk_pred, trunk_true),
        "n_mpjpe_mm": error(scaled(), rooted_true),
        "pa_mpjpe_mm": error(aligned(True, False), true),
        "pa_mpjpe_rigid_mm": error(rigid, true),
        "pa_mpjpe_mirror_mm": error(aligned(True, True), true),
        "pa_mpjpe_rerooted_mm": error(None if rigid is None else rigid - rigid[0], rooted_true),
        "pck_100": share(pred, true, 100.0),
        "pck_root_100": share(rooted_pred, rooted_true, 100.0),
        "pck_150": share(pred, true, 150.0),
        "pck_root_150": share(rooted_pred, rooted_true, 150.0),
        "auc_150": area(pred, true),
        "auc_root_150": area(rooted_pred, rooted_true),
    }


def plain(pose: np.ndarray) -> list[list[float] | None]:
    return [None if not np.isfinite(joint).all() else [float(x) for x in joint] for joint in pose]


def case(rng: np.random.Generator, kind: str, number: int) -> dict[str, Any]:
    pred, true = pair(rng, kind)
    counted = list(range(17))
    if kind == "masked":
        counted = sorted({0, *rng.choice(17, 9, replace=False).tolist()})
    if kind == "root-not-counted":
        counted = list(range(1, 17))
    if kind == "two-joints":
        counted = [0, 7]
    if kind == "one-joint":
        counted = [3]
    if kind == "no-joint":
        counted = []
    if kind == "joint-without-answer":
        pred[11] = np.nan
    if kind == "nothing-answered":
        pred[:] = np.nan
    with np.errstate(invalid="ignore"):
        values = measured(pred, true, counted)
        limbs = [joint for joint in counted if joint in LIMBS]
        values["pa_limbs12_mm"] = measured(pred, true, limbs)["pa_mpjpe_mm"]
    return {"name": f"{kind}-{number}", "predicted": plain(pred), "true": plain(true), "counted": counted,
            "values": values}  # fmt: skip


KINDS = {
    "general": 4, "rotated": 3, "mirrored": 3, "planar": 2, "both-planar": 2, "nearly-planar": 2, "on-a-line": 2,
    "tiny": 1, "far-off": 1, "thresholds": 1, "perfect": 1, "masked": 3, "root-not-counted": 1, "two-joints": 1,
    "one-joint": 1, "no-joint": 1, "all-zero": 1, "one-point": 1, "joint-without-answer": 1, "nothing-answered": 1,
}  # fmt: skip


def folds(rng: np.random.Generator) -> dict[str, Any]:
    """A small test set with actions: means over frames and over actions. Coordinates are whole eighths of a millimetre,
    which 32-bit floats hold exactly."""
    actions = ["walk"] * 6 + ["sit"] * 2 + ["eat"] * 1
    made = [pair(rng, "rotated" if n % 3 == 0 else "general") for n in range(len(actions))]
    pairs = [((pred * 8).round() / 8, (true * 8).round() / 8) for pred, true in made]
    values = [measured(pred, true, list(range(17))) for pred, true in pairs]
    names = ("mpjpe_root_mm", "pa_mpjpe_mm", "pck_root_100", "auc_root_150")
    per_action = {
        action: {name: mean([float(v[name] or 0.0) for v, a in zip(values, actions, strict=True) if a == action])
                 for name in names}
        for action in dict.fromkeys(actions)
    }  # fmt: skip
    return {
        "predicted": [plain(pred) for pred, _ in pairs],
        "true": [plain(true) for _, true in pairs],
        "action": actions,
        "frame_mean": {name: mean([float(v[name] or 0.0) for v in values]) for name in names},
        "action_mean": {name: mean([float(fold[name] or 0.0) for fold in per_action.values()]) for name in names},
        "by_action": per_action,
    }


def main() -> None:
    rng = np.random.default_rng(2019)
    here = Path(__file__).parent
    about = {"metric_version": METRIC_VERSION, "unit": "mm", "root": 0, "tolerance": 1e-9, "readme": "README.md"}
    cases = [case(rng, kind, number) for kind, count in KINDS.items() for number in range(count)]
    for name, document in (("poses", about | {"cases": cases}), ("means", about | folds(rng))):
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
        for word in ('{"name":', '"true":', '"values":', '"action":', '"frame_mean":'):
            text = text.replace(word, "\n" + word)
        (here / f"{name}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
