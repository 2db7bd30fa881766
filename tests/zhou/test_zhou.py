"""Zhou et al.: the released network's size, depths at peaks, bone variance and losses by hand, stages, and learning."""

from __future__ import annotations

import math
from typing import Any

import kt3d_zhou
import numpy as np
import pytest
import torch
from kt3d_zhou.method import FOREARM, GROUPS, SHIN, Zhou, bone_variance, px_per_mm
from kt3d_zhou.networks import Maps, MapsNet, bone_lengths

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import CameraBatch, LabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import tiny_batch

INPUT_PX = 32
ALL, NOTHING = torch.ones(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)


def build(modality: str = "rgb", supervision: str = "full-2d", **settings: Any) -> Zhou:
    torch.manual_seed(0)
    config = Zhou.Config(**{**Zhou.PRESETS["tiny"], "input_px": INPUT_PX, **settings})
    return Zhou(config, MethodContext(modality, 0, supervision, True))


def batch(image: str, mask_2d: torch.Tensor = ALL, mask_3d: torch.Tensor = ALL, seed: int = 1) -> LabelledBatch:
    return tiny_batch(3, (image,), input_px=INPUT_PX, seed=seed, mask_2d=mask_2d, mask_3d=mask_3d)


def test_the_full_network_has_the_released_ones_size() -> None:
    """16 joints and RGB alone: ResNet-50, three deconvolutions of 4 x 4, and two heads of 16 maps from 256 channels."""
    with torch.device("meta"):
        net = MapsNet(16, backbone="resnet50", rgb=True)
        maps = net(torch.empty(2, 3, 256, 256))
    extra = sum(each.numel() for part in (net.colour, net.offset) for each in part.parameters())
    deconvolutions = 16 * (2048 + 256 + 256) * 256 + 3 * 512
    released = 25_557_032 - 2_049_000 + deconvolutions + 2 * (256 * 16 + 16)
    assert sum(each.numel() for each in net.parameters()) - extra == released == 34_003_552
    assert extra == 2 * 3 + 3 + 2048 + 1
    assert maps.heat.shape == maps.depth.shape == (2, 16, 64, 64)


def test_depths_are_read_at_the_nearest_pixel() -> None:
    depth = torch.arange(12.0).view(1, 1, 3, 4).expand(1, 2, 3, 4)[..., :3]
    maps = Maps(torch.zeros(1, 2, 3, 3), depth, torch.zeros(1))
    assert maps.depth_at(torch.tensor([[[1.4, 1.6], [0.0, 0.0]]])).tolist() == [[9.0, 0.0]]
    assert maps.depth_at(torch.tensor([[[-7.0, 9.0], [float("nan"), 1.0]]])).tolist() == [[8.0, 4.0]]
    heat = torch.zeros(1, 2, 3, 3)
    heat[0, 0, 2, 1], heat[0, 0, 2, 2], heat[0, 1, 0, 2] = 3.0, 1.0, 1.0
    places, found = Maps(heat, depth, torch.zeros(1)).peaks()
    assert places[0, 0].tolist() == pytest.approx([1.25, 2.0])
    assert found.tolist() == [[9.0, 2.0]]


def test_poses_get_the_size_of_the_bones_that_were_seen() -> None:
    net = MapsNet(17, backbone="tiny", rgb=False)
    pose = tiny_batch(1, input_px=INPUT_PX).joints_root_mm
    assert net.mm_per_unit(pose / 100).tolist() == [[0.0]], "nothing was seen yet"
    net.measure(torch.cat([pose, 3 * pose]))
    assert net.mm_per_unit(pose / 100).item() == pytest.approx(200.0, rel=1e-4)
    hidden = pose.clone()
    hidden[:, H36M17.index("left_wrist")] = float("nan")
    net.measure(hidden)
    assert net.bones[:, 1].tolist() == [2.0 if bone == H36M17.bones.index((13, 12)) else 3.0 for bone in range(16)]
    np.testing.assert_allclose(bone_lengths(pose)[0], H36M17.bone_lengths(pose[0].numpy()), rtol=1e-5)


