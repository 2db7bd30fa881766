"""V2V-PoseNet: the published size, voxels and heat maps by hand, geometry against the cameras', and that it learns."""

from __future__ import annotations

import math
from typing import Any

import kt3d_v2v
import numpy as np
import pytest
import torch
from kt3d_v2v.cubes import heat_maps, middle_mm, occupancy, peaks_mm
from kt3d_v2v.method import V2V
from kt3d_v2v.networks import VoxelNet

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.nn.points import points_mm
from kt3d_bench.testing import tiny_batch
from kt3d_bench.training.graph import Graph

INPUT_PX = 32
ALL, NOTHING = torch.ones(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)


def build(modality: str = "depth", **settings: Any) -> V2V:
    torch.manual_seed(0)
    config = V2V.Config(**{**V2V.PRESETS["tiny"], "input_px": INPUT_PX, "voxels": 16, **settings})
    return V2V(config, MethodContext(modality, 0, "full", True))


def batch(mask_3d: torch.Tensor = ALL, count: int = 4) -> LabelledBatch:
    return tiny_batch(count, ("depth",), input_px=INPUT_PX, seed=1, mask_2d=ALL, mask_3d=mask_3d, surface_mm=3900.0)


def test_the_full_network_has_the_published_size() -> None:
    """3.41 M parameters for 15 joints, by hand from layers with bias, each before a batch norm but the last."""

    def layer(given: int, channels: int, kernel: int) -> int:
        return given * channels * kernel**3 + 3 * channels

    def residual(given: int, channels: int) -> int:
        own = layer(given, channels, 3) + layer(channels, channels, 3)
        return own + (layer(given, channels, 1) if given != channels else 0)

    front = layer(1, 16, 7) + residual(16, 32) + 2 * residual(32, 32)
    inner = residual(64, 128) + 2 * residual(128, 128) + layer(128, 64, 2) + residual(64, 64)
    outer = residual(32, 64) + residual(64, 64) + layer(64, 32, 2) + residual(32, 32)
    last = residual(32, 32) + 2 * layer(32, 32, 1) + 32 * 15 + 15
    with torch.device("meta"):
        net = VoxelNet(15)
        maps = net(torch.empty(2, 1, 88, 88, 88))
    assert sum(each.numel() for each in net.parameters()) == front + inner + outer + last == 3_410_255
    assert maps.shape == (2, 15, 44, 44, 44)


def test_the_cube_lies_around_the_surface() -> None:
    points = torch.tensor([[[100.0, 0.0, 3000.0], [300.0, 50.0, 3400.0], [9000.0, 0.0, 6000.0], [0.0, 0.0, 0.0]]])
    assert middle_mm(points, torch.tensor([3100.0]), 2000.0).tolist() == [[200.0, 25.0, 3100.0]]
    assert middle_mm(points, torch.tensor([float("nan")]), 2000.0).isnan().all()


def test_voxels_are_occupied_where_points_lie() -> None:
    """A cube of 800 mm with 8 voxels around (0, 0, 1000): voxel x begins at 100 (x - 4) mm, z at 1000 + 100 (z - 4)."""
    points = torch.tensor([[[-400.0, 0.0, 1000.0], [350.0, -50.0, 1399.0], [400.0, 0.0, 1000.0], [0.0, 0.0, 0.0]]])
    grid = occupancy(points, torch.tensor([[0.0, 0.0, 1000.0]]), 800.0, 8)
    assert grid.shape == (1, 1, 8, 8, 8)
    assert grid[0, 0].nonzero().tolist() == [[4, 4, 0], [7, 3, 7]], "z, y, x"
    assert not occupancy(points, torch.full((1, 3), float("nan")), 800.0, 8).any()


def test_heat_maps_and_their_peaks() -> None:
    """Middles of voxels lie at 100 (x - 3.5) mm, so a joint at (-50, 50, 1150) is in the middle of (3, 4, 5)."""
    centre = torch.tensor([[0.0, 0.0, 1000.0]])
    joints = torch.tensor([[[-50.0, 50.0, 1150.0], [-20.0, 50.0, 1150.0], [float("nan")] * 3]])
    maps = heat_maps(joints, centre, 800.0, 8, 1.7)
    assert float(maps[0, 0, 5, 4, 3]) == 1.0
    assert float(maps[0, 0, 5, 6, 2]) == pytest.approx(math.exp(-(2**2 + 1**2) / (2 * 1.7**2)))
    assert float(maps[0, 1, 5, 4, 3]) == pytest.approx(math.exp(-(0.3**2) / (2 * 1.7**2)))
    assert maps[0, 2].isnan().all()
    known = maps[:, :2]
    assert peaks_mm(known, centre, 800.0, refine=False).tolist() == [[[-50.0, 50.0, 1150.0]] * 2]
    refined = peaks_mm(known, centre, 800.0, refine=True)
    torch.testing.assert_close(refined[0, 0], joints[0, 0])
    assert -50 < float(refined[0, 1, 0]) < 0
    edge = torch.zeros(1, 1, 8, 8, 8)
    edge[0, 0, 0, 7, 0] = 2.0
    assert peaks_mm(edge, centre, 800.0, refine=True)[0, 0].tolist() == pytest.approx([-350.0, 350.0, 650.0])


