"""Parts to joints: features and loss by hand, the regression against NumPy, and that exact parts give exact joints."""

from __future__ import annotations

from typing import Any

import kt3d_shafaei
import numpy as np
import pytest
import torch
from kt3d_shafaei.method import Shafaei
from kt3d_shafaei.parts import PartsNet, Regression, part_features, part_loss, person, person_points_m
from torch.nn import functional

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.nn.points import points_mm
from kt3d_bench.testing import tiny_batch
from kt3d_bench.training import exporting
from kt3d_bench.training.graph import Graph
from kt3d_bench.training.predict import camera_positions

INPUT_PX, CLASSES = 32, 5
NAN = float("nan")


def build(modality: str = "depth", supervision: str = "none", parts: int = CLASSES + 1, **settings: Any) -> Shafaei:
    torch.manual_seed(0)
    config = Shafaei.Config(**{**Shafaei.PRESETS["tiny"], "input_px": INPUT_PX, **settings})
    return Shafaei(config, MethodContext(modality, parts, supervision, True))


def batch(count: int = 4, seed: int = 1) -> LabelledBatch:
    return tiny_batch(count, ("depth", "parts"), input_px=INPUT_PX, seed=seed, num_parts=CLASSES + 1)


def test_the_networks_shape() -> None:
    """Four logits per class and cell of 4 x 4 px, spread over its 2 x 2 named pixels."""
    with torch.device("meta"):
        net = PartsNet(43, backbone="resnet50")
        logits = net(torch.empty(2, 2, 256, 256))
    assert logits.shape == (2, 43, 128, 128)
    encoder = 25_557_032 - 2_049_000 - 64 * 49
    deconvolutions = 16 * (2048 + 256 + 256) * 256 + 3 * 512
    assert sum(each.numel() for each in net.parameters()) == encoder + deconvolutions + 257 * 43 * 4 == 34_036_396


def test_named_pixels_are_every_second_one_near_the_surface() -> None:
    data = batch()
    depth = data.images["depth"].clone()
    depth[0, 0, 4, 6] = 9000.0
    changed = LabelledBatch(**{**vars(data), "images": {**data.images, "depth": depth}})
    found = person(changed)
    assert found.shape == (4, 16, 16)
    assert not found[0, 2, 3]
    near = (depth[:, 0] > 0) & ((depth[:, 0] - 3900).abs() < 1000)
    assert torch.equal(found, near[:, ::2, ::2])
    points = person_points_m(changed)
    all_points = points_mm(depth, data.cameras)
    torch.testing.assert_close(points[0, 2 * 16 + 3], all_points[0, 4 * INPUT_PX + 6] / 1000)


def test_the_loss_counts_pixels_with_a_part() -> None:
    torch.manual_seed(0)
    logits, parts = torch.randn(1, 3, 2, 2), torch.zeros(1, 4, 4, dtype=torch.long)
    parts[0, 0, 0], parts[0, 0, 2], parts[0, 2, 0], parts[0, 1, 1] = 1, 3, 2, 2
    counted = torch.tensor([[[True, True], [False, True]]])
    expected = -(logits.log_softmax(1)[0, 0, 0, 0] + logits.log_softmax(1)[0, 2, 0, 1]) / 2
    torch.testing.assert_close(part_loss(logits, parts, counted), expected)
    assert float(part_loss(logits, parts, counted & False)) == 0.0


