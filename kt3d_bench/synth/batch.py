"""Many equal images of generated people at once, clothed and lit, on the device that trains: for samples made on the
fly. Stand-ins never come from here: their bytes are those of ``people.render`` and ``people.shade`` on a CPU.

No loop runs over figures. Depth and parts are ``render_dense``'s; colours are those of ``people.shade`` to a grey
level, but for the sensor's noise, which is drawn on the device.
Shapes: N figures, H and W image rows and columns, K pixels of people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kt3d_bench.records import Camera
from kt3d_bench.synth.body import PARTS, Figures
from kt3d_bench.synth.render import DenseMaps, dense_maps
from kt3d_bench.synth.shade import PATTERNS, Style

_TAPS = 4
_LEAST_BLUR_PX = 0.25
_LIMBS = {"upper_arm": (0.0, "sleeve"), "forearm": (0.5, "sleeve"), "thigh": (0.0, "leg"), "shank": (0.5, "leg")}
_ALWAYS_SHIRT, _ALWAYS_TROUSERS = ("chest", "abdomen", "shoulder"), ("pelvis",)


@dataclass(frozen=True, eq=False)
class People:
    """What ``render_people`` returns, all on one device."""

    rgb: Tensor
    """(N, H, W, 3) uint8"""
    depth_mm: Tensor
    """(N, H, W) float32, 0 = nothing there"""
    part: Tensor
    """(N, H, W) uint8, index into ``PARTS`` + 1, 0 = background"""


def render_people(
    figures: Figures,
    cameras: Sequence[Camera],
    styles: Sequence[Style],
    backgrounds: Tensor,
    *,
    noise: torch.Generator | None = None,
) -> People:
    """One image per figure, each in its own camera and style, over ``backgrounds`` (N, H, W, 3) uint8, on their device.

    ``noise``: a generator of that device; ``None`` = a sensor without noise. Raises ``ValueError`` when the numbers or
    sizes do not agree.
    """
    count, rows, columns = backgrounds.shape[:3]
    if len(figures) != count or len(styles) != count or any(camera.size_px != (columns, rows) for camera in cameras):
        raise ValueError(f"{len(figures)} figures, {len(styles)} styles and backgrounds {tuple(backgrounds.shape)}")
    maps = dense_maps(figures, cameras, device=backgrounds.device)
    looks = _looks(styles, backgrounds.device)
    canvas = backgrounds.reshape(-1, 3).float()
    colours = _lit(maps, looks)
    canvas.index_copy_(0, maps.pixel, colours)
    image = canvas.view(count, rows, columns, 3)
    image = torch.where(_near(maps, looks)[..., None], _blurred(image, looks["blur_px"]), image).clamp_(0, 255).floor_()
    if noise is not None:
        grain = torch.randn(image.shape, generator=noise, device=image.device)
        image = (image + (grain * looks["noise"][:, None, None, None]).round_()).clamp_(0, 255)
    return People(image.to(torch.uint8), maps.full("depth_mm"), maps.full("part"))


def _looks(styles: Sequence[Style], device: torch.device) -> dict[str, Tensor]:
    """Styles as (N, ...) tensors by name."""

    def table(values: Any) -> Tensor:
        return torch.from_numpy(np.asarray(values, np.float32)).to(device)

    garments = {"shirt": [style.shirt for style in styles], "trousers": [style.trousers for style in styles]}
    names = ("skin", "hair", "hair_length", "shoes", "sleeve", "light_cam", "light", "ambient", "noise", "blur_px")
    looks = {name: table([getattr(style, name) for style in styles]) for name in names}
    looks["leg"] = table([style.trouser_leg for style in styles])
    for name, worn in garments.items():
        looks[name] = table([(*one.colour, *one.second, one.repeats_along, one.repeats_around) for one in worn])
        looks[f"{name}_pattern"] = torch.tensor([PATTERNS.index(one.pattern) for one in worn], device=device)
    return looks


def _part_table(device: torch.device) -> Tensor:
    """(parts + 1, 7): is always shirt, always trousers, foot, head; begin of its share of a sleeved limb, sleeved,
    trousered."""
    table = np.zeros((len(PARTS) + 1, 7), np.float32)
    for index, name in enumerate(PARTS, 1):
        stem = name.removesuffix("_l").removesuffix("_r")
        begin, kind = _LIMBS.get(stem, (0.0, ""))
        table[index] = (stem in _ALWAYS_SHIRT, stem in _ALWAYS_TROUSERS, stem == "foot", stem == "head", begin,
                        kind == "sleeve", kind == "leg")  # fmt: skip
    return torch.from_numpy(table).to(device)


def _lit(maps: DenseMaps, looks: dict[str, Tensor]) -> Tensor:
    """(K, 3) colours 0..255 of the pixels of people: ``people.shade``'s albedo and light."""
    of = maps.figure
    along, front, left = maps.values["along"], maps.values["front"], maps.values["left"]
    shirt, trousers, foot, head, begin, sleeved, trousered = _part_table(of.device)[maps.values["part"].long()].T
    limb, upper = 0.5 * along + begin, begin == 0
    covered = {name: (limb < looks[name][of]) | (upper & (limb <= looks[name][of])) for name in ("sleeve", "leg")}
    around = torch.atan2(left, front)
    colours = looks["skin"][of]
    for name, worn in (
        ("shirt", (shirt > 0) | ((sleeved > 0) & covered["sleeve"])),
        ("trousers", (trousers > 0) | ((trousered > 0) & covered["leg"])),
    ):
        cloth = _cloth(looks[name][of], looks[f"{name}_pattern"][of], along, around)
        colours = torch.where(worn[:, None], cloth, colours)
    colours = torch.where(foot[:, None] > 0, looks["shoes"][of], colours)
    colours = torch.where(head[:, None] > 0, _face(looks, of, along, front, left), colours)
    normal = maps.values["normal_cam"]
    lambert = (normal * looks["light_cam"][of]).sum(1, keepdim=True).clamp(0, 1)
    sky = (0.5 - 0.5 * normal[:, 1:2]) * 0.5 + 0.75
    return 255 * (colours * (lambert * looks["light"][of] + sky * looks["ambient"][of])).clamp(0, 1)


