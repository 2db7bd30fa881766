"""Everything that needs a GPU, checked and timed in one run of less than ten minutes.

    python -m tests.benchmarks.gpu [--rehearse] [--only PART ...] [--keep]

Each part first holds the fast path to the slow one's numbers, then times both by turns in this process. A part whose
libraries are missing, or that fails, says so; the others go on. ``--rehearse`` walks through the same code on a CPU
with tiny sizes: its numbers mean nothing. Prints the table of ``make bench``; ``--keep`` puts it into results/ and the
documentation. From a checkout that is not installed:
``PYTHONPATH=.:datasets:plugins python -m tests.benchmarks.gpu``.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tests.benchmarks import results
from tests.benchmarks.rows import BY_NAME, RUNS

JOINTS = 17


@dataclass
class Room:
    """Where and how large."""

    device: torch.device
    rehearse: bool
    found: dict[str, list[float]] = field(default_factory=dict)
    """Row of ``rows.py`` -> the figures of its runs."""
    checks: dict[str, bool] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """What was not measured, and why."""
    copy_bytes_per_s: float = float("nan")

    @property
    def batch(self) -> int:
        return 2 if self.rehearse else 32

    @property
    def input_px(self) -> int:
        return 64 if self.rehearse else 256

    def size(self, real: int, rehearsed: int) -> int:
        return rehearsed if self.rehearse else real

    def report(self, name: str, runs: Iterable[float]) -> None:
        """Take the figures of a row; what is not a number (memory without a GPU) is left out."""
        assert name in BY_NAME, f"rows.py has no {name}"
        figures = [float(run) for run in runs]
        if all(map(math.isfinite, figures)):
            self.found[name] = figures
            print(name, *map(results.shown, figures), flush=True)

    def check(self, what: str, ok: bool) -> None:
        self.checks[what] = bool(ok)
        print("check:", what, bool(ok), flush=True)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, actions: Mapping[str, Callable[[], object]], calls: int = 10) -> dict[str, npt.NDArray[Any]]:
        """Seconds of each action in each of the five runs, taken by turns."""
        rounds, calls = self.size(RUNS, 2), self.size(calls, 1)
        for action in actions.values():
            for _ in range(self.size(3, 1)):
                action()
        times: dict[str, list[float]] = {name: [] for name in actions}
        for _ in range(rounds):
            for name, action in actions.items():
                self.wait()
                start = time.perf_counter()
                for _ in range(calls):
                    action()
                self.wait()
                times[name].append((time.perf_counter() - start) / calls)
        return {name: np.array(values) for name, values in times.items()}

    def peak_bytes(self, action: Callable[[], object]) -> float:
        """Memory beyond what was held before, at most."""
        if self.device.type != "cuda":
            return float("nan")
        action()
        self.wait()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        action()
        self.wait()
        return float(torch.cuda.max_memory_allocated() - before)


def machine(room: Room) -> None:
    """What the card does at best: the yardsticks."""
    count = room.size(1 << 28, 1 << 16)
    source = torch.ones(count, dtype=torch.float32, device=room.device)
    target = torch.empty_like(source)
    side = room.size(8192, 128)
    factor = torch.ones(side, side, dtype=torch.bfloat16, device=room.device)
    found = room.seconds({"copy": lambda: target.copy_(source), "matmul": lambda: factor @ factor})
    room.copy_bytes_per_s = float(np.median(8 * count / found["copy"]))
    room.report("gpu-copy", 8 * count / found["copy"] / 1e9)
    room.report("gpu-matmul", 2 * side**3 / found["matmul"] / 1e12)


def softargmax(room: Room) -> None:
    """Issue row: one pass each way, within 1.3 x of the bytes' time, exact to 1e-5, half the reference's memory."""
    from kt3d_bench.nn.softargmax import soft_argmax, soft_argmax_plain

    side = room.input_px // 4
    for layout in ("plain", "channels last"):
        for dtype in (torch.float32, torch.bfloat16):
            maps = torch.randn(room.batch, JOINTS * side, side, side, device=room.device).mul_(3).to(dtype)
            if layout == "channels last":
                maps = maps.contiguous(memory_format=torch.channels_last)
            logits = maps.view(room.batch, JOINTS, side, side, side).detach().requires_grad_()
            name = f"{layout.replace(' ', '-')}-{str(dtype).removeprefix('torch.')}"
            few = logits.detach()[:2].double().requires_grad_()
            short = logits.detach()[:2].requires_grad_()
            exact, own = soft_argmax_plain(few), soft_argmax(short)
            room.check(f"soft-argmax, {name}: values to 1e-5", float((exact - own).detach().abs().max()) < 1e-5)
            exact.square().sum().backward()
            own.square().sum().backward()
            assert few.grad is not None
            assert short.grad is not None
            loose = 1e-5 if dtype == torch.float32 else 5e-3
            apart = float((few.grad - short.grad).abs().max() / few.grad.abs().max())
            room.check(f"soft-argmax, {name}: gradients to {loose:g} of the largest", apart < loose)

            def forth_and_back(function: Callable[[Tensor], Tensor], logits: Tensor = logits) -> None:
                (gradient,) = torch.autograd.grad(function(logits).sum(), logits)
                del gradient

            ways = {"own": lambda: forth_and_back(soft_argmax), "reference": lambda: forth_and_back(soft_argmax_plain)}
            found = room.seconds(ways)
            least = 3 * logits.numel() * logits.element_size() / room.copy_bytes_per_s
            room.report(f"gpu-soft-argmax-{name}", found["own"] / least)
            room.report(f"gpu-soft-argmax-{name}-softmax", found["reference"] / found["own"])
            shares = (room.peak_bytes(ways["own"]) / room.peak_bytes(ways["reference"]) for _ in range(RUNS))
            room.report(f"gpu-soft-argmax-{name}-memory", shares)


def _plain_step(net: Any, optimiser: torch.optim.Optimizer, images: Tensor, truth: Tensor) -> None:
    """A step of Integral Pose as its public code takes it: eager, softmax over the volume, sums, L1, Adam."""
    from kt3d_bench.nn.softargmax import soft_argmax_plain

    optimiser.zero_grad(set_to_none=True)
    volumes = net.decoder(net.encoder(images)).view(-1, JOINTS, net.side, net.side, net.side)
    (soft_argmax_plain(volumes) - truth).abs().mean().backward()
    optimiser.step()


class _Supervised:
    """integral-pose ``paper`` as the harness trains it: stored uint8 crops are warped on the device in every step."""

    def __init__(self, room: Room, batch: int, *, fast: bool) -> None:
        from kt3d_integral_pose.method import Config, IntegralPose

        from kt3d_bench.loading.assembly import WarpedThere
        from kt3d_bench.loading.augment import Augmentation, place
        from kt3d_bench.loading.images import Decoded
        from kt3d_bench.method import MethodContext
        from kt3d_bench.progress import Reporter
        from kt3d_bench.training.acceleration import Acceleration, prepare
        from kt3d_bench.training.optimisers import build

        torch.manual_seed(0)
        tiny: dict[str, Any] = {"input_px": 64, "backbone": "tiny"} if room.rehearse else {}
        config = Config(**tiny, pretrain_2d=False, batch_size=batch)
        self.room, self.input_px, self.batch = room, config.input_px, batch
        self.method = IntegralPose(config, MethodContext("rgb", 0, "full", True)).to(room.device).train()
        self.stage = self.method.stages()[-1]
        gpu = room.device.type == "cuda"
        speed = Acceleration(channels_last=True, compiled=gpu, fused=gpu) if fast else Acceleration()
        prepare(self.method, speed, room.device, Reporter())
        self.optimiser = build(self.method, self.stage, speed)[""]
        self.precision = torch.bfloat16 if fast else None
        rng = np.random.default_rng(0)
        side = self.input_px * 5 // 4
        self.crops = [rng.integers(0, 256, (side, side, 3), np.uint8) for _ in range(batch)]
        draws = Augmentation().draw(0, np.zeros(batch, np.int64), np.arange(batch))
        affine = place(draws, np.tile([[0.0, 0.0, side - 1.0, side - 1.0]], (batch, 1)), self.input_px).affine_px
        self.sizes = np.full((batch, 2), side)

        def assembled() -> WarpedThere:
            whole = WarpedThere(("rgb",), affine, np.ones((batch, 3)), self.input_px, self.sizes, room.device)
            for row, crop in enumerate(self.crops):
                whole.take(row, Decoded({"rgb": crop}, float("nan")))
            return whole

        self.assembly = assembled()
        self.labels = _labels(batch, self.input_px, room.device)

    def step(self) -> None:
        from kt3d_bench.loading.batches import LabelledBatch
        from kt3d_bench.method import Progress

        batch = LabelledBatch(images=self.assembly.images(), **self.labels)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.room.device.type, torch.bfloat16, enabled=self.precision is not None):
            losses = self.method.step(self.stage, {"target": batch}, Progress(1, 0.1)).losses
        torch.stack(list(losses.values())).sum().backward()
        self.optimiser.step()


def _labels(batch: int, input_px: int, device: torch.device) -> dict[str, Any]:
    from kt3d_bench.loading.batches import CameraBatch

    generator = torch.Generator().manual_seed(0)
    points = (torch.rand(batch, JOINTS, 2, generator=generator) * input_px).to(device)
    root = (torch.randn(batch, JOINTS, 3, generator=generator) * 200).to(device)
    seen = torch.ones(batch, JOINTS, dtype=torch.bool, device=device)
    cameras = CameraBatch(torch.eye(3)[:2].expand(batch, 2, 3).to(device), torch.zeros(batch, 5, device=device), 1.0)
    away = root + torch.tensor([0.0, 0.0, 3000.0], device=device)
    return {"cameras": cameras, "surface_mm": torch.full((batch,), 2900.0, device=device), "joints_px": points,
            "joints_cam_mm": away, "joints_root_mm": root - root[:, :1], "mask_2d": seen, "mask_3d": seen,
            "world_to_cam": torch.eye(3, device=device).expand(batch, 3, 3)}  # fmt: skip


def training(room: Room) -> None:
    """Issue row: >= 2.5 x plain eager float32 with TF32 on; 2,500 images/s to aim for."""
    from kt3d_bench.nn.integral import IntegralNet

    if room.device.type == "cuda":
        torch.backends.cudnn.benchmark = True
    backbone = "tiny" if room.rehearse else "resnet50"
    for name, batch in (("small", room.batch), ("large", room.size(128, 4))):
        torch.manual_seed(0)
        net = IntegralNet(3, backbone=backbone, side=room.input_px // 4).to(room.device).train()
        optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
        images = torch.rand(batch, 3, room.input_px, room.input_px, device=room.device)
        truth = torch.rand(batch, JOINTS, 3, device=room.device) * room.input_px / 4
        fast = _Supervised(room, batch, fast=True)

        def plain(tf32: bool, net: Any = net, optimiser: Any = optimiser, images: Tensor = images,
                  truth: Tensor = truth) -> None:  # fmt: skip
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
            _plain_step(net, optimiser, images, truth)

        found = room.seconds(
            {"ours": fast.step, "plain, TF32": lambda: plain(True), "plain, no TF32": lambda: plain(False)}, 6
        )
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
        room.report(f"gpu-train-{name}", found["plain, TF32"] / found["ours"])
        room.report(f"gpu-train-{name}-float32", found["plain, no TF32"] / found["ours"])
        room.report(f"gpu-train-{name}-rate", batch / found["ours"])
        room.report(f"gpu-train-{name}-flops", 3 * 2 * 8.36e9 * batch / found["ours"] / 1e12)
        del fast, net, optimiser
        if room.device.type == "cuda":
            torch.cuda.empty_cache()


def _people(count: int, side_px: int, seed: int) -> tuple[Any, list[Any]]:
    """Return figures and the cameras that look at them from everywhere."""
    from kt3d_bench.records import Camera
    from kt3d_bench.synth import ACTIVITIES, Figures, pose, sample_bodies, sample_clip

    rng = np.random.default_rng(seed)
    clips = max(1, count // 64)
    groups = [
        pose(sample_bodies(rng, 1), sample_clip(rng, ACTIVITIES[i % len(ACTIVITIES)], -(-count // clips), 10))
        for i in range(clips)
    ]
    figures = Figures.concatenate(groups).take(np.arange(count))
    figures = figures.moved(rng.uniform(0, 2 * np.pi, count), -figures.landmark("pelvis") * [1, 1, 0])
    rotation = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    focal, middle = 1.9 * side_px, (side_px - 1) / 2
    camera = Camera.pinhole((focal, focal), (middle, middle), (side_px, side_px), rotation=rotation,
                            position_world_mm=np.array([4200.0, 0.0, 950.0]))  # fmt: skip
    return figures, [camera] * count


def rendering(room: Room) -> None:
    """Images rendered on the device, as ``kt3d train --source generated`` does, against the CPU's compiled loops."""
    from kt3d_bench.synth import render

    side, count = room.input_px, room.size(64, 4)
    figures, cameras = _people(count, side, 0)
    calls = {"gpu": lambda: render(figures, cameras, device=room.device), "cpu": lambda: render(figures, cameras)}
    found, truth = calls["gpu"](), calls["cpu"]()
    parts, part = (np.stack([image.part for image in images]) for images in (truth, found))
    depths, depth = (np.stack([image.depth_mm for image in images]) for images in (truth, found))
    room.check("rendering, parts: all but 1 in 1000 pixels", bool((parts != part).mean() < 1e-3))
    same = (parts == part) & (parts > 0)
    room.check("rendering, depth to 0.05 mm", bool(np.abs(depths - depth)[same].max() < 0.05))
    seconds = room.seconds(calls, 2)
    room.report("gpu-render", count / seconds["gpu"])
    room.report("gpu-render-core", count / seconds["cpu"])


