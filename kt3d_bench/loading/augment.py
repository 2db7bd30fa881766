"""Augmentation with exact geometry: one affine map per sample moves image, joints and camera together.

An augmentation is A = s M about the person, with M orthogonal (a rotation, perhaps a mirror), and A maps px of the
stored crop to px of the network's square input. The world turns with the image: with K the crop's camera matrix,

    joints_px' = A joints_px,   joints_cam' = k diag(M, 1) joints_cam,   K' = A K M^T,   p' = M p

where p = (p2, p1) is the tangential distortion and k a change of body size (a homothety about the camera centre, which
leaves the image as it is and multiplies depth values). Projecting joints_cam' through K', p' gives joints_px' exactly,
lens distortion included. A mirror also exchanges left and right: joints, and part ids.

Shapes: N samples, J joints, C channels, H and W rows and columns of the source image. Pixel centres are integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from kt3d_bench.errors import UsageError
from kt3d_bench.skeletons import H36M17

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BOX_MARGIN = 1.25
"""Longest side of the person's box times this fills the network's input."""


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw from, uniformly. Defaults: the public code of Integral Pose (Sun et al., ECCV 2018), and a shift
    and body size of this project."""

    scale: float = 0.25
    """Image scale 1 +- this."""
    rotation_rad: float = math.pi / 6
    """Rotation of the image +- this."""
    flip: bool = True
    """Mirror half of the samples."""
    shift: float = 0.05
    """Shift along x and y, +- this share of the input's side."""
    colour: float = 0.2
    """Gain of each colour channel 1 +- this."""
    body_scale: float = 0.1
    """Size of the world, depth readings included, 1 +- this. Only where a depth image is loaded: no other image shows
    a body's absolute size."""

    def __post_init__(self) -> None:
        for name, limit in (("scale", 1), ("rotation_rad", math.inf), ("shift", 1), ("colour", 1), ("body_scale", 1)):
            value = getattr(self, name)
            if not 0 <= value < limit:
                raise UsageError(f"augmentation {name} is {value}", hint=f"choose from 0 up to, not including, {limit}")

    def draw(self, seed: int, epochs: IntArray, indices: IntArray) -> Draws:
        """Draws for samples ``indices`` (N,) in their ``epochs`` (N,): a function of (seed, epoch, index) alone, so
        that batch order, workers, ranks and devices change nothing."""
        uniform = np.array(
            [
                np.random.default_rng((seed, int(epoch), int(index))).uniform(-1, 1, 9)
                for epoch, index in zip(epochs, indices, strict=True)
            ]
        ).reshape(-1, 9)
        return Draws(
            scale=1 + self.scale * uniform[:, 0],
            angle_rad=self.rotation_rad * uniform[:, 1],
            mirrored=(uniform[:, 2] < 0) & self.flip,
            shift=self.shift * uniform[:, 3:5],
            body_scale=1 + self.body_scale * uniform[:, 5],
            colour=1 + self.colour * uniform[:, 6:9],
        )


@dataclass(frozen=True, eq=False)
class Draws:
    """What was drawn for N samples."""

    scale: FloatArray
    """(N,)"""
    angle_rad: FloatArray
    """(N,)"""
    mirrored: npt.NDArray[np.bool_]
    """(N,)"""
    shift: FloatArray
    """(N, 2) shares of the input's side."""
    body_scale: FloatArray
    """(N,)"""
    colour: FloatArray
    """(N, 3) gains."""

    @classmethod
    def none(cls, count: int) -> Draws:
        """Draws that change nothing."""
        one = np.ones(count)
        return cls(one, np.zeros(count), np.zeros(count, bool), np.zeros((count, 2)), one, np.ones((count, 3)))

    def repeated(self, times: int) -> Draws:
        """The same draws for ``times`` samples in place of each one."""
        return Draws(**{field.name: np.repeat(getattr(self, field.name), times, axis=0) for field in fields(self)})


