"""Poses of the source as other cameras would see them: turned about the vertical, higher or lower, nearer or farther.

A synthetic dataset's cameras are not the target's. Poses need no rendering, so a network that only sees poses can learn
them from any camera. World frames are the datasets' own; their vertical is found from the poses. Shapes: B batch, J
joints (17). Camera axes: x right, y down, z forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kt3d_bench.skeletons import H36M17

_MIRROR = torch.from_numpy(H36M17.mirror)
_HEAD, _ANKLES = H36M17.index("head"), [H36M17.index("right_ankle"), H36M17.index("left_ankle")]


@dataclass(frozen=True)
class VirtualCameras:
    """Ranges of cameras that look at the hip from any side, drawn uniformly; half of the poses are mirrored."""

    elevation_deg: tuple[float, float] = (-5.0, 20.0)
    """Positive = the camera is above the hip."""
    roll_deg: float = 9.0
    """+- this."""
    distance_mm: tuple[float, float] = (3500.0, 6500.0)

    def see(self, upright_mm: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, J, 3) mm relative to the hip, y down -> (B, J, 2) image coordinates (x / z, y / z; the hip at 0), (B, J)
        depths relative to the hip, and (B,) the hip's own depth, mm. Left and right are exchanged in mirrored poses;
        NaN passes through. Draws from torch's CPU generator."""
        draw = torch.rand(len(upright_mm), 5).to(upright_mm)
        azimuth = 2 * math.pi * draw[:, 0]
        elevation = torch.deg2rad(_between(draw[:, 1], *self.elevation_deg))
        roll = torch.deg2rad(_between(draw[:, 2], -self.roll_deg, self.roll_deg))
        mirrored = (draw[:, 4] < 0.5)[:, None, None]
        flipped = upright_mm[:, _MIRROR.to(upright_mm.device)] * upright_mm.new_tensor([-1.0, 1.0, 1.0])
        pose = torch.where(mirrored, flipped, upright_mm)
        for first, second, angle in ((0, 2, azimuth), (1, 2, elevation), (0, 1, roll)):
            pose = _turned(pose, first, second, angle)
        hip_mm = _between(draw[:, 3], *self.distance_mm)
        return pose[..., :2] / (pose[..., 2] + hip_mm[:, None])[..., None], pose[..., 2], hip_mm


def upright(joints_root_mm: Tensor, world_to_cam: Tensor, up_world: Tensor) -> Tensor:
    """(B, J, 3) mm relative to the hip, camera axes -> the same in a frame with y down, its azimuth arbitrary.

    ``world_to_cam`` (B, 3, 3) proper rotations, ``up_world`` (3,) unit vector.
    """
    other = torch.eye(3).to(up_world)[int(up_world.abs().argmin())]
    side = torch.linalg.cross(up_world, other)
    side = side / side.norm()
    axes = torch.stack([side, -up_world, torch.linalg.cross(side, -up_world)])
    return _rows(_rows(joints_root_mm, world_to_cam), axes.T.expand_as(world_to_cam))


def up_sum(joints_root_mm: Tensor, world_to_cam: Tensor) -> Tensor:
    """(3,) sum over a batch of unit vectors from the ankles to the head, world axes; unknown ones are left out."""
    body = joints_root_mm[:, _HEAD] - joints_root_mm[:, _ANKLES].mean(1)
    world = _rows(body[:, None], world_to_cam)[:, 0]
    unit = world / world.norm(dim=-1, keepdim=True)
    return torch.where(unit.isfinite().all(-1, keepdim=True), unit, torch.zeros_like(unit)).sum(0)


def vertical(total: Tensor) -> Tensor:
    """(3,) ``up_sum`` of many poses -> the signed axis of the world nearest to it: people stand more than they lie, and
    every world has one axis upwards."""
    axis = int(total.abs().argmax())
    up = torch.zeros_like(total)
    up[axis] = 1.0 if float(total[axis]) >= 0 else -1.0
    return up


def _rows(points: Tensor, matrix: Tensor) -> Tensor:
    """(B, J, 3) row vectors times (B, 3, 3), written out: autocast would round a matrix product by millimetres."""
    return (points[..., :, None] * matrix[:, None]).sum(-2)


def _between(share: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * share


def _turned(pose: Tensor, first: int, second: int, angle: Tensor) -> Tensor:
    """(B, J, 3) rotated by (B,) ``angle`` in the plane of two axes, from the second towards minus the first."""
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    axes = list(pose.unbind(-1))
    one, two = axes[first], axes[second]
    axes[first], axes[second] = cos * one - sin * two, sin * one + cos * two
    return torch.stack(axes, -1)
