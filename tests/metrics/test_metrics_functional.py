"""Metrics against hand-computed cases, plain loops, SciPy, and what must leave them unchanged."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.linalg import orthogonal_procrustes
from scipy.spatial.transform import Rotation

from kt3d_bench.geometry.alignment import align_similarity
from kt3d_bench.metrics import functional as metrics
from kt3d_bench.metrics.functional import (
    CURVE_MM,
    METRICS,
    JointInput,
    auc,
    joint_errors,
    mean_over_joints,
    mpjpe,
    n_mpjpe,
    pa_mpjpe,
    pck,
    pck_curve,
)
from kt3d_bench.skeletons import H36M17, LIMBS

COORDINATES = st.floats(-3000, 3000, allow_nan=False, width=32)
POSES = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(3, 8), st.just(3)), elements=COORDINATES)


def poses(count: int = 50, seed: int = 0, noise_mm: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(count, 17, 3)) * 400 + np.array([0, 0, 4000])
    return true + rng.normal(size=true.shape) * noise_mm, true


def loop_mpjpe(pred: np.ndarray, true: np.ndarray, root: int | None, mask: np.ndarray | None) -> list[float]:
    values = []
    for n in range(len(pred)):
        total, count = 0.0, 0
        for j in range(pred.shape[1]):
            if mask is not None and not mask[n, j]:
                continue
            square = 0.0
            for axis in range(3):
                p, t = pred[n, j, axis], true[n, j, axis]
                if root is not None:
                    p, t = p - pred[n, root, axis], t - true[n, root, axis]
                square += (p - t) ** 2
            total, count = total + square**0.5, count + 1
        values.append(total / count if count else float("nan"))
    return values


def loop_pa(pred: np.ndarray, true: np.ndarray, scale: bool, reflection: bool) -> list[float]:
    values = []
    for p, t in zip(pred, true, strict=True):
        p, t = p - p.mean(axis=0), t - t.mean(axis=0)
        turn = orthogonal_procrustes(p, t)[0] if reflection else Rotation.align_vectors(t, p)[0].as_matrix().T
        turned = p @ turn
        factor = (turned * t).sum() / (p * p).sum() if scale else 1.0
        values.append(np.mean([np.linalg.norm(row) for row in factor * turned - t]))
    return values


def test_the_docstrings_examples_run() -> None:
    result = doctest.testmod(metrics)
    assert result.attempted >= 11
    assert result.failed == 0


@pytest.mark.parametrize("root", [None, 0, 8])
def test_mpjpe_and_pck_equal_plain_loops(root: int | None) -> None:
    pred, true = poses()
    mask = np.random.default_rng(1).random((50, 17)) < 0.7
    for counted in (None, mask):
        expected = loop_mpjpe(pred, true, root, counted)
        np.testing.assert_allclose(mpjpe(pred, true, root=root, mask=counted), expected, rtol=0, atol=1e-9)
        errors = joint_errors(pred, true, root=root)
        shares = [
            100.0 * np.mean([e <= 90.0 for j, e in enumerate(row) if counted is None or counted[n, j]])
            for n, row in enumerate(errors)
        ]
        np.testing.assert_allclose(pck(pred, true, threshold_mm=90.0, root=root, mask=counted), shares, atol=1e-9)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("reflection", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_pa_equals_a_scipy_loop(scale: bool, reflection: bool, mirrored: bool) -> None:
    pred, true = poses(30, 2)
    if mirrored:
        pred[:, :, 0] *= -1
    found = pa_mpjpe(pred, true, scale=scale, reflection=reflection)
    np.testing.assert_allclose(found, loop_pa(pred, true, scale, reflection), rtol=0, atol=1e-9)


@pytest.mark.parametrize("many", [1, 1 << 30], ids=["threads", "one thread"])
def test_many_poses_at_once_equal_the_formulas(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks, float32 as in files, of good, unrelated, mirrored, flat, straight and tiny predictions."""
    monkeypatch.setattr(metrics, "_MANY", many)
    pred, true = poses(6_000, 4)
    pred[1::6] = true[::-1][1::6]
    pred[2::6, :, 0] *= -1
    pred[3::6, :, 2] = 4000.0
    pred[4::6] = np.linspace(0, 1, 17)[:, None] * [300.0, 20.0, -100.0] + [0, 0, 4000.0]
    pred[5::6] = (pred[5::6] - [0, 0, 4000]) * 1e-3
    pred, true = pred.astype(np.float32), true.astype(np.float32)
    wide, goal = pred.astype(np.float64), true.astype(np.float64)
    rooted = np.sqrt((((wide - wide[:, :1]) - (goal - goal[:, :1])) ** 2).sum(axis=2))
    np.testing.assert_allclose(mpjpe(pred, true), rooted.mean(axis=1), rtol=0, atol=1e-9)
    np.testing.assert_allclose(pck(pred, true), 100 * (rooted <= 100).mean(axis=1), rtol=0, atol=1e-9)
    p, t = wide - wide.mean(axis=1, keepdims=True), goal - goal.mean(axis=1, keepdims=True)
    u, s, vt = np.linalg.svd(np.einsum("njk,njl->nkl", p, t))
    s[:, 2] *= np.sign(np.linalg.det(u @ vt))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    factor = s.sum(axis=1) / (p**2).sum(axis=(1, 2))
    apart = np.sqrt(((factor[:, None, None] * (p @ (u @ vt)) - t) ** 2).sum(axis=2))
    np.testing.assert_allclose(pa_mpjpe(pred, true), apart.mean(axis=1), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(pa_mpjpe(pred[4321:4327], true[4321:4327]), pa_mpjpe(pred, true)[4321:4327])


@pytest.mark.parametrize(("cores", "threads"), [(1, 0), (2, 2), (64, 3)])
def test_threads_are_as_many_as_allowed_cores_and_chunks(
    cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = [0]

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers: int) -> None:
            started[0] = workers
            super().__init__(workers)

    monkeypatch.setattr(metrics, "_MANY", 1)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr("concurrent.futures.ThreadPoolExecutor", Pool)
    mpjpe(*poses(6_000, 4))  # three chunks
    assert started == [threads]


PUBLIC = (mpjpe, pa_mpjpe, n_mpjpe, pck, auc)


@pytest.mark.parametrize("metric", PUBLIC)
def test_any_leading_shape_gives_one_number_per_pose(metric: Callable[..., np.ndarray]) -> None:
    pred, true = poses(12, 13)
    mask = np.random.default_rng(2).random((12, 17)) < 0.8
    alone = [float(metric(pred[n], true[n], mask=mask[n])) for n in range(12)]
    flat = metric(pred, true, mask=mask)
    np.testing.assert_array_equal(flat, alone)
    cube = metric(pred.reshape(2, 3, 2, 17, 3), true.reshape(2, 3, 2, 17, 3), mask=mask.reshape(2, 3, 2, 17))
    np.testing.assert_array_equal(cube, flat.reshape(2, 3, 2))
    assert metric(pred[0], true[0]).shape == ()
    assert metric(pred[:0, None], true[:0, None]).shape == (0, 1)
    assert metric(pred[0].tolist(), true[0].tolist()) == metric(pred[:1], true[:1])[0]


def test_hand_values_of_the_public_functions() -> None:
    """A right angle of 300 mm and 400 mm; the prediction is twice as large, shifted by (10, 20, 30) mm."""
    true = np.array([[0.0, 0.0, 0.0], [300.0, 0.0, 0.0], [0.0, 400.0, 0.0]])
    pred = true * 2 + [10.0, 20.0, 30.0]
    assert mpjpe(pred, true) == pytest.approx((0 + 300 + 400) / 3)
    assert mpjpe(pred, true, 1) == pytest.approx((300 + 0 + 500) / 3)
    offsets = [np.sqrt(10**2 + 20**2 + 30**2), np.sqrt(310**2 + 20**2 + 30**2), np.sqrt(10**2 + 420**2 + 30**2)]
    assert mpjpe(pred, true, root=None) == pytest.approx(np.mean(offsets))
    assert n_mpjpe(pred, true) == pytest.approx(0, abs=1e-9)
    assert pa_mpjpe(pred, true) == pytest.approx(0, abs=1e-9)
    # rigid alignment keeps the centroid: each joint stays off by its own distance from it, (100, 133.3, 0)
    distances = [np.hypot(100, 400 / 3), np.hypot(200, 400 / 3), np.hypot(100, 800 / 3)]
    assert pa_mpjpe(pred, true, scale=False) == pytest.approx(np.mean(distances))
    assert pck(pred, true) == pytest.approx(100 / 3)
    assert pck(pred, true, threshold_mm=300.0) == pytest.approx(200 / 3)
    assert auc(pred, true) == pytest.approx(100 / 3)
    assert auc(true + np.diag([0.0, 75.0, 151.0]), true) == pytest.approx(100 * (31 + 16 + 0) / 93)


@pytest.mark.parametrize("metric", PUBLIC)
def test_wrong_arguments_of_the_public_functions(metric: Callable[..., np.ndarray]) -> None:
    pose = np.zeros((4, 17, 3))
    with pytest.raises(ValueError, match=r"\(\.\.\., J, 3\), found \(3,\) and \(3,\)"):
        metric(pose[0, 0], pose[0, 0])
    with pytest.raises(ValueError, match="the same shape"):
        metric(pose, pose[:1])
    with pytest.raises(ValueError, match="found int64"):
        metric(pose, pose, mask=np.ones((4, 17), np.int64))
    if metric is not pa_mpjpe:
        for root in (-1, 17):
            with pytest.raises(ValueError, match=f"root is {root}, expected a joint from 0 to 16"):
                metric(pose, pose, root=root)


def test_the_variants_of_pa_differ_as_they_should() -> None:
    pred, true = poses(200, 3)
    pred = pred * 1.2
    pred[::2, :, 0] *= -1
    mirror, scaled, rigid = (
        pa_mpjpe(pred, true, reflection=True).mean(),
        pa_mpjpe(pred, true).mean(),
        pa_mpjpe(pred, true, scale=False).mean(),
    )
    assert mirror < scaled < rigid


@settings(max_examples=60, deadline=None)
@given(POSES, st.floats(-5000, 5000), st.integers(0, 2))
def test_a_common_shift_and_a_common_order_change_nothing(true: np.ndarray, shift: float, root: int) -> None:
    pred = true[:, ::-1] * 0.5 + 10
    order = np.random.default_rng(0).permutation(true.shape[1])
    plain = mpjpe(pred, true, root=None)
    np.testing.assert_allclose(mpjpe(pred + shift, true + shift, root=None), plain, atol=1e-6)
    np.testing.assert_allclose(mpjpe(pred[:, order], true[:, order], root=None), plain, atol=1e-9)
    np.testing.assert_allclose(mpjpe(pred + shift, true, root=root), mpjpe(pred, true, root=root), atol=1e-6)
    np.testing.assert_allclose(mpjpe(true, pred, root=None), plain, atol=1e-9)
    np.testing.assert_array_equal(mpjpe(true, true), np.zeros(len(true)))
    np.testing.assert_array_equal(pck(true, true), np.full(len(true), 100.0))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10.0), st.booleans())
