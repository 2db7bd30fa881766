"""Networks outside torch on one core: the zero-shot method and its batch, and an exported network against torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from clock import best_s
from pytest_benchmark.fixture import BenchmarkFixture

from kt3d_bench.plugins import registry


@pytest.fixture
def _weights_are_here() -> None:
    import kt3d_blazepose

    from kt3d_bench.weight_files import weights

    pytest.importorskip("ai_edge_litert")
    with registry.lent({"blazepose": kt3d_blazepose}):
        if not all(one.present for one in weights("blazepose")[:2]):
            pytest.skip("the weights are not here: kt3d weights")


@pytest.mark.usefixtures("_weights_are_here")
def test_images_per_second_of_the_zero_shot_method(benchmark: BenchmarkFixture) -> None:
    """What follows the network is a small part of the time; one core."""
    import kt3d_blazepose
    from kt3d_blazepose import networks
    from kt3d_blazepose.detector import Detector

    with registry.lent({"blazepose": kt3d_blazepose}):
        network, detector = networks.Network("pose_landmark_full.tflite"), Detector()
    crops = np.random.default_rng(0).random((8, 256, 256, 3), np.float32)
    outputs = [np.repeat(one[None], 8, axis=0) for one in network(crops[0])]
    whole = best_s(lambda: networks.landmarks(network, crops))
    decoding = best_s(lambda: networks.with_head(networks.decode(*outputs).points_px))
    picture = np.zeros((720, 1280, 3), np.uint8)
    benchmark.extra_info["crops per second"] = len(crops) / whole
    benchmark.extra_info["pictures per second, detector"] = 1 / best_s(lambda: detector(picture))
    benchmark.extra_info["share of decoding"] = decoding / whole
    benchmark.pedantic(networks.landmarks, (network, crops), rounds=1)
    assert decoding < 0.1 * whole


def test_an_exported_network_takes_no_longer_than_torch(benchmark: BenchmarkFixture) -> None:
    """One image of the network of size tiny at 64 px, ONNX against torch."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    from kt3d_bench.method import MethodContext
    from kt3d_bench.training import exporting
    from kt3d_bench.training.graph import Graph

    kind = registry.load(registry.method("integral-pose").load)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    method = kind(kind.Config(**kind.PRESETS["tiny"]), MethodContext("rgb", 0, "full", transfers=True)).eval()
    given: dict[str, Any] = {"rgb": torch.rand(3, 3, method.input_px, method.input_px)}
    graph = Graph(method, ("rgb",)).eval()
    with torch.no_grad():
        content = exporting._onnx_bytes(exporting._traced(graph, given, ""), ("rgb",), ("joints_px", "z_root_mm"), {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        one = given["rgb"][:1]
        own = best_s(lambda: [graph(one) for _ in range(10)]) / 10
        other = best_s(lambda: [session.run(None, {"rgb": one.numpy()}) for _ in range(10)]) / 10
    benchmark.extra_info |= {"torch ms": 1e3 * own, "onnxruntime ms": 1e3 * other}
    benchmark.pedantic(session.run, (None, {"rgb": one.numpy()}), rounds=2)
    assert other < own
