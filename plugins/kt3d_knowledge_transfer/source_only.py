"""The row without adaptation, which every adapted one must beat."""

from __future__ import annotations

import torch

from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Estimate, Stage
from kt3d_bench.nn.images import depth_input
from kt3d_knowledge_transfer.method import KnowledgeTransfer


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
            output = self.depth_net(depth_input(batch.images["depth"], batch.surface_mm))
            return self._estimate(output.voxels, output.surface_offset_mm, batch)
        output = self.rgb_net(self._target_image(batch))
        lifted = self.mask_net(self.generator(self._flattened(output.voxels))).voxels
        voxels = torch.cat([output.voxels[..., :2], lifted[..., 2:]], -1)
        return self._estimate(voxels, output.surface_offset_mm, batch)
