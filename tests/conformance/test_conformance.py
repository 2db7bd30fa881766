"""Ours agrees with the vectors, which an independent implementation wrote; and the vectors are what that writes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kt3d_bench.metrics.benchmarks import Benchmark
from kt3d_bench.metrics.evaluate import measure
from kt3d_bench.metrics.functional import METRIC_VERSION, METRICS, JointInput, mean_over_joints
from kt3d_bench.metrics.predictions import Predictions
from kt3d_bench.metrics.truth import Truth

HERE = Path(__file__).parent
POSES = json.loads((HERE / "poses.json").read_text())
MEANS = json.loads((HERE / "means.json").read_text())
ROOT_OF = {"mpjpe_mm": None, "pck_100": None, "pck_150": None, "auc_150": None}


def joints(pose: list[Any]) -> np.ndarray:
    return np.array([[np.nan] * 3 if joint is None else joint for joint in pose], np.float64)


@pytest.mark.parametrize("case", POSES["cases"], ids=lambda case: case["name"])
def test_every_metric_has_the_vectors_value(case: dict[str, Any]) -> None:
    mask = np.zeros((1, 17), bool)
    mask[0, case["counted"]] = True
    for name, expected in case["values"].items():
        given = JointInput(joints(case["predicted"])[None], joints(case["true"])[None], mask, ROOT_OF.get(name, 0))
        [found] = mean_over_joints(METRICS[name].joint_values(given), METRICS[name].mask(given))
        if expected is None:
            assert np.isnan(found), name
        else:
            assert found == pytest.approx(expected, rel=0, abs=POSES["tolerance"]), name


def test_the_vectors_hold_every_metric_and_every_kind_of_pose() -> None:
    names = set(POSES["cases"][0]["values"])
    assert names == set(METRICS.own) - {"map_100"}, "map_100 is PCK@100 over other joints"
    kinds = {case["name"].rsplit("-", 1)[0] for case in POSES["cases"]}
    assert {"rotated", "mirrored", "planar", "nearly-planar", "on-a-line", "masked", "all-zero", "one-point"} <= kinds
    undefined = {name for case in POSES["cases"] for name, value in case["values"].items() if value is None}
    assert undefined == names


def test_a_changed_metric_is_another_version() -> None:
    assert POSES["metric_version"] == MEANS["metric_version"] == METRIC_VERSION


def test_means_over_frames_and_over_actions() -> None:
    pred = np.stack([joints(pose) for pose in MEANS["predicted"]])
    true = np.stack([joints(pose) for pose in MEANS["true"]])
    count = len(pred)
    keys = np.array([f"s{number}" for number in range(count)])
    words = np.full(count, "x")
    quality = np.full((count, 17), 3, np.uint8)
    known = Truth(keys, true, quality, np.array(MEANS["action"]), words, words, "", "", "official")
    benchmark = Benchmark(
        id="toy", version=1, title="", dataset="", split="", modality="rgb", headline=tuple(MEANS["frame_mean"]),
        root=0, reference="root-given", box_rule="joints", sees="",
    )  # fmt: skip
    found = measure(Predictions(keys, pred), known, benchmark)
    for name, expected in MEANS["frame_mean"].items():
        assert found.overall[name] == pytest.approx(expected, rel=0, abs=1e-9)
        assert found.action_mean[name] == pytest.approx(MEANS["action_mean"][name], rel=0, abs=1e-9)
        for action, fold in MEANS["by_action"].items():
            assert found.by_action[action][name] == pytest.approx(fold[name], rel=0, abs=1e-9)
    assert abs(MEANS["frame_mean"]["mpjpe_root_mm"] - MEANS["action_mean"]["mpjpe_root_mm"]) > 1


def test_the_vectors_are_written_again_by_their_script(tmp_path: Path) -> None:
    script = shutil.copy(HERE / "make_vectors.py", tmp_path)
    subprocess.run([sys.executable, script], check=True, cwd=tmp_path)
    for name, stored in (("poses.json", POSES), ("means.json", MEANS)):
        again = json.loads((tmp_path / name).read_text())
        assert _keys(again) == _keys(stored)
        np.testing.assert_allclose(_numbers(again), _numbers(stored), rtol=0, atol=1e-9)


def _keys(document: Any) -> Any:
    if isinstance(document, dict):
        return {name: _keys(value) for name, value in document.items()}
    return [_keys(value) for value in document] if isinstance(document, list) else isinstance(document, int | float)


def _numbers(document: Any) -> list[float]:
    if isinstance(document, dict | list):
        values = document.values() if isinstance(document, dict) else document
        return [number for value in values for number in _numbers(value)]
    return [float(document)] if isinstance(document, int | float) else []
