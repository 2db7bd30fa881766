"""Deep Depth Pose: the network's size by hand, prototypes against SciPy, losses by hand, and that it learns."""

from __future__ import annotations

from typing import Any

import kt3d_ddp
import numpy as np
import pytest
import torch
from kt3d_ddp.method import DeepDepthPose
from kt3d_ddp.networks import Prototypes, WeightNet, k_means
from scipy.cluster.vq import kmeans2

from kt3d_bench.errors import UsageError
from kt3d_bench.geometry.cameras import project_arrays
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.testing import tiny_batch, tiny_people
from kt3d_bench.training.graph import Graph
from kt3d_bench.training.predict import camera_positions

INPUT_PX = 32
NAN = float("nan")


def build(modality: str = "depth", **settings: Any) -> DeepDepthPose:
    torch.manual_seed(0)
    config = DeepDepthPose.Config(**{**DeepDepthPose.PRESETS["tiny"], "input_px": INPUT_PX, **settings})
    return DeepDepthPose(config, MethodContext(modality, 0, "full", True))


def batch(count: int = 6) -> LabelledBatch:
    return tiny_batch(count, ("depth",), input_px=INPUT_PX, seed=1, surface_mm=3900.0)


def prepared(**settings: Any) -> DeepDepthPose:
    """A method that has seen the poses of thirty people."""
    method = build(**settings)
    people = tiny_people(30, 5)
    method.prototypes.keep(people - people[:, :1])
    method.after_step(method.stages()[0], Progress(0, 0.0))
    return method


def test_the_networks_size_by_hand() -> None:
    """100 px are halved five times to 3; 256 channels there."""
    with torch.device("meta"):
        net = WeightNet(100, 70, width=32, hidden=1024, dropout=0.5)
        weights, place = net(torch.empty(2, 2, 100, 100))
    kernels = 49 * 2 * 32 + 25 * 32 * 64 + 9 * (64 * 128 + 128 * 256 + 256 * 256)
    norms = 2 * (32 + 64 + 128 + 256 + 256)
    full = (9 * 256 + 1) * 1024 + 1025 * (70 + 3)
    assert sum(each.numel() for each in net.parameters()) == kernels + norms + full == 3_449_417
    assert weights.shape == (2, 70)
    assert place.shape == (2, 3)


def test_prototypes_are_scipys_k_means() -> None:
    points = np.random.default_rng(0).normal(size=(60, 3)) + np.repeat(np.eye(3) * 9, 20, axis=0)
    starts = points[np.linspace(0, 59, 4).astype(int)]
    expected, _ = kmeans2(points, starts, iter=10, minit="matrix")
    np.testing.assert_allclose(k_means(torch.from_numpy(points), 4), expected, atol=1e-9)
    two = torch.tensor([[0.0], [1.0]])
    assert sorted(k_means(two, 3).flatten().tolist()) == [0.0, 0.0, 1.0], "more groups than points"


def test_a_weighted_sum_of_prototypes_by_hand() -> None:
    """One prototype of two poses is their mean; a weight of 2 on it stays there, since it is 0 apart from it."""
    people = tiny_people(2, 3)
    poses = people - people[:, :1]
    bank = Prototypes(1, 8)
    bank.keep(poses)
    bank.group()
    for weight in (0.0, 2.0):
        torch.testing.assert_close(bank.pose_mm(torch.tensor([[weight]]))[0], poses.mean(0), atol=1e-2, rtol=0)
    bank = Prototypes(2, 8)
    bank.keep(poses)
    bank.group()
    torch.testing.assert_close(bank.pose_mm(torch.eye(2)), poses, atol=1e-2, rtol=0)
    half = bank.pose_mm(torch.tensor([[0.5, 0.0]]))[0]
    torch.testing.assert_close(half, (poses.mean(0) + poses[0]) / 2, atol=1e-2, rtol=0)


