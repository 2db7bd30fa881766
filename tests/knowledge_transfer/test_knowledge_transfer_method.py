"""What the stages do, without any training worth the name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kt3d_knowledge_transfer import adapting
from kt3d_knowledge_transfer.config import AS_PUBLISHED, PRESETS, Config
from kt3d_knowledge_transfer.method import KnowledgeTransfer, SourceOnly
from kt3d_knowledge_transfer.views import Lesson, View

from kt3d_bench.errors import UsageError
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.nn import camera_fit
from kt3d_bench.nn.flips import both_ways
from kt3d_bench.nn.integral import IntegralOutput, surface_offset_loss, to_voxels
from kt3d_bench.skeletons import H36M17, LABEL_SUBSETS

Make = Callable[..., Any]


def _stage(method: KnowledgeTransfer, name: str) -> Any:
    return next(stage for stage in method.stages() if stage.name == name)


def _says(voxels: torch.Tensor) -> IntegralOutput:
    """A network's answer with these poses and flat marginals."""
    flat = torch.full((*voxels.shape[:2], 8), 1 / 8)
    return IntegralOutput(voxels, torch.zeros(len(voxels), 4), torch.zeros(len(voxels)), 8, (flat, flat, flat))


def test_stages_follow_target_and_options(build: Make) -> None:
    def names(method: KnowledgeTransfer) -> list[str]:
        return [stage.name for stage in method.stages()]

    fitted = ["pretrain-2d", "cameras", "prior", "adapt"]
    assert names(build("rgb", bridge="none", prior_cameras="fitted")) == fitted
    assert names(build("rgb", kind=SourceOnly, prior_cameras="fitted")) == fitted[:-1]
    assert names(build("depth", prior_cameras="fitted")) == ["synthetic", "adapt"]
    cycle = {"bridge": "generated"}
    assert names(build("rgb", bridge="none")) == ["prior", "pretrain-2d", "adapt"]
    assert names(build("rgb", bridge="observed")) == ["prior", "pretrain-2d", "bridge", "adapt"]
    assert names(build("rgb", **cycle)) == ["prior", "pretrain-2d", "synthetic", "generator", "adapt"]
    assert names(build("rgb", bridge="none", weight_domain=0.1)) == ["prior", "pretrain-2d", "synthetic", "adapt"]
    assert names(build("depth", **cycle)) == ["synthetic", "generator", "adapt"]
    assert names(build("depth", **cycle, generator_schedule="joint")) == ["synthetic", "adapt"]
    assert names(build("depth")) == ["synthetic", "adapt"]
    assert names(build("depth", transfers=False)) == ["synthetic"]


def test_source_only_trains_what_it_uses(build: Make) -> None:
    def names(modality: str, **settings: Any) -> list[str]:
        return [stage.name for stage in build(modality, kind=SourceOnly, **settings).stages()]

    assert names("rgb", depth_at_test="prior") == ["prior", "pretrain-2d"]
    assert names("rgb", depth_at_test="mask") == ["prior", "pretrain-2d", "bridge"]
    assert names("rgb", **AS_PUBLISHED) == ["pretrain-2d", "synthetic"]
    assert names("rgb", depth_at_test="network") == ["pretrain-2d", "synthetic", "generator"]
    assert names("rgb", bridge="generated") == ["prior", "pretrain-2d"]
    assert names("depth") == names("depth", bridge="generated") == ["synthetic"]


def test_what_is_read_is_declared(build: Make) -> None:
    assert build("rgb", depth_at_test="prior").reads == ("rgb",)
    assert build("rgb", depth_at_test="mask").reads == ("rgb", "foreground")
    assert build("depth", depth_at_test="mask").reads == ("depth",)
    assert build("depth", transfers=False, branch="mask").reads == ("depth", "parts")
    assert _stage(build("rgb", bridge="observed"), "adapt").roles["target"] == ("rgb", "foreground")
    assert _stage(build("rgb", bridge="none"), "adapt").roles["target"] == ("rgb",)


def test_stages_before_adapt_do_not_depend_on_how_adapt_is_done(build: Make) -> None:
    torch.manual_seed(3)
    first = build("rgb", supervision="none", bridge="observed")
    torch.manual_seed(3)
    second = build("rgb", supervision="full", bridge="generated", generator="dcgan", mix_pretrain=0.0)
    torch.manual_seed(3)
    third = build("depth", transfers=False)
    for name in ("prior", "pretrain-2d"):
        assert _stage(first, name) == _stage(second, name)
    assert _stage(first, "adapt") != _stage(second, "adapt")
    assert _stage(second, "synthetic") == third.stages()[0]
    state, others = first.state_dict(), [second.state_dict(), third.state_dict()]
    for name in state:
        if name.startswith(("prior.", "rgb_net.", "depth_net.", "mask_net.")):
            assert all(torch.equal(state[name], other[name]) for other in others if name in other), name


