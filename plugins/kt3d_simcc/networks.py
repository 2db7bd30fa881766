"""The network of ``simcc-3d``: a backbone, one vector per joint, attention among the joints, and logits along x, y, z.

The head follows RTMW3D (open-mmlab/mmpose, ``rtmw3d_head.py`` and ``rtmcc_block.py``), with its first branch alone.
Shapes: B batch, J joints, D width of a joint's vector, N bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kt3d_bench.nn.resnet import ResNet50
from kt3d_bench.nn.tiny import TinyEncoder

HIDDEN_PER_WIDTH = 2
KEY_WIDTH = 128


class SimCCNet(nn.Module):
    """(B, 3, S, S) -> (B, J, 3, N) logits along x, y and z."""

    def __init__(self, joints: int, input_px: int, *, backbone: str, width: int, bins: int) -> None:
        super().__init__()
        large = backbone == "resnet50"
        self.encoder: nn.Module = ResNet50(3) if large else TinyEncoder(3)
        channels, cells = (2048, (input_px // 32) ** 2) if large else (TinyEncoder.channels, (input_px // 8) ** 2)
        self.maps = nn.Sequential(
            nn.Conv2d(channels, joints, 7, padding=3, bias=False), nn.BatchNorm2d(joints), nn.ReLU(inplace=True)
        )
        self.embed = nn.Sequential(ScaleNorm(cells), nn.Linear(cells, width, bias=False))
        self.attend = GatedAttention(width, HIDDEN_PER_WIDTH * width)
        self.along = nn.ModuleList(nn.Linear(width, bins, bias=False) for _ in range(3))

    def forward(self, image: Tensor) -> Tensor:
        features = self.encoder(image)
        deep = features[1] if isinstance(features, tuple) else features
        joints = self.attend(self.embed(self.maps(deep).flatten(2)))
        return torch.stack([along(joints) for along in self.along], 2)


class ScaleNorm(nn.Module):
    """(..., D) -> the same, divided by its root mean square and times a learned number."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = width**-0.5
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        size = x.norm(dim=-1, keepdim=True) * self.scale
        result: Tensor = x / size.clamp(min=1e-5) * self.gain
        return result


class GatedAttention(nn.Module):
    """(B, J, D) -> (B, J, D): the gated attention unit of Hua et al. (ICML 2022), whose weights are squared ReLUs."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.split = [hidden, hidden, KEY_WIDTH]
        self.given = nn.Linear(width, sum(self.split), bias=False)
        self.gamma = nn.Parameter(torch.rand(2, KEY_WIDTH))
        self.beta = nn.Parameter(torch.rand(2, KEY_WIDTH))
        self.out = nn.Linear(hidden, width, bias=False)
        self.shortcut = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        gate, value, base = torch.split(functional.silu(self.given(self.norm(x))), self.split, -1)
        query, key = (base[..., None, :] * self.gamma + self.beta).unbind(-2)
        weights = functional.relu(query @ key.transpose(-1, -2) / math.sqrt(KEY_WIDTH)).square()
        result: Tensor = self.shortcut * x + self.out(gate * (weights @ value))
        return result
