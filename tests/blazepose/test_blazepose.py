"""What the published networks' outputs mean, and the method around them. The networks themselves are not here: where
they were added, the last tests run them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kt3d_blazepose
import numpy as np
import pytest
import torch
from kt3d_blazepose import detector, networks
from kt3d_blazepose.method import BlazePose

from kt3d_bench.errors import UsageError
from kt3d_bench.leaderboard.publish import _facts_of_run
from kt3d_bench.method import MethodContext
from kt3d_bench.plugins import registry
from kt3d_bench.skeletons import H36M17, Quality
from kt3d_bench.testing import tiny_batch, unlabelled
from kt3d_bench.weight_files import weights

RGB = MethodContext(target_modality="rgb", num_parts=0, supervision="none", transfers=True)


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    with registry.lent({"blazepose": kt3d_blazepose}):
        yield


class FakeNetwork:
    """Gives every image the same person: landmark i at (i, 2i) px and (i, 0, -i) cm."""

    def __call__(self, image: Any) -> list[Any]:
        number = np.arange(networks.NUM_POINTS, dtype=np.float32)
        points = np.stack([number, 2 * number, 0 * number, 0 * number, 9 + 0 * number], -1)
        world = np.stack([number, 0 * number, -number], -1) / 100
        others = [np.zeros(shape, np.float32) for shape in ((1,), (256, 256, 1), (64, 64, 39))]
        others[1][10:20, 30:40] = 0.1
        return [points.ravel(), *others, world.ravel()]


def test_outputs_become_landmarks_in_px_and_mm() -> None:
    found = networks.landmarks(FakeNetwork(), np.zeros((2, 256, 256, 3), np.float32))  # type: ignore[arg-type]
    assert found.points_px.shape == (2, 33, 2)
    assert [np.nonzero(found.person[1])[axis][[0, -1]].tolist() for axis in (0, 1)] == [[10, 19], [30, 39]]
    assert found.points_px[1, 5].tolist() == [5.0, 10.0]
    np.testing.assert_allclose(found.points_root_mm[0, 30], [300.0, 0.0, -300.0], rtol=1e-6)
    np.testing.assert_allclose(found.visible, 0.5, atol=1e-6)
    nothing = networks.landmarks(FakeNetwork(), np.zeros((0, 256, 256, 3), np.float32))  # type: ignore[arg-type]
    assert nothing.points_px.shape == (0, 33, 2)


def test_every_joint_comes_from_where_the_table_says() -> None:
    joints = networks.with_head(np.arange(33.0, dtype=np.float32)[None, :, None])[0, :, 0]
    by_hand = {
        "hip": 23.5, "right_hip": 24, "right_knee": 26, "right_ankle": 28, "left_hip": 23, "left_knee": 25,
        "left_ankle": 27, "spine": (23 + 24 + 11 + 12) / 4, "thorax": 11.5, "nose": 0, "left_shoulder": 11,
        "left_elbow": 13, "left_wrist": 15, "right_shoulder": 12, "right_elbow": 14, "right_wrist": 16,
        "head": 7.5 + 0.54 * (7.5 - 11.5),
    }  # fmt: skip
    np.testing.assert_allclose(joints, [by_hand[name] for name in H36M17.joints], rtol=1e-6)
    quality = dict(zip(H36M17.joints, networks.JOINTS.quality, strict=True))
    assert quality["head"] == Quality.ABSENT
    assert {name for name, one in quality.items() if one == Quality.APPROXIMATE} == {"hip", "spine", "thorax", "nose"}


def test_the_method_needs_no_training_and_takes_depth_from_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_blazepose.method.Network", lambda _: FakeNetwork())
    method = BlazePose(BlazePose.Config(), RGB)
    assert method.stages() == ()
    assert not method.state_dict()
    estimate = method.predict(unlabelled(tiny_batch(3, input_px=256)))
    assert estimate.joints_px is not None
    assert estimate.z_root_mm is not None
    assert estimate.confidence is not None
    assert estimate.joints_px[2, H36M17.index("left_wrist")].tolist() == [15.0, 30.0]
    assert estimate.z_root_mm[0, H36M17.index("left_wrist")].item() == pytest.approx(-150.0 + 235.0)
    assert estimate.z_root_mm[:, 0].tolist() == [0.0] * 3
    known = torch.full((3, 17), 0.5)
    known[:, H36M17.index("head")] = torch.nan
    torch.testing.assert_close(estimate.confidence, known, equal_nan=True)
    assert estimate.foreground is not None
    assert estimate.foreground.shape == (3, 256, 256)


def test_depth_targets_are_refused() -> None:
    with pytest.raises(UsageError, match="blazepose needs RGB targets"):
        BlazePose(BlazePose.Config(), MethodContext("depth", 0, "none", transfers=True))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UsageError, match=r"ai-edge-litert is not installed; pip install 'kt3d-bench\[zero-shot\]'"):
        networks.Network("pose_detection.tflite")


def test_the_row_tells_of_external_data_and_of_no_training_data() -> None:
    plugin = registry.method("blazepose")
    config = {"method": "blazepose", "supervision": "none", "joints": 6, "preset": "tiny", "settings": {}, "seed": 0}
    target = {"dataset": "d", "origin": "generated", "manifest_digest": "0" * 64, "folder": "x", "samples": 1}
    document = {"config": config, "shards": {"target": target}, "stages": [], "external_data": plugin.external_data}
    facts = _facts_of_run(document)
    assert facts["training_data"] == ()
    assert facts["external_data"] == [*plugin.external_data]
    assert "the head is extrapolated" in facts["external_data"][0]


def test_anchors_lie_in_the_middle_of_the_cells() -> None:
    found = detector.anchors()
    assert found.shape == (2254, 2)
    np.testing.assert_allclose(found[[0, 1, 2]], [[1 / 56, 1 / 56]] * 2 + [[3 / 56, 1 / 56]])
    np.testing.assert_allclose(found[[1568, 1960, 2253]], [[1 / 28, 1 / 28], [1 / 14, 1 / 14], [13 / 14, 13 / 14]])


def raw_outputs(people: dict[int, float]) -> tuple[Any, Any]:
    """Outputs in which the anchors of ``people`` see a face of 20 px, hips 30 px below, and a rim 50 px from these."""
    regressed, logits = np.zeros((2254, 12), np.float32), np.full((2254, 1), -100.0, np.float32)
    for anchor, logit in people.items():
        regressed[anchor, :8] = [0, 0, 20, 20, 0, 30, 30, -10]
        logits[anchor] = logit
    return regressed, logits


def test_a_detection_is_a_circle_around_the_hips() -> None:
    circles = detector.decode(*raw_outputs({0: 3.0, 1: 2.0, 2253: 4.0}))
    np.testing.assert_allclose(circles, [[208, 238, 50], [4, 34, 50]], atol=1e-4)
    np.testing.assert_allclose(detector.boxes_of(circles)[1], [-46, -16, 54, 84], atol=1e-4)
    assert detector.decode(*raw_outputs({5: -0.1})).shape == (0, 3)


@pytest.mark.parametrize(
    ("size", "expected"), [((448, 448), [-91.5, -31.5, 108.5, 168.5]), ((448, 224), [-203.5, -31.5, -3.5, 168.5])]
)
def test_boxes_are_in_px_of_the_image(
    size: tuple[int, int], expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detector, "Network", lambda _: lambda _: raw_outputs({0: 3.0}))
    (box,) = detector.Detector()(np.zeros((*size, 3), np.uint8))
    np.testing.assert_allclose(box, expected, atol=1e-3)


@pytest.fixture
def _weights_are_here() -> None:
    pytest.importorskip("ai_edge_litert")
    if not all(one.present for one in weights("blazepose")[:2]):
        pytest.skip("the weights are not here: kt3d weights")


@pytest.mark.usefixtures("_weights_are_here")
def test_the_published_networks_have_the_documented_outputs(tmp_path: Path) -> None:
    method = BlazePose(BlazePose.Config(), RGB)
    batch = unlabelled(tiny_batch(2, input_px=256))
    estimate = method.predict(batch)
    assert estimate.joints_px is not None
    assert estimate.joints_px.isfinite().all()
    assert detector.Detector()(np.zeros((40, 30, 3), np.uint8)).shape == (0, 4)
