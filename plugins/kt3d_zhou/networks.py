"""The network of ``zhou``: a backbone, and for each joint a heat map and a map of depths.

Shapes: B batch, J joints, S side of the input, F = S / 4 side of the maps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kt3d_bench.nn.heatmaps import peaks
from kt3d_bench.nn.integral import encoder_and_decoder, pooled, surface_offset_layer, surface_offset_mm
from kt3d_bench.skeletons import H36M17

_CHILDREN, _PARENTS = (list(ends) for ends in zip(*H36M17.bones, strict=True))
_INITIAL_STD = 0.001


@dataclass(frozen=True, eq=False)
class Maps:
    """What the network says of a batch of images."""

    heat: Tensor
    """(B, J, F, F), near 1 where a joint is."""
    depth: Tensor
    """(B, J, F, F) depth behind the hip at each place, in sides of the input at the hip's distance."""
    surface_offset_mm: Tensor
    """(B,) depth of the hip behind the surface reference of a depth image."""

    def of(self, samples: slice) -> Maps:
        """The same of some samples of the batch."""
        return Maps(self.heat[samples], self.depth[samples], self.surface_offset_mm[samples])

    def depth_at(self, places: Tensor) -> Tensor:
        """(B, J, 2) px of the maps -> (B, J) depth in the nearest px; that of the edge for places outside."""
        side = self.depth.shape[-1]
        x, y = places.nan_to_num(0.0).round().clamp(0, side - 1).long().unbind(-1)
        return self.depth.flatten(2).gather(2, (y * side + x)[..., None])[..., 0]

    def peaks(self) -> tuple[Tensor, Tensor]:
        """(B, J, 2) px of the maps where each joint is likeliest, refined, and (B, J) the depth there."""
        return peaks(self.heat, refine=True), self.depth_at(peaks(self.heat, refine=False))


class MapsNet(nn.Module):
    """Images -> ``Maps``. RGB images have 3 channels. Depth images have 2, relief and foreground; where the target is
    RGB, a 1 x 1 convolution colours those of the source, so that all else is shared."""

    bones: Tensor
    """(16, 2) sum of lengths in mm, and number, of every bone seen with 3D labels."""

    def __init__(self, joints: int, *, backbone: str, rgb: bool) -> None:
        super().__init__()
        self.colour: nn.Module = nn.Conv2d(2, 3, 1) if rgb else nn.Identity()
        self.encoder, self.decoder = encoder_and_decoder(3 if rgb else 2, 2 * joints, backbone)
        last = list(self.decoder.modules())[-1]
        assert isinstance(last, nn.Conv2d)
        nn.init.normal_(last.weight, std=_INITIAL_STD)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.offset = surface_offset_layer(self.encoder.channels)
        self.register_buffer("bones", torch.zeros(len(H36M17.bones), 2))

    def forward(self, images: Tensor) -> Maps:
        features = self.encoder(images)
        heat, depth = self.decoder(features).float().chunk(2, 1)
        return Maps(heat, depth, surface_offset_mm(self.offset, pooled(features)))

    @torch.no_grad()
    def measure(self, joints_mm: Tensor) -> None:
        """Remember the bones of (B, J, 3) poses in mm; NaN = not known."""
        lengths = bone_lengths(joints_mm)
        known = lengths.isfinite()
        self.bones += torch.stack([lengths.where(known, torch.zeros_like(lengths)).sum(0), known.sum(0)], -1)

    def mm_per_unit(self, joints: Tensor) -> Tensor:
        """(B, J, 3) poses in any unit -> (B, 1) mm per unit that gives their bones the mean total length of those
        remembered; 0 before any was."""
        seen = self.bones[:, 1] > 0
        total_mm = (self.bones[:, 0] / self.bones[:, 1].clamp(min=1)).sum()
        own = (bone_lengths(joints) * seen).sum(-1, keepdim=True)
        return total_mm / own.clamp(min=1e-6)


def bone_lengths(joints: Tensor) -> Tensor:
    """(B, J, D) -> (B, 16) in the order of ``H36M17.bones``."""
    lengths: Tensor = (joints[:, _CHILDREN] - joints[:, _PARENTS]).norm(dim=-1)
    return lengths