def test_the_groups_are_those_of_the_released_code() -> None:
    sizes = [(len(group), sorted({bone[2] for bone in group})) for group in GROUPS]
    assert sizes == [(4, [1.0, SHIN]), (4, [1.0, FOREARM]), (2, [1.0]), (2, [1.0])]
    for group in GROUPS:
        ends = {frozenset(H36M17.index(name) for name in bone[:2]) for bone in group}
        assert ends <= {frozenset(bone) for bone in H36M17.bones}
        mirrored = {frozenset(int(H36M17.mirror[end]) for end in bone) for bone in ends}
        assert mirrored == ends, "left and right stand together"


def test_the_variance_of_bones_by_hand() -> None:
    """Legs: shins of 3 and 1, one thigh of 5, the other unknown. Hips: 2 and 4. Arms and shoulders: unknown."""
    at = {"right_hip": (2.0, 0, 0), "hip": (0.0, 0, 0), "left_hip": (0.0, 0, 4), "right_knee": (2.0, 3, 4),
          "right_ankle": (2.0, 3, 7), "left_ankle": (9.0, 9, 9), "left_knee": (9.0, 8, 9)}  # fmt: skip
    pose, known = torch.full((2, 17, 3), float("nan")), torch.zeros(2, 17, dtype=torch.bool)
    for name, place in at.items():
        pose[0, H36M17.index(name)] = torch.tensor(place)
        known[0, H36M17.index(name)] = True
    left = H36M17.index("left_hip")
    legs = [3 * SHIN, 5.0, 1 * SHIN, math.dist(at["left_hip"], at["left_knee"])]
    expected = np.var(legs) / 2 + np.var([2.0, 4.0]) / 2
    assert float(bone_variance(pose, known)) == pytest.approx(expected / 2, rel=1e-5), "the mean over two samples"
    known[0, left] = False
    pose.requires_grad_()
    loss = bone_variance(pose, known)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(np.var(legs[:3]) / 4, rel=1e-5)
    assert pose.grad is not None
    assert pose.grad.isfinite().all()
    assert not pose.grad[:, left].any()


def test_pixels_per_mm_at_the_hip() -> None:
    data = batch("rgb")
    turned = CameraBatch(torch.tensor([[[0.0, -60.0, 5.0], [60.0, 0.0, 5.0]]]).repeat(3, 1, 1), torch.zeros(3, 5), 2.0)
    given = LabelledBatch(**{**vars(data), "cameras": turned})
    torch.testing.assert_close(px_per_mm(given), 60 / data.joints_cam_mm[:, 0, 2])


def huber(apart: torch.Tensor) -> torch.Tensor:
    return torch.where(apart.abs() < 1, apart.square() / 2, apart.abs() - 0.5).mean()


def test_the_losses_of_every_role_by_hand() -> None:
    method = build().eval()
    flat = batch("rgb", ALL, NOTHING, 3)
    given = {"source": batch("depth"), "target": batch("rgb", ALL, NOTHING, 2), "pretrain": flat}
    depths, geometry = method.stages()[1:]
    losses = method.step(depths, given, Progress(0, 0.0)).losses
    every = {"source heat maps", "source depths", "target heat maps", "target depths", "pretrain heat maps"}
    assert set(losses) == every
    source = given["source"]
    maps = method.net(method._input(source))
    place = (source.joints_px + 0.5) / 4 - 0.5
    at = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="xy"), -1)
    wanted = torch.exp(-(at - place[:, :, None, None]).square().sum(-1) / 2)
    torch.testing.assert_close(losses["source heat maps"], (maps.heat - wanted).square().mean())
    inside = ((place > -0.5) & (place < 7.5)).all(-1)
    scale = 30 / source.joints_cam_mm[:, :1, 2] / INPUT_PX
    apart = (maps.depth_at(place) - source.joints_root_mm[..., 2] * scale)[inside]
    torch.testing.assert_close(losses["source depths"], 0.1 * huber(apart))
    assert float(losses["target depths"].detach()) == 0.0
    losses = method.step(geometry, given, Progress(0, 0.0)).losses
    assert set(losses) == every | {"target bones", "pretrain bones"}
    place = (flat.joints_px + 0.5) / 4 - 0.5
    depth = method.net(method._input(flat)).depth_at(place)
    pose = torch.cat([(flat.joints_px + 0.5) / INPUT_PX, depth[..., None]], -1)
    inside = ((place > -0.5) & (place < 7.5)).all(-1)
    torch.testing.assert_close(losses["pretrain bones"], 0.01 * bone_variance(pose, inside))