def test_pa_ignores_any_similarity_of_the_prediction(seed: int, scale: float, mirror: bool) -> None:
    pred, true = poses(4, seed)
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.normal(size=3)).as_matrix() * (-1.0 if mirror else 1.0)
    moved = pred @ turn * scale + rng.normal(size=3) * 1000
    np.testing.assert_allclose(
        pa_mpjpe(moved, true, reflection=True), pa_mpjpe(pred, true, reflection=True), rtol=0, atol=1e-8
    )
    if not mirror:
        np.testing.assert_allclose(pa_mpjpe(moved, true), pa_mpjpe(pred, true), rtol=0, atol=1e-8)
    np.testing.assert_allclose(pa_mpjpe(true @ turn * scale, true, reflection=True), 0, atol=1e-9)


RIGID = ("pa_mpjpe_rigid_mm", "pa_mpjpe_rerooted_mm")
SIMILAR = (*RIGID, "pa_mpjpe_mm", "pa_mpjpe_mirror_mm")
ROOTED = ("mpjpe_root_mm", "n_mpjpe_mm", "pck_root_100", "pck_root_150", "auc_root_150")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 10.0))
def test_what_each_variant_must_not_notice(seed: int, scale: float) -> None:
    """Rigid motion for every PA, translation for everything root-aligned, a common motion for everything; and lengths
    in another unit are lengths."""
    pred, true = poses(5, seed)
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 17)) < 0.7
    mask[:, [0, 5, 9, 12]] = True
    turn, shift = Rotation.from_rotvec(rng.normal(size=3)).as_matrix(), rng.normal(size=3) * 500

    def value(name: str, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return mean_over_joints(METRICS[name].joint_values(JointInput(one, other, mask, None)), mask)

    for name in SIMILAR:
        np.testing.assert_allclose(value(name, pred @ turn + shift, true), value(name, pred, true), rtol=0, atol=1e-8)
    for name in ROOTED:
        np.testing.assert_allclose(value(name, pred + shift, true), value(name, pred, true), rtol=0, atol=1e-8)
    for name in set(METRICS.own) - {"map_100"}:
        both = value(name, pred @ turn + shift, true @ turn + shift)
        np.testing.assert_allclose(both, value(name, pred, true), rtol=0, atol=1e-8)
        if METRICS[name].unit == "mm":
            np.testing.assert_allclose(
                value(name, pred * scale, true * scale), scale * value(name, pred, true), rtol=1e-9
            )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 20.0), st.integers(0, 16))