def test_the_loss_is_the_mean_squared_error_of_known_heat_maps() -> None:
    few = NOTHING.clone()
    few[[0, 3]] = True
    method, data = build(shift_mm=0.0), batch(few)
    method.eval()
    losses = method.step(method.stages()[0], {"target": data}, Progress(0, 0.0)).losses
    points = points_mm(data.images["depth"], data.cameras)
    centre = middle_mm(points, data.surface_mm, 2000.0)
    maps = method.net(occupancy(points, centre, 2000.0, 16))
    total = []
    for sample in range(4):
        for joint in (0, 3):
            place = ((data.joints_cam_mm[sample, joint] - centre[sample]) / 2000 + 0.5) * 8 - 0.5
            z, y, x = np.mgrid[:8, :8, :8]
            apart = (x - float(place[0])) ** 2 + (y - float(place[1])) ** 2 + (z - float(place[2])) ** 2
            total.append(((maps[sample, joint].detach().numpy() - np.exp(-apart / 2)) ** 2).mean())
    losses["heat maps"].backward()
    assert float(losses["heat maps"].detach()) == pytest.approx(np.mean(total), rel=1e-4)
    gradient = method.net.last[-1].weight.grad
    assert isinstance(gradient, torch.Tensor)
    assert gradient.flatten(1).abs().amax(1).nonzero().flatten().tolist() == [0, 3]


def test_training_moves_the_cube() -> None:
    method, data = build(shift_mm=90.0), batch()
    stage = method.stages()[0]
    torch.manual_seed(1)

    def loss() -> float:
        return float(method.step(stage, {"target": data}, Progress(0, 0.0)).losses["heat maps"].detach())

    first, second = loss(), loss()
    torch.manual_seed(1)
    assert first == loss() != second


def test_it_learns_a_batch_by_heart() -> None:
    method, data = build(shift_mm=0.0, width=8), batch()
    stage = method.stages()[0]
    optimizer = torch.optim.RMSprop(method.parameters(), 2e-3)
    method.train()
    for step in range(90):
        optimizer.param_groups[0]["lr"] = 4e-3 * (1 - step / 90)
        losses = method.step(stage, {"target": data}, Progress(step, step / 80)).losses
        optimizer.zero_grad()
        losses["heat maps"].backward()
        optimizer.step()
    with torch.no_grad():
        estimate = method.eval().predict(data)
    assert estimate.joints_px is not None
    assert estimate.z_root_mm is not None
    assert estimate.root_z_mm is not None
    depth = estimate.root_z_mm[:, None] + estimate.z_root_mm
    assert float((depth - data.joints_cam_mm[..., 2]).abs().mean()) < 125, "half a voxel of 250 mm"
    assert float((estimate.joints_px - data.joints_px).norm(dim=-1).mean()) < 3.0


def test_an_exported_graph_is_given_the_camera() -> None:
    method, data = build().eval(), batch()
    given = {"depth": data.images["depth"], "surface_mm": data.surface_mm, "intrinsics_px": data.cameras.intrinsics_px}
    assert method.reads_cameras
    with torch.no_grad():
        found, expected = Graph(method, tuple(given)).answer(*given.values()), method.predict(data)
    torch.testing.assert_close(found["joints_px"], expected.joints_px)
    torch.testing.assert_close(found["root_z_mm"], expected.root_z_mm)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"voxels": 20}, "multiple of 8"),
        ({"batch_size": 1}, "batch_size 2"),
        *(({name: value}, "above 0") for name in ("sigma", "cube_mm") for value in (0.0, float("nan"), float("inf"))),
        ({"shift_mm": float("nan")}, "shift_mm not negative"),
        ({"shift_mm": float("inf")}, "all finite"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_it_needs_depth_images_and_3d_labels() -> None:
    with pytest.raises(UsageError, match="v2v needs depth targets"):
        build("rgb")
    [plugin] = kt3d_v2v.kt3d_methods()
    assert set(plugin.presets) == set(V2V.PRESETS)
    assert not {"none", "partial-2d", "full-2d"} & set(plugin.supervision)
