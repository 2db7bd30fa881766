"""Name what is likely wrong with predictions: units, order of joints, sides, axes, samples, precision.

Every rule is a pure function of predictions and truth with one stated threshold. Most compare the file with what it
would be after a certain mistake was undone: where undoing it makes the poses *clearly* better, that mistake was
probably made. The thresholds lie between honest methods (noisy, shrunken, constant) and the mistakes, which a test on
generated people shows. Mistakes of a method that hardly recognises the pose are not found. Shapes: N samples, 17
joints, mm, camera frame; joints that are not finite or not labelled are ignored.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.geometry.alignment import align_root
from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.functional import defined_mean, joint_errors, mpjpe, pa_mpjpe
from kt3d_bench.metrics.predictions import Predictions, join
from kt3d_bench.metrics.truth import Truth
from kt3d_bench.skeletons import H36M17

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

UNDONE = 0.75
"""An error that falls below this share of itself when a mistake is undone betrays the mistake."""
_MOST_POSES = 2000
_MAX_SHIFT = 5
_STRANGERS = 8
"""Other samples that each pose is compared with."""
_HIP = H36M17.root


@dataclass(frozen=True)
class Suspicion:
    """One thing that is probably wrong."""

    name: str
    sentence: str
    severe: bool = True
    """The numbers cannot be right if it is so."""

    def __str__(self) -> str:
        return f"{self.name}: {self.sentence}"


@dataclass(frozen=True)
class Evidence:
    """Poses of answered, labelled samples, in the order of the test's list."""

    pred_mm: FloatArray
    true_mm: FloatArray
    mask: BoolArray
    clip: npt.NDArray[Any]
    """(N,) whatever stays the same while frames follow one another."""


def suspicions_of(predictions: Predictions, truth: Truth, benchmark: Benchmark) -> tuple[Suspicion, ...]:
    """Return the ``suspicions`` of predictions; a clip is what one camera saw, its frames by key."""
    camera = np.full(len(truth.keys), "") if truth.camera is None else truth.camera
    clip = np.array([f"{one}/{two}" for one, two in zip(truth.sequence, camera, strict=True)], np.str_)
    order = np.lexsort((truth.keys, clip))
    joined, _, _ = join(predictions, truth.keys[order])
    return suspicions(joined, truth.joints_cam_mm[order], clip[order], root=benchmark.root, listed=order)


def suspicions(
    pred_mm: npt.NDArray[Any],
    true_mm: npt.NDArray[Any],
    clip: npt.NDArray[Any],
    *,
    root: int | None,
    listed: npt.NDArray[Any] | None = None,
) -> tuple[Suspicion, ...]:
    """Return everything suspicious about ``pred_mm`` (N, 17, 3) against ``true_mm``, NaN = no answer or no label.

    ``clip`` (N,): names; frames of one clip follow one another in the arrays. ``listed`` (N,): places in the test's own
    list, where that is another order. ``root`` as in the benchmark. Of order, frames and axes only the first that
    explains the poses is named.
    """
    stored = np.asarray(pred_mm)
    pred: FloatArray = np.asarray(stored, np.float64)
    true: FloatArray = np.asarray(true_mm, np.float64)
    mask: BoolArray = np.asarray(np.isfinite(true).all(axis=-1))
    usable = (np.isfinite(pred).all(axis=-1) | ~mask).all(axis=1) & mask[:, _HIP] & (mask.sum(axis=1) >= 4)
    found = [one for one in (half_precision(stored), _filler(pred)) if one is not None]
    if usable.sum() < 2:
        return tuple(found)
    every = Evidence(pred[usable], true[usable], mask[usable], np.asarray(clip)[usable])
    some = _thinned(every)
    as_listed = np.argsort(np.arange(len(pred)) if listed is None else np.asarray(listed))
    as_listed = as_listed[usable[as_listed]]
    whole = Evidence(pred[as_listed], true[as_listed], mask[as_listed], np.zeros(len(as_listed)))
    wrong = (
        _exchange(some)
        or _any_order(some)
        or _shift(every)
        or _shift(whole)
        or _axes(some)
        or _shuffled(some)
        or _orientation(some)
    )
    rest = [one for one in (wrong, _size(some), _at_origin(some, root), _too_good(some)) if one is not None]
    return (*found, *rest)