def test_n_mpjpe_ignores_the_predictions_scale_and_place(seed: int, scale: float, root: int) -> None:
    pred, true = poses(4, seed)
    plain = n_mpjpe(pred, true, root=root)
    moved = pred * scale + np.random.default_rng(seed).normal(size=3) * 1000
    np.testing.assert_allclose(n_mpjpe(moved, true, root=root), plain, rtol=0, atol=1e-8)
    np.testing.assert_allclose(n_mpjpe(true * scale, true, root=root), 0, atol=1e-9)
    for p, t, value in zip(pred - pred[:, root : root + 1], true - true[:, root : root + 1], plain, strict=True):
        best = np.linalg.lstsq(p.reshape(-1, 1), t.ravel(), rcond=None)[0][0]
        assert value == pytest.approx(np.mean([np.linalg.norm(row) for row in best * p - t]), abs=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("many", [1, 1 << 30], ids=["threads", "one thread"])
def test_n_mpjpe_of_a_pose_in_one_point_is_undefined(many: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_MANY", many)
    pred, true = poses(3, 1)
    pred[1] = 12.5
    assert np.isnan(n_mpjpe(pred, true, root=0)).tolist() == [False, True, False]


@pytest.mark.parametrize("root", [None, 0])
def test_the_curve_and_its_area_equal_plain_loops(root: int | None) -> None:
    pred, true = poses(40, 3, noise_mm=50.0)
    pred[0, 3] = np.nan
    mask = np.random.default_rng(1).random((40, 17)) < 0.7
    mask[7] = False
    errors = joint_errors(pred, true, root=root)
    curve = []
    for step in range(31):
        shares = [
            100.0 * np.mean([errors[n, j] <= 5 * step for j in range(17) if mask[n, j]]) for n in range(40) if n != 7
        ]
        curve.append(np.mean(shares))
    np.testing.assert_allclose(pck_curve(pred, true, root=root, mask=mask), curve, atol=1e-9)
    areas = auc(pred, true, root=root, mask=mask)
    assert np.isnan(areas[7])
    assert np.nanmean(areas) == pytest.approx(np.mean(curve), abs=1e-9)
    np.testing.assert_allclose(curve[20], np.nanmean(pck(pred, true, root=root, mask=mask)), atol=1e-9)
    assert CURVE_MM[20] == 100.0


def test_the_area_of_the_perfect_and_of_no_answer() -> None:
    _, true = poses(2, 4)
    np.testing.assert_array_equal(auc(true, true), [100.0, 100.0])
    np.testing.assert_array_equal(auc(np.full_like(true, np.nan), true), [0.0, 0.0])
    np.testing.assert_allclose(pck_curve(true, true), np.full(31, 100.0))
    assert np.isnan(pck_curve(true, true, mask=np.zeros((2, 17), bool))).all()
    spoiled = true.copy()
    spoiled[1, 4] = np.nan
    assert np.isnan(auc(true, spoiled, root=None)).tolist() == [False, True]
    np.testing.assert_allclose(pck_curve(true, spoiled), np.full(31, 100.0))


def test_pa_of_one_bad_joint_may_exceed_mpjpe() -> None:
    """Least squares spreads one large error over all joints: PA-MPJPE <= MPJPE is no theorem."""
    _, true = poses(1, 4)
    pred = true.copy()
    pred[0, 16] += 2000.0
    assert pa_mpjpe(pred, true)[0] > mpjpe(pred, true, root=None)[0]


def test_masked_joints_are_as_if_they_were_not_there() -> None:
    pred, true = poses(20, 5)
    kept = np.array([0, 1, 4, 7, 9, 10, 13])
    mask = np.zeros((20, 17), bool)
    mask[:, kept] = True
    spoiled_pred, spoiled_true = pred.copy(), true.copy()
    spoiled_pred[~mask] = np.nan
    spoiled_true[~mask] = np.inf
    few = pred[:, kept], true[:, kept]
    np.testing.assert_allclose(mpjpe(spoiled_pred, spoiled_true, None, mask=mask), mpjpe(*few, None), atol=1e-9)
    np.testing.assert_allclose(pck(spoiled_pred, spoiled_true, None, mask=mask), pck(*few, None), atol=1e-9)
    np.testing.assert_allclose(mpjpe(spoiled_pred, spoiled_true, root=0, mask=mask), mpjpe(*few, root=0), atol=1e-9)
    for scale in (False, True):
        np.testing.assert_allclose(
            pa_mpjpe(spoiled_pred, spoiled_true, scale=scale, mask=mask), pa_mpjpe(*few, scale=scale), atol=1e-9
        )


def test_a_sample_without_counted_joints_is_undefined() -> None:
    pred, true = poses(3, 6)
    mask = np.ones((3, 17), bool)
    mask[1] = False
    for metric in (mpjpe, pa_mpjpe, pck):
        assert np.isnan(metric(pred, true, mask=mask)).tolist() == [False, True, False]


def test_pa_needs_three_joints_and_mpjpe_one() -> None:
    pred, true = poses(2, 7)
    mask = np.zeros((2, 17), bool)
    mask[:, 3:5] = True
    assert np.isnan(pa_mpjpe(pred, true, mask=mask)).all()
    assert np.isfinite(mpjpe(pred, true, root=None, mask=mask)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_no_answer_is_never_a_good_answer(value: float) -> None:
    _, true = poses(2, 8)
    pred = true.copy()
    pred[0, 5, 1] = value
    assert np.isnan(mpjpe(pred, true)).tolist() == [True, False]
    assert np.isnan(pa_mpjpe(pred, true)).tolist() == [True, False]
    np.testing.assert_allclose(pck(pred, true, root=None), [100 * 16 / 17, 100])
    pred[0, 0] = value
    np.testing.assert_allclose(pck(pred, true, root=0), [0, 100])


def test_an_unknown_truth_makes_a_counted_joint_undefined() -> None:
    pred, true = poses(2, 9)
    true[1, 3] = np.nan
    for metric in (mpjpe, pa_mpjpe, pck):
        assert np.isnan(metric(pred, true)).tolist() == [False, True]
    true[1, 3], true[1, 0] = 0.0, np.nan
    mask = np.ones((2, 17), bool)
    mask[1, 0] = False
    assert np.isnan(pck(pred, true, root=0, mask=mask)).tolist() == [False, True]
    assert np.isfinite(pck(pred, true, root=None, mask=mask)).all()


def test_the_threshold_itself_is_correct_and_the_root_counts() -> None:
    true = np.zeros((1, 4, 3))
    pred = true.copy()
    pred[0, :, 2] = [100.0, np.nextafter(100.0, 101.0), 200.0, 0.0]
    np.testing.assert_array_equal(pck(pred, true, root=None), [50.0])
    np.testing.assert_array_equal(pck(pred, true, root=0), [100.0])
    np.testing.assert_array_equal(pck(pred, true, root=None, threshold_mm=200.0), [100.0])


def test_float32_input_is_measured_in_float64() -> None:
    pred, true = (half.astype(np.float32) for half in poses(50, 10))
    for metric in (mpjpe, pa_mpjpe, pck):
        found = metric(pred, true)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, metric(pred.astype(float), true.astype(float)))


def test_a_collapsed_prediction_is_bad_for_mpjpe_and_undefined_for_pa() -> None:
    _, true = poses(3, 11)
    pred = np.repeat(true.mean(axis=1, keepdims=True), 17, axis=1)
    assert (mpjpe(pred, true, root=None) > 300).all()
    assert np.isnan(pa_mpjpe(pred, true)).all()


def test_no_samples_give_no_values() -> None:
    empty = np.empty((0, 17, 3))
    for metric in (mpjpe, pa_mpjpe, pck):
        assert metric(empty, empty).shape == (0,)


@pytest.mark.parametrize("metric", [mpjpe, pa_mpjpe, pck])
def test_shapes_that_do_not_fit_are_refused(metric: object) -> None:
    with pytest.raises(ValueError, match="the same shape"):
        metric(np.zeros((2, 17, 3)), np.zeros((2, 16, 3)))
    with pytest.raises(ValueError, match="bool mask"):
        metric(np.zeros((2, 17, 3)), np.zeros((2, 17, 3)), mask=np.ones(17, bool))


def test_limb_joints_are_aligned_alone_as_scipy_does() -> None:
    """Joints outside the limbs change nothing, and the alignment is SciPy's over the twelve."""
    assert [H36M17.joints[joint].partition("_")[2] for joint in LIMBS] == [
        *["hip", "knee", "ankle"] * 2, *["shoulder", "elbow", "wrist"] * 2
    ]  # fmt: skip
    pred, true = poses(6, 3)
    metric, everything = METRICS["pa_limbs12_mm"], np.ones((6, 17), bool)
    expected = []
    for one, other in zip(pred[:, LIMBS], true[:, LIMBS], strict=True):
        moved, wanted = one - one.mean(0), other - other.mean(0)
        turn = Rotation.align_vectors(wanted, moved)[0]
        factor = (turn.apply(moved) * wanted).sum() / (moved**2).sum()
        expected.append(np.linalg.norm(factor * turn.apply(moved) - wanted, axis=1).mean())
    wild = pred.copy()
    wild[:, [0, 7, 8, 9, 10]] = [np.nan, 1e6, -3.0]
    for asked in (JointInput(pred, true, everything, 0), JointInput(wild, true, everything, 0)):
        found = mean_over_joints(metric.joint_values(asked), metric.mask(asked))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", METRICS.own)
def test_every_metrics_record_agrees_with_the_public_functions(name: str) -> None:
    metric = METRICS[name]
    pred, true = poses(20, 12)
    pred[4, 2] = np.nan
    mask = np.random.default_rng(0).random((20, 17)) < 0.8
    mask[5] = False

    def trunk(pose: np.ndarray) -> np.ndarray:
        return (pose[:, 7:8] + pose[:, 8:9]) / 2

    answers = {
        "mpjpe_mm": lambda: mpjpe(pred, true, root=7, mask=mask),
        "mpjpe_root_mm": lambda: mpjpe(pred, true, root=0, mask=mask),
        "mpjpe_body_mm": lambda: mpjpe(pred - trunk(pred), true - trunk(true), root=None, mask=mask),
        "pa_mpjpe_mm": lambda: pa_mpjpe(pred, true, mask=mask),
        "pa_mpjpe_rigid_mm": lambda: pa_mpjpe(pred, true, scale=False, mask=mask),
        "pa_mpjpe_mirror_mm": lambda: pa_mpjpe(pred, true, reflection=True, mask=mask),
        "pa_mpjpe_rerooted_mm": lambda: mpjpe(
            align_similarity(pred, true, scale=False, mask=mask), true, root=0, mask=mask
        ),
        "pck_100": lambda: pck(pred, true, root=7, mask=mask),
        "pck_root_100": lambda: pck(pred, true, root=0, mask=mask),
        "n_mpjpe_mm": lambda: n_mpjpe(pred, true, root=0, mask=mask),
        "pck_150": lambda: pck(pred, true, threshold_mm=150.0, root=7, mask=mask),
        "pck_root_150": lambda: pck(pred, true, threshold_mm=150.0, root=0, mask=mask),
        "auc_150": lambda: auc(pred, true, root=7, mask=mask),
        "auc_root_150": lambda: auc(pred, true, root=0, mask=mask),
        "map_100": lambda: pck(pred, true, root=None, mask=mask),
        "pa_limbs12_mm": lambda: pa_mpjpe(pred[:, LIMBS], true[:, LIMBS], mask=mask[:, LIMBS]),
    }
    asked = JointInput(pred, true, mask, 7)
    values, counted = metric.joint_values(asked), metric.mask(asked)
    assert np.isnan(values[~counted]).all()
    np.testing.assert_allclose(mean_over_joints(values, counted), answers[name](), rtol=0, atol=1e-12)
    few = np.zeros((20, 17), bool)
    order = np.array(LIMBS if name == "pa_limbs12_mm" else range(17))
    few[:, order[: metric.min_joints]] = True
    pred[4, 2] = 0.0
    assert np.isfinite(mean_over_joints(metric.joint_values(JointInput(pred, true, few, 0)), few)).all()
    few[:, order[metric.min_joints - 1]] = False
    assert np.isnan(mean_over_joints(metric.joint_values(JointInput(pred, true, few, 0)), few)).all()
    assert metric.name == name
    assert (metric.unit == "%") == (metric.better == "higher")
    assert metric.paper
    assert metric.about
