"""What other programs print, replayed one pose at a time in plain NumPy as their own code does it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from kt3d_bench.errors import UsageError
from kt3d_bench.metrics.conventions import CONVENTIONS, as_printed

ACTIONS = np.array(["walk"] * 5 + ["sit"] * 30 + ["eat"] * 13)


@pytest.fixture(scope="module")
def case() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = rng.normal(size=(48, 17, 3)) * 300 + np.array([0, 0, 4000])
    pred = true * 1.1 + rng.normal(size=true.shape) * 40 + np.repeat([0.0, 90.0, 20.0], [5, 30, 13])[:, None, None]
    return pred.astype(np.float32), true.astype(np.float32)


def procrustes(pred: np.ndarray, true: np.ndarray, scale: bool) -> np.ndarray:
    """MATLAB's, without reflection, as most of the programs have it."""
    mu_x, mu_y = true.mean(0), pred.mean(0)
    x0, y0 = true - mu_x, pred - mu_y
    norm_x, norm_y = np.linalg.norm(x0), np.linalg.norm(y0)
    u, s, vt = np.linalg.svd((x0 / norm_x).T @ (y0 / norm_y))
    v, flip = vt.T, np.sign(np.linalg.det(vt.T @ u.T))
    v[:, -1] *= flip
    s[-1] *= flip
    turn = v @ u.T
    factor = s.sum() * norm_x / norm_y if scale else 1.0
    return factor * pred @ turn + mu_x - factor * mu_y @ turn


def each(pred: np.ndarray, true: np.ndarray, how: Callable[..., np.ndarray]) -> np.ndarray:
    """(N, 17) distances."""
    return np.array(
        [np.linalg.norm(how(p.astype(float), t.astype(float)), axis=1)[:17] for p, t in zip(pred, true, strict=True)]
    )


def rooted(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    return (p - p[0]) - (t - t[0])


def scaled(p: np.ndarray, t: np.ndarray) -> np.ndarray:
    p, t = p - p[0], t - t[0]
    return p * (p * t).sum() / (p * p).sum() - t


def rigid18(p: np.ndarray, t: np.ndarray, reroot: bool) -> np.ndarray:
    p, t = (np.vstack([pose, (pose[11] + pose[14]) / 2]) for pose in (p, t))
    moved = procrustes(p, t, False)
    return rooted(moved, t) if reroot else moved - t


def by_action(values: np.ndarray) -> float:
    return float(np.mean([values[action == ACTIONS].mean() for action in ("walk", "sit", "eat")]))


def test_every_number_is_what_the_program_computes(case: tuple[np.ndarray, np.ndarray]) -> None:
    pred, true = case
    root = each(pred, true, rooted)
    similar = each(pred, true, lambda p, t: procrustes(p, t, True) - t)
    normal = each(pred, true, scaled)
    absolute = each(pred, true, lambda p, t: p - t)
    curve = [np.mean(root <= step) for step in range(0, 151, 5)]
    expected = {
        "kt3d": [root.mean(), similar.mean(), 100 * np.mean(root <= 150), 100 * np.mean(curve)],
        "mmpose": [root.mean(), similar.mean(), normal.mean()],
        "videopose3d": [by_action(root), by_action(similar), by_action(normal)],
        "3d-pose-baseline": [by_action(root), root.mean(), by_action(similar)],
        "integral": [
            root.mean(),
            each(pred, true, lambda p, t: rigid18(p, t, True)).mean(),
            each(pred, true, lambda p, t: rigid18(p, t, False)).mean(),
        ],
        "posepile": [
            root.mean(), similar.mean(), absolute.mean(), *(100 * np.mean(root < mm) for mm in (50, 100, 150)),
            *(100 * np.mean(np.maximum(0, 1 - root / mm)) for mm in (50, 100, 150)),
        ],
    }  # fmt: skip
    assert set(expected) == set(CONVENTIONS)
    for name, values in expected.items():
        lines, used = as_printed(name, pred, true, ACTIONS)
        assert used == 48
        np.testing.assert_allclose([line.value for line in lines], values, rtol=0, atol=1e-9, err_msg=name)


def test_the_same_name_means_different_numbers(case: tuple[np.ndarray, np.ndarray]) -> None:
    pa = {
        name: next(line.value for line in as_printed(name, *case, ACTIONS)[0] if word in line.label)
        for name, word in (
            ("kt3d", "PA-MPJPE"), ("videopose3d", "P-MPJPE"), ("integral", "align"), ("posepile", "procrustes"),
        )
    }  # fmt: skip
    assert pa["integral"] > pa["kt3d"] + 5
    assert abs(pa["videopose3d"] - pa["kt3d"]) > 0.1
    assert pa["posepile"] == pytest.approx(pa["kt3d"])


def test_pooling_and_averaging_differ_where_joints_are_not_labelled(case: tuple[np.ndarray, np.ndarray]) -> None:
    pred, true = case[0].copy(), case[1].copy()
    true[:20, 3:] = np.nan
    pred[40] = np.nan
    pred[41] = 5.0
    [ours, *_], used = as_printed("kt3d", pred, true, ACTIONS)
    [pooled, *_], _ = as_printed("mmpose", pred, true, ACTIONS)
    kept = np.array([n for n in range(48) if n not in (40, 41)])
    root = each(pred, true, rooted)[kept]
    assert used == 46
    assert pooled.value == pytest.approx(np.nanmean(root))
    assert ours.value == pytest.approx(np.nanmean(root, axis=1).mean())
    assert abs(ours.value - pooled.value) > 1


def test_each_says_why_in_one_line(case: tuple[np.ndarray, np.ndarray]) -> None:
    for name, convention in CONVENTIONS.items():
        assert "\n" not in convention.why
        assert convention.source
        assert all(line.why and line.unit in ("mm", "%") for line in as_printed(name, *case, ACTIONS)[0])


def test_another_name_and_nothing_to_print_are_errors(case: tuple[np.ndarray, np.ndarray]) -> None:
    with pytest.raises(UsageError, match=r"there is no convention 'mmpos'; did you mean 'mmpose'\?"):
        as_printed("mmpos", *case, ACTIONS)
    with pytest.raises(UsageError, match="nothing to print"):
        as_printed("mmpose", np.full_like(case[0], np.nan), case[1], ACTIONS)
