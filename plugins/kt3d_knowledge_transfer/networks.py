"""Networks that only this method uses: two mask generators, the domain classifier, a mean teacher.

Poses are in voxel units of a cube of ``side`` bins; masks are (B, Q, P, P) with P = ``input_px``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kt3d_bench.errors import UsageError
from kt3d_bench.nn.images import parts_input
from kt3d_bench.nn.integral import IntegralOutput
from kt3d_bench.nn.layers import reverse_gradient
from kt3d_bench.nn.prior import hip_vox, jittered
from kt3d_bench.skeletons import H36M17
from kt3d_knowledge_transfer.config import Config

TEACHER_DECAY = 0.99
GENERATOR_NOISE = 0.3
"""Noise on the poses of a separately trained G, in units of the pose's size: each sample draws its standard deviation
between 0 and this."""
DEPTHS_HIDDEN = 0.5
LIMB_SHRINK = 2
"""Limb maps are drawn at the image's side divided by this."""


def normalised(voxels: Tensor, side: int) -> Tensor:
    """Voxel coordinates of a cube of ``side`` bins -> -1..1 from edge to edge of the cube."""
    return (voxels + 0.5) * (2.0 / side) - 1.0


class DcganGenerator(nn.Module):
    """(B, J, 3) voxels -> (B, Q, P, P) part mask: the generator of DCGAN (Radford et al., ICLR 2016), fed a pose.

    A projection to a small square, then transposed convolutions (kernel 4, stride 2, batch norm, ReLU) that halve the
    channels each time. The paper gives input and output only. The image is positive: a softmax over parts for
    ``one-hot`` masks, so that a soft output is a valid input of the mask network; a sigmoid for ``part-depth``.
    Raises ``UsageError`` when ``input_px`` is not 4..7 times a power of two.
    """

    compiled_parts = ()

    def __init__(
        self, num_parts: int, *, input_px: int, side: int, width: int, mask: str = "one-hot", joints: int = 17
    ):
        super().__init__()
        base, doublings = input_px, 0
        while base > 7 and base % 2 == 0:
            base, doublings = base // 2, doublings + 1
        if not (4 <= base <= 7 and doublings):
            raise UsageError(
                f"the DCGAN generator cannot make images of {input_px} px",
                where="input_px",
                hint="choose 4, 5, 6 or 7 times a power of two, such as 48, 64, 128 or 256",
            )
        widths = [min(1024, width * 2 ** (doublings - 1 - level)) for level in range(doublings)]
        self.side, self.base, self.mask = side, base, mask
        self.project = nn.Linear(joints * 3, widths[0] * base * base, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)]
        for narrow, wide in zip(widths[1:], widths[:-1], strict=True):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False)]
            layers += [nn.BatchNorm2d(narrow), nn.ReLU(inplace=True)]
        self.grow = nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], num_parts, 4, 2, 1))
        self.apply(_as_dcgan)

    def forward(self, voxels: Tensor) -> Tensor:
        seed = self.project(normalised(voxels, self.side).flatten(1))
        return _as_mask(self.grow(seed.unflatten(1, (-1, self.base, self.base))), self.mask)


