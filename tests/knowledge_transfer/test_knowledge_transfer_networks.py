"""Generators, classifier, mean teacher, masks and views: shapes, geometry, gradients."""

import pytest
import torch
from kt3d_knowledge_transfer.networks import (
    DcganGenerator,
    DomainClassifier,
    LimbMapGenerator,
    MeanTeacher,
    as_if_first,
    depths_hidden,
    flattened,
    generator_pose,
    mask_image,
)

from kt3d_bench.errors import UsageError
from kt3d_bench.nn.integral import IntegralNet
from kt3d_bench.skeletons import H36M17


@pytest.mark.parametrize("input_px", [32, 48, 64, 112])
@pytest.mark.parametrize("kind", [DcganGenerator, LimbMapGenerator])
def test_generators_make_positive_masks_of_the_input_size(kind: type, input_px: int) -> None:
    poses = input_px / 4 * torch.rand(2, 17, 3)
    masks = kind(5, input_px=input_px, side=input_px // 4, width=4)(poses)
    assert masks.shape == (2, 5, input_px, input_px)
    assert float(masks.min()) > 0
    assert torch.allclose(masks.sum(1), torch.ones(2, input_px, input_px), atol=1e-5)
    depths = kind(5, input_px=input_px, side=input_px // 4, width=4, mask="part-depth")(poses)
    assert float(depths.min()) > 0
    assert float(depths.max()) <= 1


def test_dcgan_has_the_published_widths_at_256_px() -> None:
    generator = DcganGenerator(44, input_px=256, side=64, width=32)
    widths = [layer.in_channels for layer in generator.grow if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert generator.base == 4
    assert widths == [1024, 512, 256, 128, 64, 32]


def test_dcgan_refuses_sizes_it_cannot_reach() -> None:
    with pytest.raises(UsageError, match="72 px"):
        DcganGenerator(5, input_px=72, side=18, width=4)


def test_a_drawn_limb_lies_between_its_joints() -> None:
    side, px = 16, 64
    generator = LimbMapGenerator(5, input_px=px, side=side, width=4)
    pose = torch.full((1, 17, 3), 8.0)
    bone = H36M17.bones.index((3, 2))
    pose[0, 3], pose[0, 2] = torch.tensor([3.0, 12.0, 4.0]), torch.tensor([11.0, 4.0, 10.0])
    maps = generator.draw(pose)[0].view(4, len(H36M17.bones), px, px)
    presence, depth, along, across = maps[:, bone]

    def pixel(voxel: torch.Tensor) -> tuple[int, int]:
        x, y = ((voxel[:2] + 0.5) * 4 - 0.5).round().long().tolist()
        return y, x

    middle = (pose[0, 3] + pose[0, 2]) / 2
    for end, z, place in ((pose[0, 3], 4.0, 0.0), (middle, 7.0, 0.5), (pose[0, 2], 10.0, 1.0)):
        at = pixel(end)
        assert float(presence[at]) > 0.9
        assert float(depth[at] / presence[at]) == pytest.approx((z + 0.5) / side * 2 - 1, abs=0.06)
        assert float(along[at] / presence[at]) == pytest.approx(place, abs=0.06)
    assert float(presence[pixel(2 * pose[0, 2] - middle)]) < 0.01
    off = torch.tensor([1.0, 1.0, 0.0]) * 3
    assert float(presence[pixel(middle + off)]) < 0.01
    near = torch.tensor([1.0, 1.0, 0.0]) * 0.5
    assert float(across[pixel(middle + near)]) * float(across[pixel(middle - near)]) < 0


def test_limb_maps_give_the_pose_a_gradient() -> None:
    pose = (16 * torch.rand(1, 17, 3)).requires_grad_()
    LimbMapGenerator(5, input_px=64, side=16, width=4)(pose)[:, 1].sum().backward()
    assert pose.grad is not None
    assert bool(pose.grad.isfinite().all())
    assert (pose.grad[0].abs().sum(1) > 0).all()


def test_joints_in_one_place_still_give_finite_gradients() -> None:
    pose = torch.full((1, 17, 3), 8.0, requires_grad=True)
    LimbMapGenerator(5, input_px=64, side=16, width=4)(pose)[:, 1].sum().backward()
    assert pose.grad is not None
    assert bool(pose.grad.isfinite().all())


def test_classifier_descends_while_the_encoder_ascends() -> None:
    classifier, features = DomainClassifier(6, 8), torch.randn(5, 6, requires_grad=True)
    labels = torch.tensor([0, 1, 0, 1, 1])
    plain = torch.nn.Sequential(*classifier.layers)
    true = torch.autograd.grad(
        torch.nn.functional.cross_entropy(plain(features), labels), [features, *classifier.parameters()]
    )
    seen = torch.autograd.grad(
        torch.nn.functional.cross_entropy(classifier(features), labels), [features, *classifier.parameters()]
    )
    assert torch.allclose(seen[0], -true[0])
    assert all(torch.allclose(a, b) for a, b in zip(seen[1:], true[1:], strict=True))
    assert float(true[0].abs().max()) > 0


def test_mean_teacher_has_no_parameters_and_never_trains() -> None:
    student = IntegralNet(1, backbone="tiny", side=8)
    teacher = MeanTeacher(IntegralNet(1, backbone="tiny", side=8))
    assert not list(teacher.parameters())
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    before = {name: value.clone() for name, value in teacher.net.state_dict().items()}
    teacher.follow(student, 26)
    for name, value in student.state_dict().items():
        if value.is_floating_point():
            expected = 0.75 * before[name] + 0.25 * value
            assert torch.allclose(teacher.net.state_dict()[name], expected, atol=1e-6)
    last = {name: value.clone() for name, value in teacher.net.state_dict().items()}
    teacher.follow(student, 10**6)
    weight = "decoder.last.weight"
    expected = 0.99 * last[weight] + 0.01 * student.state_dict()[weight]
    assert torch.allclose(teacher.net.state_dict()[weight], expected, atol=1e-6)


def test_as_if_first_ignores_what_was_drawn_before() -> None:
    torch.manual_seed(7)
    alone = torch.rand(3)
    torch.manual_seed(7)
    torch.rand(100)
    with as_if_first():
        later = torch.rand(3)
    after = torch.rand(1)
    torch.manual_seed(7)
    torch.rand(100)
    assert torch.equal(alone, later)
    assert torch.equal(after, torch.rand(1))


def test_mask_images_by_hand() -> None:
    parts = torch.tensor([[[0, 2], [1, 2]]])
    depth = torch.tensor([[[[0.0, 3000.0], [3500.0, 1500.0]]]])
    one_hot = mask_image(parts, None, torch.full((1,), float("nan")), 3, "one-hot")
    assert one_hot[0].tolist() == [[[1, 0], [0, 0]], [[0, 0], [1, 0]], [[0, 1], [0, 1]]]
    part_depth = mask_image(parts, depth, torch.tensor([3000.0]), 3, "part-depth")
    expected = torch.tensor([[[1, 0], [0, 0]], [[0, 0], [0.75, 0]], [[0, 0.5], [0, 0.05]]])
    assert torch.allclose(part_depth[0], expected)


def test_dcgan_starts_as_published() -> None:
    torch.manual_seed(0)
    generator = DcganGenerator(44, input_px=64, side=16, width=32)
    for layer in generator.modules():
        if isinstance(layer, torch.nn.ConvTranspose2d | torch.nn.Linear):
            assert float(layer.weight.std()) == pytest.approx(0.02, rel=0.05)
        if isinstance(layer, torch.nn.BatchNorm2d):
            assert float((layer.weight - 1).abs().mean()) == pytest.approx(0.016, abs=0.006)


def test_depths_are_hidden_for_the_share_asked_for() -> None:
    pose = 1 + 16 * torch.rand(4000, 17, 3)
    hidden = depths_hidden(pose, 0.5, 16)
    assert torch.equal(hidden[..., :2], pose[..., :2])
    gone = hidden[..., 2] != pose[..., 2]
    assert bool((hidden[..., 2][gone] == 7.5).all())
    assert float(gone.all(1).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float((gone.any(1) & ~gone.all(1)).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(depths_hidden(pose, 1e-9, 16), pose)
    assert bool((flattened(pose, 16)[..., 2] == 7.5).all())


def test_unknown_joints_do_not_poison_the_generators_input() -> None:
    truth = 16 * torch.rand(8, 17, 3)
    truth[:, 9] = float("nan")
    assert bool(generator_pose(truth, 16).isfinite().all())
