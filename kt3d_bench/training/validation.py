"""The validation curve of a stage: what its networks say of a few fixed images, measured while it trains.

The images belong to the training data of the stage's roles, never to a test split. With ``--hold-out`` they are kept
out of training; a stream draws new people for it; else the stage also trains on them. Figures are called "unseen" or
"seen" accordingly. Two kinds need no hidden label: errors against labels that the run was granted, and how far what a
network says of an image is from what it says of the same image turned, and mirrored and turned. Nothing here changes
weights, random numbers or the clock of the training.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from kt3d_bench.loading.augment import Augmentation, Draws, IntArray
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.loading.clips import middle
from kt3d_bench.method import Estimate, Method, Stage
from kt3d_bench.skeletons import H36M17
from kt3d_bench.training.log import StageLog
from kt3d_bench.training.predict import camera_positions
from kt3d_bench.training.steps import Clock, Learner, LoopContext, looking, seed_step

SAMPLES = 128
"""Images of each role, of clips all their frames, rounded up to whole batches."""
TURN_RAD = 0.35


@dataclass(frozen=True)
class View(Augmentation):
    """The same turn for every image, in place of random draws; mirrored where ``flip``."""

    angle_rad: float = 0.0

    def draw(self, seed: int, epochs: IntArray, indices: IntArray) -> Draws:
        one = np.ones(len(indices))
        mirrored = np.full(len(indices), self.flip)
        return Draws(one, self.angle_rad * one, mirrored, np.zeros((len(one), 2)), one, np.ones((len(one), 3)))

    def back(self, estimate: Estimate, input_px: int) -> Estimate:
        """What was found in this view -> in the image as it is."""
        turn = torch.tensor(
            [[np.cos(self.angle_rad), -np.sin(self.angle_rad)], [np.sin(self.angle_rad), np.cos(self.angle_rad)]]
        )
        turn[:, 0] *= -1.0 if self.flip else 1.0

        def plain(joints: Tensor | None, centre: float = 0.0) -> Tensor | None:
            if joints is None:
                return None
            if self.flip:
                joints = joints[:, torch.from_numpy(H36M17.mirror).to(joints.device)]
            if joints.ndim == 2:
                return joints
            planar = (joints[..., :2] - centre) @ turn.to(joints) + centre
            return torch.cat([planar, joints[..., 2:]], -1)

        return Estimate(
            joints_px=plain(estimate.joints_px, (input_px - 1) / 2),
            z_root_mm=plain(estimate.z_root_mm),
            joints_root_mm=plain(estimate.joints_root_mm),
        )


PLAIN = View(flip=False)
VIEWS = (View(flip=False, angle_rad=TURN_RAD), View(flip=True, angle_rad=-TURN_RAD))


class Validation:
    """Measures one stage every so many steps, at its start and at its end, and writes it to the log; in the main
    process alone, and not at all where the run does not ask for it."""

    def __init__(self, context: LoopContext, stage: Stage, clock: Clock, learner: Learner) -> None:
        self._context, self._stage, self._clock, self._learner = context, stage, clock, learner
        asked = context.options.validate_every if context.fabric.is_global_zero else None
        self._every = asked
        self._done = clock.first_step if clock.first_step else -1
        self._batches: dict[str, tuple[list[UnlabelledBatch], ...]] = {}
        if asked is not None:
            with self._beside_training():
                self._batches = {role: self._read(role) for role in stage.roles}
        self._told = False

    def look_if_due(self, log: StageLog, *, end: bool = False) -> None:
        """Measure and log, where it is time for it; tell once where nothing is measured."""
        step = self._clock.step
        if self._every is None or step == self._done or (step % self._every and not end):
            return
        with self._beside_training():
            found = {
                role: figures(self._context.method, self._stage, role, plain, views)
                for role, (plain, *views) in self._batches.items()
            }
        self._done = step
        if shown := {
            f"{self._context.feeds[role].validates_on} {role} {name}": value
            for role, values in found.items()
            for name, value in values.items()
        }:
            log.validation(shown)
        silent = [role for role, values in found.items() if not values]
        if silent and not self._told:
            self._context.report.note(
                f"stage '{self._stage.name}': the validation curve says nothing of {' and '.join(silent)}, where "
                "the method has nothing that can be measured"
            )
        self._told = True

    def _read(self, role: str) -> tuple[list[UnlabelledBatch], ...]:
        context, stage = self._context, self._stage
        feed, device = context.feeds[role], str(context.fabric.device)
        clip = stage.clip_of(role)
        samples = max(1, SAMPLES // (clip[0] if clip else 1))
        given = {"looking": looking(context, stage, alone=True)} if role in stage.detections else {}
        return feed.fixed(stage, role, context.method.input_px, device, (PLAIN, *VIEWS), samples, **given)

    @contextmanager
    def _beside_training(self) -> Iterator[None]:
        """Evaluation mode, averaged weights, no gradients, random numbers and time of its own."""
        method, fabric, began = self._context.method, self._context.fabric, time.monotonic()
        modes = {module: module.training for module in method.modules()}
        devices = [fabric.device] if fabric.device.type == "cuda" else []
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.random.fork_rng(devices))
            if self._learner.average is not None:
                stack.enter_context(self._learner.average.in_place())
            seed_step(self._context.options.seed, self._stage.name, "validation", 0)
            method.eval()
            try:
                yield
            finally:
                for module, training in modes.items():
                    module.training = training
                self._clock.leave_out(time.monotonic() - began)


def figures(
    method: Method,
    stage: Stage,
    role: str,
    plain: Sequence[UnlabelledBatch],
    views: Sequence[Sequence[UnlabelledBatch]],
) -> dict[str, float]:
    """Return name -> mean over all joints of all batches: ``error_px`` and hip-aligned ``mpjpe_mm`` against granted
    labels; ``agreement_px`` and ``agreement_depth_mm`` between an image and its ``views``, which are the same batches
    through ``VIEWS``. What the method does not say, or no label tells, is left out; so is the first of the two where a
    batch holds joints instead of images, which are turned with it. The method is asked about the stage as ``role`` has
    it, with its clips or without."""
    stage = replace(stage, clip=stage.clip_of(role), clip_roles=())
    sums: dict[str, list[Tensor]] = {}
    for number, batch in enumerate(plain):
        found = method.validate(stage, batch)
        if found is None:
            continue
        if isinstance(batch, LabelledBatch):
            shown = batch if stage.clip is None else middle(batch, stage.frames)
            _add(sums, _errors(found, shown, method.input_px))
        for view, seen in zip(VIEWS, views, strict=True):
            known = batch.images or batch.detections_px is not None
            other = method.validate(stage, seen[number]) if known else None
            if other is not None:
                apart = _apart(found, view.back(other, method.input_px))
                _add(sums, {name: one for name, one in apart.items() if batch.images or name != "agreement_px"})
    means = {name: torch.cat(values) for name, values in sums.items()}
    return {name: float(values.mean()) for name, values in means.items() if len(values)}


def _add(sums: dict[str, list[Tensor]], found: Mapping[str, Tensor]) -> None:
    for name, values in found.items():
        sums.setdefault(name, []).append(values[values.isfinite()].double().cpu())


def _errors(found: Estimate, batch: LabelledBatch, input_px: int) -> dict[str, Tensor]:
    errors = {}
    if found.joints_px is not None:
        errors["error_px"] = (found.joints_px - batch.joints_px).norm(dim=-1)[batch.mask_2d]
    if bool(batch.mask_3d.any()) and (found.z_root_mm is not None or found.joints_root_mm is not None):
        hip_mm = batch.joints_cam_mm[:, 0, 2].double().cpu().numpy()
        joints = torch.from_numpy(camera_positions(found, batch, input_px, hip_mm))
        apart = joints - joints[:, :1] - batch.joints_root_mm.double().cpu()
        errors["mpjpe_mm"] = apart.norm(dim=-1)[batch.mask_3d.cpu()]
    return errors


def _apart(one: Estimate, other: Estimate) -> dict[str, Tensor]:
    found = {}
    if one.joints_px is not None and other.joints_px is not None:
        found["agreement_px"] = (one.joints_px - other.joints_px).norm(dim=-1).flatten()
    first, second = (each.z_root_mm if each.joints_root_mm is None else each.joints_root_mm[..., 2]
                     for each in (one, other))  # fmt: skip
    if first is not None and second is not None:
        found["agreement_depth_mm"] = (first - second).abs().flatten()
    return found
