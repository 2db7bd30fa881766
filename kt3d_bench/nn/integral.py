"""The integral pose network (Sun et al., ECCV 2018): encoder, deconvolutions, one volume per joint, soft-argmax.

Voxels: a volume has ``side`` bins along each axis with centres at integers. x and y span the square network input,
z spans 2000 mm around the hip. Shapes: B batch, J joints, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.nn.resnet import ResNet50
from kt3d_bench.nn.softargmax import soft_argmax
from kt3d_bench.nn.tiny import TinyDecoder, TinyEncoder
from kt3d_bench.skeletons import NUM_JOINTS

DEPTH_SPAN_MM = 2000.0
"""Hip-relative depth covered by a volume, +- 1000 mm."""
BACKBONES = ("resnet50", "tiny")
_OFFSET_SCALE_MM = 100.0
"""What an output of 1 of the offset layer means, so that its weights stay small."""
OFFSET_THRESHOLD_MM = 50.0
"""Where ``surface_offset_loss`` turns from squared to linear."""


def to_voxels(joints_px: Tensor, z_root_mm: Tensor, input_px: int, side: int) -> Tensor:
    """(B, J, 2) px of the network input and (B, J) mm relative to the hip -> (B, J, 3) voxels; NaN passes through."""
    xy = (joints_px + 0.5) * (side / input_px) - 0.5
    z = (z_root_mm / DEPTH_SPAN_MM + 0.5) * side - 0.5
    return torch.cat([xy, z[..., None]], dim=-1)


def from_voxels(voxels: Tensor, input_px: int, side: int) -> tuple[Tensor, Tensor]:
    """Inverse of ``to_voxels``: (B, J, 3) voxels -> (B, J, 2) px and (B, J) mm relative to the hip."""
    joints_px = (voxels[..., :2] + 0.5) * (input_px / side) - 0.5
    return joints_px, ((voxels[..., 2] + 0.5) / side - 0.5) * DEPTH_SPAN_MM


def smooth_l1(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Smooth L1, threshold 1: mean over the coordinates of the true entries of ``mask``, a scalar.

    ``pred`` and ``target`` (B, J, K), ``mask`` (B, J) bool. Outside the mask targets may be NaN and gradients are
    zero; with an empty mask the loss is zero with zero gradient.
    """
    known = mask[..., None].expand_as(pred)
    safe = torch.where(known, target, pred.detach())
    total = functional.smooth_l1_loss(pred, safe, reduction="sum", beta=1.0)
    return total / known.sum().clamp(min=1)


def surface_offset_loss(predicted_mm: Tensor, true_mm: Tensor) -> Tensor:
    """Return the smooth L1 loss, threshold 50 mm, of (B,) depths of the hip behind the surface reference: a scalar.

    Samples whose truth is not known (NaN) do not count; where none is known the loss is zero with zero gradient.
    """
    predicted, true = (each[:, None, None] / OFFSET_THRESHOLD_MM for each in (predicted_mm, true_mm))
    return smooth_l1(predicted, true, true_mm.isfinite()[:, None])


@dataclass(frozen=True, eq=False)
class IntegralOutput:
    """What ``IntegralNet`` says about a batch of images."""

    voxels: Tensor
    """(B, J, 3) x, y, z in voxels."""
    features: Tensor
    """(B, C) encoder features, averaged over the image."""
    surface_offset_mm: Tensor
    """(B,) depth of the hip minus the surface reference of the depth image."""


class IntegralNet(nn.Module):
    """(B, ``in_channels``, 4 ``side``, 4 ``side``) image -> ``IntegralOutput``.

    ``backbone`` "resnet50": ResNet-50, three deconvolutions of 256 channels and a 1 x 1 convolution; at ``side`` 64
    34.3 M parameters and 8.4 GMAC per image. "tiny": the same idea for minutes on a CPU. Raises ``UsageError`` for an
    unknown backbone and ``ValueError`` for an image of another size.
    """

    compiled_parts = ("encoder", "decoder")
    """The soft-argmax has kernels of its own, and the encoder is also called alone."""

    def __init__(self, in_channels: int, *, backbone: str = "resnet50", side: int = 64, joints: int = NUM_JOINTS):
        super().__init__()
        if backbone not in BACKBONES:
            raise UsageError(f"unknown backbone '{backbone}'", hint=did_you_mean(backbone, BACKBONES))
        self.side = side
        self.joints = joints
        self.encoder: ResNet50 | TinyEncoder
        self.decoder: nn.Module
        if backbone == "resnet50":
            self.encoder = ResNet50(in_channels)
            self.decoder = _deconvolutions(self.encoder.channels, joints * side)
        else:
            self.encoder = TinyEncoder(in_channels)
            self.decoder = TinyDecoder(self.encoder.channels, joints * side)
        self.offset = nn.Linear(self.encoder.channels, 1)
        for parameter in self.offset.parameters():
            nn.init.zeros_(parameter)

    @property
    def feature_channels(self) -> int:
        """C of ``IntegralOutput.features``."""
        return self.encoder.channels

    def forward(self, images: Tensor) -> IntegralOutput:
        if images.shape[-2:] != (4 * self.side, 4 * self.side):
            raise ValueError(f"a net of side {self.side} reads {4 * self.side} px, found {tuple(images.shape[-2:])}")
        maps = self.encoder(images)
        volumes = self.decoder(maps).view(-1, self.joints, self.side, self.side, self.side)
        features = maps.mean((2, 3))
        return IntegralOutput(soft_argmax(volumes), features, self._offset_mm(features))

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``features`` and ``surface_offset_mm`` of ``forward`` alone, without the decoder that finds joints."""
        features = self.encoder(images).mean((2, 3))
        return features, self._offset_mm(features)

    def _offset_mm(self, features: Tensor) -> Tensor:
        offset: Tensor = self.offset(features)[:, 0].float()
        return _OFFSET_SCALE_MM * offset


def _deconvolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (in_channels, 256, 256):
        deconvolution = nn.ConvTranspose2d(channels, 256, 4, 2, 1, bias=False)
        nn.init.normal_(deconvolution.weight, std=0.001)
        layers += [deconvolution, nn.BatchNorm2d(256), nn.ReLU(inplace=True)]
    last = nn.Conv2d(256, out_channels, 1)
    for parameter in last.parameters():
        nn.init.normal_(parameter, std=0.001)
    return nn.Sequential(*layers, last)