def test_features_by_hand() -> None:
    """Part 0 holds two points 0.4 m apart, part 1 one point, part 2 none, and a fourth point belongs to nothing."""
    points = torch.tensor([[[0.0, 1.0, 3.0], [0.4, 1.0, 3.0], [0.2, 1.0, 3.6], [9.0, 9.0, 9.0]]])
    shares = torch.tensor([[[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [0, 0, 0]]])
    features, middle = part_features(points, shares)
    torch.testing.assert_close(middle, torch.tensor([[0.2, 1.0, 3.2]]))
    parts = features[0, :-1].view(3, 7)
    there = [(2 / 3) / (2 / 3 + 0.005), (1 / 3) / (1 / 3 + 0.005)]
    torch.testing.assert_close(parts[0], there[0] * torch.tensor([1, 0, 0, -0.2, 0.2, 0, 0]), atol=2e-4, rtol=0)
    torch.testing.assert_close(parts[1], there[1] * torch.tensor([1, 0, 0, 0.4, 0, 0, 0]), atol=2e-4, rtol=0)
    assert not parts[2].any()
    assert float(features[0, -1]) == 1.0
    nothing, origin = part_features(points, torch.zeros_like(shares))
    assert nothing.isfinite().all()
    assert not origin.any()


def test_the_regression_is_numpys_least_squares() -> None:
    rng = np.random.default_rng(0)
    given, joints = rng.normal(size=(40, 8)), rng.normal(size=(40, 17, 3))
    regression = Regression(1)
    for part in (slice(0, 15), slice(15, 40)):
        regression.add(torch.from_numpy(given[part]), torch.from_numpy(joints[part]))
    regression.solve(0.3)
    stacked = np.concatenate([given, np.sqrt(0.3 * 40) * np.eye(8)])
    expected, *_ = np.linalg.lstsq(stacked, np.concatenate([joints.reshape(40, 51), np.zeros((8, 51))]), rcond=None)
    np.testing.assert_allclose(regression.weights, expected, atol=1e-6)
    found = regression(torch.from_numpy(given[:2]).float())
    np.testing.assert_allclose(found, (given[:2] @ expected).reshape(2, 17, 3), atol=1e-5)
    empty = Regression(1)
    empty.solve(0.3)
    assert not empty.weights.any()


def test_joints_that_follow_the_parts_are_found() -> None:
    """Joints at the middles of the parts, each of which is known exactly: the error is a few mm of ridge."""
    method = build(ridge=1e-9).eval()
    exact: dict[int, torch.Tensor] = {}
    method.parts_net.of = lambda given: exact[id(given)]  # type: ignore[method-assign]

    def following(seed: int) -> LabelledBatch:
        data = batch(16, seed)
        logits = 60 * functional.one_hot(data.images["parts"][:, ::2, ::2], CLASSES + 1)[..., 1:].permute(0, 3, 1, 2)
        counted = (data.images["parts"][:, ::2, ::2] > 0) & person(data)
        shares = (logits > 0).float() * counted[:, None]
        points = person_points_m(data)
        flat = shares.flatten(2)
        means = torch.einsum("bcp,bpd->bcd", flat, points) / flat.sum(2)[..., None]
        joints = 1000 * means[:, torch.arange(17) % CLASSES]
        found = tiny_batch(16, ("depth",), input_px=INPUT_PX, joints_cam_mm=joints)
        known = LabelledBatch(**{**vars(found), "images": data.images, "cameras": data.cameras})
        exact[id(known)] = logits.float()
        return known

    stage = method.stages()[1]
    kept = [following(seed) for seed in range(8)]
    for data in kept[:7]:
        method.step(stage, {"source": data}, Progress(0, 0.0))
        method.after_step(stage, Progress(0, 0.0))
    estimate = method.predict(kept[7])
    found = camera_positions(estimate, kept[7], INPUT_PX, None)
    apart = np.linalg.norm(found - kept[7].joints_cam_mm.numpy(), axis=-1).mean()
    assert apart < 10.0


def test_it_learns_the_parts_of_a_batch_by_heart() -> None:
    method = build()
    stage, optimizer = method.stages()[0], torch.optim.Adam(method.parts_net.parameters(), 5e-3)
    cells = torch.arange(INPUT_PX) // 8
    stripes = ((cells[:, None] + cells[None]) % CLASSES + 1).expand(2, -1, -1)
    data = batch(2)
    data = LabelledBatch(**{**vars(data), "images": {**data.images, "parts": stripes}})
    method.train()
    told = []
    for step in range(60):
        result = method.step(stage, {"source": data}, Progress(step, step / 60))
        optimizer.zero_grad()
        result.losses["parts"].backward()
        optimizer.step()
        told.append(result.logs["parts_right_percent"])
    assert told[0] < 50
    assert told[-1] > 95


def test_the_stages_read_what_the_level_grants() -> None:
    for level, role in (("none", "source"), ("full", "target"), ("full-3d", "target")):
        parts, regression = build(supervision=level).stages()
        assert dict(parts.roles) == {"source": ("depth", "parts")}
        assert dict(regression.roles) == {role: ("depth",)}


def test_an_exported_graph_is_given_the_camera_and_answers_the_same_in_onnx() -> None:
    pytest.importorskip("onnxscript")
    method, data = build().eval(), batch()
    method.regression.weights.normal_(std=0.1)
    given = {"depth": data.images["depth"], "surface_mm": data.surface_mm, "intrinsics_px": data.cameras.intrinsics_px}
    assert method.reads_cameras
    graph = Graph(method, tuple(given)).eval()
    with torch.no_grad():
        found, expected = graph.answer(*given.values()), method.predict(data)
        truth = {name: value.numpy() for name, value in found.items()}
        content = exporting._onnx_bytes(exporting._traced(graph, given, "shafaei"), tuple(given), tuple(truth), {})
    torch.testing.assert_close(found["joints_px"], expected.joints_px)
    torch.testing.assert_close(found["root_z_mm"], expected.root_z_mm)
    assert exporting.largest_mm(exporting.run_onnx(content, given), truth, INPUT_PX) < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_px": 36}, "multiple of 8"),
        ({"batch_size": 1}, "at least 2"),
        ({"regression_steps": 0}, "at least 1"),
        ({"ridge": 0.0}, "above 0"),
        ({"ridge": NAN}, "above 0"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_it_needs_depth_images_and_parts() -> None:
    with pytest.raises(UsageError, match="shafaei needs depth targets"):
        build("rgb")
    with pytest.raises(UsageError, match="the source has none"):
        build(parts=0)
    [plugin] = kt3d_shafaei.kt3d_methods()
    assert set(plugin.presets) == set(Shafaei.PRESETS)
    assert plugin.supervision == ("none", "full-3d", "full")
