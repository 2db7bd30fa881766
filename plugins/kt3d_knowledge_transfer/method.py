"""Unsupervised knowledge transfer from synthetic depth images to real RGB or depth images, through part masks.

Section and equation numbers are those of the paper that README.md describes. Read from top to bottom: what one step
of each stage (``stages.py``) minimises, prediction. The networks are in ``model.py``, the stage ``adapt`` is in
``adapting.py``. Poses are in voxels (``kt3d_bench.nn.integral``), z relative to the hip everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Estimate, Progress, Stage, StepResult
from kt3d_bench.nn.camera_fit import STAGE_NAME as CAMERAS
from kt3d_bench.nn.flips import both_ways
from kt3d_bench.nn.integral import IntegralNet, IntegralOutput, from_voxels, pose_loss, surface_offset_loss
from kt3d_bench.nn.pretrain2d import PRECISIONS, pretrain_2d_step
from kt3d_bench.nn.pretrain2d import STAGE_NAME as PRETRAIN
from kt3d_bench.nn.prior import STAGE_NAME as PRIOR
from kt3d_bench.nn.prior import jittered, prior_step
from kt3d_knowledge_transfer import bridge, signs
from kt3d_knowledge_transfer.adapting import adapt_step
from kt3d_knowledge_transfer.config import BUNDLES, PRESETS, Config
from kt3d_knowledge_transfer.losses import domain_loss, each_axis, reconstruction
from kt3d_knowledge_transfer.model import Model
from kt3d_knowledge_transfer.networks import flattened, generator_pose
from kt3d_knowledge_transfer.stages import OFFSET_WEIGHT, PRIOR_NOISE, stages

LIFT_WEIGHT = 0.1
"""Weight of the cycle's error in the separate ``generator`` stage: D_s(E_s(G(pose))) of a noisy pose with hidden
depths, against the true pose."""


class KnowledgeTransfer(Model):
    """The method. Where target and source are the same dataset only its synthetic stage runs, and one of its two
    branches predicts (Table 1)."""

    Config: ClassVar[type[Any]] = Config
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]] = PRESETS
    PRECISIONS: ClassVar[Mapping[str, str]] = PRECISIONS
    BUNDLES: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = BUNDLES

    # ------------------------------------------------------------------ stages

    def stages(self) -> tuple[Stage, ...]:
        return stages(self.config, self.context)

    def start_stage(self, stage: Stage) -> None:
        self.shown = {}
        if stage.name in (PRIOR, "adapt"):
            self.lifted_from = self.prior_cameras
        if stage.name != "adapt":
            return
        if not self.rgb:
            self.adapted_net.load_state_dict(self.depth_net.state_dict())
        start = self.target_net.state_dict()
        self.start_net.load_state_dict(start)
        if self.teacher_net is not None:
            self.teacher_net.net.load_state_dict(start)

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        if stage.name == "adapt":
            return adapt_step(self, batches, progress)
        config, batch = self.config, cast(LabelledBatch, batches.get("source") or batches.get("pretrain"))
        if stage.name == PRETRAIN:
            return pretrain_2d_step(self.rgb_net, batch, marginal_weight=config.marginal_weight)
        if stage.name == PRIOR:
            assert self.prior is not None
            return prior_step(self.prior, batch, noise=PRIOR_NOISE, cameras=self.lifted_from, input_px=self.input_px)
        if stage.name == CAMERAS:
            assert self.cameras is not None
            image = self.inputs.target(batches["target"])
            self.cameras.add(
                batch.joints_root_mm, batch.world_to_cam, both_ways(self.rgb_net, image)[0].voxels[..., :2]
            )
            return StepResult({})
        if stage.name == "synthetic":
            return self._synthetic_step(batch, progress)
        return self._generator_step(batch, progress) if stage.name == "generator" else self._bridge_step(batch)

    def _synthetic_step(self, source: LabelledBatch, progress: Progress) -> StepResult:
        """Equation 4: L = w1 L_3D-depth + w2 L_3D-seg + w3 L_recon + w4 L_adversarial."""
        config = self.config
        truth, known = self.inputs.truth(source), source.mask_3d
        masks, offset = self.inputs.masks(source), source.surface_offset_mm
        depth = self.with_marginals(self.depth_net, self.inputs.depth(source))
        mask = self.with_marginals(self.mask_net, masks)
        offset_loss = sum(surface_offset_loss(one.surface_offset_mm, offset) for one in (depth, mask))
        losses = {
            "depth": config.weight_depth * self._supervised(depth, truth, known),
            "mask": config.weight_mask * self._supervised(mask, truth, known),
            "offset": OFFSET_WEIGHT * cast(Tensor, offset_loss),
        }
        show = signs.time_to_show(progress)
        if config.generator_schedule == "joint":
            drawn = self.generator(depth.voxels)
            losses["reconstruction"] = config.weight_reconstruction * self._reconstruction(drawn, masks)
            if show:
                self.shown["foreground_right"] = signs.foreground_right(drawn.detach(), masks)
        if self.adversarial_now(progress):
            first, second = self.classifier(depth.features), self.classifier(mask.features)
            losses["adversarial"] = config.weight_adversarial * domain_loss(first, second)
            if show:
                self.shown |= signs.domain(first, second)
        return StepResult(losses, dict(self.shown))

    def _generator_step(self, source: LabelledBatch, progress: Progress) -> StepResult:
        """L_recon (equations 6-8, or the reconstruction that the config names), and the cycle's own error: G must draw
        masks in which the frozen D_s(E_s(.)) finds the pose again."""
        truth, masks = self.inputs.truth(source), self.inputs.masks(source)
        drawn = self.generator(generator_pose(truth, self.config.side))
        lifted = self.mask_net(drawn, with_marginals=self.config.marginal_weight > 0)
        losses = {
            "reconstruction": self._reconstruction(drawn, masks),
            "lift": LIFT_WEIGHT * self._supervised(lifted, truth, source.mask_3d),
        }
        if signs.time_to_show(progress):
            self.shown["foreground_right"] = signs.foreground_right(drawn.detach(), masks)
        return StepResult(losses, dict(self.shown))

    def _bridge_step(self, source: LabelledBatch) -> StepResult:
        """The mask-conditioned network, on frayed silhouettes and true poses with the errors of a 2D network."""
        assert self.bridge_net is not None
        truth, silhouette = bridge.half_virtual(source, self.inputs.truth(source), self.inputs.silhouette(source))
        known = source.mask_3d & truth.isfinite().all(-1)
        noisy, present = bridge.corrupted(torch.where(known[..., None], truth, truth.new_zeros(())))
        given = bridge.bridge_input(bridge.frayed(silhouette), noisy, present & known)
        return StepResult({"bridge": self._supervised(self.with_marginals(self.bridge_net, given), truth, known)})

    def after_step(self, stage: Stage, progress: Progress) -> None:
        """The mean teacher follows the student."""
        if stage.name == "adapt" and self.teacher_net is not None:
            self.teacher_net.follow(self.target_net, progress.step)

    def _supervised(self, output: IntegralOutput, truth: Tensor, known: Tensor) -> Tensor:
        """Equation 5, and the marginals' loss, over the (B, J) joints that are known."""
        return pose_loss(output, truth, each_axis(known, 3), marginal_weight=self.config.marginal_weight)

    def _reconstruction(self, drawn: Tensor, masks: Tensor) -> Tensor:
        return reconstruction(self.config.reconstruction, drawn, masks, floor=self.config.image_floor)

    # ------------------------------------------------------------------ prediction

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        """E_r, D_r, on RGB images with the depths that the config asks for; without a transfer, the branch that it
        names."""
        return self._seen(batch, both=self.config.flip_test)

    def validate(self, stage: Stage, batch: UnlabelledBatch) -> Estimate | None:
        """The prior and the mask-conditioned network on noisy true poses, a branch on synthetic images, else E_r, D_r
        on each image once."""
        if stage.name in (PRIOR, "bridge"):
            assert isinstance(batch, LabelledBatch)
            truth = self.inputs.truth(batch)
            truth = torch.where(batch.mask_3d[..., None], truth, truth[:, :1])
            if stage.name == PRIOR:
                assert self.prior is not None
                lifted = self.prior(jittered(truth, PRIOR_NOISE))
                return self._estimate_of(torch.cat([truth[..., :2], lifted[..., 2:]], -1))
            assert self.bridge_net is not None
            noisy, present = bridge.corrupted(truth)
            given = bridge.bridge_input(self.inputs.silhouette(batch), noisy, present & batch.mask_3d)
            return self._estimate_of(self.bridge_net(given).voxels)
        if stage.name == "synthetic" and self.context.transfers:
            net, image = (self.mask_net, self.inputs.masks) if self.rgb else (self.depth_net, self.inputs.depth)
            return self._estimate(net(image(batch)), batch)
        trains_it = stage.name not in ("generator", CAMERAS) and set(self.reads) <= batch.images.keys()
        return self._seen(batch, both=False) if trains_it else None

    def _seen(self, batch: UnlabelledBatch, *, both: bool) -> Estimate:
        """``both``: the mean over the image and its mirror image, where there is a transfer."""
        config = self.config
        if not self.context.transfers:
            masked = config.branch == "mask"
            answer = self.mask_net(self.inputs.masks(batch)) if masked else self.depth_net(self.inputs.depth(batch))
            return self._estimate(answer, batch)
        image = self.inputs.target(batch)
        output = both_ways(self.target_net, image)[0] if both else self.target_net(image)
        return self._estimate(output, batch, self._with_depths(output.voxels, batch) if self.rgb else None)

    def _with_depths(self, voxels: Tensor, batch: UnlabelledBatch) -> Tensor:
        """(B, J, 3) the network's poses with the depths that are used at test time."""
        where = self.depth_at_test
        if where == "mask":
            voxels = self.bridged(batch, voxels)
        if where == "cycle":
            lifted = self.cycle(flattened(voxels, self.config.side))
            return torch.cat([voxels[..., :2], lifted[..., 2:]], -1)
        if where in ("prior", "mask"):
            assert self.prior is not None
            return cast(Tensor, self.prior(voxels))
        return voxels

    def _estimate(self, output: IntegralOutput, batch: UnlabelledBatch, voxels: Tensor | None = None) -> Estimate:
        root_z_mm = batch.surface_mm + output.surface_offset_mm if "depth" in batch.images else None
        return self._estimate_of(output.voxels if voxels is None else voxels, root_z_mm)

    def _estimate_of(self, voxels: Tensor, root_z_mm: Tensor | None = None) -> Estimate:
        joints_px, z_mm = from_voxels(voxels, self.input_px, self.config.side)
        return Estimate(joints_px=joints_px, z_root_mm=z_mm - z_mm[:, :1], root_z_mm=root_z_mm)


class SourceOnly(KnowledgeTransfer):
    """What is known before any adaptation: the row that every adapted one must beat.

    RGB targets: the 2D pose of ``pretrain-2d``, lifted by the pose prior; as published, by the frozen cycle from z = 0,
    its x and y kept. Depth targets: E_d, D_d as they are. No target image is trained on; ``prior_cameras=fitted`` looks
    at some.
    """

    @property
    def target_net(self) -> IntegralNet:
        return self.rgb_net if self.rgb else self.depth_net

    @property
    def depth_at_test(self) -> str:
        """``pretrain-2d`` learns no depths of its own."""
        named = super().depth_at_test
        return "cycle" if named == "network" else named

    def stages(self) -> tuple[Stage, ...]:
        config = replace(self.config, depth_at_test=self.depth_at_test, bridge="none", weight_domain=0.0)
        used = {"prior": {"prior", CAMERAS}, "mask": {"prior", CAMERAS, "bridge"}}.get(self.depth_at_test, set())
        unused = {"adapt", "prior", CAMERAS, "bridge"} - used
        return tuple(stage for stage in stages(config, self.context) if stage.name not in unused)
