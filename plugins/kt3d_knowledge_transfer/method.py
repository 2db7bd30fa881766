"""Unsupervised knowledge transfer from synthetic depth images to real RGB or depth images, through part masks.

Section and equation numbers are those of the paper that README.md describes. Read from top to bottom: networks, what
one step of each stage (``stages.py``) minimises, prediction. Poses are in voxels (``kt3d_bench.nn.integral``), z
relative to the hip everywhere.

    E_d, D_d = depth_net      E_s, D_s = mask_net      G = generator      C = classifier
    E_r, D_r = rgb_net (RGB targets) or adapted_net (depth targets)      prior: ours, see prior.py
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Method, MethodContext, Progress, Stage, StepResult
from kt3d_bench.nn.images import depth_input, relief_input, rgb_input
from kt3d_bench.nn.integral import (
    IntegralNet,
    IntegralOutput,
    from_voxels,
    pose_loss,
    smooth_l1_in_64ths,
    surface_offset_loss,
    to_voxels,
)
from kt3d_bench.nn.pretrain2d import STAGE_NAME as PRETRAIN
from kt3d_bench.nn.pretrain2d import pretrain_2d_step
from kt3d_knowledge_transfer.config import BUNDLES, PRESETS, Config
from kt3d_knowledge_transfer.losses import (
    domain_accuracy,
    domain_loss,
    foreground_right,
    pose_error_mm,
    reconstruction,
    spread_vox,
    weighted_smooth_l1,
)
from kt3d_knowledge_transfer.networks import (
    DomainClassifier,
    MeanTeacher,
    SourceStatistics,
    as_if_first,
    build_generator,
    mask_image,
)
from kt3d_knowledge_transfer.prior import PosePrior, depths_hidden, flattened, hip_vox, jittered
from kt3d_knowledge_transfer.stages import PRIOR, stages
from kt3d_knowledge_transfer.views import Anchor, Granted, View

SHOWN_EVERY = 10
"""Steps between two looks at the numbers that are only shown: each costs a wait for the device."""


class KnowledgeTransfer(Method):
    """The method. Where target and source are the same dataset only its synthetic stage runs, and one of its two
    branches predicts (Table 1)."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    BUNDLES: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = BUNDLES

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        if context.num_parts < 2:
            raise UsageError(
                "the source's shards hold no part masks, which this method learns from",
                where="--source",
                hint="choose a source dataset with part masks",
            )
        sizes: dict[str, Any] = {"backbone": config.backbone, "side": config.side}
        self.depth_net = IntegralNet(config.depth_channels, **sizes)
        self.mask_net = IntegralNet(context.num_parts, **sizes)
        self.generator = build_generator(config, context.num_parts)
        self.classifier = DomainClassifier(self.depth_net.feature_channels, config.classifier_width)
        self.source_statistics = SourceStatistics()
        self.shown: dict[str, float] = {}
        if not context.transfers:
            return
        channels = 3 if self._rgb else config.depth_channels
        if self._rgb:
            with as_if_first():
                self.rgb_net = IntegralNet(channels, **sizes)
            self.prior = PosePrior(side=config.side, width=config.prior_width)
        else:
            self.adapted_net = IntegralNet(channels, **sizes)
        self.start_net = IntegralNet(channels, **sizes)
        self.teacher_net = MeanTeacher(IntegralNet(channels, **sizes)) if config.anchor == "ema-2d" else None

    @property
    def input_px(self) -> int:
        return cast(int, self.config.input_px)

    @property
    def reads(self) -> tuple[str, ...]:
        """The mask branch looks at masks; the depth image then only says how far away the person is."""
        if not self.context.transfers and self.config.branch == "mask":
            return ("depth", "parts")
        return super().reads

    @property
    def _rgb(self) -> bool:
        return self.context.target_modality == "rgb"

    @property
    def _lifts(self) -> bool:
        """Whether the pose prior makes the anchor."""
        return self._rgb and self.config.anchor == "lifted-2d"

    @property
    def _target_net(self) -> IntegralNet:
        """E_r, D_r."""
        return self.rgb_net if self._rgb else self.adapted_net

    # ------------------------------------------------------------------ stages

    def stages(self) -> tuple[Stage, ...]:
        return stages(self.config, self.context)

    def start_stage(self, stage: Stage) -> None:
        self.shown = {}
        if stage.name != "adapt":
            return
        if not self._rgb and self.config.depth_init == "depth-net":
            self.adapted_net.load_state_dict(self.depth_net.state_dict())
        start = (self.rgb_net if self._rgb else self.depth_net).state_dict()
        self.start_net.load_state_dict(start)
        if self.teacher_net is not None:
            self.teacher_net.net.load_state_dict(start)

    # ------------------------------------------------------------------ one step

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        if stage.name == "synthetic":
            return self._synthetic_step(cast(LabelledBatch, batches["source"]), progress)
        if stage.name == "generator":
            return self._generator_step(cast(LabelledBatch, batches["source"]), progress)
        if stage.name == PRIOR:
            return self._prior_step(cast(LabelledBatch, batches["source"]))
        if stage.name == PRETRAIN:
            batch = cast(LabelledBatch, batches["pretrain"])
            return pretrain_2d_step(self.rgb_net, batch, marginal_weight=self.config.marginal_weight)
        return self._adapt_step(batches, progress)

    def _synthetic_step(self, source: LabelledBatch, progress: Progress) -> StepResult:
        """Equation 4: L = w1 L_3D-depth + w2 L_3D-seg + w3 L_recon + w4 L_adversarial."""
        config = self.config
        truth, known = self._truth(source), source.mask_3d
        axes, masks, offset = _each_axis(known, 3), self._mask_images(source), source.surface_offset_mm
        along = {"with_marginals": config.marginal_weight > 0}
        depth, mask = self.depth_net(self._depth_image(source), **along), self.mask_net(masks, **along)
        losses = {
            "depth": config.weight_depth * pose_loss(depth, truth, axes, marginal_weight=config.marginal_weight),
            "mask": config.weight_mask * pose_loss(mask, truth, axes, marginal_weight=config.marginal_weight),
            "offset": config.weight_offset
            * (
                surface_offset_loss(depth.surface_offset_mm, offset)
                + surface_offset_loss(mask.surface_offset_mm, offset)
            ),
        }
        if config.generator_schedule == "joint":
            drawn = self.generator(self._generator_pose(depth.voxels, truth, known))
            image_loss = reconstruction(config.reconstruction, drawn, masks)
            losses["reconstruction"] = config.weight_reconstruction * image_loss
            if time_to_show(progress):
                self.shown["foreground_right"] = foreground_right(drawn.detach(), masks)
        if self._adversarial_now(progress):
            first, second = self.classifier(depth.features), self.classifier(mask.features)
            losses["adversarial"] = config.weight_adversarial * domain_loss(first, second)
            if time_to_show(progress):
                self.shown |= domain_signs(first, second)
        self.source_statistics.update(spread_vox(truth, known))
        if time_to_show(progress):
            self.shown["spread_vox"] = float(self.source_statistics.spread_vox)
        return StepResult(losses, dict(self.shown))

    def _generator_step(self, source: LabelledBatch, progress: Progress) -> StepResult:
        """L_recon (equations 6-8, or the reconstruction that the config names), and the cycle's own error: G must draw
        masks in which the frozen D_s(E_s(.)) finds the pose again."""
        truth, masks = self._truth(source), self._mask_images(source)
        predicted = truth
        if self.config.generator_input == "predicted":
            with torch.no_grad():
                predicted = self.depth_net(self._depth_image(source)).voxels
        drawn = self.generator(self._generator_pose(predicted, truth, source.mask_3d))
        losses = {"reconstruction": reconstruction(self.config.reconstruction, drawn, masks)}
        if self.config.weight_lift:
            lifted = self.mask_net(drawn).voxels
            losses["lift"] = self.config.weight_lift * self._pose_loss(lifted, truth, _each_axis(source.mask_3d, 3))
        if time_to_show(progress):
            self.shown["foreground_right"] = foreground_right(drawn.detach(), masks)
        return StepResult(losses, dict(self.shown))

    def _prior_step(self, source: LabelledBatch) -> StepResult:
        """Smooth L1 between true poses and what the prior makes of them with noise; unknown joints lie at the hip, and
        an unknown hip in the middle."""
        truth, known = self._truth(source), source.mask_2d & source.mask_3d
        hip = torch.where(known[:, :1, None], truth[:, :1], torch.full_like(truth[:, :1], hip_vox(self.config.side)))
        given = torch.where(known[..., None], truth, hip)
        likely = self.prior(jittered(given, self.config.prior_noise))
        return StepResult({"prior": self._pose_loss(likely, truth, _each_axis(known, 3))})

    def _adapt_step(self, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        """Equation 10, L = l1 L_3D + l2 L_adversarial, with L_3D = sl1(P_3D, P_hat) + granted labels + anchor."""
        config, target = self.config, batches["target"]
        count, image = target.size, self._target_image(batches["target"])
        view = View.random(count, image.device, strength=config.view_strength) if config.view_strength else None
        granted = self._granted(target, view)
        mixed = cast("LabelledBatch | None", batches.get("pretrain"))

        seen = [image if view is None else view.image(image)]
        if mixed:
            shared = max(1, round(float(config.mix_share) * mixed.size))
            seen.append(rgb_input(mixed.images["rgb"][:shared]))
        output = self._target_net(torch.cat(seen))
        pose = output.voxels[:count]
        held = self._anchor(image, view, pose, granted) if self._anchored(granted) else None
        pose_losses = self._cycle_losses(pose, held, granted)
        if granted is not None:
            pose_losses |= self._label_losses("label", config.weight_label, pose, granted)
        if held is not None:
            apart = weighted_smooth_l1(self._in_units(pose), self._in_units(held.voxels), held.weight)
            pose_losses["anchor"] = config.anchor_weight * apart
        losses = {name: config.weight_pose * loss for name, loss in pose_losses.items()}
        if not self._rgb:
            offset = self._target_offset_loss(output.surface_offset_mm[:count], target, image, held)
            losses["offset"] = config.weight_offset * offset
        if mixed is not None:
            losses["pretrain"] = config.mix_pretrain * self._mixed_loss(output.voxels[count:], mixed)
        if self._adversarial_now(progress):
            with torch.no_grad():
                synthetic, _ = self.mask_net.look(self._mask_images(batches["source"], self._cycled(count)))
            first, second = self.classifier(output.features[:count]), self.classifier(synthetic)
            losses["adversarial"] = config.weight_domain * domain_loss(first, second)
            if time_to_show(progress):
                self.shown |= domain_signs(first, second)
        if time_to_show(progress):
            if progress.step == 0 and "source" in batches:
                self.shown |= self._cycle_signs(cast(LabelledBatch, batches["source"]))
            self.shown |= self._collapse_signs(pose if view is None else view.back(pose, config.side), image)
        return StepResult(losses, dict(self.shown))

    def after_step(self, stage: Stage, progress: Progress) -> None:
        """The mean teacher follows the student; in the first steps faster, as an average of what there was."""
        if stage.name == "adapt" and self.teacher_net is not None:
            decay = min(self.config.anchor_decay, (progress.step + 1) / (progress.step + 10))
            self.teacher_net.follow(self._target_net, decay)

    # ------------------------------------------------------------------ parts of a step

    def _in_units(self, voxels: Tensor) -> Tensor:
        """Voxels of this volume in voxels of the paper's 64-bin volume, where smooth L1 has its threshold at 1: the
        losses then have the same shape, and the same ratio to the domain loss, at every size."""
        return voxels * (64 / cast(int, self.config.side))

    def _pose_loss(self, first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
        """Equation 5 between (B, J, D) poses, over the true entries of ``mask`` (B, J, D)."""
        return smooth_l1_in_64ths(first, second, mask, self.config.side)

    def _truth(self, batch: LabelledBatch) -> Tensor:
        """(B, J, 3) labels in voxels, NaN where hidden."""
        return to_voxels(batch.joints_px, batch.joints_root_mm[..., 2], self.input_px, self.config.side)

    def _mask_images(self, batch: UnlabelledBatch, count: int | None = None) -> Tensor:
        """Masks of the first ``count`` samples."""
        parts, depth, surface_mm = batch.images["parts"][:count], batch.images.get("depth"), batch.surface_mm[:count]
        depth = None if depth is None else depth[:count]
        return mask_image(parts, depth, surface_mm, self.context.num_parts, self.config.mask)

    def _target_image(self, batch: UnlabelledBatch) -> Tensor:
        """(B, 3, 2 or 1, H, W) input of E_r."""
        return rgb_input(batch.images["rgb"]) if self._rgb else self._depth_image(batch)

    def _depth_image(self, batch: UnlabelledBatch) -> Tensor:
        """(B, 1 or 2, H, W) input of E_d."""
        made = depth_input if self.config.depth_channels == 1 else relief_input
        return made(batch.images["depth"], batch.surface_mm)

    def _generator_pose(self, predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
        """What G is given: predicted or true poses (unknown joints predicted), some flattened, with noise."""
        config = self.config
        pose = predicted
        if config.generator_input == "truth":
            pose = torch.where(known[..., None], truth, predicted)
            pose = torch.where(pose.isfinite(), pose, torch.full_like(pose, hip_vox(self.config.side)))
        if config.generator_noise:
            pose = jittered(pose, config.generator_noise)
        return depths_hidden(pose, config.generator_hide_depth, config.side) if config.generator_hide_depth else pose

    def _flattened(self, pose: Tensor) -> Tensor:
        return flattened(pose, self.config.side)

    def _granted(self, target: UnlabelledBatch, view: View | None) -> Granted | None:
        """What may be known of a target batch, in the frame of the student's view; ``None`` = nothing."""
        if not isinstance(target, LabelledBatch):
            return None
        truth, seen_2d, seen_3d = self._truth(target), target.mask_2d, target.mask_3d
        if view is not None:
            truth = view.pose(truth, self.config.side)
            seen_2d, seen_3d = view.exchange(seen_2d), view.exchange(seen_3d)
        return Granted(truth, seen_2d, seen_3d)

    def _cycled(self, count: int) -> int:
        """How many of so many samples go round the cycle."""
        return max(1, round(float(self.config.cycle_share) * count))

    def _cycle_losses(self, pose: Tensor, held: Anchor | None, granted: Granted | None) -> dict[str, Tensor]:
        """Sections 3.2 and 4.5: the prediction against its own cycle, and the cycle's outcome against labels."""
        config = self.config
        beside = float(config.cycle_beside_lift) if self._lifts else 1.0
        weight = beside * config.weight_cycle
        labelled = granted is not None and config.cycle_input == "prediction"
        weight_label = beside * config.weight_cycle_label if labelled else 0.0
        if not weight and not weight_label:
            return {}
        cycled = self._cycle(self._cycle_input(pose, held, granted))
        consistent = cycled if config.cycle_gradient else cycled.detach()
        where = torch.ones_like(cycled, dtype=torch.bool)
        if granted is not None and not config.cycle_where_labelled:
            where = ~granted.axes[: len(cycled)]
        losses = {"cycle": weight * self._pose_loss(pose[: len(cycled)], consistent, where)}
        if granted is not None:
            losses |= self._label_losses("cycle_label", weight_label, cycled, granted)
        return losses

    def _cycle_input(self, pose: Tensor, held: Anchor | None, granted: Granted | None) -> Tensor:
        """(B', J, 3) voxels that go round the cycle, B' being the config's share of the batch: the prediction as it
        is, or the anchor's 2D pose completed by what labels say. Depths that nothing says are the hip's."""
        config = self.config
        count = self._cycled(len(pose))
        if config.cycle_input == "prediction":
            return pose[:count] if config.cycle_depth == "predicted" else self._flattened(pose[:count])
        assert held is not None
        depths = pose.detach() if config.cycle_depth == "predicted" else self._flattened(pose)
        given = torch.cat([held.voxels[..., :2], depths[..., 2:]], -1).detach()
        return (given if granted is None else granted.over(given))[:count]

    def _cycle(self, pose: Tensor) -> Tensor:
        """P_hat_3D = D_s(E_s(G(P_2D, z))), section 3.2; (B, J, 3) -> (B, J, 3)."""
        return cast(Tensor, self.mask_net(self.generator(pose)).voxels)

    def _label_losses(self, name: str, weight: float, guess: Tensor, granted: Granted) -> dict[str, Tensor]:
        """Section 4.5: 2D labels on x and y, 3D labels on x, y and z; ``guess`` (B', J, 3) may be the first samples."""
        if not weight:
            return {}
        truth, seen_2d, seen_3d = (one[: len(guess)] for one in (granted.voxels, granted.seen_2d, granted.seen_3d))
        return {
            f"{name}_3d": weight * self._pose_loss(guess, truth, _each_axis(seen_3d, 3)),
            f"{name}_2d": weight * self._pose_loss(guess[..., :2], truth[..., :2], _each_axis(seen_2d, 2)),
        }

    def _anchored(self, granted: Granted | None) -> bool:
        """The lifted anchor sees the labels that there are, so it stays beside them; the others know less than they."""
        config = self.config
        wanted = granted is None or config.anchor_with_labels or config.cycle_input == "anchor" or self._lifts
        return bool(config.anchor != "none" and wanted)

    def _anchor(self, image: Tensor, view: View | None, pose: Tensor, granted: Granted | None) -> Anchor:
        """What the teacher says of ``image``, in the frame of the student's view, in which the student said ``pose``.
        It sees no label; the pose prior sees the x and y that are granted. Coordinates with a label need no anchor."""
        config = self.config
        teacher = self.start_net if self.teacher_net is None else self.teacher_net
        side, tolerance = config.side, config.vox(config.anchor_confidence_vox)
        with torch.no_grad():
            output = cast(IntegralOutput, teacher(image))
            voxels = output.voxels
            weight = torch.ones_like(voxels[..., 0])
            if tolerance:
                mirror = View.mirrored(len(image), image.device)
                mirrored = mirror.back(teacher(mirror.image(image)).voxels, side)
                apart = (voxels - mirrored)[..., :2].norm(dim=-1)
                voxels, weight = (voxels + mirrored) / 2, (-(apart / tolerance).square()).exp()
            if view is not None:
                voxels, weight = view.pose(voxels, side), view.exchange(weight)
            axes = _each_axis(weight, 3).clone()
            if self._lifts:
                own = pose if config.lifted_pose == "student" else voxels
                given = [voxels, own] if granted is None else [granted.over(voxels), granted.over(own)]
                clean, lifted = self.prior(torch.cat(given)).chunk(2)
                voxels = torch.cat([clean[..., :2], lifted[..., 2:]], -1)
            elif self._rgb:
                axes[..., 2] = 0
            if granted is not None:
                axes = torch.where(granted.axes, torch.zeros_like(axes), axes)
        return Anchor(voxels, axes, output.surface_offset_mm)

    def _mixed_loss(self, voxels: Tensor, mixed: LabelledBatch) -> Tensor:
        """2D labels of the pretrain role, seen by the same network in the same step, and the depths that the pose prior
        gives them: these come from labelled x and y, not from predicted ones."""
        joints_px, known = mixed.joints_px[: len(voxels)], mixed.mask_2d[: len(voxels)]
        truth = to_voxels(joints_px, joints_px[..., 0], self.input_px, self.config.side)[..., :2]
        loss = self._pose_loss(voxels[..., :2], truth, _each_axis(known, 2))
        if not self._lifts:
            return loss
        with torch.no_grad():
            lifted = self.prior(torch.where(known[..., None], truth, voxels[..., :2]))
        every = torch.ones_like(lifted[..., 2:], dtype=torch.bool)
        return loss + self._pose_loss(voxels[..., 2:], lifted[..., 2:], every)

    def _target_offset_loss(
        self, offset_mm: Tensor, target: UnlabelledBatch, image: Tensor, anchor: Anchor | None
    ) -> Tensor:
        """Depth targets: granted hips where there are any; else the offset stays what the source taught."""
        if isinstance(target, LabelledBatch) and bool(target.mask_3d[:, 0].any()):
            return surface_offset_loss(offset_mm, target.surface_offset_mm)
        if anchor is not None and self.teacher_net is None:
            held = anchor.offset_mm
        else:
            with torch.no_grad():
                _, held = self.start_net.look(image)
        return surface_offset_loss(offset_mm, held)

    def _adversarial_now(self, progress: Progress) -> bool:
        config = self.config
        waited = progress.step >= config.adversarial_delay_steps and progress.fraction >= config.adversarial_delay
        return bool(config.adversarial and waited)

    def _collapse_signs(self, pose: Tensor, image: Tensor) -> dict[str, float]:
        """2D far from where it began, and poses that no longer differ: the trivial solutions of the cycle's loss.

        ``warn_collapse`` is 1, of which the harness tells the user, where ``spread_share``, the poses' spread as a
        share of the synthetic data's, is below a half.
        """
        with torch.no_grad():
            began = self.start_net(image).voxels
        drift_vox = (pose.detach() - began)[..., :2].norm(dim=-1).mean()
        spread, synthetic = float(spread_vox(pose)), float(self.source_statistics.spread_vox)
        return {
            "drift_2d_px": float(drift_vox * (self.input_px / self.config.side)),
            "spread_vox": spread,
            "spread_share": spread / synthetic if synthetic else 0.0,
            "warn_collapse": float(2 * spread < synthetic),
        }

    def _cycle_signs(self, source: LabelledBatch) -> dict[str, float]:
        """What G, E_s and D_s make of true poses, beside what E_s and D_s make of true masks: how much pose the cycle
        can carry, whatever is adapted through it. They are frozen here, so one look tells it."""
        truth, masks = self._truth(source), self._mask_images(source)
        pose = torch.where(source.mask_3d[..., None], truth, torch.full_like(truth, hip_vox(self.config.side)))
        with torch.no_grad():
            drawn = self.generator(pose)
            errors = [pose_error_mm(self.mask_net(mask).voxels, source, self.input_px, self.config.side)
                      for mask in (drawn, masks)]  # fmt: skip
        return {"cycle_mm": errors[0], "true_mask_mm": errors[1], "foreground_right": foreground_right(drawn, masks)}

    # ------------------------------------------------------------------ prediction

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        """E_r, D_r alone; without a transfer, the branch that the config names."""
        if self.context.transfers:
            output = self._target_net(self._target_image(batch))
            if self._rgb and self.config.depth_at_test == "prior":
                lifted = torch.cat([output.voxels[..., :2], self.prior(output.voxels)[..., 2:]], -1)
                return self._estimate(lifted, output.surface_offset_mm, batch)
        elif self.config.branch == "mask":
            output = self.mask_net(self._mask_images(batch))
        else:
            output = self.depth_net(self._depth_image(batch))
        return self._estimate(output.voxels, output.surface_offset_mm, batch)

    def _estimate(self, voxels: Tensor, offset_mm: Tensor, batch: UnlabelledBatch) -> Estimate:
        joints_px, z_mm = from_voxels(voxels, self.input_px, self.config.side)
        has_surface = bool(batch.surface_mm.isfinite().any())
        root_z_mm = batch.surface_mm + offset_mm if has_surface else None
        return Estimate(joints_px=joints_px, z_root_mm=z_mm - z_mm[:, :1], root_z_mm=root_z_mm)


def time_to_show(progress: Progress) -> bool:
    return progress.step == 0 or (progress.step + 1) % SHOWN_EVERY == 0


def domain_signs(first: Tensor, second: Tensor) -> dict[str, float]:
    """How often C is right, and by how much oftener than chance: 0 where it is blind."""
    accuracy = domain_accuracy(first, second)
    return {"domain_accuracy": accuracy, "domain_over_chance": accuracy - 0.5}


def _each_axis(mask: Tensor, axes: int) -> Tensor:
    """(B, J) -> (B, J, axes)."""
    return mask[..., None].expand(*mask.shape, axes)


class SourceOnly(KnowledgeTransfer):
    """What is known before any adaptation: the row that every adapted one must beat.

    RGB targets: the 2D pose of ``pretrain-2d``, lifted once by the frozen cycle from z = 0, its x and y kept. Depth
    targets: E_d, D_d as they are. No target image is trained on.
    """

    def stages(self) -> tuple[Stage, ...]:
        unused = ("adapt", "prior") if self._rgb else ("adapt", "prior", "generator")
        return tuple(stage for stage in super().stages() if stage.name not in unused)

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        if not self._rgb:
            output = self.depth_net(self._target_image(batch))
            return self._estimate(output.voxels, output.surface_offset_mm, batch)
        output = self.rgb_net(self._target_image(batch))
        lifted = self.mask_net(self.generator(self._flattened(output.voxels))).voxels
        voxels = torch.cat([output.voxels[..., :2], lifted[..., 2:]], -1)
        return self._estimate(voxels, output.surface_offset_mm, batch)
