"""What the stages do, without any training worth the name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from kt3d_knowledge_transfer.config import AS_PUBLISHED, PRESETS, Config
from kt3d_knowledge_transfer.method import KnowledgeTransfer, SourceOnly
from kt3d_knowledge_transfer.views import Anchor, View

from kt3d_bench.errors import UsageError
from kt3d_bench.method import MethodContext, Progress
from kt3d_bench.nn.integral import surface_offset_loss, to_voxels
from kt3d_bench.skeletons import LABEL_SUBSETS

Make = Callable[..., Any]


def _stage(method: KnowledgeTransfer, name: str) -> Any:
    return next(stage for stage in method.stages() if stage.name == name)


def test_stages_follow_target_and_schedule(build: Make) -> None:
    def names(method: KnowledgeTransfer) -> list[str]:
        return [stage.name for stage in method.stages()]

    assert names(build("rgb")) == ["synthetic", "generator", "pretrain-2d", "prior", "adapt"]
    assert names(build("rgb", anchor="frozen-2d")) == ["synthetic", "generator", "pretrain-2d", "adapt"]
    assert "prior" in names(build("rgb", anchor="none", depth_at_test="prior"))
    assert names(build("depth")) == ["synthetic", "generator", "adapt"]
    assert names(build("depth", generator_schedule="joint")) == ["synthetic", "adapt"]
    assert names(build("depth", transfers=False)) == ["synthetic"]
    assert names(build("rgb", kind=SourceOnly)) == ["synthetic", "generator", "pretrain-2d"]
    assert names(build("depth", kind=SourceOnly)) == ["synthetic"]


def test_stages_before_adapt_do_not_depend_on_how_adapt_is_done(build: Make) -> None:
    torch.manual_seed(3)
    first = build("rgb", supervision="none", anchor="ema-2d")
    torch.manual_seed(3)
    second = build("rgb", supervision="full", anchor="none", view_strength=0.2)
    torch.manual_seed(3)
    third = build("depth", transfers=False)
    assert first.stages()[:3] == second.stages()[:3]
    assert first.stages()[3] != second.stages()[3]
    assert first.stages()[0] == third.stages()[0]
    state, others = first.state_dict(), [second.state_dict(), third.state_dict()]
    for name in state:
        if name.startswith(first.stages()[0].trains):
            assert all(torch.equal(state[name], other[name]) for other in others), name


def test_the_published_method_can_be_reached(build: Make, train: Make) -> None:
    method = build("rgb", **AS_PUBLISHED)
    assert type(method.generator).__name__ == "DcganGenerator"
    assert [stage.name for stage in method.stages()] == ["synthetic", "pretrain-2d", "adapt"]
    result = train(method, "synthetic")
    assert set(result.losses) == {"depth", "mask", "offset", "reconstruction", "adversarial"}
    result = train(method, "adapt")
    assert set(result.losses) == {"cycle", "adversarial"}
    paper = Config()
    weights = [paper.weight_depth, paper.weight_mask, paper.weight_reconstruction, paper.weight_adversarial]
    assert weights == [0.4, 0.4, 0.15, 0.05]
    assert (paper.weight_pose, paper.weight_domain) == (0.95, 0.05)
    assert (paper.input_px, paper.side, paper.epochs, paper.batch_size, paper.learning_rate) == (256, 64, 140, 32, 1e-3)
    assert paper.adversarial_delay_steps == 5000


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_adapt_leaves_frozen_networks_and_their_statistics_alone(build: Make, train: Make, modality: str) -> None:
    method = build(modality)
    train(method, "synthetic", steps=2)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    train(method, "adapt", steps=3)
    trained = ("rgb_net", "adapted_net", "classifier", "start_net")
    after = method.state_dict()
    frozen = [name for name in before if not name.startswith(trained)]
    assert any("running_mean" in name for name in frozen)
    assert any(name.startswith("generator") for name in frozen)
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert {"classifier", "rgb_net" if modality == "rgb" else "adapted_net"} <= changed


@pytest.mark.parametrize("count", sorted(LABEL_SUBSETS))
@pytest.mark.parametrize("dims", ["2d", "3d"])
def test_exactly_the_granted_joints_carry_label_gradient(build: Make, batch: Make, count: int, dims: str) -> None:
    method = build("rgb")
    granted = torch.zeros(17, dtype=torch.bool)
    granted[list(LABEL_SUBSETS[count])] = True
    nothing = torch.zeros(17, dtype=torch.bool)
    masks = {"mask_2d": granted, "mask_3d": nothing} if dims == "2d" else {"mask_2d": nothing, "mask_3d": granted}
    target = batch("rgb", **masks)
    pose, cycled = (torch.full((4, 17, 3), 4.0, requires_grad=True) for _ in range(2))
    granted_labels = method._granted(target, None)
    for guess in (pose, cycled):
        sum(method._label_losses("label", 1.0, guess, granted_labels).values()).backward()
    for guess in (pose, cycled):
        assert bool(guess.grad.isfinite().all())
        moved = guess.grad.abs() > 0
        assert moved[..., :2].all(-1).all(0).tolist() == granted.tolist()
        assert moved.any(-1).any(0).tolist() == granted.tolist()
        if dims == "2d":
            assert not moved[..., 2].any()
        else:
            assert moved[..., 2].all(0).tolist() == granted.tolist()


def test_without_labels_only_the_cycle_and_the_domain_speak(build: Make, train: Make) -> None:
    result = train(build("rgb"), "adapt", labelled=False)
    assert set(result.losses) == {"cycle", "adversarial"} | ({"anchor"} if Config().anchor != "none" else set()) | (
        {"pretrain"} if Config().mix_pretrain else set()
    )


def test_labels_of_a_mirrored_view_are_mirrored_labels(build: Make, batch: Make) -> None:
    method = build("rgb")
    left_wrist = torch.zeros(17, dtype=torch.bool)
    left_wrist[13] = True
    target = batch("rgb", mask_2d=left_wrist, mask_3d=torch.zeros(17, dtype=torch.bool))
    pose = torch.full((4, 17, 3), 4.0, requires_grad=True)
    view = View.mirrored(4, torch.device("cpu"))
    method._label_losses("label", 1.0, pose, method._granted(target, view))["label_2d"].backward()
    assert pose.grad.abs().sum((0, 2)).nonzero().flatten().tolist() == [16]


def test_gradient_through_the_cycle_can_be_stopped(build: Make, batch: Make) -> None:
    images = {"target": batch("rgb", labelled=False), "source": batch("parts")}
    gradients = []
    for flows in (True, False):
        torch.manual_seed(0)
        method = build("rgb", cycle_gradient=flows, anchor="none", view_strength=0.0, mix_pretrain=0.0).eval()
        method._cycle = lambda pose: 0.5 * pose
        loss = method.step(_stage(method, "adapt"), images, Progress(0, 0.0)).losses["cycle"]
        gradients.append(torch.autograd.grad(loss, method.rgb_net.decoder.last.weight)[0])
    assert float(gradients[1].abs().max()) > 0
    assert torch.allclose(gradients[0], 0.5 * gradients[1], atol=1e-9)


def test_the_cycle_may_be_given_the_2d_pose_alone(build: Make) -> None:
    for given, expected in (("zero", False), ("predicted", True)):
        method = build("rgb", cycle_depth=given, cycle_input="prediction").eval()
        pose = (8 * torch.rand(2, 17, 3)).requires_grad_()
        cycled = method._cycle(method._cycle_input(pose, None, None))
        grad = torch.autograd.grad(cycled.sum(), pose)[0]
        assert float(grad[..., :2].abs().max()) > 0
        assert (float(grad[..., 2].abs().max()) > 0) == expected


def test_the_cycle_may_be_given_the_anchor_and_the_labels(build: Make, batch: Make) -> None:
    method = build("rgb", anchor="frozen-2d", cycle_input="anchor", cycle_depth="zero", cycle_share=0.5)
    granted = torch.zeros(17, dtype=torch.bool)
    granted[list(LABEL_SUBSETS[3])] = True
    labels = method._granted(batch("rgb", mask_2d=granted, mask_3d=granted), None)
    pose, held = (
        (8 * torch.rand(4, 17, 3)).requires_grad_(),
        Anchor(8 * torch.rand(4, 17, 3), torch.ones(4, 17, 3), torch.zeros(4)),
    )
    given = method._cycle_input(pose, held, labels)
    assert given.shape == (2, 17, 3)
    assert not given.requires_grad
    assert torch.equal(given[:, granted], labels.voxels[:2, granted])
    assert torch.equal(given[:, ~granted, :2], held.voxels[:2, ~granted, :2])
    assert bool((given[:, ~granted, 2] == 3.5).all())


def test_labelled_coordinates_may_be_left_out_of_the_cycle(build: Make, train: Make) -> None:
    common = {"anchor": "frozen-2d", "anchor_with_labels": True, "supervision": "full", "adversarial": False}
    silent = train(build("rgb", **common, cycle_where_labelled=False), "adapt", labelled=True)
    assert silent.losses["cycle"].item() == 0
    assert silent.losses["anchor"].item() == 0
    loud = train(build("rgb", **common, cycle_where_labelled=True), "adapt", labelled=True)
    assert loud.losses["cycle"].item() > 0


def test_the_cycle_counts_less_beside_the_lifted_anchor(build: Make, batch: Make) -> None:
    images = {"target": batch("rgb"), "source": batch("parts"), "pretrain": batch("rgb")}
    images["target"].mask_3d[:, 3:] = False

    def losses(**settings: Any) -> Any:
        torch.manual_seed(0)
        method = build("rgb", supervision="partial", **settings).eval()
        return method.step(_stage(method, "adapt"), images, Progress(0, 0.0)).losses

    full, tenth, without = (losses(cycle_beside_lift=factor) for factor in (1.0, 0.1, 0.0))
    for name in ("cycle", "cycle_label_2d", "cycle_label_3d"):
        assert tenth[name].item() == pytest.approx(0.1 * full[name].item(), rel=1e-4)
        assert name not in without
    alone = losses(anchor="none", cycle_beside_lift=0.0)
    assert alone["cycle"].item() > 0


@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_the_adversary_waits_for_steps_and_fraction(build: Make, modality: str) -> None:
    method = build(modality, adversarial_delay_steps=100, adversarial_delay=0.25)
    assert not method._adversarial_now(Progress(99, 0.9))
    assert not method._adversarial_now(Progress(100, 0.2))
    assert method._adversarial_now(Progress(100, 0.25))
    assert not build(modality, adversarial=False)._adversarial_now(Progress(10**6, 1.0))


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


def test_anchor_weights_fall_with_disagreement_about_the_mirror_image(build: Make) -> None:
    method = build("rgb", anchor="frozen-2d", anchor_confidence_vox=2.0)
    method.eval()
    image = torch.rand(3, 3, 32, 32)
    anchor = method._anchor(image, None, torch.rand(len(image), 17, 3), None)
    held, weight = anchor.voxels, anchor.weight[..., :2]
    assert held.shape == anchor.weight.shape == (3, 17, 3)
    assert float(anchor.weight[..., 2].max()) == 0
    assert not held.requires_grad
    assert 0 <= float(weight.min()) < float(weight.max()) <= 1
    sure = build("rgb", anchor="frozen-2d", anchor_confidence_vox=0.0)
    anchor = sure.eval()._anchor(image, None, torch.rand(len(image), 17, 3), None)
    assert torch.equal(anchor.voxels, sure.start_net(image).voxels)
    assert bool((anchor.weight[..., :2] == 1).all())


def test_the_mean_teacher_follows_and_the_frozen_anchor_stays(build: Make, train: Make) -> None:
    method = build("rgb", anchor="ema-2d")
    train(method, "adapt", steps=3, rate=1e-2)
    assert all(
        torch.equal(value, method.teacher_net.net.state_dict()[name]) is False
        for name, value in method.rgb_net.state_dict().items()
        if name.endswith("conv1.weight")
    )
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
    scratch = build("depth", depth_init="scratch")
    own = scratch.adapted_net.decoder.last.weight.detach().clone()
    scratch.start_stage(_stage(scratch, "adapt"))
    assert torch.equal(own, scratch.adapted_net.decoder.last.weight)


def test_collapse_is_shown_and_warned_of(build: Make, train: Make) -> None:
    method = build("rgb")
    train(method, "synthetic")
    logs = train(method, "adapt", step=9).logs
    assert {"spread_vox", "drift_2d_px", "warn_collapse", "domain_accuracy"} <= set(logs)
    image = torch.rand(1, 3, 32, 32).expand(4, -1, -1, -1)
    same = method.rgb_net.eval()(image).voxels
    assert method._collapse_signs(same, image)["warn_collapse"] == 1.0
    assert method._collapse_signs(same, image)["spread_vox"] == pytest.approx(0, abs=1e-4)
    varied = same + 8 * torch.randn(4, 17, 3)
    shown = method._collapse_signs(varied, image)
    assert shown["warn_collapse"] == 0.0
    start = method.start_net(image).voxels
    expected = float((varied - start)[..., :2].norm(dim=-1).mean()) * 4
    assert shown["drift_2d_px"] == pytest.approx(expected, rel=1e-4)


def test_the_anchor_is_for_batches_without_labels_unless_asked(build: Make, train: Make) -> None:
    partial = torch.zeros(17, dtype=torch.bool)
    partial[10] = True
    grants = {"labelled": True, "mask_2d": partial, "mask_3d": partial}
    assert "anchor" in train(build("rgb", anchor="frozen-2d"), "adapt", labelled=False).losses
    assert "anchor" not in train(build("rgb", anchor="frozen-2d"), "adapt", **grants).losses
    assert "anchor" in train(build("rgb", anchor="frozen-2d", anchor_with_labels=True), "adapt", **grants).losses
    assert "anchor" in train(build("rgb", anchor="lifted-2d"), "adapt", **grants).losses
    assert "anchor" in train(build("depth", anchor="lifted-2d"), "adapt", labelled=False).losses
    assert "anchor" not in train(build("depth", anchor="lifted-2d"), "adapt", **grants).losses


OPTIONS: list[dict[str, Any]] = [
    {},
    {"mask": "part-depth", "reconstruction": "si-log"},
    {"mask": "part-depth", "reconstruction": "mse", "generator": "dcgan", "generator_schedule": "joint"},
    {"reconstruction": "si", "generator": "dcgan"},
    {"reconstruction": "cross-entropy", "generator": "limb-map", "generator_input": "predicted"},
    {"generator_hide_depth": 1.0, "generator_noise": 0.3, "generator_schedule": "joint"},
    {"adversarial": False},
    {"anchor": "frozen-2d", "view_strength": 0.2, "anchor_with_labels": True},
    {"anchor": "ema-2d", "view_strength": 0.2, "anchor_confidence_vox": 0.0},
    {"anchor": "none", "mix_pretrain": 0.5},
    {"anchor_with_labels": True, "depth_at_test": "prior", "view_strength": 0.2},
    {"weight_lift": 0.0, "mix_pretrain": 0.0, "weight_cycle": 0.0},
    {"cycle_gradient": False, "cycle_depth": "zero", "weight_cycle_label": 0.0},
    {"depth_init": "scratch", "limb_shrink": 1},
    {"anchor": "ema-2d", "cycle_input": "anchor", "cycle_share": 0.5, "cycle_where_labelled": False},
]


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
    estimate = method.predict(batch(modality, labelled=False))
    assert bool(estimate.joints_px.isfinite().all())


@pytest.mark.parametrize("kind", [KnowledgeTransfer, SourceOnly])
@pytest.mark.parametrize("modality", ["rgb", "depth"])
def test_predictions_are_finite_and_depend_on_the_image(build: Make, batch: Make, modality: str, kind: type) -> None:
    method = build(modality, kind=kind).eval()
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if name.endswith(("last.weight", "refine.9.weight")):
                parameter.mul_(100)
    first, second = (method.predict(batch(modality, labelled=False)) for _ in range(2))
    assert first.joints_px.shape == (4, 17, 2)
    assert first.z_root_mm.shape == (4, 17)
    for estimate in (first, second):
        assert bool(estimate.joints_px.isfinite().all())
        assert bool(estimate.z_root_mm.isfinite().all())
        assert bool((estimate.z_root_mm[:, 0] == 0).all())
    assert not torch.allclose(first.joints_px, second.joints_px, atol=1e-4)
    assert not torch.allclose(first.z_root_mm, second.z_root_mm, atol=1e-3)
    assert (first.root_z_mm is not None) == (modality == "depth")


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


def test_the_lift_keeps_the_2d_pose(build: Make, batch: Make) -> None:
    method = build("rgb", kind=SourceOnly).eval()
    images = batch("rgb", labelled=False)
    voxels = method.rgb_net(method._target_image(images)).voxels
    estimate = method.predict(images)
    again = to_voxels(estimate.joints_px, estimate.z_root_mm, 32, 8)
    assert torch.allclose(again[..., :2], voxels[..., :2], atol=1e-4)
    deeper = torch.cat([voxels[..., :2], voxels[..., 2:] + 3], -1)
    lifted = [method.mask_net(method.generator(method._flattened(pose))).voxels for pose in (voxels, deeper)]
    assert torch.equal(*lifted)


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
        ({"anchor": "frozen2d"}, "did you mean 'frozen-2d'"),
        ({"generator_hide_depth": 1.5}, "share between 0 and 1"),
        ({"view_strength": 1.0}, "below 1"),
        ({"weight_cycle": -1.0}, "0 or more"),
        ({"input_px": 50}, "multiple of 8"),
        ({"batch_size": 1}, "at least 2"),
        ({"prior_batch_size": 1}, "at least 2"),
        ({"prior_width": 0}, "at least 1"),
        ({"prior_noise": -0.1}, "0 or more"),
        ({"cycle_beside_lift": -0.1}, "0 or more"),
        ({"mix_share": 1.5}, "share between 0 and 1"),
        ({"cycle_share": -0.5}, "share between 0 and 1"),
        ({"lifted_pose": "pupil"}, "lifted_pose cannot be 'pupil'"),
        ({"anchor": "none", "cycle_input": "anchor"}, "needs an anchor"),
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