def _adapting(room: Room) -> tuple[Callable[[], None], Callable[[], None]]:
    """One adapt step of knowledge-transfer, one supervised step of integral-pose: same nets, same batch, bf16, eager
    (compiling both ways would take longer than all the rest)."""
    from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
    from kt3d_bench.method import MethodContext, Progress
    from kt3d_bench.plugins import registry
    from kt3d_bench.progress import Reporter
    from kt3d_bench.training.acceleration import Acceleration, prepare
    from kt3d_bench.training.optimisers import build
    from kt3d_bench.training.stages import freeze_all_but

    gpu = room.device.type == "cuda"
    speed = Acceleration(channels_last=gpu, fused=gpu)

    def taking(name: str, stage_name: str) -> Callable[[], None]:
        kind = registry.load(registry.method(name).load)
        preset = "tiny" if room.rehearse else "paper"
        now = {"adversarial_delay_steps": 0} if name == "knowledge-transfer" else {}
        torch.manual_seed(0)
        method = kind(kind.Config(**{**kind.PRESETS[preset], **now}), MethodContext("rgb", 44, "none", True))
        method.to(room.device)
        stage = next(stage for stage in method.stages() if stage.name == stage_name)
        method.start_stage(stage)
        freeze_all_but(method, stage)
        prepare(method, speed, room.device, Reporter())
        optimiser = build(method, stage, speed)[""]
        size, side = room.batch, method.input_px
        labels = _labels(size, side, room.device)
        generator = torch.Generator().manual_seed(1)
        parts = torch.randint(0, 44, (size, side, side), generator=generator)
        rgb = torch.rand(size, 3, side, side, generator=generator)
        every = {"rgb": rgb, "parts": parts, "foreground": (parts > 0).float()[:, None]}
        batches: dict[str, Any] = {}
        for role, modalities in stage.roles.items():
            images = {modality: every[modality].to(room.device) for modality in modalities}
            hidden = role == "target" and name == "knowledge-transfer"
            unseen = UnlabelledBatch(images, labels["cameras"], labels["surface_mm"])
            batches[role] = unseen if hidden else LabelledBatch(images=images, **labels)

        def step() -> None:
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(room.device.type, torch.bfloat16, enabled=gpu):
                losses = method.step(stage, batches, Progress(3, 0.5)).losses
            torch.stack([loss.reshape(()) for loss in losses.values()]).sum().backward()
            optimiser.step()

        return step

    return taking("knowledge-transfer", "adapt"), taking("integral-pose", "supervised")