def test_the_published_method_can_be_reached(build: Make, train: Make) -> None:
    method = build("rgb", **AS_PUBLISHED)
    assert type(method.generator).__name__ == "DcganGenerator"
    assert [stage.name for stage in method.stages()] == ["pretrain-2d", "synthetic", "adapt"]
    assert all(stage.average is None and stage.schedule.kind == "steps" for stage in method.stages())
    result = train(method, "synthetic")
    assert set(result.losses) == {"depth", "mask", "offset", "reconstruction", "adversarial"}
    result = train(method, "adapt")
    assert set(result.losses) == {"cycle", "adversarial"}
    assert set(train(build("depth", **AS_PUBLISHED), "adapt").losses) == {"cycle", "adversarial"}
    paper = Config(**AS_PUBLISHED)
    weights = [paper.weight_depth, paper.weight_mask, paper.weight_reconstruction, paper.weight_adversarial]
    assert weights == [0.4, 0.4, 0.15, 0.05]
    assert (paper.weight_pose, paper.weight_domain) == (0.95, 0.05)
    assert (paper.input_px, paper.side, paper.epochs, paper.batch_size, paper.learning_rate) == (256, 64, 140, 32, 1e-3)
    assert paper.adversarial_delay_steps == 5000


@pytest.mark.parametrize("bridge", ["observed", "generated"])
@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_adapt_leaves_frozen_networks_and_their_statistics_alone(
    build: Make, train: Make, modality: str, bridge: str
) -> None:
    method = build(modality, bridge=bridge)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    train(method, "adapt", steps=3)
    trained = ("rgb_net", "adapted_net", "teacher_net", "start_net")
    after = method.state_dict()
    frozen = [name for name in before if not name.startswith(trained)]
    assert any("running_mean" in name for name in frozen)
    assert any(name.startswith("generator") for name in frozen)
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert {"teacher_net", "rgb_net" if modality == "rgb" else "adapted_net"} <= changed


@pytest.mark.parametrize("count", sorted(LABEL_SUBSETS))
@pytest.mark.parametrize("dims", ["2d", "3d"])
def test_exactly_the_granted_joints_carry_label_gradient(build: Make, batch: Make, count: int, dims: str) -> None:
    method = build("rgb", bridge="none", teacher="none", depth_at_test="network")
    granted = torch.zeros(17, dtype=torch.bool)
    granted[list(LABEL_SUBSETS[count])] = True
    nothing = torch.zeros(17, dtype=torch.bool)
    masks = {"mask_2d": granted, "mask_3d": nothing} if dims == "2d" else {"mask_2d": nothing, "mask_3d": granted}
    labels = adapting._labels(method, batch("rgb", **masks))
    pose = torch.full((4, 17, 3), 4.0, requires_grad=True)
    sum(adapting._pose_losses(method, _says(pose), labels, None, None).values()).backward()
    assert pose.grad is not None
    assert bool(pose.grad.isfinite().all())
    moved = pose.grad.abs() > 0
    assert moved[..., :2].all(-1).all(0).tolist() == granted.tolist()
    assert moved.any(-1).any(0).tolist() == granted.tolist()
    if dims == "2d":
        assert not moved[..., 2].any()
    else:
        assert moved[..., 2].all(0).tolist() == granted.tolist()


def test_without_labels_only_the_teacher_the_bridge_and_2d_data_speak(build: Make, train: Make) -> None:
    assert set(train(build("rgb", bridge="none"), "adapt", labelled=False).losses) == {"teacher", "pretrain"}
    assert set(train(build("rgb", bridge="observed"), "adapt", labelled=False).losses) == {"teacher", "pretrain"}
    generated = train(build("rgb", bridge="generated", mix_pretrain=0.0), "adapt", labelled=False)
    assert set(generated.losses) == {"teacher", "cycle"}
    assert set(train(build("depth"), "adapt", labelled=False).losses) == {"teacher", "source", "offset"}
    assert set(train(build("depth", mix_source=0.0), "adapt", labelled=False).losses) == {"teacher", "offset"}


def test_the_teacher_is_not_asked_where_labels_say_all(build: Make, train: Make) -> None:
    assert "teacher" not in train(build("rgb", supervision="full"), "adapt", labelled=True).losses
    partial = torch.zeros(17, dtype=torch.bool)
    partial[10] = True
    losses = train(build("rgb"), "adapt", labelled=True, mask_2d=partial, mask_3d=partial).losses
    assert {"teacher", "label"} <= set(losses)


