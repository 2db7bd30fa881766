"""The networks of the knowledge-transfer method, and what one step asks of several of them.

E_d, D_d = depth_net      E_s, D_s = mask_net      G = generator      C = classifier
E_r, D_r = target_net
ours: prior (poses alone), bridge_net (observed silhouettes, bridge.py), teacher_net (the student's average)
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Method, MethodContext, Progress
from kt3d_bench.nn.camera_fit import FittedCameras
from kt3d_bench.nn.integral import IntegralNet, IntegralOutput
from kt3d_bench.nn.prior import VIRTUAL, PosePrior
from kt3d_bench.nn.virtual_cameras import VirtualCameras
from kt3d_knowledge_transfer import bridge
from kt3d_knowledge_transfer.config import Config
from kt3d_knowledge_transfer.inputs import Inputs
from kt3d_knowledge_transfer.networks import DomainClassifier, MeanTeacher, as_if_first, build_generator
from kt3d_knowledge_transfer.stages import fits_cameras, has_bridge, has_prior

ADVERSARIAL_DELAY = 0.2
"""Share of a stage after which the domain loss is on at the latest: short stages have no 5000 steps."""


class Model(Method):
    """All networks. Those that a run does not need are ``None`` or absent. Poses are in voxels."""

    config: Config

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__(config, context)
        if context.num_parts < 2:
            raise UsageError(
                "the source's shards hold no part masks, which this method learns from",
                where="--source",
                hint="choose a source dataset with part masks",
            )
        self.inputs = Inputs(config, context)
        sizes: dict[str, Any] = {"backbone": config.backbone, "side": config.side}
        self.depth_net = IntegralNet(config.depth_channels, **sizes)
        self.mask_net = IntegralNet(context.num_parts, **sizes)
        self.generator = build_generator(config, context.num_parts)
        self.classifier = DomainClassifier(self.depth_net.feature_channels, config.classifier_width)
        self.shown: dict[str, float] = {}
        self.cameras = FittedCameras() if self.rgb and context.transfers and fits_cameras(config) else None
        self.lifted_from: VirtualCameras | None = None
        if not context.transfers:
            return
        channels = 3 if self.rgb else config.depth_channels
        if self.rgb:
            with as_if_first():
                self.rgb_net = IntegralNet(channels, **sizes)
            with as_if_first():
                self.prior = PosePrior(side=config.side, width=config.prior_width) if has_prior(config) else None
            with as_if_first():
                self.bridge_net = IntegralNet(bridge.CHANNELS, **sizes) if has_bridge(config) else None
        else:
            self.adapted_net = IntegralNet(channels, **sizes)
        self.start_net = IntegralNet(channels, **sizes)
        self.teacher_net = MeanTeacher(IntegralNet(channels, **sizes)) if config.teacher == "mean" else None

    @property
    def input_px(self) -> int:
        return self.config.input_px

    @property
    def depth_at_test(self) -> str:
        """Source of a prediction's depths on RGB images."""
        return self.config.depth_at_test

    @property
    def prior_cameras(self) -> VirtualCameras | None:
        """The prior's cameras; ``None`` = the source's own."""
        if self.cameras is not None:
            return self.cameras.fit()
        return VIRTUAL if self.config.prior_cameras == "virtual" else None

    @property
    def reads(self) -> tuple[str, ...]:
        """The mask branch looks at masks; the depth image then only says how far away the person is. The
        mask-conditioned network looks at the motion foreground."""
        if not self.context.transfers:
            return ("depth", "parts") if self.config.branch == "mask" else super().reads
        return (*super().reads, "foreground") if self.rgb and self.depth_at_test == "mask" else super().reads

    @property
    def rgb(self) -> bool:
        return self.context.target_modality == "rgb"

    @property
    def target_net(self) -> IntegralNet:
        """E_r, D_r."""
        return self.rgb_net if self.rgb else self.adapted_net

    def with_marginals(self, net: IntegralNet, images: Tensor) -> IntegralOutput:
        output: IntegralOutput = net(images, with_marginals=self.config.marginal_weight > 0)
        return output

    def adversarial_now(self, progress: Progress) -> bool:
        """Whether the stage has come to the part in which the domain loss is on."""
        waited = progress.step >= self.config.adversarial_delay_steps or progress.fraction >= ADVERSARIAL_DELAY
        return self.config.adversarial and waited

    def cycle(self, pose: Tensor) -> Tensor:
        """P_hat_3D = D_s(E_s(G(P_2D, z))), section 3.2; (B, J, 3) -> (B, J, 3)."""
        return cast(Tensor, self.mask_net(self.generator(pose)).voxels)

    def bridged(self, batch: UnlabelledBatch, voxels: Tensor) -> Tensor:
        """(B, J, 3) what the mask-conditioned network makes of (B, J, 3) poses and the observed silhouettes; without a
        silhouette, the pose itself."""
        assert self.bridge_net is not None
        silhouette = self.inputs.silhouette(batch)
        corrected = self.bridge_net(bridge.bridge_input(silhouette, voxels)).voxels
        return torch.where(silhouette.flatten(1).any(1)[:, None, None], corrected, voxels)