def adapting(room: Room) -> None:
    """Issue row: the adapt step costs at most 2.3 x the supervised step."""
    adapt, supervised = _adapting(room)
    found = room.seconds({"adapt": adapt, "supervised": supervised}, 5)
    room.report("gpu-adapt", found["adapt"] / found["supervised"])


def loading(room: Room) -> None:
    """Issue row: >= 8 x a per-file loader of 1000 x 1000 frames, our warp on the device; same pixels as on the CPU."""
    import cv2

    from kt3d_bench.loading.assembly import WarpedHere, WarpedThere
    from kt3d_bench.loading.augment import Augmentation, place
    from kt3d_bench.loading.images import Decoded
    from kt3d_bench.loading.loader import Loader
    from tests.benchmarks.loading_props import PerFile, make_frames, make_shards

    rng = np.random.default_rng(0)
    count, side = 8, 320
    sizes = np.full((count, 2), side)
    soft = [cv2.resize(rng.integers(0, 256, (40, 40, 3), np.uint8), (side, side)) for _ in range(count)]
    deep = [rng.integers(0, 1 << 16, (side, side)).astype(np.uint16) for _ in range(count)]
    draws = Augmentation().draw(0, np.zeros(count, np.int64), np.arange(count))
    affine = place(draws, np.tile([[53.0, 53.0, 266.0, 266.0]], (count, 1)), 256).affine_px
    colour = np.ones((count, 3))
    here = WarpedHere(("rgb", "depth"), affine, colour, 256)
    there = WarpedThere(("rgb", "depth"), affine, colour, 256, sizes, room.device)
    for row in range(count):
        for place_of in (here, there):
            place_of.take(row, Decoded({"rgb": soft[row], "depth": deep[row]}, 0.0))
    first, second = here.images(), {name: image.cpu() for name, image in there.images().items()}
    levels = 255 * float((first["rgb"] - second["rgb"]).abs().max())
    room.check("loading, warp: RGB to half a grey level", levels < 0.6)
    apart = float((first["depth"] != second["depth"]).float().mean())
    room.check("loading, warp: depth exact but for 1 pixel in 10,000", apart < 1e-4)
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder) / "shards", room.size(1024, 32))
        frames = make_frames(Path(folder) / "frames", room.size(256, 8))
        loader = Loader(
            shards, ("rgb",), batch_size=32, input_px=256, augmentation=Augmentation(), shuffle=True,
            device=room.device, cache_bytes=0,
        )  # fmt: skip
        stream = iter(loader)
        batches = room.size(60, 2)

        def ours() -> float:
            room.wait()
            start = time.perf_counter()
            for _ in range(batches):
                next(stream)
            room.wait()
            return 32 * batches / (time.perf_counter() - start)

        ours()
        theirs = PerFile(frames, workers=loader.workers)
        rates: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(room.size(RUNS, 1)):
            rates["ours"].append(ours())
            rates["theirs"].append(theirs.rate(room.size(256, 16)))
        loader.close()
    room.report("gpu-load", np.divide(rates["ours"], rates["theirs"]))
    room.report("gpu-load-rate", rates["ours"])


