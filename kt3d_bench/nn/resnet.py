"""ResNet-50 (He et al., CVPR 2016) with torchvision's parameter names, so that its weight files load.

The stride lies in the 3 x 3 convolution of a block, as in torchvision; the classifier ``fc`` is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

from torch import Tensor, nn

from kt3d_bench.errors import ArtefactError


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1 convolutions around a shortcut; the output has 4 x ``width`` channels."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        result: Tensor = self.relu(self.bn3(self.conv3(x)) + shortcut)
        return result


class ResNet50(nn.Module):
    """(B, ``in_channels``, H, W) -> (B, 2048, H/32, W/32)."""

    channels = 2048

    def __init__(self, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = _layer(64, 64, 3, 1)
        self.layer2 = _layer(256, 128, 4, 2)
        self.layer3 = _layer(512, 256, 6, 2)
        self.layer4 = _layer(1024, 512, 3, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        result: Tensor = self.layer4(self.layer3(x))
        return result


def _layer(in_channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    first = Bottleneck(in_channels, width, stride)
    return nn.Sequential(first, *(Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)))


def set_torchvision_weights(net: ResNet50, given: Mapping[str, Tensor], path: str | PathLike[str]) -> None:
    """Copy the tensors of a torchvision-style ResNet-50, read from ``path``, into ``net``.

    ``fc.*`` is ignored. When ``net`` reads another number of channels than the file's first convolution, that one's
    weights are averaged over its input channels and scaled so that the sum over channels, hence the response to a
    grey image, stays the same. Nothing else is adapted: ``ArtefactError`` names the first tensor that is missing, left
    over or of another shape, and ``net`` is then unchanged.
    """
    hint = "give a torchvision ResNet-50 file"
    own = net.state_dict()
    wanted: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if name not in given:
            if name.endswith("num_batches_tracked"):
                wanted[name] = tensor
                continue
            raise ArtefactError(f"tensor '{name}' is missing", where=path, hint=hint)
        found = given[name]
        if name == "conv1.weight" and found.ndim == 4 and found.shape[1] != tensor.shape[1]:
            channels = tensor.shape[1]
            found = found.mean(1, keepdim=True).expand(-1, channels, -1, -1) * (found.shape[1] / channels)
        if found.shape != tensor.shape:
            problem = f"tensor '{name}' has shape {tuple(found.shape)}, expected {tuple(tensor.shape)}"
            raise ArtefactError(problem, where=path, hint=hint)
        wanted[name] = found
    extra = sorted(name for name in given if name not in own and not name.startswith("fc."))
    if extra:
        raise ArtefactError(f"tensor '{extra[0]}' has no place in a ResNet-50", where=path, hint=hint)
    net.load_state_dict(wanted)