def test_labels_of_a_mirrored_view_are_mirrored_labels(build: Make, batch: Make) -> None:
    method = build("rgb", bridge="none")
    left_wrist = torch.zeros(17, dtype=torch.bool)
    left_wrist[13] = True
    labels = adapting._labels(method, batch("rgb", mask_2d=left_wrist, mask_3d=torch.zeros(17, dtype=torch.bool)))
    pose = torch.full((4, 17, 3), 4.0, requires_grad=True)
    one = torch.ones(4)
    view = View(0 * one, one, torch.zeros(4, 2), one.bool())
    adapting._pose_losses(method, _says(pose), labels, None, view)["label"].backward()
    assert pose.grad is not None
    assert pose.grad.abs().sum((0, 2)).nonzero().flatten().tolist() == [16]


def test_the_teacher_says_what_it_sees_and_the_prior_how_deep(build: Make, batch: Make) -> None:
    method = build("rgb", bridge="none", depth_at_test="network").eval()
    torch.nn.init.normal_(method.prior.last.weight, std=0.1)
    target = batch("rgb", labelled=False)
    image = method.inputs.target(target)
    lesson = adapting._taught(method, target, image, None)
    assert lesson is not None
    teacher = method.teacher_net.net
    straight, mirror = teacher(image).voxels, teacher(image.flip(-1)).voxels
    mirror = torch.cat([7 - mirror[..., :1], mirror[..., 1:]], -1)[:, torch.from_numpy(H36M17.mirror)]
    place = ((straight + mirror) / 2)[..., :2]
    assert torch.allclose(lesson.voxels[..., :2], place, atol=1e-5)
    assert torch.allclose(lesson.voxels[..., 2], method.prior(place)[..., 2], atol=1e-5)
    apart = (straight - mirror)[..., :2].norm(dim=-1)
    assert torch.allclose(lesson.weight[..., 0], (-((apart / (8 / 32)) ** 2)).exp(), atol=1e-5)
    assert not lesson.voxels.requires_grad


def test_the_teacher_keeps_what_labels_say_and_adds_depths(build: Make, batch: Make) -> None:
    method = build("rgb", bridge="none", supervision="partial-2d", depth_at_test="network").eval()
    torch.nn.init.normal_(method.prior.last.weight, std=0.1)
    granted, nothing = torch.zeros(17, dtype=torch.bool), torch.zeros(17, dtype=torch.bool)
    granted[[10, 13]] = True
    target = batch("rgb", mask_2d=granted, mask_3d=nothing)
    labels = adapting._labels(method, target)
    lesson = adapting._taught(method, target, method.inputs.target(target), labels)
    assert lesson is not None
    assert labels is not None
    assert torch.equal(lesson.voxels[:, granted, :2], labels.voxels[:, granted, :2])
    assert torch.allclose(lesson.voxels[..., 2], method.prior(lesson.voxels)[..., 2], atol=1e-5)
    assert not lesson.weight[:, granted, :2].any()
    assert bool((lesson.weight[:, granted, 2] > 0).all())
    assert bool((lesson.weight[:, ~granted] > 0).any())


def test_observed_silhouettes_correct_the_frozen_start_and_never_the_teacher(build: Make, batch: Make) -> None:
    method = build("rgb", bridge="observed").eval()
    target = batch("rgb", "foreground", labelled=False)
    image = method.inputs.target(target)
    with torch.no_grad():
        for weight in method.start_net.parameters():
            weight.mul_(0.9)
    lesson = adapting._taught(method, target, image, None)
    assert lesson is not None
    teacher, start = (both_ways(net, image)[0].voxels for net in (method.teacher_net, method.start_net))
    expected = (teacher + method.bridged(target, start)) / 2
    assert torch.allclose(lesson.voxels[..., :2], expected[..., :2], atol=1e-4)
    assert not torch.allclose(teacher, start, atol=1e-3)
    scene = type(target)({**target.images, "foreground": torch.zeros(4, 1, 32, 32)}, target.cameras, target.surface_mm)
    empty = adapting._taught(method, scene, image, None)
    assert empty is not None
    assert not torch.allclose(empty.voxels, lesson.voxels, atol=1e-3)
    assert torch.equal(method.bridged(scene, start), start), "without a silhouette nothing is corrected"


def test_the_bridge_learns_from_silhouettes_and_poses_alone(build: Make, train: Make) -> None:
    method = build("rgb", bridge="observed")
    stage = _stage(method, "bridge")
    assert stage.roles == {"source": ("foreground",)}
    assert stage.trains == ("bridge_net",)
    assert set(train(method, "bridge").losses) == {"bridge"}


