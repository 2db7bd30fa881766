"""Procrustes alignment against SciPy and its own theorems."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from kt3d_bench.geometry.alignment import align_root, align_similarity

KINDS = ("general", "turned", "mirrored", "planar", "nearly planar", "on a line", "nearly on a line", "tiny", "huge")


def pair(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(17, 3) prediction and truth, mm."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(17, 3)) * 400 + np.array([100, -200, 4000])
    pred = true + rng.normal(size=(17, 3)) * 60
    if kind == "turned":
        pred = Rotation.random(random_state=seed).apply(pred) * 1.7 + 300
    if kind == "mirrored":
        pred = pred * [-1, 1, 1]
    if kind in ("planar", "nearly planar"):
        pred[:, 2] = 4000 + (1e-6 * rng.normal(size=17) if kind == "nearly planar" else 0)
        true[:, 1] = -50
    if kind in ("on a line", "nearly on a line"):
        pred = np.outer(pred[:, 0], [0.6, 0.0, 0.8]) + np.array([0, 0, 4000])
        if kind == "nearly on a line":
            pred = pred + rng.normal(size=(17, 3)) * 1e-3
    return (
        (pred * 1e-6, true * 1e-6) if kind == "tiny" else (pred * 1e5, true * 1e5) if kind == "huge" else (pred, true)
    )


def distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.linalg.norm(first - second, axis=-1)


def tolerance(kind: str) -> float:
    return {"huge": 1e-4}.get(kind, 1e-9)


@pytest.mark.filterwarnings("ignore:Optimal rotation is not uniquely")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_rigid_without_mirroring_is_scipys_align_vectors(kind: str, seed: int) -> None:
    pred, true = pair(kind, seed)
    centred_pred, centred_true = pred - pred.mean(axis=0), true - true.mean(axis=0)
    turn, _ = Rotation.align_vectors(centred_true, centred_pred)
    expected = distances(turn.apply(centred_pred), centred_true)
    found = distances(align_similarity(pred[None], true[None], scale=False)[0], true)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(kind))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_rigid_with_mirroring_is_scipys_orthogonal_procrustes(kind: str, seed: int) -> None:
    pred, true = pair(kind, seed)
    centred_pred, centred_true = pred - pred.mean(axis=0), true - true.mean(axis=0)
    matrix, _ = orthogonal_procrustes(centred_pred, centred_true)
    expected = distances(centred_pred @ matrix, centred_true)
    found = distances(align_similarity(pred[None], true[None], scale=False, reflection=True)[0], true)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance(kind))


@pytest.mark.parametrize("kind", KINDS)
def test_scaled_with_mirroring_has_scipys_disparity(kind: str) -> None:
    pred, true = pair(kind)
    _, _, disparity = procrustes(true, pred)
    aligned = align_similarity(pred[None], true[None], reflection=True)[0]
    spread = ((true - true.mean(axis=0)) ** 2).sum()
    assert ((aligned - true) ** 2).sum() / spread == pytest.approx(disparity, abs=1e-12)


@pytest.mark.filterwarnings("ignore:Optimal rotation is not uniquely")
@pytest.mark.parametrize("kind", KINDS)
def test_scaled_without_mirroring_is_the_rigid_turn_and_the_least_squares_scale(kind: str) -> None:
    pred, true = pair(kind)
    centred_pred, centred_true = pred - pred.mean(axis=0), true - true.mean(axis=0)
    turned = Rotation.align_vectors(centred_true, centred_pred)[0].apply(centred_pred)
    scale = (turned * centred_true).sum() / (turned**2).sum()
    found = distances(align_similarity(pred[None], true[None])[0], true)
    np.testing.assert_allclose(found, distances(scale * turned, centred_true), rtol=0, atol=tolerance(kind))


@pytest.mark.parametrize("reflection", [False, True])
def test_any_similarity_is_undone(reflection: bool) -> None:
    rng = np.random.default_rng(8)
    true = rng.normal(size=(300, 17, 3)) * 500 + [0, 0, 4000]
    turns = Rotation.random(300, random_state=9).as_matrix()
    if reflection:
        turns[::2] *= -1
    moved = (
        np.einsum("njk,nlk->njl", true, turns) * rng.uniform(0.2, 5, (300, 1, 1)) + rng.normal(size=(300, 1, 3)) * 900
    )
    np.testing.assert_allclose(align_similarity(moved, true, reflection=reflection), true, rtol=0, atol=1e-9)


def test_mirroring_is_undone_only_when_allowed() -> None:
    _, true = pair("general")
    mirror = (true * [-1, 1, 1])[None]
    assert np.abs(align_similarity(mirror, true[None], reflection=True) - true).max() < 1e-9
    assert distances(align_similarity(mirror, true[None])[0], true).mean() > 50


def test_no_other_similarity_has_less_squared_error() -> None:
    rng = np.random.default_rng(10)
    for seed in range(20):
        pred, true = pair("general", seed)
        best = ((align_similarity(pred[None], true[None])[0] - true) ** 2).sum()
        rigid = ((align_similarity(pred[None], true[None], scale=False)[0] - true) ** 2).sum()
        mirrored = ((align_similarity(pred[None], true[None], reflection=True)[0] - true) ** 2).sum()
        assert mirrored <= best + 1e-6
        assert best <= rigid + 1e-6
        assert rigid <= ((pred - true) ** 2).sum() + 1e-6
        centred = pred - pred.mean(axis=0)
        for _ in range(20):
            turn = Rotation.from_rotvec(rng.normal(size=3) * 0.1)
            other = turn.apply(centred) * rng.uniform(0.8, 1.2) + true.mean(axis=0) + rng.normal(size=3) * 20
            assert best <= ((other - true) ** 2).sum()


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("reflection", [False, True])
def test_masked_joints_take_no_part_and_are_moved_along(scale: bool, reflection: bool) -> None:
    pred, true = pair("turned", 11)
    mask = np.ones((1, 17), bool)
    mask[0, [2, 5, 16]] = False
    kept = mask[0]
    spoiled = true.copy()
    spoiled[~kept] = np.nan
    aligned = align_similarity(pred[None], spoiled[None], scale=scale, reflection=reflection, mask=mask)[0]
    alone = align_similarity(pred[None, kept], true[None, kept], scale=scale, reflection=reflection)[0]
    np.testing.assert_allclose(aligned[kept], alone, rtol=0, atol=1e-9)
    assert np.isfinite(aligned).all()
    ratio = distances(aligned[2], aligned[5]) / distances(pred[2], pred[5])
    assert ratio == pytest.approx(distances(alone[0], alone[1]) / distances(pred[kept][0], pred[kept][1]))


def test_a_full_mask_changes_nothing() -> None:
    pred, true = (np.stack(poses) for poses in zip(*(pair("general", seed) for seed in range(5)), strict=True))
    np.testing.assert_allclose(align_similarity(pred, true, mask=np.ones((5, 17), bool)), align_similarity(pred, true))


def test_undefined_poses_are_nan_and_leave_the_others_alone() -> None:
    general = [pair("general", seed) for seed in range(6)]
    pred, true = (np.stack(poses) for poses in zip(*general, strict=True))
    good = align_similarity(pred, true)
    mask = np.ones((6, 17), bool)
    mask[0, 2:] = False
    pred[1] = [123.4, 5.6, 4000.1]
    true[2] = [0.1, 0.2, 0.3]
    pred[3, 4, 1] = np.nan
    true[4, 0, 0] = np.inf
    found = align_similarity(pred, true, mask=mask)
    assert np.isnan(found[:5]).all()
    np.testing.assert_allclose(found[5], good[5], rtol=0, atol=1e-9)


def test_numbers_too_large_to_square_are_nan_not_a_crash() -> None:
    pred, true = pair("general")
    assert np.isnan(align_similarity(pred[None] * 1e200, true[None])).all()


def test_three_joints_suffice_and_two_do_not() -> None:
    pred, true = pair("general")
    assert np.isfinite(align_similarity(pred[None, :3], true[None, :3])).all()
    assert np.isnan(align_similarity(pred[None, :2], true[None, :2])).all()


def test_many_poses_equal_one_at_a_time_across_chunks() -> None:
    rng = np.random.default_rng(12)
    true = rng.normal(size=(5000, 17, 3)).astype(np.float32) * 400
    pred = true + rng.normal(size=true.shape).astype(np.float32) * 50
    together = align_similarity(pred, true)
    for index in (0, 2047, 2048, 4999):
        np.testing.assert_array_equal(together[index], align_similarity(pred[[index]], true[[index]])[0])
    np.testing.assert_array_equal(together[:2049], align_similarity(pred[:2049], true[:2049]))
    assert align_similarity(pred[:0], true[:0]).shape == (0, 17, 3)


def test_inputs_are_left_as_they_were() -> None:
    pred, true = pair("general")
    before = pred.copy(), true.copy()
    align_similarity(pred[None], true[None], mask=np.ones((1, 17), bool))
    np.testing.assert_array_equal(pred, before[0])
    np.testing.assert_array_equal(true, before[1])


@pytest.mark.parametrize(
    ("shape", "mask", "message"),
    [
        ((4, 17, 2), None, "the same shape"),
        ((17, 3), None, "the same shape"),
        ((4, 17, 3), np.ones((4, 16), bool), "bool mask"),
        ((4, 17, 3), np.ones((4, 17)), "bool mask"),
    ],
)
def test_wrong_shapes_are_refused(shape: tuple[int, ...], mask: np.ndarray | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        align_similarity(np.zeros(shape), np.zeros(shape), mask=mask)
    with pytest.raises(ValueError, match="the same shape"):
        align_similarity(np.zeros((4, 17, 3)), np.zeros((3, 17, 3)))


def test_align_root() -> None:
    points = np.array([[[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]], [[np.nan, 0, 0], [1.0, 1.0, 1.0]]])
    moved = align_root(points, 0)
    np.testing.assert_array_equal(moved[0], [[0, 0, 0], [1, 2, 3]])
    assert np.isnan(moved[1, 1, 0])


@pytest.mark.parametrize("lateral_mm", [300.0, 60.0, 20.0, 5.0, 0.5])
@pytest.mark.parametrize("noise_mm", [1.0, 40.0, 400.0])
@pytest.mark.parametrize("scale", [False, True])
def test_thin_bodies_and_bad_predictions_equal_one_svd_each(lateral_mm: float, noise_mm: float, scale: bool) -> None:
    """From well determined to all but undetermined rotations: wherever the fast path hands over, nothing shows."""
    rng = np.random.default_rng(13)
    true = rng.normal(size=(400, 17, 3)) * np.array([500.0, lateral_mm, lateral_mm / 2]) + np.array([0, 0, 4000])
    pred = true + rng.normal(size=true.shape) * noise_mm
    pred[::3] = Rotation.from_rotvec([0.3, 2.0, -0.5]).apply(pred[::3].reshape(-1, 3)).reshape(-1, 17, 3)
    found = align_similarity(pred, true, scale=scale)
    for n in range(len(true)):
        p, t = pred[n] - pred[n].mean(axis=0), true[n] - true[n].mean(axis=0)
        u, s, vt = np.linalg.svd(p.T @ t)
        d = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
        expected = p @ (u * d) @ vt * ((s * d).sum() / (p * p).sum() if scale else 1.0) + true[n].mean(axis=0)
        gap = (s[0] + s[1]) * (s[1] + d[2] * s[2]) / s[0] ** 2
        np.testing.assert_allclose(found[n], expected, rtol=0, atol=max(1e-9, 1e-12 / gap))
