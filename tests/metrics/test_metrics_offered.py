"""Metrics that plugins offer: measured, shown on boards, checked, and refused by name where they are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kt3d_floor.bones import length_errors

import kt3d_bench as kt
from kt3d_bench import JointInput, MetricPlugin, PluginError
from kt3d_bench.cli import catalogue
from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.metrics.functional import METRICS, mean_over_joints
from kt3d_bench.metrics.predictions import Predictions, write_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import tiny_dataset, tiny_plugin, write_tiny_raw
from kt3d_bench.testing.contract import check_plugin
from kt3d_bench.testing.findings import Checklist
from kt3d_bench.testing.metrics import check_metric


def depth_errors(given: JointInput) -> np.ndarray:
    return np.abs(given.pred_mm[..., 2] - given.true_mm[..., 2]).astype(np.float64)


def whole(given: JointInput) -> np.ndarray:
    return np.zeros(len(given.mask))


def text(given: JointInput) -> Any:
    return "0"


def hidden(given: JointInput) -> np.ndarray:
    total = np.nansum(np.abs(given.pred_mm - given.true_mm), axis=(1, 2))
    return np.repeat(total[:, None], given.mask.shape[1], axis=1)


def closeness(given: JointInput) -> np.ndarray:
    return 1 / (1 + np.linalg.norm(given.pred_mm - given.true_mm, axis=-1))


def metric(**changes: Any) -> MetricPlugin:
    fields: dict[str, Any] = {
        "name": "depth_mm",
        "title": "Depth error",
        "unit": "mm",
        "better": "lower",
        "load": f"{__name__}:depth_errors",
        "about": "how far joints are off in depth",
    }
    return MetricPlugin(**{**fields, **changes})


def test_bones_by_hand() -> None:
    """The right ankle 30 mm further along its shank: one bone of 16 is off by 30 mm, the pose's mean is 30 / 16."""
    true = np.random.default_rng(0).normal(0, 300, (2, 17, 3))
    pred = true.copy()
    shank = true[:, 3] - true[:, 2]
    pred[:, 3] += 30 * shank / np.linalg.norm(shank, axis=-1, keepdims=True)
    mask = np.ones((2, 17), bool)
    found = length_errors(JointInput(pred, true, mask, 0))
    np.testing.assert_allclose(mean_over_joints(found, mask), 30 / 16)
    np.testing.assert_allclose(found[:, 3], 30)
    mask[1, 2] = False
    found = length_errors(JointInput(pred, true, mask, 0))
    np.testing.assert_allclose(mean_over_joints(found, mask), [30 / 16, 0], atol=1e-9)
    pred[0, H36M17.index("head")] = np.nan
    assert np.isnan(mean_over_joints(length_errors(JointInput(pred, true, mask, 0)), mask))[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    dataset = tiny_dataset(tmp_path / "plugin", "dots", modalities=("rgb",))
    write_tiny_raw(tmp_path / "raw", dataset, generated=True)
    prepare(dataset, raw=tmp_path / "raw", out=tmp_path / "shards" / "dots", workers=1)
    return tmp_path


def offered(root: Path, *metrics: MetricPlugin) -> Any:
    dataset = tiny_dataset(root / "plugin", "dots", modalities=("rgb",))
    return registry.lent({"kt3d-dots": tiny_plugin([dataset], metrics=metrics)})


def test_it_is_measured_printed_and_shown_on_boards_that_it_names(root: Path) -> None:
    test = ShardSet.open(root / "shards" / "dots", "test")
    late = np.array(test.labels.joints_cam_mm)
    late[..., 2] += 7
    file, boards = root / "found.npz", root / "boards"
    write_predictions(file, [str(key) for key in test.keys], late, meta={"benchmark": "dots"})
    with offered(root, metric(benchmarks=("dots", "nowhere"))):
        assert registry.benchmark("dots").metrics == ("mpjpe_mm", "depth_mm")
        assert kt.evaluate("dots", file, data=root).overall["depth_mm"] == pytest.approx(7, abs=1e-3)
        kt.submit(file, benchmark="dots", name="late", data=root, leaderboards=boards, accept=["labels"])
        board = (boards / "generated" / "dots" / "README.md").read_text()
        assert "Depth error: how far joints are off in depth." in board
        assert "| Depth error" in board
        assert "depth_mm: Depth error, mm, lower is better" in catalogue.describe("depth_mm")
        assert catalogue.fact_sheet("depth_mm")["kind"] == "metric"
        assert "depth_mm" in catalogue.as_json()["metrics"]
    assert "depth_mm" not in METRICS
    with offered(root):
        assert registry.benchmark("dots").metrics == ("mpjpe_mm",)
        found = kt.evaluate("dots", Predictions(test.keys, late, {}), data=root, also=["bone_length_mm"])
        assert found.overall["bone_length_mm"] == pytest.approx(0, abs=1e-2)


def test_a_name_of_ours_is_refused() -> None:
    plugin = tiny_plugin(metrics=[metric(name="mpjpe_mm")])
    with registry.lent({"depth": plugin}), pytest.raises(PluginError, match="metric 'mpjpe_mm' exists already; rename"):
        list(METRICS)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("whole", r"returned float64 \(6,\), expected an array of floats of shape \(6, 17\)"),
        ("text", "returned str, expected an array"),
    ],
)
def test_what_is_no_number_per_joint_is_refused_by_name(function: str, message: str) -> None:
    given = JointInput(np.zeros((6, 17, 3)), np.zeros((6, 17, 3)), np.ones((6, 17), bool), 0)
    plugin = tiny_plugin(metrics=[metric(load=f"{__name__}:{function}")])
    with registry.lent({"depth": plugin}), pytest.raises(PluginError, match=f"of the metric 'depth_mm': {message}"):
        METRICS["depth_mm"].joint_values(given)


@pytest.mark.parametrize(
    ("changes", "broken"),
    [
        ({}, []),
        ({"load": f"{__name__}:closeness", "better": "higher"}, []),
        ({"load": f"{__name__}:closeness"}, ["with 'lower' as better, the truth is not worse than a guess"]),
        ({"load": f"{__name__}:whole"}, ["it gives one number per sample and joint"]),
        ({"load": f"{__name__}:hidden"}, ["joints that do not count change nothing"]),
    ],
)
def test_the_contract_check_finds_what_is_wrong(changes: dict[str, Any], broken: list[str]) -> None:
    with registry.lent({"depth": tiny_plugin(metrics=[metric(**changes)])}):
        checks = Checklist("metric depth_mm", Path(__file__), lambda finding: None)
        check_metric(registry.metrics()["depth_mm"], checks)
    assert [one.rule for one in checks.findings if not one.holds] == broken
    assert len(checks.findings) >= 3


def test_ours_pass_the_check() -> None:
    found = check_plugin("bone_length_mm")
    assert all(one.holds for one in found)
    assert [one.subject for one in found].count("metric bone_length_mm") == 6