@pytest.mark.parametrize("supervision", ["none", "full"])
def test_the_cycles_stage_reads_masks_of_the_source_and_logs_what_it_can_carry(
    build: Make, train: Make, supervision: str
) -> None:
    method = build("rgb", bridge="generated", supervision=supervision)
    assert _stage(method, "adapt").roles["source"] == ("parts",)
    logs = train(method, "adapt", labelled=supervision == "full").logs
    assert {"cycle_mm", "true_mask_mm", "foreground_right"} <= logs.keys()


def test_the_cycle_passes_its_gradient_to_the_student(build: Make) -> None:
    method = build("rgb", bridge="generated").eval()
    pose = (8 * torch.rand(2, 17, 3)).requires_grad_()
    losses = adapting._pose_losses(method, _says(pose), None, None, None)
    grad = torch.autograd.grad(losses["cycle"], pose)[0]
    alone = (8 * torch.rand(2, 17, 3)).requires_grad_()
    through = torch.autograd.grad(method.cycle(alone).sum(), alone)[0]
    assert bool((grad.abs() > 0).any())
    assert float(through[..., :2].abs().max()) > 0
    assert float(through[..., 2].abs().max()) > 0


def test_labels_also_teach_the_cycles_outcome(build: Make, batch: Make) -> None:
    """Section 4.5: the granted labels against the prediction and against what the mask branch makes of it."""
    method = build("rgb", bridge="generated", supervision="full").eval()
    labels = adapting._labels(method, batch("rgb"))
    assert labels is not None
    losses = adapting._pose_losses(method, _says(labels.voxels.clone()), labels, None, None)
    assert set(losses) == {"label", "cycle", "cycle_label"}
    assert float(losses["cycle_label"]) == pytest.approx(float(losses["cycle"]), rel=1e-5)
    hidden = Lesson(labels.voxels, torch.zeros_like(labels.weight))
    assert float(adapting._pose_losses(method, _says(labels.voxels), hidden, None, None)["cycle_label"]) == 0


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_the_adversary_waits_for_steps_or_a_fifth_of_the_stage(build: Make, modality: str) -> None:
    method = build(modality, adversarial_delay_steps=100)
    assert not method.adversarial_now(Progress(99, 0.19))
    assert method.adversarial_now(Progress(100, 0.01))
    assert method.adversarial_now(Progress(5, 0.2))
    assert not build(modality, adversarial=False).adversarial_now(Progress(10**6, 1.0))


def test_the_classifier_learns_and_the_encoders_unlearn(build: Make, batch: Make) -> None:
    method = build("depth", transfers=False)
    source = batch("depth", "parts")
    stage = _stage(method, "synthetic")
    method.eval()

    def adversarial() -> torch.Tensor:
        return method.step(stage, {"source": source}, Progress(10**6, 1.0)).losses["adversarial"]

    start = adversarial()
    for module, sign in ((method.classifier, -1), (method.mask_net.encoder, +1), (method.depth_net.encoder, +1)):
        parameters = [p for p in module.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(adversarial(), parameters)
        saved = [p.detach().clone() for p in parameters]
        size = 1e-3 / torch.cat([g.flatten() for g in gradients]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= size * gradient
        change = float(adversarial() - start)
        assert change * sign > 0
        with torch.no_grad():
            for parameter, value in zip(parameters, saved, strict=True):
                parameter.copy_(value)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"bridge": "observed", "depth_at_test": "mask"},
    {"bridge": "generated", "depth_at_test": "cycle"},
    {"bridge": "generated", "mask": "part-depth", "reconstruction": "si-log"},
    {"bridge": "generated", "mask": "part-depth", "reconstruction": "mse", "generator": "dcgan",
     "generator_schedule": "joint"},
    {"bridge": "generated", "reconstruction": "si", "generator": "dcgan", "teacher": "none"},
    {"adversarial": False, "weight_domain": 0.05},
    {"weight_domain": 0.05},
    {"teacher": "none", "depth_at_test": "network", "mix_pretrain": 0.5},
    {"prior_cameras": "source", "flip_test": False, "schedule": "steps", "mix_pretrain": 0.0},
    {"depth_channels": 1, "marginal_weight": 0.0},
]  # fmt: skip


