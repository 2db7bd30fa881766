"""The stage ``adapt`` (section 3.2): the target's network learns from its teacher, its cycle and its labels.

Equation 10 is L = l1 L_3D + l2 L_adversarial. As published, L_3D is the prediction against its own cycle, and granted
labels against both (section 4.5). Ours has a mean teacher instead: what the moving average of the student says of the
image as it is, the student must say of a turned, scaled, mirrored, recoloured and cut view of it. With observed
silhouettes the mask-conditioned network corrects what the frozen start says, and the teacher is averaged with that: no
network refines its own moving teacher. Depths of RGB images come from the pose prior. Labelled images beside each
target batch, 2D-labelled ones or, for depth targets, synthetic ones, hold the teacher where no label does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Progress, StepResult
from kt3d_bench.nn.flips import both_ways
from kt3d_bench.nn.images import rgb_input
from kt3d_bench.nn.integral import IntegralOutput, pose_loss, smooth_l1_in_64ths, surface_offset_loss
from kt3d_bench.nn.pretrain2d import midpoints, places
from kt3d_bench.nn.prior import depth_loss, prior_step
from kt3d_knowledge_transfer import signs
from kt3d_knowledge_transfer.losses import domain_loss, weighted_smooth_l1
from kt3d_knowledge_transfer.model import Model
from kt3d_knowledge_transfer.stages import (
    OFFSET_WEIGHT,
    PRIOR_NOISE,
    adversarial_in_adapt,
    learns_depth,
    tunes_prior,
)
from kt3d_knowledge_transfer.views import Lesson, View, cut_out, recoloured

TOLERANCE_SHARE = 1 / 32
"""A teacher that says something else of the mirrored image, this share of the image away, counts exp(-1)."""


def adapt_step(model: Model, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
    config, target = model.config, batches["target"]
    image, labels = model.inputs.target(target), _labels(model, target)
    mixed = _mixed(model, batches)
    learns = config.teacher == "mean"
    seen = torch.cat([image, mixed.image]) if mixed else image
    draw = View.random if model.rgb else View.mirrored  # strong views make a teacher of depth images drift
    view = draw(len(seen), seen.device) if learns else None
    output = _student(model, seen, view)
    own, count = output.of(slice(0, len(image))), len(image)

    own_view = None if view is None else view.of(slice(0, count))
    taught = _taught(model, target, image, labels) if learns else None
    losses = _pose_losses(model, own, labels, taught, own_view)
    if labels is not None and tunes_prior(config, model.context):
        losses |= _lifting_losses(model, own, labels, own_view, cast(LabelledBatch, batches["source"]))
    losses = {name: config.weight_pose * loss for name, loss in losses.items()}
    if mixed:
        beside = output.of(slice(count, None)), mixed, None if view is None else view.of(slice(count, None))
        if model.rgb:
            losses["pretrain"] = config.mix_pretrain * _mixed_loss(model, *beside)
        else:
            losses["source"] = config.mix_source * _source_loss(model, *beside)
    if not model.rgb:
        losses |= _offset_loss(model, own, target, image)
    show = signs.time_to_show(progress)
    if adversarial_in_adapt(config) and model.adversarial_now(progress):
        with torch.no_grad():
            synthetic, _ = model.mask_net.look(model.inputs.masks(batches["source"]))
        first, second = model.classifier(own.features), model.classifier(synthetic)
        losses["adversarial"] = config.weight_domain * domain_loss(first, second)
        if show:
            model.shown |= signs.domain(first, second)
    if show:
        if progress.step == 0 and config.bridge == "generated" and "source" in batches:
            model.shown |= _cycle_signs(model, cast(LabelledBatch, batches["source"]))
        place = own.voxels if view is None else view.of(slice(0, count)).back(own.voxels, config.side)
        with torch.no_grad():
            began = model.start_net(image).voxels
        found = signs.apart(place[..., :2], began[..., :2], model.input_px, config.side)
        model.shown |= found if labels is not None else found | signs.warnings(found, model.input_px)
    return StepResult(losses, dict(model.shown))


def _student(model: Model, image: Tensor, view: View | None) -> IntegralOutput:
    if view is not None:
        image = cut_out(view.image(image))
        image = recoloured(image) if model.rgb else image
    return model.with_marginals(model.target_net, image)


def _labels(model: Model, target: UnlabelledBatch) -> Lesson | None:
    """What may be known of a target batch; ``None`` = nothing. 3D labels also say where a joint is in the image."""
    if not isinstance(target, LabelledBatch):
        return None
    planar = target.mask_2d | target.mask_3d
    known = torch.stack([planar, planar, target.mask_3d], -1)
    return Lesson(model.inputs.truth(target), known.float())


def _taught(model: Model, target: UnlabelledBatch, image: Tensor, labels: Lesson | None) -> Lesson | None:
    """What the teacher says of the image as it is and of its mirror image, where no label says it: x and y weighted by
    their agreement. Depths are the prior's on RGB images, and the teacher's on depth images."""
    assert model.teacher_net is not None
    if labels is not None and bool((labels.weight > 0).all()):
        return None
    with torch.no_grad():
        output, apart = both_ways(model.teacher_net, image)
        voxels = output.voxels
        if model.rgb and model.config.bridge == "observed":
            voxels = (voxels + model.bridged(target, both_ways(model.start_net, image)[0].voxels)) / 2
        voxels = voxels if labels is None else labels.over(voxels)
        sure = (-(apart / (TOLERANCE_SHARE * model.config.side)).square()).exp()
        if model.rgb and learns_depth(model.config, model.context):
            assert model.prior is not None
            voxels = model.prior(voxels)
        weight = sure[..., None].expand_as(voxels)
        if labels is not None:
            weight = torch.where(labels.weight > 0, torch.zeros_like(weight), weight)
    return Lesson(voxels, weight)


def _lifting_losses(
    model: Model, own: IntegralOutput, labels: Lesson, view: View | None, source: LabelledBatch
) -> dict[str, Tensor]:
    """The prior learns to lift what the student says to granted 3D labels, and keeps learning from the source's
    poses beside it."""
    assert model.prior is not None
    side, place = model.config.side, own.voxels.detach()
    lifted = model.prior(place if view is None else view.back(place, side))
    kept = prior_step(model.prior, source, noise=PRIOR_NOISE, cameras=model.lifted_from, input_px=model.input_px)
    return {"lifted": depth_loss(lifted, labels.voxels, labels.weight[..., 2] > 0, side), **kept.losses}


def _pose_losses(
    model: Model, own: IntegralOutput, labels: Lesson | None, taught: Lesson | None, view: View | None
) -> dict[str, Tensor]:
    """L_3D: labels, the teacher, and the cycle. ``labels`` and ``taught`` speak of the image as it is."""
    config, losses = model.config, dict[str, Tensor]()
    if not learns_depth(model.config, model.context):
        labels, taught = (None if one is None else one.flat() for one in (labels, taught))
    if view is not None:
        labels, taught = (None if one is None else view.lesson(one, config.side) for one in (labels, taught))
    if labels is not None:
        losses["label"] = pose_loss(own, labels.voxels, labels.weight > 0, marginal_weight=config.marginal_weight)
    if taught is not None:
        losses["teacher"] = weighted_smooth_l1(own.voxels, taught.voxels, taught.weight, config.side)
    if config.bridge == "generated":
        cycled = model.cycle(own.voxels)
        everywhere = torch.ones_like(cycled, dtype=torch.bool)
        losses["cycle"] = smooth_l1_in_64ths(own.voxels, cycled, everywhere, config.side)
        if labels is not None:
            losses["cycle_label"] = smooth_l1_in_64ths(cycled, labels.voxels, labels.weight > 0, config.side)
    return losses


@dataclass(frozen=True, eq=False)
class _Mixed:
    """What is known of the images beside a target batch: 2D labels of the pretrain role; of depth targets, the source's
    poses."""

    image: Tensor
    place: Tensor
    """(B, J, 2 or 3) voxels."""
    known: Tensor
    """(B, J) bool"""


def _mixed(model: Model, batches: Mapping[str, UnlabelledBatch]) -> _Mixed | None:
    if not model.rgb and model.config.mix_source:
        source = cast(LabelledBatch, batches["source"])
        return _Mixed(model.inputs.depth(source), model.inputs.truth(source), source.mask_3d)
    if "pretrain" not in batches:
        return None
    batch = cast(LabelledBatch, batches["pretrain"])
    place = places(batch, model.input_px, model.config.side)
    return _Mixed(rgb_input(batch.images["rgb"]), *midpoints(place, batch.mask_2d))


def _mixed_loss(model: Model, output: IntegralOutput, mixed: _Mixed, view: View | None) -> Tensor:
    """2D labels, seen by the same network in the same step; where it learns depths, those that the prior gives them."""
    config = model.config
    own = output.voxels.detach() if view is None else view.back(output.voxels.detach(), config.side)
    place = torch.where(mixed.known[..., None], mixed.place, own[..., :2])
    prior = model.prior if learns_depth(config, model.context) else None
    deep = torch.full_like(mixed.known, prior is not None)
    with torch.no_grad():
        z = own[..., 2:] if prior is None else prior(place)[..., 2:]
    lesson = Lesson(torch.cat([place, z], -1), torch.stack([mixed.known, mixed.known, deep], -1).float())
    lesson = lesson if view is None else view.lesson(lesson, config.side)
    return pose_loss(output, lesson.voxels, lesson.weight > 0, marginal_weight=config.marginal_weight)


def _source_loss(model: Model, output: IntegralOutput, mixed: _Mixed, view: View | None) -> Tensor:
    """The source's poses, seen by the same network in the same step: they hold the teacher where nothing else does."""
    lesson = Lesson(mixed.place, mixed.known[..., None].expand_as(mixed.place).float())
    lesson = lesson if view is None else view.lesson(lesson, model.config.side)
    return pose_loss(output, lesson.voxels, lesson.weight > 0, marginal_weight=model.config.marginal_weight)