def _as_dcgan(module: nn.Module) -> None:
    """Draw weights as DCGAN does: convolutions from N(0, 0.02), batch norm's scales from N(1, 0.02)."""
    if isinstance(module, nn.Linear | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


_FAINTEST = -20.0
"""Exponent at which a limb has faded out: smaller values would be denormal numbers, on which a CPU is slow."""


class LimbMapGenerator(nn.Module):
    """(B, J, 3) voxels -> (B, Q, P, P) part mask: soft limbs drawn between the joints, refined by four convolutions.

    Not the paper's: the limbs' places need not be learned, only their shapes and what hides what. Limbs are drawn and
    refined at P / ``shrink`` px and enlarged bilinearly.
    """

    compiled_parts = ()

    def __init__(
        self, num_parts: int, *, input_px: int, side: int, width: int, mask: str = "one-hot", shrink: int = 1
    ) -> None:
        super().__init__()
        self.side, self.input_px, self.mask = side, input_px, mask
        self.grid = max(4, input_px // shrink)
        bones = H36M17.bones
        self.register_buffer("ends", torch.tensor(bones).T.contiguous(), persistent=False)
        self.log_radius = nn.Parameter(torch.full((len(bones),), 0.05).log())
        channels = 4 * len(bones)
        layers: list[nn.Module] = []
        for dilation in (1, 2, 4):
            layers += [nn.Conv2d(channels, width, 3, padding=dilation, dilation=dilation, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
        self.refine = nn.Sequential(*layers, nn.Conv2d(width, num_parts, 3, padding=1))

    def draw(self, voxels: Tensor) -> Tensor:
        """(B, 4 L, G, G) maps of the L limbs: presence 0..1, and presence times depth, place along the limb 0..1 (child
        to parent) and signed distance across it in limb radii. Smooth in the pose."""
        pose = normalised(voxels, self.side)
        start, stop = (pose[:, index] for index in self.ends)  # type: ignore[union-attr]
        ticks = normalised(torch.arange(self.grid, device=pose.device, dtype=pose.dtype), self.grid)
        x, y = ticks[None, None, None, :], ticks[None, None, :, None]
        start_x, start_y, start_z = (start[..., axis, None, None] for axis in range(3))
        run_x, run_y, run_z = ((stop - start)[..., axis, None, None] for axis in range(3))
        length = (run_x.square() + run_y.square()).clamp(min=1e-6)
        along = (((x - start_x) * run_x + (y - start_y) * run_y) / length).clamp(0, 1)
        off_x, off_y = x - start_x - along * run_x, y - start_y - along * run_y
        radius = self.log_radius.exp()[:, None, None]
        presence = (-0.5 * (off_x.square() + off_y.square()) / radius.square()).clamp(min=_FAINTEST).exp()
        across = (off_y * run_x - off_x * run_y) / (length.sqrt() * radius)
        depth = start_z + along * run_z
        return torch.cat([presence, presence * depth, presence * along, presence * across], 1)

    def forward(self, voxels: Tensor) -> Tensor:
        masks = _as_mask(self.refine(self.draw(voxels)), self.mask)
        if self.grid == self.input_px:
            return masks
        return functional.interpolate(masks, (self.input_px, self.input_px), mode="bilinear")


def _as_mask(logits: Tensor, mask: str) -> Tensor:
    return logits.softmax(1) if mask == "one-hot" else logits.sigmoid()


def build_generator(config: Config, num_parts: int) -> nn.Module:
    """The generator that the config names."""
    sizes: dict[str, Any] = {
        "input_px": config.input_px, "side": config.side, "width": config.generator_width, "mask": config.mask,
    }  # fmt: skip
    if config.generator == "dcgan":
        return DcganGenerator(num_parts, **sizes)
    return LimbMapGenerator(num_parts, shrink=LIMB_SHRINK, **sizes)


class DomainClassifier(nn.Module):
    """(B, F) pooled encoder features -> (B, 2) domain logits, behind a gradient reversal layer.

    Two fully connected layers (Ganin et al., JMLR 2016); the softmax is in ``losses.domain_loss``. C itself gets the
    true gradient, the encoder whose features come in gets it times -1.
    """

    compiled_parts = ()

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 2))

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(reverse_gradient(features))
        return logits


class MeanTeacher(nn.Module):
    """A network that only follows another (Tarvainen and Valpola, NIPS 2017): it has buffers, no parameters, and is
    always in evaluation mode. Wraps ``net``, whose parameters become buffers of the same names."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        for module in net.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach().clone())
        self.net = net
        self.train(False)

    def train(self, mode: bool = True) -> MeanTeacher:
        return super().train(False)

    def follow(self, student: nn.Module, step: int) -> None:
        """weights <- decay * weights + (1 - decay) * the student's; counters are copied. The decay is 0.99, less in the
        first steps: an average of what there was."""
        decay = min(TEACHER_DECAY, (step + 1) / (step + 10))
        given = student.state_dict()
        for name, value in self.net.state_dict().items():
            if value.is_floating_point():
                value.lerp_(given[name], 1 - decay)
            else:
                value.copy_(given[name])

    def forward(self, images: Tensor) -> IntegralOutput:
        output: IntegralOutput = self.net(images)
        return output


def generator_pose(truth: Tensor, side: int) -> Tensor:
    """(B, J, 3) true poses -> what a separately trained G is given: with noise, and some without depths, so that it
    learns to lift as well as to draw. Unknown joints lie at the hip's place in the middle."""
    pose = torch.where(truth.isfinite(), truth, torch.full_like(truth, hip_vox(side)))
    return depths_hidden(jittered(pose, GENERATOR_NOISE), DEPTHS_HIDDEN, side)


def flattened(voxels: Tensor, side: int) -> Tensor:
    """(B, J, 3) with every joint at the hip's depth, which is the centre of the cube."""
    return torch.cat([voxels[..., :2], torch.full_like(voxels[..., 2:], hip_vox(side))], -1)


def depths_hidden(voxels: Tensor, share: float, side: int) -> Tensor:
    """(B, J, 3) where ``share`` of the samples lost depths: half of these all of them, the others those of random
    joints."""
    draw = torch.rand(len(voxels), 1).to(voxels)
    some = (torch.rand(voxels.shape[:2]).to(voxels) < 0.5) & (draw < share)
    hidden = some | (draw < share / 2)
    return torch.where(hidden[..., None], flattened(voxels, side), voxels)


@contextmanager
def as_if_first() -> Iterator[None]:
    """Draw weights as if nothing had been drawn since torch was seeded, so that a network that several methods pretrain
    starts alike in all of them, whatever they build before it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed())
        yield


def mask_image(parts: Tensor, depth_mm: Tensor | None, surface_mm: Tensor, num_parts: int, mask: str) -> Tensor:
    """(B, H, W) part ids -> (B, Q, H, W) float32 network input in 0..1, background (id 0) included.

    ``one-hot``: 1 in the channel of the pixel's part. ``part-depth``: there the pixel's depth instead, surface
    reference -+ 1000 mm mapped to 0.05..1 (farther = larger), and 1 for the background.
    """
    one_hot = parts_input(parts, num_parts)
    if mask == "one-hot":
        return one_hot
    assert depth_mm is not None
    relative = ((depth_mm - surface_mm[:, None, None, None]) / 2000.0 + 0.5).clamp(0.05, 1.0)
    return torch.cat([one_hot[:, :1], one_hot[:, 1:] * relative], 1)
