"""The temporal convolutional network of Pavllo et al., CVPR 2019, for the middle frame of a clip."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn


class TemporalNet(nn.Module):
    """(B, T, ``inputs``) -> (B, ``outputs``), T = 3 ** ``levels`` frames: the middle frame's answer.

    A convolution of 3 frames, then ``levels - 1`` residual blocks of a convolution of 3 frames and one of a single
    frame, each with batch norm, ReLU and dropout, and a last linear layer. Over a whole video the convolutions are
    dilated by 3, 9, 27, ...; for one middle frame the same weights give the same answer with strides of 3, which leave
    out what nobody asks for.
    """

    compiled_parts: tuple[str, ...] = ()
    """Too small to gain from ``torch.compile``."""

    def __init__(self, inputs: int, outputs: int, *, levels: int, width: int, dropout: float) -> None:
        super().__init__()

        def layer(given: int, frames: int) -> list[nn.Module]:
            convolution = nn.Conv1d(given, width, frames, stride=frames, bias=False)
            return [convolution, nn.BatchNorm1d(width), nn.ReLU(inplace=True), nn.Dropout(dropout)]

        self.first = nn.Sequential(*layer(inputs, 3))
        self.blocks = nn.ModuleList(nn.Sequential(*layer(width, 3), *layer(width, 1)) for _ in range(levels - 1))
        self.last = nn.Conv1d(width, outputs, 1)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.first(clips.transpose(1, 2))
        for block in self.blocks:
            x = x[..., 1::3] + block(x)
        return cast(Tensor, self.last(x))[..., 0]

    def forget(self, fraction: float) -> None:
        """Set how fast batch norm's statistics follow: from 0.1 at the beginning of training to 0.001 at its end."""
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.momentum = 0.1 * math.exp(-fraction * math.log(100))
