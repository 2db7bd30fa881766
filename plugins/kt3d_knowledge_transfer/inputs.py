"""What the networks are given and what they must answer, made from batches."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import MethodContext
from kt3d_bench.nn.images import depth_input, relief_input, rgb_input
from kt3d_bench.nn.integral import to_voxels
from kt3d_knowledge_transfer.config import Config
from kt3d_knowledge_transfer.networks import mask_image


@dataclass(frozen=True)
class Inputs:
    """Network inputs by the config's rules. Shapes: B batch, J joints, Q parts, H and W image rows and columns."""

    config: Config
    context: MethodContext

    def target(self, batch: UnlabelledBatch) -> Tensor:
        """(B, 3, 2 or 1, H, W) input of E_r."""
        return rgb_input(batch.images["rgb"]) if self.context.target_modality == "rgb" else self.depth(batch)

    def depth(self, batch: UnlabelledBatch) -> Tensor:
        """(B, 2 or 1, H, W) input of E_d."""
        made = depth_input if self.config.depth_channels == 1 else relief_input
        return made(batch.images["depth"], batch.surface_mm)

    def masks(self, batch: UnlabelledBatch) -> Tensor:
        """(B, Q, H, W) input of E_s."""
        depth = batch.images.get("depth")
        return mask_image(batch.images["parts"], depth, batch.surface_mm, self.context.num_parts, self.config.mask)

    def silhouette(self, batch: UnlabelledBatch) -> Tensor:
        """(B, H, W) float, 1 = the person: the motion foreground of RGB images."""
        return batch.images["foreground"][:, 0]

    def truth(self, batch: LabelledBatch) -> Tensor:
        """(B, J, 3) labels in voxels, NaN where hidden."""
        return to_voxels(batch.joints_px, batch.joints_root_mm[..., 2], self.config.input_px, self.config.side)
