"""Clips of 2D joints: as cameras see them, mirrored, and drawn around the source's single postures.

Shapes: B clips, T frames, J joints (17). Camera axes: x right, y down, z forward; metres. Image coordinates are x / z
and y / z times ``FOCAL``: what Pavllo et al. call normalised screen coordinates, whatever crop shows the person.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kt3d_bench.loading.batches import CameraBatch
from kt3d_bench.nn.flips import MIRROR
from kt3d_bench.nn.points import unprojected_mm
from kt3d_bench.skeletons import H36M17

FOCAL = 2.29
"""Focal length of Human3.6M's cameras over half the width of their images: 1145 px and 500 px."""
NEAREST_M = 0.5
"""Nothing is projected from nearer than this."""
ASIDE = (0.3, 0.1)
"""People stand beside the middle of the image, x / z and y / z +- this."""
TURNING = 0.5
"""Most of the way to another posture that a drawn clip goes."""
PERIOD_FRAMES = (25.0, 150.0)
"""Of going there and back: half a second to three seconds of Human3.6M's recordings."""
WALK_M = 0.03
"""Most that the hip moves along each axis per frame of the recording: 1.5 m/s at 50 frames per second."""
STEADY = 0.5
"""Share of the variance of a 2D joint's noise that is the same in all frames of a clip."""


def screen(joints_px: Tensor, cameras: CameraBatch) -> Tensor:
    """(N, J, 2) px of N images -> (N, J, 2) image coordinates. Lens distortion is left in."""
    return FOCAL * unprojected_mm(joints_px, torch.ones_like(joints_px[..., 0]), cameras)[..., :2]


def projected(joints_m: Tensor) -> Tensor:
    """(..., J, 3) camera frame, metres -> (..., J, 2) image coordinates."""
    return FOCAL * joints_m[..., :2] / joints_m[..., 2:].clamp(min=NEAREST_M)


def around_person(clips: Tensor) -> Tensor:
    """(B, T, J, 2) clips -> the same relative to the middle frame's hip, in units of that pose's size: the root mean
    square distance of its joints from the hip."""
    middle = clips[:, clips.shape[1] // 2]
    size = (middle - middle[:, :1]).square().sum(-1).mean(-1).sqrt().clamp(min=1e-4)
    return (clips - middle[:, None, :1]) / size[:, None, None, None]


def mirrored(joints: Tensor) -> Tensor:
    """(..., J, 2 or 3) image coordinates or camera axes -> as a mirrored image shows them, sides exchanged."""
    exchanged = joints[..., MIRROR.to(joints.device), :]
    return torch.cat([-exchanged[..., :1], exchanged[..., 1:]], -1)


def half_mirrored(*clips: Tensor) -> tuple[Tensor, ...]:
    """(B, ..., J, 2 or 3) each, of the same B clips: half of these mirrored, drawn from torch's generator."""
    chosen = torch.rand(len(clips[0])).to(clips[0]) < 0.5
    return tuple(torch.where(chosen.view(-1, *(1,) * (one.ndim - 1)), mirrored(one), one) for one in clips)


def drawn_clips(pose_m: Tensor, hip_m: Tensor, frames: int, stride: int) -> Tensor:
    """(B, J, 3) postures relative to the hip and (B,) the hip's depth -> (B, T, J, 3) clips in the camera's frame.

    Each person goes some of the way to the posture of another of the batch and back, bone by bone, as the source's
    postures are independent of one another; bones keep their lengths. The hip walks in a straight line, beside the
    image's middle. Draws from torch's CPU generator.
    """
    count = len(pose_m)
    draw = torch.rand(count, 8).to(pose_m)
    times = (torch.arange(frames) - frames // 2).to(pose_m) * stride
    period = PERIOD_FRAMES[0] + (PERIOD_FRAMES[1] - PERIOD_FRAMES[0]) * draw[:, :1]
    phase = 2 * math.pi * (times / period + draw[:, 1:2])
    share = TURNING * draw[:, 2:3] * (1 + phase.sin()) / 2
    moved = between(pose_m[:, None], pose_m.roll(1, 0)[:, None], share)
    aside = pose_m.new_tensor(ASIDE) * (2 * draw[:, 3:5] - 1)
    start = torch.cat([aside, torch.ones_like(aside[:, :1])], 1) * hip_m[:, None]
    steps = WALK_M * (2 * draw[:, 5:8] - 1)
    hips = start[:, None] + steps[:, None] * times[:, None]
    return moved + hips[:, :, None]


def between(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """(B, 1, J, 3) postures relative to the hip and (B, T) shares of the way from one to the other -> (B, T, J, 3).

    The directions of bones are averaged; their lengths are those of ``one``. A joint that is NaN in either posture is
    NaN in all frames, and those beyond it hang from the nearest ancestor that both postures have.
    """
    hip = torch.zeros_like(one[..., 0, :]).expand(*share.shape, 3)
    found = [hip]
    anchors: list[tuple[Tensor, ...]] = [(hip, one[..., 0, :], other[..., 0, :])]
    for joint, parent in enumerate(H36M17.parents[1:], 1):
        start, *ends = anchors[parent]
        places = one[..., joint, :], other[..., joint, :]
        here, there = (place - end for place, end in zip(places, ends, strict=True))
        length = here.norm(dim=-1, keepdim=True)
        ways = (way / way.norm(dim=-1, keepdim=True).clamp(min=1e-6) for way in (here, there))
        first, second = ways
        mean = first + share[..., None] * (second - first)
        found.append(start + mean * (length / mean.norm(dim=-1, keepdim=True).clamp(min=1e-6)))
        known = (here + there).isfinite().all(-1, keepdim=True)
        own = (found[-1], *places)
        anchors.append(tuple(torch.where(known, mine, its) for mine, its in zip(own, anchors[parent], strict=True)))
    return torch.stack(found, -2)


def noisy(clips: Tensor, most: float) -> Tensor:
    """(B, T, J, 2) image coordinates with noise, whose deviation each clip draws between 0 and ``most`` sizes of its
    middle pose (root mean square distance from the hip). ``STEADY`` of it is the same in all frames."""
    middle = clips[:, clips.shape[1] // 2]
    size = (middle - middle[:, :1]).square().sum(-1).mean(-1).sqrt()
    deviation = (most * torch.rand(len(clips)).to(clips) * size)[:, None, None, None]
    steady, quick = (torch.randn(shape).to(clips) for shape in (middle[:, None].shape, clips.shape))
    return clips + deviation * (math.sqrt(STEADY) * steady + math.sqrt(1 - STEADY) * quick)