def half_precision(stored: npt.NDArray[Any]) -> Suspicion | None:
    """Find coordinates that all survive 16 bits, which 32-bit predictions do not by chance."""
    values = np.unique(stored[:: max(1, len(stored) // _MOST_POSES)])
    values = values[np.isfinite(values)]
    with np.errstate(over="ignore"):
        kept = values.astype(np.float16).astype(values.dtype) == values
    if len(values) < 100 or not kept.all() or ((values == np.round(values)).all() and np.abs(values).max() <= 2048):
        return None
    return Suspicion(
        "float16", "every coordinate is a 16-bit float: at four metres that is rounded to 2 mm", severe=False
    )


def _filler(pred: FloatArray) -> Suspicion | None:
    """The last samples hold zeros, or all the same pose while the others differ."""
    flat = pred.reshape(len(pred), -1)
    same = (flat == flat[-1:]).all(axis=1)
    tail = len(same) - int(np.flatnonzero(~same)[-1]) - 1 if not same.all() else 0
    if tail >= 2 and tail >= 0.005 * len(pred):
        what = "zeros" if not flat[-1].any() else "the same pose"
        return Suspicion("missing tail", f"the last {tail} samples all hold {what}")
    return None


_TRUNK, _RIGHT_LEG, _LEFT_LEG = (7, 8, 9, 10), (1, 2, 3), (4, 5, 6)
_LEFT_ARM, _RIGHT_ARM = (11, 12, 13), (14, 15, 16)
ORDERS: Mapping[str, tuple[int | None, ...]] = {
    "left and right exchanged": tuple(int(joint) for joint in H36M17.mirror),
    "the right arm before the left": (0, *_RIGHT_LEG, *_LEFT_LEG, *_TRUNK, *_RIGHT_ARM, *_LEFT_ARM),
    "the left leg before the right": (0, *_LEFT_LEG, *_RIGHT_LEG, *_TRUNK, *_LEFT_ARM, *_RIGHT_ARM),
    "the hip last": (*range(1, 17), 0),
    "the reverse order": tuple(range(16, -1, -1)),
    "legs and arms from their ends": (0, 3, 2, 1, 6, 5, 4, 7, 8, 9, 10, 13, 12, 11, 16, 15, 14),
    "COCO's order": (9, None, None, None, None, 11, 14, 12, 15, 13, 16, 4, 1, 5, 2, 6, 3),
    "the order of 16 joints from the right ankle": (3, 2, 1, 4, 5, 6, 0, 8, None, 10, 16, 15, 14, 11, 12, 13, None),
    "SMPL's order": (0, 4, 1, 7, 5, 2, None, 6, 3, None, None, None, 8, None, None, 10, 11),
    "the MPI-INF-3DHP test set's order": (10, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6, 0, 7, 9),
}
"""Name -> what lies at each place of such a file: an index of the common order; ``None`` = a joint that it lacks."""


def _exchange(given: Evidence) -> Suspicion | None:
    """Another order of joints, or a mirror image, explains the poses: PA-MPJPE over the joints concerned falls."""
    ratios: dict[str, float] = {}
    for name, order in ORDERS.items():
        places = [place for place, joint in enumerate(order) if joint is not None]
        joints = [joint for joint in order if joint is not None]
        mask = given.mask[:, joints] & np.isfinite(given.pred_mm[:, places]).all(axis=-1)
        undone = pa_mpjpe(given.pred_mm[:, places], given.true_mm[:, joints], mask=mask)
        asis = pa_mpjpe(given.pred_mm[:, joints], given.true_mm[:, joints], mask=mask)
        ratios[name] = _ratio(undone, asis)
    asis = pa_mpjpe(given.pred_mm, given.true_mm, mask=given.mask)
    flipped = given.pred_mm * [-1, 1, 1]
    ratios["mirror"] = _ratio(pa_mpjpe(flipped, given.true_mm, mask=given.mask), asis)
    name = min(ratios, key=lambda one: ratios[one])
    if not ratios[name] < UNDONE:
        return None
    gain = f"undoing it leaves {100 * ratios[name]:.0f} % of PA-MPJPE"
    if name == "mirror":
        return Suspicion("mirrored", f"the poses are mirror images of the true ones: {gain}")
    if name.endswith("exchanged"):
        return Suspicion("left and right", f"the joints of the two sides are exchanged: {gain}")
    return Suspicion("joint order", f"the joints seem to be in {name}, not in Human3.6M's: {gain}")


def _any_order(given: Evidence) -> Suspicion | None:
    """An order of joints that is in no table: the assignment of places to joints that fits the poses best."""
    from scipy.optimize import linear_sum_assignment

    whole = given.mask.all(axis=1)
    if whole.sum() < 2:
        return None
    pred, true = (poses[whole] - poses[whole].mean(axis=1, keepdims=True) for poses in (given.pred_mm, given.true_mm))
    cost = np.linalg.norm(pred[:, :, None] - true[:, None], axis=-1).mean(axis=0)
    places, joints = linear_sum_assignment(cost)
    if (places == joints).all():
        return None
    undone = np.empty_like(pred)
    undone[:, joints] = pred[:, places]
    ratio = _ratio(pa_mpjpe(undone, true), pa_mpjpe(pred, true))
    if ratio >= UNDONE:
        return None
    order = ", ".join(H36M17.joints[joints[place]] for place in range(len(joints)))
    return Suspicion(
        "joint order", f"the joints seem to be in the order {order}: undoing it leaves {100 * ratio:.0f} % of PA-MPJPE"
    )


def _shift(given: Evidence) -> Suspicion | None:
    """The poses fit the frames some places earlier or later better than their own."""
    best, at = 1.0, 0
    for step in (*range(-_MAX_SHIFT, 0), *range(1, _MAX_SHIFT + 1)):
        own = np.arange(max(0, -step), len(given.clip) - max(0, step))
        own = own[given.clip[own] == given.clip[own + step]][:: max(1, len(own) // _MOST_POSES)]
        if len(own) < 20:
            continue
        mask = given.mask[own] & given.mask[own + step]
        other = mpjpe(given.pred_mm[own], given.true_mm[own + step], root=_HIP, mask=mask)
        asis = mpjpe(given.pred_mm[own], given.true_mm[own], root=_HIP, mask=mask)
        ratio = _ratio(other, asis)
        if ratio < best:
            best, at = ratio, step
    if best >= UNDONE:
        return None
    way = "later" if at > 0 else "earlier"
    return Suspicion(
        "wrong frames",
        f"the poses fit the samples {abs(at)} places {way} better than their own: {100 * best:.0f} % of the error",
    )


def _axes(given: Evidence) -> Suspicion | None:
    """One exchange of axes or signs, the same for all samples, explains the poses: root-aligned MPJPE falls."""
    true = align_root(given.true_mm, _HIP)
    pred = align_root(given.pred_mm, _HIP)
    asis = mpjpe(pred, true, root=None, mask=given.mask)
    ratios = {name: _ratio(mpjpe(pred @ turn, true, None, mask=given.mask), asis) for name, turn in _quarter_turns()}
    name = min(ratios, key=lambda one: ratios[one])
    if ratios[name] >= UNDONE:
        return None
    return Suspicion(
        "axes",
        f"the axes seem to be ({name}) instead of (x right, y down, z forward): exchanging them leaves "
        f"{100 * ratios[name]:.0f} % of the error",
    )


def _quarter_turns() -> Iterator[tuple[str, FloatArray]]:
    """The 23 turns by right angles, as matrices for row vectors; improper ones are mirror images, named elsewhere."""
    for order in permutations(range(3)):
        for signs in product((1.0, -1.0), repeat=3):
            turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
            if np.linalg.det(turn) > 0 and not np.array_equal(turn, np.eye(3)):
                names = [("" if sign > 0 else "-") + "xyz"[axis] for axis, sign in zip(order, signs, strict=True)]
                yield ", ".join(names), turn


def _shuffled(given: Evidence) -> Suspicion | None:
    """The poses vary like true ones and yet, however turned, fit their own samples no better than others'."""
    count = len(given.clip)
    if count < 20:
        return None
    order = np.random.default_rng(0).permutation(count)
    strangers = [order[np.argsort(np.roll(order, step))] for step in range(1, _STRANGERS + 1)]
    own = defined_mean(pa_mpjpe(given.pred_mm, given.true_mm, mask=given.mask))
    strange = float(np.mean([
        defined_mean(pa_mpjpe(given.pred_mm, given.true_mm[other], mask=given.mask & given.mask[other]))
        for other in strangers
    ]))  # fmt: skip
    other = strangers[0]
    mask = given.mask & given.mask[other]
    vary = defined_mean(mpjpe(given.pred_mm, given.pred_mm[other], root=_HIP, mask=mask))
    truly = defined_mean(mpjpe(given.true_mm, given.true_mm[other], root=_HIP, mask=mask))
    if not own > 0.93 * strange or vary < 0.5 * truly:
        return None
    return Suspicion(
        "shuffled",
        f"after alignment, the poses fit their own samples no better ({own:.0f} mm) than others ({strange:.0f} mm)",
    )


def _orientation(given: Evidence) -> Suspicion | None:
    """Right poses, each rotated differently: they are in a world frame or another camera's. Medians are compared, as
    a few distant outliers do not mean that."""
    rooted = float(np.nanmedian(mpjpe(given.pred_mm, given.true_mm, root=_HIP, mask=given.mask)))
    aligned = float(np.nanmedian(pa_mpjpe(given.pred_mm, given.true_mm, mask=given.mask)))
    if not aligned < 0.35 * rooted or rooted < 150:
        return None
    return Suspicion(
        "another frame",
        f"the poses are right but turned ({aligned:.0f} mm after alignment, {rooted:.0f} mm before): they seem to be "
        "in another frame than the camera's",
    )


def _size(given: Evidence) -> Suspicion | None:
    """Bones of another unit: their median length is far from the true one."""
    children, parents = (list(column) for column in zip(*H36M17.bones, strict=True))
    known = given.mask[:, children] & given.mask[:, parents]
    lengths = [
        np.linalg.norm(poses[:, children] - poses[:, parents], axis=-1)[known]
        for poses in (given.pred_mm, given.true_mm)
    ]  # fmt: skip
    ratio = float(np.median(lengths[0]) / np.median(lengths[1]))
    if 0.4 <= ratio <= 2.5:
        return None
    units = {"metres": 1e-3, "centimetres": 0.1, "inches": 1 / 25.4}
    unit = next((name for name, share in units.items() if 0.8 < ratio / share < 1.25), None)
    what = f"the coordinates seem to be in {unit}" if unit else "the poses are of another size than people"
    return Suspicion(unit or "size", f"{what}: bones are {ratio:.3g} times as long as the true ones")


def _at_origin(given: Evidence, root: int | None) -> Suspicion | None:
    """Root-relative poses where absolute ones are measured."""
    if root is not None or np.abs(given.pred_mm[:, _HIP]).max() > 1.0:
        return None
    return Suspicion("root-relative", "every hip lies at the origin, and this benchmark measures absolute positions")


def _too_good(given: Evidence) -> Suspicion | None:
    errors = joint_errors(given.pred_mm, given.true_mm, root=_HIP, mask=given.mask)
    worst = float(np.nanquantile(errors, 0.99))
    if worst >= 0.5:
        return None
    return Suspicion("labels", f"99 % of the joints are within {worst:.2g} mm: are these the labels?")


def _thinned(given: Evidence) -> Evidence:
    step = max(1, len(given.clip) // _MOST_POSES)
    return Evidence(given.pred_mm[::step], given.true_mm[::step], given.mask[::step], given.clip[::step])


def _ratio(undone: FloatArray, asis: FloatArray) -> float:
    both = np.isfinite(undone) & np.isfinite(asis)
    total = float(asis[both].sum())
    return float(undone[both].sum()) / total if total > 0 else 1.0