@pytest.mark.parametrize("modality", ["rgb", "depth"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: ",".join(options) or "defaults")
def test_every_option_builds_and_steps(build: Make, train: Make, batch: Make, modality: str, options: Any) -> None:
    method = build(modality, supervision="partial", **options)
    granted = torch.zeros(17, dtype=torch.bool)
    granted[list(LABEL_SUBSETS[6])] = True
    for stage in method.stages():
        grants = {"labelled": True, "mask_2d": granted, "mask_3d": granted}
        result = train(method, stage.name, step=9, **grants)
        assert result.losses
        assert all(bool(loss.isfinite().all()) for loss in result.losses.values())
        assert all(isinstance(value, float) for value in result.logs.values())
    estimate = method.predict(batch(*method.reads, labelled=False))
    assert bool(estimate.joints_px.isfinite().all())


@pytest.mark.parametrize("kind", [KnowledgeTransfer, SourceOnly])
@pytest.mark.parametrize("depths", ["prior", "mask", "cycle", "network"])
@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_predictions_are_finite_and_depend_on_the_image(
    build: Make, batch: Make, modality: str, kind: type, depths: str
) -> None:
    method = build(modality, kind=kind, bridge="generated", depth_at_test=depths).eval()
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if name.endswith(("last.weight", "refine.9.weight")):
                parameter.mul_(100) if not name.startswith("prior") else parameter.normal_(std=0.1)
    first, second = (method.predict(batch(*method.reads, labelled=False)) for _ in range(2))
    assert first.joints_px.shape == (4, 17, 2)
    assert first.z_root_mm.shape == (4, 17)
    for estimate in (first, second):
        assert bool(estimate.joints_px.isfinite().all())
        assert bool(estimate.z_root_mm.isfinite().all())
        assert bool((estimate.z_root_mm[:, 0] == 0).all())
    assert not torch.allclose(first.joints_px, second.joints_px, atol=1e-4)
    assert not torch.allclose(first.z_root_mm, second.z_root_mm, atol=1e-3)
    assert (first.root_z_mm is not None) == (modality == "depth")


def test_the_flip_test_answers_a_mirrored_image_with_the_mirrored_pose(build: Make, batch: Make) -> None:
    images = batch("rgb", labelled=False)
    mirrored = type(images)({"rgb": images.images["rgb"].flip(-1)}, images.cameras, images.surface_mm)
    method = build("rgb", depth_at_test="network").eval()
    first, second = method.predict(images), method.predict(mirrored)
    left, right = 13, 16
    assert torch.allclose(31 - first.joints_px[:, left, 0], second.joints_px[:, right, 0], atol=1e-3)
    assert torch.allclose(first.z_root_mm[:, left], second.z_root_mm[:, right], atol=1e-1)
    plain = build("rgb", depth_at_test="network", flip_test=False).eval()
    first, second = plain.predict(images), plain.predict(mirrored)
    assert not torch.allclose(31 - first.joints_px[:, left, 0], second.joints_px[:, right, 0], atol=1e-3)


def test_observed_silhouettes_at_test_correct_the_pose_that_the_prior_lifts(build: Make, batch: Make) -> None:
    method = build("rgb", depth_at_test="mask").eval()
    torch.nn.init.normal_(method.prior.last.weight, std=0.1)
    images = batch(*method.reads, labelled=False)
    place = method.bridged(images, both_ways(method.rgb_net, method.inputs.target(images))[0].voxels)[..., :2]
    found = method.predict(images)
    again = to_voxels(found.joints_px, found.z_root_mm, 32, 8)
    assert torch.allclose(again[..., :2], place, atol=1e-3)
    z = method.prior(place)[..., 2]
    assert torch.allclose(found.z_root_mm, (z - z[:, :1]) * 2000 / 8, atol=1e-1)


@pytest.mark.parametrize("depths", ["prior", "cycle", "network"])
def test_depths_at_test_are_those_asked_for_and_keep_the_2d_pose(build: Make, batch: Make, depths: str) -> None:
    images = batch("rgb", labelled=False)
    method = build("rgb", bridge="generated", depth_at_test=depths, flip_test=False).eval()
    torch.nn.init.normal_(method.prior.last.weight, std=0.1)
    voxels = method.rgb_net(method.inputs.target(images)).voxels
    found = method.predict(images)
    again = to_voxels(found.joints_px, found.z_root_mm, 32, 8)
    assert torch.allclose(again[..., :2], voxels[..., :2], atol=1e-4)
    flat = torch.cat([voxels[..., :2], torch.full_like(voxels[..., 2:], 3.5)], -1)
    expected = {"prior": method.prior(voxels), "cycle": method.cycle(flat), "network": voxels}[depths]
    z_mm = (expected[..., 2] - expected[:, :1, 2]) * 2000 / 8
    assert torch.allclose(found.z_root_mm, z_mm, atol=1e-1)


def test_source_only_as_published_lifts_through_the_cycle(build: Make, batch: Make) -> None:
    images = batch("rgb", labelled=False)
    method = build("rgb", kind=SourceOnly, **AS_PUBLISHED).eval()
    assert method.depth_at_test == "cycle"
    assert build("rgb", kind=SourceOnly).depth_at_test == "prior"
    assert bool(method.predict(images).z_root_mm.isfinite().all())


def test_branches_predict_from_their_own_images(build: Make, batch: Make) -> None:
    images = batch("depth", "parts", labelled=False)
    depth = build("depth", transfers=False, branch="depth").eval().predict(images)
    torch.manual_seed(0)
    mask = build("parts", transfers=False, branch="mask").eval().predict(images)
    assert depth.root_z_mm is not None
    assert mask.root_z_mm is not None
    assert not torch.allclose(depth.joints_px, mask.joints_px)
    alone = build("parts", transfers=False, branch="mask").eval().predict(batch("parts", labelled=False))
    assert alone.root_z_mm is None


def test_root_depth_is_learned_from_the_source(batch: Make) -> None:
    source = batch("depth", "parts")
    offset = torch.tensor([100.0, 50.0, 150.0, 100.0], requires_grad=True)
    loss = surface_offset_loss(offset, source.surface_offset_mm)
    assert float(loss) == pytest.approx((0 + 0.5 + 0.5 + 0) / 4)
    loss.backward()
    assert offset.grad.sign().tolist() == [0, -1, 1, 0]
    hidden = batch("depth", mask_3d=torch.arange(17) != 0)
    assert float(surface_offset_loss(offset, hidden.surface_offset_mm)) == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bridge": "observd"}, "did you mean 'observed'"),
        ({"teacher": "mena"}, "did you mean 'mean'"),
        ({"weight_domain": -1.0}, "0 or more"),
        ({"marginal_weight": -1.0}, "0 or more"),
        ({"mix_pretrain": -0.1}, "0 or more"),
        ({"input_px": 50}, "multiple of 8"),
        ({"batch_size": 1}, "at least 2"),
        ({"prior_width": 0}, "at least 1"),
        ({"depth_channels": 3}, "choose 1 or 2"),
        ({"image_floor": 0.0}, "between 0 and 1"),
        ({"mask": "part-depth", "reconstruction": "cross-entropy"}, "one-hot"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Config(**settings)


def test_a_source_without_masks_is_refused() -> None:
    with pytest.raises(UsageError, match="part masks"):
        KnowledgeTransfer(Config(**PRESETS["tiny"]), MethodContext("rgb", 0, "none", True))


def test_the_plugin_offers_its_methods_and_the_demo_without_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, kt3d_knowledge_transfer as plugin; names = [m.name for m in plugin.kt3d_methods()]; "
        "rows = {one.name: one.rows for one in plugin.kt3d_recipes()}; "
        "print(names, len(rows['demo']), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['knowledge-transfer', 'source-only'] 10 False"


def test_the_mean_teacher_follows_and_the_start_stays(build: Make, train: Make) -> None:
    method = build("rgb", bridge="none")
    train(method, "adapt", steps=3, rate=1e-2)
    start, teacher, student = (
        net.state_dict()["decoder.last.weight"] for net in (method.start_net, method.teacher_net.net, method.rgb_net)
    )
    assert float((student - start).norm()) > 0
    assert float((teacher - student).norm()) < float((start - student).norm())
    assert float((teacher - start).norm()) > 0


def test_depth_targets_start_from_the_depth_network(build: Make) -> None:
    method = build("depth")
    method.start_stage(_stage(method, "adapt"))
    for name, value in method.depth_net.state_dict().items():
        assert torch.equal(value, method.adapted_net.state_dict()[name])
        assert torch.equal(value, method.start_net.state_dict()[name])
        assert torch.equal(value, method.teacher_net.net.state_dict()[name])


def test_labelled_2d_images_are_seen_beside_the_target(build: Make, batch: Make) -> None:
    method = build("rgb", bridge="none").eval()
    seen = []
    method.rgb_net.register_forward_pre_hook(lambda _, images: seen.append(len(images[0])))
    batches = {"target": batch("rgb", labelled=False), "pretrain": batch("rgb", size=3)}
    result = method.step(_stage(method, "adapt"), batches, Progress(1, 0.0))
    assert seen == [4 + 3]
    assert float(result.losses["pretrain"]) > 0


def test_labelled_2d_images_learn_their_depths_from_the_prior(build: Make, batch: Make) -> None:
    method = build("rgb", bridge="none", marginal_weight=0.0, depth_at_test="network").eval()
    torch.nn.init.normal_(method.prior.last.weight, std=0.1)
    mixed = adapting._mixed(method, {"pretrain": batch("rgb", mask_3d=torch.zeros(17, dtype=torch.bool))})
    assert mixed is not None
    perfect = method.prior(mixed.place)
    assert float(adapting._mixed_loss(method, _says(perfect), mixed, None)) == pytest.approx(0, abs=1e-6)
    deeper = perfect + torch.tensor([0, 0, 0.5])
    assert float(adapting._mixed_loss(method, _says(deeper), mixed, None)) > 0
    one = torch.ones(4)
    view = View(0.3 * one, 1.1 * one, torch.full((4, 2), 0.1), one.bool())
    seen = _says(view.pose(perfect, 8))
    assert float(adapting._mixed_loss(method, seen, mixed, view)) == pytest.approx(0, abs=1e-6)


def test_labelled_depth_images_of_the_source_are_seen_beside_the_target(build: Make, batch: Make) -> None:
    """Right answers cost nothing, in any view; a joint that is a voxel too deep, 8 of 64 bins, costs smooth L1 of 8."""
    method = build("depth", marginal_weight=0.0).eval()
    assert _stage(method, "adapt").roles == {"target": ("depth",), "source": ("depth",)}
    assert _stage(build("depth", mix_source=0.0), "adapt").roles == {"target": ("depth",)}
    assert "source" not in _stage(build("rgb"), "adapt").roles
    mask_3d = torch.ones(17, dtype=torch.bool)
    mask_3d[3] = False
    mixed = adapting._mixed(method, {"source": batch("depth", mask_3d=mask_3d)})
    assert mixed is not None
    perfect = mixed.place.nan_to_num(0.0)
    one = torch.ones(4)
    view = View(0.3 * one, 1.1 * one, torch.full((4, 2), 0.1), one.bool())
    for answer, seen in ((perfect, None), (view.pose(perfect, 8), view)):
        assert float(adapting._source_loss(method, _says(answer), mixed, seen)) == pytest.approx(0, abs=1e-5)
    wrong = perfect.clone()
    wrong[:, 3] += 1.0
    assert float(adapting._source_loss(method, _says(wrong), mixed, None)) == pytest.approx(0, abs=1e-6), "not known"
    wrong[:, 5, 2] += 1.0
    assert float(adapting._source_loss(method, _says(wrong), mixed, None)) == pytest.approx((8 - 0.5) / (16 * 3))


def test_warnings_hang_on_what_is_logged_where_nothing_is_labelled(build: Make, train: Make) -> None:
    logs = train(build("rgb", bridge="none"), "adapt", step=9).logs
    assert {"warn_collapse", "warn_drift"} <= set(logs)
    assert logs["warn_collapse"] == (logs["spread_share"] < 0.5)
    assert logs["warn_drift"] == (logs["drift_2d_px"] > 0.08 * 32)
    granted = train(build("rgb", bridge="none"), "adapt", step=9, labelled=True).logs
    assert "spread_share" in granted
    assert not any(name.startswith("warn_") for name in granted), "far from a wrong start is right there"
    logs = train(build("rgb", bridge="generated", weight_domain=0.05), "adapt", step=0).logs
    assert {"cycle_mm", "true_mask_mm", "foreground_right", "domain_accuracy"} <= set(logs)


def test_a_hip_without_label_stays_what_the_source_taught(build: Make, batch: Make) -> None:
    method = build("depth").eval()
    method.start_stage(_stage(method, "adapt"))
    target = batch("depth", labelled=False)
    image = method.inputs.target(target)
    own = method.adapted_net(image)
    assert float(adapting._offset_loss(method, own, target, image)["offset"]) == pytest.approx(0, abs=1e-6)
    published = build("depth", **AS_PUBLISHED).eval()
    assert adapting._offset_loss(published, own, target, image) == {}
    labelled = batch("depth")
    assert float(adapting._offset_loss(published, own, labelled, image)["offset"]) > 0


@pytest.mark.parametrize("supervision", ["none", "partial", "full"])
def test_depths_that_are_not_used_are_not_learned(build: Make, batch: Make, supervision: str) -> None:
    """Their part of an RGB network starts untrained; learning it would only disturb the 2D pose."""
    for depths, learned in (("prior", False), ("network", True)):
        method = build("rgb", bridge="none", supervision=supervision, depth_at_test=depths, marginal_weight=0.0).eval()
        torch.nn.init.normal_(method.prior.last.weight, std=0.1)
        target = batch("rgb", labelled=supervision != "none")
        labels = adapting._labels(method, target)
        taught = adapting._taught(method, target, method.inputs.target(target), labels)
        pose = (8 * torch.rand(4, 17, 3)).requires_grad_()
        sum(adapting._pose_losses(method, _says(pose), labels, taught, None).values()).backward()
        assert pose.grad is not None
        assert bool(pose.grad[..., :2].any())
        assert bool(pose.grad[..., 2].any()) == learned


def test_rows_that_differ_at_test_alone_share_their_training(build: Make) -> None:
    prior, mask, network = (build("rgb", depth_at_test=name) for name in ("prior", "mask", "network"))
    assert _stage(prior, "adapt") == _stage(mask, "adapt")
    assert _stage(prior, "adapt") != _stage(network, "adapt")
    assert _stage(prior, "adapt") == _stage(build("rgb", flip_test=False), "adapt")


def test_3d_labels_teach_the_prior_to_lift(build: Make) -> None:
    def trains(**settings: Any) -> tuple[str, ...]:
        stage = _stage(build("rgb", **settings), "adapt")
        assert ("prior" in stage.trains) == (stage.roles.get("source") == ())
        return stage.trains

    for level in ("partial", "partial-3d", "full", "full-3d"):
        assert "prior" in trains(bridge="none", supervision=level)
    for level in ("none", "partial-2d", "full-2d"):
        assert "prior" not in trains(bridge="none", supervision=level)
    assert "prior" not in trains(bridge="none", supervision="full", depth_at_test="network")


def test_the_prior_is_asked_in_the_frame_of_the_plain_image(build: Make, batch: Make) -> None:
    method = build("rgb", bridge="none", supervision="full").eval()
    torch.nn.init.normal_(method.prior.last.weight, std=0.1)
    source, labels = batch(), adapting._labels(method, batch("rgb"))
    assert labels is not None
    pose = 8 * torch.rand(4, 17, 3)
    right = Lesson(method.prior(pose), torch.ones_like(pose))
    one = torch.ones(4)
    view = View(0.5 * one, 0.9 * one, torch.full((4, 2), -0.1), one.bool())
    for seen, how in ((pose, None), (view.pose(pose, 8), view)):
        losses = adapting._lifting_losses(method, _says(seen), right, how, source)
        assert float(losses["lifted"]) == pytest.approx(0, abs=1e-5)
        assert float(adapting._lifting_losses(method, _says(seen), labels, how, source)["lifted"]) > 0.1


@pytest.mark.parametrize(
    ("modality", "stage", "images", "says"),
    [
        ("rgb", "prior", (), "px mm"), ("rgb", "pretrain-2d", ("rgb",), "px mm"),
        ("rgb", "bridge", ("foreground",), "px mm"), ("rgb", "generator", ("parts",), ""),
        ("rgb", "adapt", ("rgb", "foreground"), "px mm"),
        ("depth", "synthetic", ("depth", "parts"), "px mm hip"), ("depth", "adapt", ("depth",), "px mm hip"),
    ],
)  # fmt: skip
def test_every_stage_says_what_its_validation_curve_measures(
    build: Make, batch: Make, modality: str, stage: str, images: tuple[str, ...], says: str
) -> None:
    method = build(modality, **({"bridge": "generated"} if stage == "generator" else {})).eval()
    given = batch(*images)
    with torch.no_grad():
        found = method.validate(_stage(method, stage), given)
    if not says:
        assert found is None
        return
    told = {"px": found.joints_px, "mm": found.z_root_mm, "hip": found.root_z_mm}
    assert " ".join(name for name, value in told.items() if value is not None) == says
    if stage == "synthetic":
        seen = method.depth_net(method.inputs.depth(given)).voxels
        assert torch.equal(found.joints_px, method._estimate_of(seen).joints_px), "not the network of adapt"
    if stage == "adapt":
        assert not torch.equal(found.joints_px, method.predict(given).joints_px), "an image is seen once"


def test_the_priors_cameras_are_fitted_to_what_is_found_in_target_images(
    build: Make, batch: Make, train: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_fit, "TRIALS", 4)
    method = build("rgb", prior_cameras="fitted").eval()
    stage = _stage(method, "cameras")
    for _ in range(2):
        given = {"source": batch(size=3), "target": batch("rgb", size=3, labelled=False)}
        with torch.no_grad():
            assert method.step(stage, given, Progress(0, 0.0)).losses == {}
    assert int(method.cameras.count) == 6
    assert torch.equal(method.cameras.root_mm[3:6], given["source"].joints_root_mm)
    mean = both_ways(method.rgb_net, method.inputs.target(given["target"]))[0].voxels[..., :2]
    assert torch.equal(method.cameras.seen[3:6], mean)
    train(method, "prior")
    assert method.lifted_from == method.cameras.fit()
    train(build("rgb"), "prior")
    plain = build("rgb", prior_cameras="source")
    train(plain, "prior")
    assert plain.lifted_from is None
