"""Tiny samples, shards and batches have the geometry that they promise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import (
    check_plugin,
    require_contract,
    tiny_batch,
    tiny_sample,
    tiny_shards,
    unlabelled,
)
from kt3d_bench.testing import contract as contract_module
from kt3d_bench.testing.findings import Finding
from kt3d_bench.testing.tiny import PART_MIRROR


def test_a_tiny_sample_projects_as_opencv_says() -> None:
    sample = tiny_sample(seed=3)
    matrix = np.vstack([sample.camera.intrinsics_px, [0, 0, 1]])
    assert sample.joints_cam_mm is not None
    expected, _ = cv2.projectPoints(
        sample.joints_cam_mm.astype(float), np.zeros(3), np.zeros(3), matrix, sample.camera.distortion
    )
    np.testing.assert_allclose(sample.joints_px, expected[:, 0], atol=1e-3)
    x, y = np.rint(sample.joints_px[16]).astype(int)
    assert sample.depth_mm is not None
    assert sample.parts is not None
    assert sample.rgb is not None
    assert sample.depth_mm[y, x] == int(sample.joints_cam_mm[16, 2]), "the last dot lies on top"
    assert sample.rgb[y, x].tolist() == [220, 95, 120]
    left, right = (1 + H36M17.index(f"{side}_wrist") % 2 for side in ("left", "right"))
    assert PART_MIRROR[left] == right
    assert sample.parts[y, x] == right


def test_a_corrupt_sample_differs_in_its_labels_only() -> None:
    whole, corrupt = tiny_sample(seed=1), tiny_sample(seed=1, corrupt=True)
    for image in ("rgb", "depth_mm", "parts"):
        np.testing.assert_array_equal(getattr(whole, image), getattr(corrupt, image))
    for label in ("joints_px", "joints_cam_mm", "visible", "quality", "box_px"):
        assert not np.array_equal(getattr(whole, label), getattr(corrupt, label))
    assert tiny_sample(labels="2d", modalities=("rgb",)).joints_cam_mm is None


def test_tiny_shards_hold_the_samples_they_were_given(tmp_path: Path) -> None:
    samples = [tiny_sample(f"a{number}", number, subject=f"S{number}") for number in range(3)]
    shards = tiny_shards(tmp_path / "new", samples, split="test", origin="official")
    assert (shards.manifest.origin, shards.split, list(shards.keys)) == ("official", "test", ["a0", "a1", "a2"])
    np.testing.assert_array_equal(shards.labels.joints_cam_mm[1], samples[1].joints_cam_mm)
    assert shards.manifest.splits["test"].counts.subject == {"S0": 1, "S1": 1, "S2": 1}


def test_a_tiny_batch_fits_together() -> None:
    hidden = torch.ones(17, dtype=torch.bool)
    hidden[5] = False
    batch = tiny_batch(2, ("rgb", "depth"), input_px=32, mask_3d=hidden, mask_2d=hidden)
    assert batch.images["rgb"].shape == (2, 3, 32, 32)
    assert batch.joints_px[:, 5].isnan().all()
    assert batch.joints_cam_mm[:, 5].isnan().all()
    (fx, _, cx), (_, fy, cy) = batch.cameras.intrinsics_px[1].tolist()
    x, y, z = batch.joints_cam_mm[1, 3].tolist()
    assert batch.joints_px[1, 3].tolist() == pytest.approx([fx * x / z + cx, fy * y / z + cy], abs=1e-3)
    assert not hasattr(unlabelled(batch), "joints_px")


def test_a_broken_rule_fails_the_authors_test_with_its_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (
        Finding("method x", "it trains", True),
        Finding("method x", "it predicts", False, "it did not", "return more"),
    )
    monkeypatch.setattr(contract_module, "check_plugin", lambda name, raw: found)
    with pytest.raises(AssertionError) as caught:
        require_contract("x")
    assert str(caught.value) == "method x: it predicts: it did not; return more"
    assert check_plugin is not contract_module.check_plugin