class _ToyTask(nn.Module):
    """Depth images of people, made here, and their joints: enough to compare precisions by their MPJPE."""

    def __init__(self, room: Room) -> None:
        super().__init__()
        from kt3d_bench.geometry.cameras import project, world_to_cam
        from kt3d_bench.synth import render

        self.side = 64
        count = room.size(1024, 24)
        figures, cameras = _people(count, self.side, 3)
        names = ("pelvis", "hip_l", "knee_l", "ankle_l", "hip_r", "knee_r", "ankle_r", "spine_mid", "thorax", "nose",
                 "head_top", "shoulder_l", "elbow_l", "wrist_l", "shoulder_r", "elbow_r", "wrist_r")  # fmt: skip
        world = np.stack([figures.landmark(name) for name in names], axis=1)
        cam = world_to_cam(cameras[0], world)
        points = project(cameras[0], cam)
        images = render(figures, cameras, device=room.device, normals=False)
        depth = torch.from_numpy(np.stack([image.depth_mm for image in images])).to(room.device)
        self.images = torch.where(depth > 0, 1.5 - (depth - 4200) / 1000, torch.zeros_like(depth))[:, None]
        z = (cam[..., 2] - cam[:, :1, 2]) / 2000 * 16 + 7.5
        truth = np.concatenate([(points + 0.5) / 4 - 0.5, z[..., None]], axis=-1)
        self.truth = torch.from_numpy(truth.astype(np.float32)).to(room.device)