@dataclass(frozen=True, eq=False)
class Placement:
    """How N stored crops and their worlds are moved into the network's input."""

    affine_px: FloatArray
    """(N, 2, 3) crop px -> input px: A above."""
    turn: FloatArray
    """(N, 2, 2) orthogonal: M above."""
    mirrored: npt.NDArray[np.bool_]
    """(N,) where left and right are exchanged."""
    body_scale: FloatArray
    """(N,): k above."""

    def points_px(self, joints_px: npt.NDArray[Any]) -> FloatArray:
        """(N, J, 2) crop px -> (N, J, 2) input px, left and right exchanged where mirrored."""
        moved = np.einsum("nij,nkj->nki", self.affine_px[..., :2], joints_px) + self.affine_px[:, None, :, 2]
        return self._exchanged(moved)

    def points_cam(self, joints_cam_mm: npt.NDArray[Any]) -> FloatArray:
        """(N, J, 3) mm, crop camera -> (N, J, 3) mm, input camera, left and right exchanged where mirrored."""
        moved = np.array(joints_cam_mm, np.float64)
        moved[..., :2] = np.einsum("nij,nkj->nki", self.turn, moved[..., :2])
        return self._exchanged(moved * self.body_scale[:, None, None])

    def cameras(self, intrinsics_px: npt.NDArray[Any], distortion: npt.NDArray[Any]) -> tuple[FloatArray, FloatArray]:
        """(N, 2, 3) and (N, 5) of the crops -> the same of the inputs."""
        given = np.asarray(intrinsics_px, np.float64)
        linear = self.affine_px[..., :2] @ given
        linear[..., 2] += self.affine_px[..., 2]
        linear[..., :2] = linear[..., :2] @ np.swapaxes(self.turn, -1, -2)
        moved = np.array(distortion, np.float64)
        moved[:, [3, 2]] = np.einsum("nij,nj->ni", self.turn, moved[:, [3, 2]])
        return linear, moved

    def rotations(self, world_to_cam: npt.NDArray[Any]) -> FloatArray:
        """(N, 3, 3) world -> crop camera axes -> the same to input camera axes; improper where mirrored."""
        moved = np.array(world_to_cam, np.float64)
        moved[:, :2] = self.turn @ moved[:, :2]
        return moved

    def exchanged_mask(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """(N, J) bool, left and right exchanged where mirrored."""
        return np.where(self.mirrored[:, None], mask[:, H36M17.mirror], mask)

    def _exchanged(self, joints: FloatArray) -> FloatArray:
        return np.where(self.mirrored[:, None, None], joints[:, H36M17.mirror], joints)


def place(draws: Draws, box_px: npt.NDArray[Any], input_px: int) -> Placement:
    """Centre boxes (N, 4) in a square of ``input_px``, ``BOX_MARGIN`` around their longest side, then augment."""
    boxes = np.asarray(box_px, np.float64)
    low, high = boxes[:, :2], boxes[:, 2:]
    side = np.maximum((high - low).max(axis=1), 1.0)
    cos, sin = np.cos(draws.angle_rad), np.sin(draws.angle_rad)
    mirror = np.where(draws.mirrored, -1.0, 1.0)
    turn = np.stack([np.stack([cos * mirror, -sin], -1), np.stack([sin * mirror, cos], -1)], axis=1)
    linear = turn * (draws.scale * input_px / (BOX_MARGIN * side))[:, None, None]
    target = (input_px - 1) / 2 + draws.shift * input_px
    offset = target - np.einsum("nij,nj->ni", linear, (low + high) / 2)
    return Placement(np.concatenate([linear, offset[..., None]], axis=-1), turn, draws.mirrored, draws.body_scale)


def warp(images: Tensor, affine_px: npt.NDArray[Any], input_px: int, *, nearest: bool = False) -> Tensor:
    """Resample (N, C, H, W) float images into (N, C, ``input_px``, ``input_px``) on their device.

    ``affine_px`` (N, 2, 3) maps source px to input px. Bilinear with zeros outside, or the nearest pixel.
    """
    rows, columns = images.shape[-2:]
    affine = np.asarray(affine_px, np.float64)
    inverse = np.linalg.inv(affine[..., :2])
    back = np.concatenate([inverse, -inverse @ affine[..., 2:]], axis=-1)
    size = np.array([columns, rows], np.float64)
    back *= (2 / size)[:, None]
    back[..., 2] += 1 / size - 1
    steps = torch.arange(input_px, dtype=torch.float32, device=images.device)
    matrix = torch.from_numpy(back.astype(np.float32)).to(images.device)
    along_x = matrix[:, :, 0, None, None] * steps
    along_y = matrix[:, :, 1, None, None] * steps[:, None]
    grid = (along_x + along_y + matrix[:, :, 2, None, None]).permute(0, 2, 3, 1)
    return functional.grid_sample(
        images, grid, mode="nearest" if nearest else "bilinear", padding_mode="zeros", align_corners=False
    )