def test_what_is_kept_of_poses_with_gaps() -> None:
    people = tiny_people(4, 3)
    poses = people - people[:, :1]
    poses[:, 9] = NAN
    poses[1, 16] = NAN
    bank = Prototypes(2, 5)
    bank.keep(poses)
    assert int(bank.count) == 3, "one lacks a joint that others have"
    assert not bank.poses_mm[:, 27:30].any(), "a joint of nobody is at the hip"
    bank.keep(poses)
    assert int(bank.count) == 5, "there is no more room"
    Prototypes(2, 5).group()
    bank.group()
    assert bank.pose_mm(torch.ones(1, 2)).isfinite().all()


def huber(apart: torch.Tensor) -> torch.Tensor:
    return torch.where(apart.abs() < 1, apart.square() / 2, apart.abs() - 0.5).mean()


def test_the_losses_by_hand() -> None:
    method, data = prepared(place_weight=2.0).eval(), batch()
    losses = method.step(method.stages()[1], {"target": data}, Progress(0, 0.0)).losses
    weights, place = method.net(method._input(data))
    spread = method.prototypes.deviation_mm.view(17, 3)
    assert spread[0].tolist() == [1.0, 1.0, 1.0], "the hip is at 0 in every pose"
    torch.testing.assert_close(
        losses["pose"], huber((method.prototypes.pose_mm(weights) - data.joints_root_mm) / spread)
    )
    hip = torch.cat([(data.joints_px[:, 0] + 0.5) / INPUT_PX - 0.5, (data.joints_cam_mm[:, 0, 2:] - 3900) / 100], -1)
    torch.testing.assert_close(losses["place"], 2 * huber(place - hip))
    torch.testing.assert_close(losses["weights"], 0.001 * weights.abs().mean())


def test_it_learns_a_batch_by_heart() -> None:
    method, data = prepared(dropout=0.0), batch()
    stage, optimizer = method.stages()[1], torch.optim.Adam(method.net.parameters())
    method.train()
    for step in range(120):
        losses = method.step(stage, {"target": data}, Progress(step, step / 120)).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    with torch.no_grad():
        found = camera_positions(method.eval().predict(data), data, INPUT_PX, None)
    apart = np.linalg.norm(found - data.joints_cam_mm.numpy(), axis=-1).mean()
    spread = np.linalg.norm(data.joints_root_mm.numpy(), axis=-1).mean()
    assert apart < 0.25 * spread


def test_joints_in_the_image_are_those_of_the_pose() -> None:
    method, data = prepared().eval(), batch()
    with torch.no_grad():
        found = method.predict(data)
    placed = camera_positions(found, data, INPUT_PX, None)
    matrix = data.cameras.intrinsics_px.double().numpy()
    expected = project_arrays(matrix, data.cameras.distortion.numpy(), 2.0, placed)
    assert found.joints_px is not None
    np.testing.assert_allclose(found.joints_px, expected, atol=1e-3)


def test_an_exported_graph_is_given_the_camera() -> None:
    method, data = prepared().eval(), batch()
    given = {"depth": data.images["depth"], "surface_mm": data.surface_mm, "intrinsics_px": data.cameras.intrinsics_px}
    assert method.reads_cameras
    with torch.no_grad():
        found, expected = Graph(method, tuple(given)).answer(*given.values()), method.predict(data)
    torch.testing.assert_close(found["joints_px"], expected.joints_px)
    torch.testing.assert_close(found["joints_root_mm"], expected.joints_root_mm)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_px": 20}, "at least 32"),
        ({"batch_size": 1}, "batch_size 2"),
        ({"dropout": 1.0}, "dropout lies"),
        ({"weight_penalty": NAN}, "not negative"),
        ({"place_weight": -1.0}, "not negative"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_it_needs_depth_images_and_whole_poses() -> None:
    with pytest.raises(UsageError, match="ddp needs depth targets"):
        build("rgb")
    [plugin] = kt3d_ddp.kt3d_methods()
    assert set(plugin.presets) == set(DeepDepthPose.PRESETS)
    assert plugin.supervision == ("full-3d", "full")
