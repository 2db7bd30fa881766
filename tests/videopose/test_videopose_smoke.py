"""VideoPose as a whole: the plugin contract, and an ONNX graph from clips of images, or of 2D joints, to poses."""

from __future__ import annotations

from typing import Any

import kt3d_videopose
import pytest
import torch
from kt3d_videopose.method import VideoPose

from kt3d_bench.method import MethodContext
from kt3d_bench.plugins import registry
from kt3d_bench.testing import require_contract, tiny_batch
from kt3d_bench.training import exporting
from kt3d_bench.training.graph import Graph


@pytest.mark.slow
def test_the_contract_holds() -> None:
    """Trained for a few steps at each level, resumed, predicted and scored, with joints that it finds itself."""
    with registry.lent({"videopose": kt3d_videopose}):
        require_contract("videopose")


@pytest.mark.slow
@pytest.mark.parametrize("detections", ["", "stored"])
@pytest.mark.parametrize("answer", ["pose", "depth"])
def test_it_gives_the_same_in_onnx(detections: str, answer: str) -> None:
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    settings: dict[str, Any] = {"detections": detections, "answer": answer, "input_px": 32}
    config = VideoPose.Config(**{**VideoPose.PRESETS["tiny"], **settings})
    method = VideoPose(config, MethodContext("rgb", 0, "none", True)).eval()
    batch = tiny_batch(2 * config.frames, ("rgb",), input_px=32)
    images = {"detections_px": batch.joints_px} if detections else {"rgb": batch.images["rgb"]}
    given = {
        name: one.reshape(2, config.frames, *one.shape[1:])
        for name, one in {**images, "intrinsics_px": batch.cameras.intrinsics_px}.items()
    }
    graph = Graph(method, tuple(given)).eval()
    with torch.no_grad():
        truth = {key: value.numpy() for key, value in graph.answer(*given.values()).items()}
        content = exporting._onnx_bytes(exporting._traced(graph, given, "videopose"), tuple(given), tuple(truth), {})
    assert set(truth) == {"joints_px", "joints_root_mm" if answer == "pose" else "z_root_mm"}
    assert exporting.largest_mm(exporting.run_onnx(content, given), truth, 32) < 0.05