def _offset_loss(model: Model, own: IntegralOutput, target: UnlabelledBatch, image: Tensor) -> dict[str, Tensor]:
    """Depth targets: granted hips where there are any; else, with a teacher, the offset stays what the source taught.
    The paper says nothing of it."""
    if isinstance(target, LabelledBatch) and bool(target.mask_3d[:, 0].any()):
        held = target.surface_offset_mm
    elif model.config.teacher == "mean":
        with torch.no_grad():
            _, held = model.start_net.look(image)
    else:
        return {}
    return {"offset": OFFSET_WEIGHT * surface_offset_loss(own.surface_offset_mm, held)}


def _cycle_signs(model: Model, source: LabelledBatch) -> dict[str, float]:
    """What G, E_s and D_s make of true poses, beside what E_s and D_s make of true masks: how much pose the cycle can
    carry, whatever is adapted through it. They are frozen here, so one look tells it."""
    truth, masks = model.inputs.truth(source), model.inputs.masks(source)
    middle = (model.config.side - 1) / 2
    pose = torch.where(source.mask_3d[..., None], truth, torch.full_like(truth, middle))
    with torch.no_grad():
        drawn = model.generator(pose)
        errors = [
            signs.pose_error_mm(model.mask_net(mask).voxels, source, model.input_px, model.config.side)
            for mask in (drawn, masks)
        ]
    right = signs.foreground_right(drawn, masks)
    return {"cycle_mm": errors[0], "true_mask_mm": errors[1], "foreground_right": right}
