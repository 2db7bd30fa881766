"""Networks outside torch on one core: the zero-shot method and its batch, and an exported network against torch."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
import torch
from clock import best_s
from conftest import FiveRuns

from kt3d_bench.plugins import registry
from tests.training.training_networks import NETWORKS, UNTAUGHT, graph_of


@pytest.fixture
def _weights_are_here() -> None:
    import kt3d_blazepose

    from kt3d_bench.weight_files import weights

    pytest.importorskip("ai_edge_litert")
    with registry.lent({"blazepose": kt3d_blazepose}):
        if not all(one.present for one in weights("blazepose")[:2]):
            pytest.skip("the weights are not here: kt3d weights")


@pytest.mark.usefixtures("_weights_are_here")
def test_images_per_second_of_the_zero_shot_method(figures: FiveRuns) -> None:
    """What follows the network is a small part of the time; one core."""
    import kt3d_blazepose
    from kt3d_blazepose import networks
    from kt3d_blazepose.detector import Detector

    with registry.lent({"blazepose": kt3d_blazepose}):
        network, detector = networks.Network("pose_landmark_full.tflite"), Detector()
    crops = np.random.default_rng(0).random((8, 256, 256, 3), np.float32)
    picture = np.zeros((720, 1280, 3), np.uint8)
    shares = []

    def rates() -> dict[str, float]:
        found = best_s(
            whole=lambda: networks.landmarks(network, crops),
            alone=lambda: [network(crop) for crop in crops],
            detector=lambda: detector(picture),
        )
        shares.append(found["whole"] / found["alone"])
        return {"blazepose-crops": len(crops) / found["whole"], "blazepose-detector": 1 / found["detector"]}

    figures(rates)
    assert statistics.median(shares) < 1.1


@pytest.mark.parametrize(("preset", "times"), [("tiny", 10), ("paper", 1)])
@pytest.mark.parametrize(("name", "modality", "settings"), NETWORKS + UNTAUGHT)
def test_an_exported_network_takes_no_longer_than_torch(
    name: str, modality: str, settings: dict[str, Any], preset: str, times: int, figures: FiveRuns
) -> None:
    """One image to its pose, ONNX against torch, sizes tiny and paper; not for ``videopose``, which reads clips."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    from kt3d_bench.training import exporting

    torch.set_num_threads(1)
    graph, given = graph_of(registry.method(name).load, modality, settings, preset)
    with torch.no_grad():
        traced, outputs = exporting._traced(graph, given, name), tuple(graph.answer(*given.values()))
        content = exporting._onnx_bytes(traced, tuple(given), outputs, {})
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        one = {key: value[:1] for key, value in given.items()}
        arrays = {key: value.numpy() for key, value in one.items()}

        def rates() -> dict[str, float]:
            found = best_s(
                1,
                torch=lambda: [graph(*one.values()) for _ in range(times)],
                onnxruntime=lambda: [session.run(None, arrays) for _ in range(times)],
            )
            return {f"{engine}-{name}-{modality}-{preset}": times / spent for engine, spent in found.items()}

        measured = figures(rates)
    own, other = (statistics.median(values) for values in measured.values())
    assert preset == "paper" or other > own
