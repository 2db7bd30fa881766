"""Every method that has networks, untrained and without data, with what its exported graph reads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kt3d_bench.method import MethodContext
from kt3d_bench.plugins import registry
from kt3d_bench.training.graph import Graph
from kt3d_bench.training.settings import build_config

NETWORKS: list[tuple[str, str, dict[str, Any]]] = [
    ("integral-pose", "rgb", {}),
    ("integral-pose", "depth", {}),
    ("martinez", "rgb", {}),
    ("simcc-3d", "rgb", {}),
    ("volumetric", "rgb", {}),
    ("zhou", "rgb", {}),
    ("a2j", "depth", {}),
    ("v2v", "depth", {}),
    ("ddp", "depth", {}),
    ("dann", "depth", {}),
    ("knowledge-transfer", "rgb", {}),
    ("knowledge-transfer", "depth", {}),
    ("source-only", "rgb", {"depth_at_test": "mask"}),
]
"""Method, modality of the target, and settings."""
SMALL, HEADS = 0.02, 0.3
"""Weights with a standard deviation below the first are drawn again with the second."""
WITHOUT = {"mean-pose", "mean-pose-oracle", "blazepose"}
"""Methods of this repository that have no network of torch."""
UNTAUGHT: list[tuple[str, str, dict[str, Any]]] = [("shafaei", "depth", {})]
"""As ``NETWORKS``: its pose is a regression, which before training follows no image."""
ELSEWHERE = {"shafaei", "videopose"}
"""Methods whose graphs are compared by their own tests; the second reads clips."""


def graph_of(
    load: str, modality: str, settings: dict[str, Any], preset: str = "tiny"
) -> tuple[Graph, dict[str, Tensor]]:
    """Return a method's graph, of the size ``preset`` with random weights, and its inputs by name: three images of
    noise, depths of 1 to 2 m, and cameras where the method reads them. ``load``: where its class is.

    Heads are drawn again, larger: as they are built, they answer every image with the middle."""
    kind = registry.load(load)
    torch.manual_seed(0)
    config = build_config(kind.Config, kind.PRESETS, preset, settings, kind.BUNDLES)
    method = kind(config, MethodContext(modality, num_parts=12, supervision="none", transfers=True)).eval()
    with torch.no_grad():
        for weight in method.parameters():
            if weight.ndim > 1 and weight.std() < SMALL:
                weight.normal_(0.0, HEADS)
    shape = 3, 1, method.input_px, method.input_px
    made = {"rgb": torch.rand(3, 3, *shape[2:]), "depth": 1000 + 1000 * torch.rand(shape),
            "foreground": torch.rand(shape).round()}  # fmt: skip
    given = {name: made[name] for name in method.reads}
    if modality == "depth":
        given["surface_mm"] = torch.tensor([1500.0, 1400.0, 1300.0])
    if method.reads_cameras:
        focal, middle = 1.2 * method.input_px, method.input_px / 2
        given["intrinsics_px"] = torch.tensor([[focal, 0.0, middle], [0.0, focal, middle]]).repeat(3, 1, 1)
    return Graph(method, tuple(given)).eval(), given