def test_bones_say_nothing_where_a_3d_label_is() -> None:
    method = build().eval()
    few = NOTHING.clone()
    few[3] = True
    given = {"source": batch("depth"), "target": batch("rgb", ALL, few, 2)}
    assert float(method.step(method.stages()[2], given, Progress(0, 0.0)).losses["target bones"].detach()) == 0.0


def test_the_stages_read_what_the_level_grants() -> None:
    roles = {level: [dict(stage.roles) for stage in build("rgb", level).stages()] for level in ("none", "full-2d")}
    source, target, flat = {"source": ("depth",)}, {"target": ("rgb",)}, {"pretrain": ("rgb",)}
    assert roles["none"] == [flat, source | flat, source | flat]
    assert roles["full-2d"] == [flat, source | target | flat, source | target | flat]
    depth = build("depth", "partial-2d")
    assert [dict(stage.roles) for stage in depth.stages()] == [{"source": ("depth",), "target": ("depth",)}] * 2
    with pytest.raises(UsageError, match="zhou needs 2D labels of depth targets"):
        build("depth", "none")
    [plugin] = kt3d_zhou.kt3d_methods()
    assert set(plugin.presets) == set(Zhou.PRESETS)
    assert "none" in plugin.supervision


def test_it_learns_two_domains_by_heart() -> None:
    """Depths of the depth images, and x and y of both; the pose keeps the size of the source's bones."""
    method = build(steps=1, sigma=1.0)
    given = {"source": batch("depth"), "target": batch("rgb", ALL, NOTHING, 2)}
    stage, optimizer = method.stages()[1], torch.optim.Adam(method.parameters(), 5e-3)
    method.train()
    for step in range(80):
        losses = method.step(stage, given, Progress(step, step / 80)).losses
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    method.eval()
    with torch.no_grad():
        found = method.predict(given["target"])
        seen = method.net(method._input(given["source"]))
    assert found.joints_px is not None
    assert found.z_root_mm is not None
    assert found.root_z_mm is None
    assert float((found.joints_px - given["target"].joints_px).norm(dim=-1).median()) < 2.0
    _, depth = seen.peaks()
    truth = given["source"].joints_root_mm[..., 2] * 30 / given["source"].joints_cam_mm[:, :1, 2] / INPUT_PX
    assert float((depth - truth).abs().median()) < 0.3 * float(truth.abs().median())
    pose_px = torch.cat([found.joints_px, torch.zeros(3, 17, 1)], -1)
    assert method.net.mm_per_unit(pose_px).isfinite().all()


def test_depth_targets_get_absolute_places() -> None:
    method = build("depth", "full-2d")
    method.net.measure(batch("depth").joints_root_mm)
    with torch.no_grad():
        found = method.eval().predict(batch("depth"))
    assert found.root_z_mm is not None
    assert found.root_z_mm.tolist() == [3900.0] * 3, "an untrained offset is 0"
    assert found.z_root_mm is not None
    assert float(found.z_root_mm[:, 0].abs().max()) == 0.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_px": 36}, "multiple of 8"),
        ({"batch_size": 1}, "at least 2"),
        ({"geometry_steps": -1}, "not negative"),
        ({"sigma": 0.0}, "sigma is above 0"),
        ({"depth_weight": -1.0}, "not negative"),
        ({"geometry_weight": float("nan")}, "not negative"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)