def _cloth(garment: Tensor, pattern: Tensor, along: Tensor, around: Tensor) -> Tensor:
    hoop = (2 * torch.pi * garment[:, 6] * along).sin() > 0
    stripe = (garment[:, 7] * around).sin() > 0
    shares = {"hoops": hoop.float(), "stripes": stripe.float(), "checks": (hoop ^ stripe).float(),
              "plaid": 0.5 * hoop + 0.5 * stripe}  # fmt: skip
    share = torch.zeros_like(along)
    for name, value in shares.items():
        share = torch.where(pattern == PATTERNS.index(name), value, share)
    return garment[:, :3] + share[:, None] * (garment[:, 3:6] - garment[:, :3])


def _face(looks: dict[str, Tensor], of: Tensor, along: Tensor, front: Tensor, left: Tensor) -> Tensor:
    skin = looks["skin"][of]
    eyes = ((along - 0.50).abs() < 0.035) & (front > 0.7) & ((left.abs() - 0.42).abs() < 0.13)
    colours = torch.where(eyes[:, None], torch.full_like(skin, 0.12), skin)
    mouth = ((along - 0.16).abs() < 0.03) & (front > 0.85) & (left.abs() < 0.32)
    colours = torch.where(mouth[:, None], skin * skin.new_tensor([0.75, 0.45, 0.45]), colours)
    length = looks["hair_length"][of]
    hair = (length > 0) & (along > 0.84 - 0.9 * length * (0.55 - front).clamp(0, 1))
    return torch.where(hair[:, None], looks["hair"][of], colours)


def _near(maps: DenseMaps, looks: dict[str, Tensor]) -> Tensor:
    """(N, H, W) bool: pixels of people and their neighbours, where the image is blurred."""
    covered = (maps.full("part") > 0).float()[:, None]
    near = functional.max_pool2d(covered, 3, 1, 1)[:, 0] > 0
    return near & (looks["blur_px"] > _LEAST_BLUR_PX)[:, None, None]


def _blurred(image: Tensor, blur_px: Tensor) -> Tensor:
    """(N, H, W, 3) through each image's own Gaussian, cut where OpenCV cuts it."""
    count, rows, columns = image.shape[:3]
    taps = torch.arange(-_TAPS, _TAPS + 1, device=image.device)
    radius = ((8 * blur_px + 1).round().long() | 1) // 2
    weights = (-0.5 * (taps / blur_px[:, None].clamp(min=1e-3)).square()).exp()
    weights = torch.where(taps.abs() <= radius[:, None], weights, torch.zeros_like(weights))
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(3, 0)
    planes = image.permute(0, 3, 1, 2).reshape(1, 3 * count, rows, columns)
    planes = functional.pad(planes, (_TAPS, _TAPS, _TAPS, _TAPS), mode="reflect")
    planes = functional.conv2d(planes, weights[:, None, None, :], groups=3 * count)
    planes = functional.conv2d(planes, weights[:, None, :, None], groups=3 * count)
    return planes.view(count, 3, rows, columns).permute(0, 2, 3, 1)