def precision(room: Room) -> None:
    """Mixed precision must not change MPJPE beyond seed noise: five short runs each way."""
    from kt3d_bench.nn.integral import IntegralNet

    task = _ToyTask(room)
    test = slice(0, len(task.images) // 4)
    learn = torch.arange(len(task.images) // 4, len(task.images))
    seeds, steps = range(room.size(5, 2)), room.size(400, 4)
    unit_mm = torch.tensor([4200 / (1.9 * 64) * 4, 4200 / (1.9 * 64) * 4, 2000 / 16], device=room.device)

    def error_mm(seed: int, mixed: bool) -> float:
        torch.manual_seed(seed)
        net = IntegralNet(1, backbone="tiny", side=16).to(room.device).train()
        optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
        order = torch.Generator().manual_seed(seed)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = 2e-3 if step < 0.7 * steps else 2e-4
            some = learn[torch.randint(len(learn), (32,), generator=order)].to(room.device)
            optimiser.zero_grad(set_to_none=True)
            with torch.autocast(room.device.type, torch.bfloat16, enabled=mixed):
                loss = (net(task.images[some]).voxels - task.truth[some]).abs().mean()
            loss.backward()
            optimiser.step()
        net.eval()
        with torch.no_grad(), torch.autocast(room.device.type, torch.bfloat16, enabled=mixed):
            apart = (net(task.images[test]).voxels - task.truth[test]) * unit_mm
        apart = apart - apart[:, :1]
        return float(apart.norm(dim=-1).mean())

    plain, mixed = ([error_mm(seed, way) for seed in seeds] for way in (False, True))
    spread = statistics.stdev(plain)
    change = statistics.mean(mixed) - statistics.mean(plain)
    room.report("gpu-precision", np.subtract(mixed, plain))
    room.check("precision, change within two standard errors of seed noise, or 1 mm",
               abs(change) < max(1.0, 2 * spread * (2 / len(plain)) ** 0.5))  # fmt: skip


PARTS: dict[str, Callable[[Room], None]] = {
    "machine": machine,
    "soft-argmax": softargmax,
    "rendering": rendering,
    "training": training,
    "adapting": adapting,
    "loading": loading,
    "precision": precision,
}


def measure(room: Room, parts: Iterable[str] = PARTS) -> None:
    """Measure the parts; one that fails is in ``room.wrong``, with its reason."""
    for name in dict.fromkeys(["machine", *parts]):
        start = time.perf_counter()
        try:
            PARTS[name](room)
        except Exception as error:
            traceback.print_exc()
            room.wrong.append(f"{name}: {type(error).__name__}: {error}")
        print(name, f"took {time.perf_counter() - start:.0f} s", flush=True)
    room.wrong += [f"check: {what}" for what, ok in room.checks.items() if not ok]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--keep", action="store_true")
    asked = parser.parse_args()
    if not torch.cuda.is_available() and not asked.rehearse:
        print("There is no CUDA device here, so nothing is timed. --rehearse walks through the code on the CPU.")
        return 0
    room = Room(torch.device("cpu" if asked.rehearse else "cuda"), asked.rehearse)
    measure(room, asked.only)
    found = results.here("a rehearsal" if asked.rehearse else torch.cuda.get_device_name()).with_rows(room.found)
    print(results.table(found), *room.wrong, sep="\n")
    if asked.keep and not asked.rehearse:
        found.write()
        results.main()
    return int(bool(room.wrong))


if __name__ == "__main__":
    sys.exit(main())
