"""Silhouettes drawn around a pose: each limb is a tapered capsule. They can be had from any camera, without a mesh.

Points are in camera axes, mm; radii vary per person. Shapes: B batch, J joints (17), P pixels of a side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from kt3d_bench.skeletons import H36M17

_EXTRA = ("right_hand", "left_hand", "right_toe", "left_toe")
_NAMES = (*H36M17.joints, *_EXTRA)
LIMBS_MM: tuple[tuple[str, str, float, float], ...] = (
    ("hip", "spine", 120, 105), ("spine", "thorax", 120, 85), ("thorax", "nose", 50, 50), ("nose", "head", 75, 85),
    ("right_hip", "left_hip", 90, 90), ("right_shoulder", "left_shoulder", 60, 60),
    *((f"{side}_{start}", f"{side}_{end}", first, last) for side in ("right", "left") for start, end, first, last in (
        ("hip", "knee", 92, 50), ("knee", "ankle", 54, 35), ("ankle", "toe", 55, 25),
        ("shoulder", "elbow", 60, 35), ("elbow", "wrist", 40, 27), ("wrist", "hand", 32, 18),
    )),
)  # fmt: skip
"""Both ends of a limb and the radius at each, fitted to silhouettes of generated people."""
_ENDS = torch.tensor([[_NAMES.index(start), _NAMES.index(end)] for start, end, _, _ in LIMBS_MM])
_RADII_MM = torch.tensor([[float(first), float(last)] for _, _, first, last in LIMBS_MM])
_HAND, _TOE_MM = 0.55, 170.0
"""Length of a hand as a share of the forearm; from the ankle to the toes."""
PERSON, LIMB = 0.15, 0.1
"""Deviation of the radii from their mean, as a share: of all radii of a person, of each limb."""


def with_ends(joints_cam_mm: Tensor) -> Tensor:
    """(B, J, 3) -> (B, J + 4, 3): hands in the direction of the forearms, toes in the direction that the hips face."""
    at = {name: joints_cam_mm[:, index] for index, name in enumerate(H36M17.joints)}
    hands = [at[f"{side}_wrist"] + _HAND * (at[f"{side}_wrist"] - at[f"{side}_elbow"]) for side in ("right", "left")]
    facing = torch.linalg.cross(at["left_hip"] - at["right_hip"], at["thorax"] - at["hip"])
    toes = []
    for side in ("right", "left"):
        shank = _unit(at[f"{side}_ankle"] - at[f"{side}_knee"])
        forward = facing - (facing * shank).sum(-1, keepdim=True) * shank
        toes.append(at[f"{side}_ankle"] + _TOE_MM * _unit(0.9 * _unit(forward) + 0.4 * shank))
    return torch.cat([joints_cam_mm, torch.stack([*hands, *toes], 1)], 1)


def varied_radii_mm(count: int) -> Tensor:
    """(count, limbs, 2) radii of so many persons, drawn from torch's CPU generator."""
    person = 1 + PERSON * torch.randn(count, 1, 1)
    return _RADII_MM * (person * (1 + LIMB * torch.randn(count, len(LIMBS_MM), 1))).clamp(0.5, 2.0)


def drawn_silhouette(places_px: Tensor, px_per_mm: Tensor, radii_mm: Tensor, pixels: int) -> Tensor:
    """(B, P, P) silhouettes in 0..1, 1 = the person. Limbs with an unknown end are left out.

    ``places_px`` (B, J + 4, 2) and ``px_per_mm`` (B, J + 4): where the points of ``with_ends`` are seen, and how large
    a mm is there. ``radii_mm``: (B, limbs, 2).
    """
    ends = _ENDS.to(places_px.device)
    start, end = places_px[:, ends[:, 0]], places_px[:, ends[:, 1]]
    radius = radii_mm * px_per_mm[:, ends]
    ticks = torch.arange(pixels, device=places_px.device, dtype=places_px.dtype)
    inside = places_px.new_zeros(len(places_px), pixels, pixels)
    for limb in range(len(ends)):
        along = end[:, limb] - start[:, limb]
        x, y = ticks - start[:, limb, 0, None], ticks - start[:, limb, 1, None]
        unit = along / along.square().sum(-1, keepdim=True).clamp(min=1e-6)
        share = ((y * unit[:, 1:])[:, :, None] + (x * unit[:, :1])[:, None]).clamp_(0, 1)
        dx = torch.addcmul(x[:, None], share, along[:, :1, None], value=-1)
        dy = torch.addcmul(y[:, :, None], share, along[:, 1:, None], value=-1)
        first, last = radius[:, limb, 0, None, None], radius[:, limb, 1, None, None]
        edge = torch.addcmul(first + 0.5, share, last - first).sub_(torch.hypot(dx, dy)).clamp_(0, 1)
        inside = torch.maximum(inside, edge.nan_to_num_(0.0))
    return inside


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors, dim=-1, eps=1e-6)
