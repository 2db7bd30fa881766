"""The integral pose network (Sun et al., ECCV 2018): encoder, deconvolutions, one volume per joint, soft-argmax.

Voxels: a volume has ``side`` bins along each axis with centres at integers. x and y span the square network input,
z spans 2000 mm around the hip. Shapes: B batch, J joints, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.nn.resnet import ResNet50
from kt3d_bench.nn.softargmax import expected, marginals, soft_argmax
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


MARGINAL_SIGMA_VOX = 0.8
_FAINT_SHARE = 1e-6
"""Added to a marginal before its logarithm."""


def marginal_loss(along: Sequence[Tensor], target: Tensor, mask: Tensor) -> Tensor:
    """Kullback-Leibler divergence from Gaussians around the target to a volume's marginals: the mean over the true
    entries of ``mask``, a scalar in nats.

    ``along`` holds D marginals (B, J, S), ``target`` and ``mask`` are (B, J, D); the Gaussians have a deviation of 0.8
    voxels. Soft-argmax alone asks for the right mean and lets a volume spread or split; this asks for one peak (as the
    regularisation of Nibali et al., arXiv 1801.07372, applied per axis). Outside the mask targets may be NaN and
    gradients are zero.
    """
    total = target.new_zeros(())
    for axis, shares in enumerate(along):
        bins = torch.arange(shares.shape[-1], device=shares.device)
        known = mask[..., axis]
        centre = torch.where(known, target[..., axis], torch.zeros_like(target[..., axis])).clamp(0, len(bins) - 1)
        wanted = (-0.5 * ((bins - centre[..., None]) / MARGINAL_SIGMA_VOX).square()).softmax(-1)
        apart = wanted * ((wanted + _FAINT_SHARE).log() - (shares + _FAINT_SHARE).log())
        total = total + torch.where(known, apart.sum(-1), torch.zeros_like(centre)).sum()
    return total / mask.sum().clamp(min=1)


def pose_loss(output: IntegralOutput, target: Tensor, mask: Tensor, *, marginal_weight: float) -> Tensor:
    """Smooth L1 on the soft-argmax, threshold a 64th of the volume whatever its size, plus ``marginal_weight`` times
    ``marginal_loss``: a scalar. ``target`` (B, J, D) voxels, x, y or x, y, z; ``mask`` (B, J, D) bool."""
    axes = target.shape[-1]
    loss = smooth_l1_in_64ths(output.voxels[..., :axes], target, mask, output.side)
    if not marginal_weight:
        return loss
    assert output.along is not None, "ask the network for its marginals"
    return loss + marginal_weight * marginal_loss(output.along[:axes], target, mask)


def smooth_l1_in_64ths(pred: Tensor, target: Tensor, mask: Tensor, side: int) -> Tensor:
    """``smooth_l1`` of (B, J, D) voxels of a volume with ``side`` bins, over the true entries of ``mask`` (B, J, D), in
    voxels of a 64-bin volume: the loss then has the same shape at every size."""
    unit = 64 / side
    return smooth_l1(pred.flatten(1)[..., None] * unit, target.flatten(1)[..., None] * unit, mask.flatten(1))


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
    side: int
    """S, bins along each axis."""
    along: tuple[Tensor, Tensor, Tensor] | None = None
    """(B, J, S) marginals of the volumes along x, y and z, where ``IntegralNet`` was asked for them."""

    def of(self, samples: slice) -> IntegralOutput:
        """The same of some samples of the batch."""
        along = None if self.along is None else (self.along[0][samples], self.along[1][samples], self.along[2][samples])
        return IntegralOutput(
            self.voxels[samples], self.features[samples], self.surface_offset_mm[samples], self.side, along
        )


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
        self.side = side
        self.joints = joints
        self.encoder, self.decoder = encoder_and_decoder(in_channels, joints * side, backbone)
        self.offset = surface_offset_layer(self.encoder.channels)

    @property
    def feature_channels(self) -> int:
        """C of ``IntegralOutput.features``."""
        return self.encoder.channels

    def forward(self, images: Tensor, *, with_marginals: bool = False) -> IntegralOutput:
        if images.shape[-2:] != (4 * self.side, 4 * self.side):
            raise ValueError(f"a net of side {self.side} reads {4 * self.side} px, found {tuple(images.shape[-2:])}")
        maps = self.encoder(images)
        volumes = self.decoder(maps).view(-1, self.joints, self.side, self.side, self.side)
        features = pooled(maps)
        along = marginals(volumes) if with_marginals else None
        voxels = soft_argmax(volumes) if along is None else expected(along)
        return IntegralOutput(voxels, features, surface_offset_mm(self.offset, features), self.side, along)

    def look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``features`` and ``surface_offset_mm`` of ``forward`` alone, without the decoder that finds joints."""
        features = pooled(self.encoder(images))
        return features, surface_offset_mm(self.offset, features)


def encoder_and_decoder(in_channels: int, out_channels: int, backbone: str) -> tuple[ResNet50 | TinyEncoder, nn.Module]:
    """Return the parts of a network that makes (B, ``out_channels``, H/4, W/4) maps of (B, ``in_channels``, H, W)
    images: ResNet-50 and three deconvolutions, or the tiny ones. Raises ``UsageError`` for another ``backbone``."""
    if backbone not in BACKBONES:
        raise UsageError(f"unknown backbone '{backbone}'", hint=did_you_mean(backbone, BACKBONES))
    if backbone == "resnet50":
        large = ResNet50(in_channels)
        return large, _deconvolutions(large.channels, out_channels)
    small = TinyEncoder(in_channels)
    return small, TinyDecoder(small.channels, out_channels)


def pooled(maps: Tensor | tuple[Tensor, ...]) -> Tensor:
    """(B, C) mean over the image of an encoder's deepest maps."""
    return (maps if isinstance(maps, Tensor) else maps[-1]).mean((2, 3))


def surface_offset_layer(channels: int) -> nn.Linear:
    """Return the layer for ``surface_offset_mm``, which says 0 at first."""
    layer = nn.Linear(channels, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def surface_offset_mm(layer: nn.Module, features: Tensor) -> Tensor:
    """(B, C) features -> (B,) depth of the hip behind the surface reference, mm, as ``layer`` tells it."""
    offset: Tensor = layer(features)[:, 0].float()
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
