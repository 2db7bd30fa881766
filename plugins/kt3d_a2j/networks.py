"""The network of A2J: a backbone whose deep features keep a sixteenth of the input's side, and three heads.

Shapes: B batch, J joints, A anchors, one in the middle of every 4 x 4 px of the input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kt3d_bench.nn.resnet import Bottleneck, ResNet50
from kt3d_bench.nn.tiny import SKIPPED, TinyEncoder

ANCHOR_PX = 4
"""From one anchor to the next."""


@dataclass(frozen=True, eq=False)
class Votes:
    """What the anchors say of each joint, and how much each of them counts."""

    anchors_px: Tensor
    """(A, 2) px of the input."""
    offsets_px: Tensor
    """(B, A, J, 2) from the anchor to the joint."""
    depths: Tensor
    """(B, A, J) in the method's unit."""
    weights: Tensor
    """(B, A, J), a softmax over the anchors."""

    def joints_px(self) -> Tensor:
        """(B, J, 2) weighted mean of where the anchors see each joint."""
        return self.anchors() + torch.einsum("baj,bajc->bjc", self.weights, self.offsets_px)

    def anchors(self) -> Tensor:
        """(B, J, 2) px, weighted mean of the anchors themselves."""
        return torch.einsum("baj,ac->bjc", self.weights, self.anchors_px)

    def depth(self) -> Tensor:
        """(B, J) weighted mean of the anchors' depths."""
        return torch.einsum("baj,baj->bj", self.weights, self.depths)


class AnchorNet(nn.Module):
    """(B, C, S, S) image -> ``Votes``. S is a multiple of 16 with ResNet-50, of 8 with the tiny backbone.

    In-plane offsets and depths come from the deepest features, the anchors' weights from the ones before.
    """

    def __init__(self, in_channels: int, joints: int, *, backbone: str, width: int, layers: int) -> None:
        super().__init__()
        large = backbone == "resnet50"
        self.encoder = dilated_resnet(in_channels) if large else TinyEncoder(in_channels)
        self.joints, self.stride = joints, 16 if large else 8
        deep, middle = (2048, 1024) if large else (TinyEncoder.channels, 4 * SKIPPED)
        votes = (self.stride // ANCHOR_PX) ** 2 * joints
        self.offset_head = head(deep, width, layers, 2 * votes)
        self.depth_head = head(deep, width, layers, votes)
        self.weight_head = head(middle, width, layers, votes)

    def forward(self, image: Tensor) -> Votes:
        middle, deep = self._features(image)
        offsets, depths, responses = (
            self._per_anchor(maps) for maps in (self.offset_head(deep), self.depth_head(deep), self.weight_head(middle))
        )
        anchors = anchors_px(image.shape[-1]).to(image.device)
        # Sums over thousands of anchors and pixel positions are taken in float32, whatever the networks' precision.
        weights = responses[..., 0].float().softmax(1)
        return Votes(anchors, offsets.float(), depths[..., 0].float(), weights)

    def _features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        encoder = self.encoder
        if isinstance(encoder, TinyEncoder):
            fine, deep = encoder(image)
            return nn.functional.pixel_unshuffle(fine, 2), deep
        assert isinstance(encoder, ResNet50)
        early = encoder.maxpool(encoder.relu(encoder.bn1(encoder.conv1(image))))
        middle = encoder.layer3(encoder.layer2(encoder.layer1(early)))
        return middle, encoder.layer4(middle)

    def _per_anchor(self, maps: Tensor) -> Tensor:
        """(B, k k J n, S/stride, S/stride) -> (B, A, J, n), anchors row by row."""
        k = self.stride // ANCHOR_PX
        batch, channels, rows, columns = maps.shape
        split = maps.view(batch, k, k, self.joints, channels // (k * k * self.joints), rows, columns)
        ordered: Tensor = split.permute(0, 5, 1, 6, 2, 3, 4).reshape(batch, k * rows * k * columns, self.joints, -1)
        return ordered


def anchors_px(input_px: int) -> Tensor:
    """(A, 2) x, y of the anchors in px of the input, row by row."""
    along = (torch.arange(input_px // ANCHOR_PX) + 0.5) * ANCHOR_PX - 0.5
    y, x = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], -1)


def head(in_channels: int, width: int, layers: int, out_channels: int) -> nn.Sequential:
    """Return ``layers`` of 3 x 3 convolution, batch norm and ReLU, and a last convolution; Xavier weights at first."""
    found: list[nn.Module] = []
    for number in range(layers):
        convolution = nn.Conv2d(width if number else in_channels, width, 3, padding=1)
        found += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    found.append(nn.Conv2d(width, out_channels, 3, padding=1))
    for module in found:
        if isinstance(module, nn.Conv2d):
            nn.init.xavier_normal_(module.weight)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    return nn.Sequential(*found)


def dilated_resnet(in_channels: int) -> ResNet50:
    """Return a ResNet-50 whose last layer keeps its resolution: stride 1, 3 x 3 convolutions dilated by 2."""
    net = ResNet50(in_channels)
    for block in net.layer4:
        assert isinstance(block, Bottleneck)
        block.conv2.stride, block.conv2.dilation, block.conv2.padding = (1, 1), (2, 2), (2, 2)
        if isinstance(block.downsample, nn.Sequential):
            shortcut = block.downsample[0]
            assert isinstance(shortcut, nn.Conv2d)
            shortcut.stride = (1, 1)
    return net
