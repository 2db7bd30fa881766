"""Virtual cameras that make the source's poses look like the target's, found without labels.

A 2D network says where the target's joints are. How its cameras look down and roll follows from the distribution of
these poses alone: ranges are searched before which the source's poses have the same one. Perspective is too weak to
tell how far people stand, so that range stays. The difference is the sliced Wasserstein distance (Rabin et al., SSVM
2011) of poses without place and size, that is, of their quantiles along the coordinates and along fixed random
directions. Shapes: N poses, J joints (17).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from kt3d_bench.errors import UsageError
from kt3d_bench.method import Stage
from kt3d_bench.nn.virtual_cameras import VirtualCameras, up_sum, upright, vertical
from kt3d_bench.skeletons import NUM_JOINTS

STAGE_NAME = "cameras"
STEPS, BATCH = 16, 64
TRIALS = 150
_DIRECTIONS = 66
_LOWEST = np.array([-30.0, 1.0, 0.0])
"""Of mean elevation, its range and roll, degrees."""
_HIGHEST = np.array([70.0, 40.0, 30.0])
_STEP = np.array([10.0, 10.0, 5.0])


def cameras_stage(net: str, facts: dict[str, object], after: tuple[str, ...]) -> Stage:
    """The stage: poses of the source, and RGB images of the target for the 2D network ``net``; fills ``cameras``."""
    return Stage(
        STAGE_NAME,
        roles={"source": (), "target": ("rgb",)},
        trains=("cameras",),
        recipe={"net": net, "trials": TRIALS, **facts},
        steps=STEPS,
        batch_size=BATCH,
        augment=False,
        after=after,
        code="kt3d_bench.nn",
    )


class FittedCameras(nn.Module):
    """Poses of both domains, and the cameras that they ask for."""

    root_mm: Tensor
    world_to_cam: Tensor
    seen: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        most = STEPS * BATCH
        self.register_buffer("root_mm", torch.zeros(most, NUM_JOINTS, 3))
        self.register_buffer("world_to_cam", torch.zeros(most, 3, 3))
        self.register_buffer("seen", torch.zeros(most, NUM_JOINTS, 2))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def add(self, root_mm: Tensor, world_to_cam: Tensor, seen: Tensor) -> None:
        """Keep a batch, while there is room: (B, J, 3) poses of the source and their cameras, (B, J, 2) poses found in
        target images."""
        first = int(self.count)
        fits = min(len(seen), len(self.seen) - first)
        kept = slice(first, first + fits)
        self.root_mm[kept], self.world_to_cam[kept], self.seen[kept] = root_mm[:fits], world_to_cam[:fits], seen[:fits]
        self.count += fits

    def fit(self) -> VirtualCameras:
        """Return the cameras for what was kept. Raises ``UsageError`` where no pose of the source is whole."""
        kept = slice(0, int(self.count))
        root_mm, turns = self.root_mm[kept].cpu(), self.world_to_cam[kept].cpu()
        poses = upright(root_mm, turns, vertical(up_sum(root_mm, turns)))
        whole = poses[poses.isfinite().flatten(1).all(1)]
        if not len(whole):
            raise UsageError("no pose of the source has all joints", where=STAGE_NAME, hint="set prior_cameras=virtual")
        return fitted(whole, self.seen[kept].cpu())


@torch.no_grad()
def fitted(upright_mm: Tensor, seen: Tensor) -> VirtualCameras:
    """Return the cameras before which (N, J, 3) poses, mm, y down, look most like (M, J, 2) poses, of any unit.

    A random search of elevation and roll from the usual ranges on. Its draws are its own, so that the same poses give
    the same cameras.
    """
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(2 * NUM_JOINTS, _DIRECTIONS, generator=generator)
    directions = torch.cat([torch.eye(2 * NUM_JOINTS), random / random.norm(dim=0)], 1)
    shares = torch.linspace(0.05, 0.95, 19)

    def profile(places: Tensor) -> Tensor:
        centred = places - places.mean(1, keepdim=True)
        size = centred.square().sum(-1).mean(-1).sqrt().clamp(min=1e-9)[:, None, None]
        return torch.quantile((centred / size).flatten(1) @ directions, shares, dim=0)

    wanted = profile(seen.float())

    def distance(ranges: np.ndarray) -> float:
        torch.manual_seed(1)
        return float((profile(_cameras(ranges).see(upright_mm)[0]) - wanted).abs().mean())

    usual, draw = VirtualCameras(), np.random.default_rng(0)
    low, high = usual.elevation_deg
    best = np.array([(low + high) / 2, high - low, usual.roll_deg])
    with torch.random.fork_rng([]):
        least = distance(best)
        for trial in range(TRIALS):
            reach = _STEP * (1.0 if trial < TRIALS / 2 else 0.35)
            tried = np.clip(best + draw.normal(size=3) * reach * (draw.random(3) < 0.7), _LOWEST, _HIGHEST)
            found = distance(tried)
            if found < least:
                best, least = tried, found
    return _cameras(best)


def _cameras(ranges: np.ndarray) -> VirtualCameras:
    elevation, wide, roll = map(float, ranges)
    return VirtualCameras((elevation - wide / 2, elevation + wide / 2), roll)
