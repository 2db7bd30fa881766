"""The method contract: what a method declares, and what the harness does for it.

A method is a ``torch.nn.Module`` that lists its stages, returns named losses for one step of a stage, and predicts. The
harness owns the order of data, label hiding, devices, precision, optimiser stepping, logging, checkpoints, resume and
evaluation. A method is written to be read top to bottom in one file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.optimisation import Optimiser as Optimiser
from kt3d_bench.optimisation import Schedule as Schedule

OWN = "(own)"
"""``Method.detections`` and ``Stage.detections``: what ``Method.find_joints`` finds."""
ASKS = ("keys", "extrinsics")
EPOCH_STEPS = 1000
"""What an epoch counts where time is divided, before the number of samples is known."""


@dataclass(frozen=True)
class Stage:
    """One training stage: which data it reads, which submodules learn, and for how long.

    Stages that agree in name, ``trains``, ``recipe``, data, schedule, seed and the stages named by ``after`` are
    trained once and shared between runs, of whatever method.
    """

    name: str
    roles: Mapping[str, tuple[str, ...]]
    """Role ("source", "pretrain", "target") -> modalities to load; () = labels only. The first role's size
    defines an epoch."""
    trains: tuple[str, ...]
    """Attribute names of the submodules that learn. All others are frozen: weights and batch-norm statistics."""
    recipe: Mapping[str, Any]
    """Everything else that decides the outcome, as plain data: network sizes, loss weights, options."""
    steps: int | None = None
    epochs: float | None = None
    """Exactly one of ``steps`` and ``epochs``."""
    batch_size: int = 32
    optimiser: Optimiser | Mapping[str, Optimiser] = field(default_factory=Optimiser)
    """Several by name, each with its ``trains``, take turns in every step: see ``Progress.turn``."""
    schedule: Schedule = field(default_factory=Schedule)
    average: float | None = None
    """Decay of a moving average of the weights, below 1: min(``average``, (1 + t) / (10 + t)) after t + 1 steps. The
    stage trains its own weights and leaves the average to later stages and to ``predict``. Averaged are the parameters
    and the running statistics of batch norm; other buffers keep their newest values."""
    step_s: float | None = None
    """Seconds of a step on two CPU cores, at the size of the preset ``tiny``: they divide the time of a time-limited
    run (``kt3d demo``) among its stages. ``None`` = such a run does not limit this stage."""
    augment: bool = True
    clip: tuple[int, int] | None = None
    """(T, stride): every sample brings the T frames around it, T odd, ``stride`` frames of the recording apart. A batch
    then holds ``batch_size`` clips, frame after frame: (B T, ...), see ``kt3d_bench.loading.clips``. ``None`` = single
    images."""
    clip_roles: tuple[str, ...] = ()
    """The roles that ``clip`` is for; the others give single images. () = all."""
    views: int | None = None
    """K: every sample brings those that K - 1 other cameras took of the same person at the same instant. A batch then
    holds ``batch_size`` groups: (B K, ...), see ``kt3d_bench.loading.views``. Not together with ``clip``."""
    detections: Mapping[str, str] = field(default_factory=dict)
    """Role -> name of the stored 2D detections (``kt3d detect``) that its batches hold, or ``OWN``: those of
    ``Method.find_joints``, which then looks at every image of the role once, before the stage."""
    asks: tuple[str, ...] = ()
    """What batches hold beside: "keys", the samples' names, and "extrinsics", where the cameras stand. Of the target,
    views and extrinsics are recorded with the run: they need cameras whose places are known."""
    after: tuple[str, ...] = ()
    """Earlier stages of this method whose outcome this one builds on."""
    code: str = ""
    """Package whose source decides the outcome beside the harness; empty = the method's own. The stage is
    trained again whenever this source changes."""

    @property
    def budget_s(self) -> float | None:
        """Seconds that a time-limited run grants the whole stage, times the run's own factor."""
        if self.step_s is None:
            return None
        return self.step_s * (self.steps if self.steps is not None else EPOCH_STEPS * (self.epochs or 0.0))

    @property
    def frames(self) -> int:
        """T of ``clip``; 1 for single images."""
        return 1 if self.clip is None else self.clip[0]

    def clip_of(self, role: str) -> tuple[int, int] | None:
        """``clip`` as it holds for a role."""
        return self.clip if not self.clip_roles or role in self.clip_roles else None

    @property
    def optimisers(self) -> Mapping[str, Optimiser]:
        """``optimiser`` by name, "" where there is one."""
        return {"": self.optimiser} if isinstance(self.optimiser, Optimiser) else self.optimiser


@dataclass(frozen=True)
class MethodContext:
    """What a method may know about the run when it is built: facts, never names of datasets."""

    target_modality: str
    """"rgb", "depth" or "parts": what the target's images are."""
    num_parts: int
    """Part classes of the source's masks, background included (0 without masks)."""
    supervision: str
    transfers: bool
    """False when target and source are the same dataset."""

    def require_target(self, modality: str, method: str) -> None:
        """Raise ``UsageError`` unless the target's images are of the ``modality`` that ``method`` needs: "rgb" or
        "depth"."""
        if self.target_modality != modality:
            word = {"rgb": "RGB"}.get(modality, modality)
            hint = f"choose a target with {word} images"
            raise UsageError(f"{method} needs {word} targets", where="--target", hint=hint)


@dataclass(frozen=True)
class Progress:
    """Where a stage stands."""

    step: int
    fraction: float
    """0..1 of the stage."""
    turn: str = ""
    """Where a stage has several optimisers: whose turn it is. ``step`` is called once for each of them, in the order of
    the stage, with the same batches; it returns the losses of this one, and only its parameters have gradients."""


@dataclass(frozen=True, eq=False)
class StepResult:
    """Losses of one step, already weighted: the harness minimises their sum. ``logs`` are only shown and recorded; one
    whose name begins with ``warn_`` is a warning of the method where it is not 0: told during training and in the
    run's report once it has stood for a fifth of the stage."""

    losses: Mapping[str, Tensor]
    logs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Estimate:
    """A prediction. Either 2.5D (``joints_px`` and ``z_root_mm``) or ``joints_root_mm``; the harness turns 2.5D into
    camera millimetres through the crop camera and the benchmark's reference depth."""

    joints_px: Tensor | None = None
    """(B, J, 2) px of the input image."""
    z_root_mm: Tensor | None = None
    """(B, J) depth relative to the hip, mm."""
    joints_root_mm: Tensor | None = None
    """(B, J, 3) mm relative to the hip, camera axes."""
    root_z_mm: Tensor | None = None
    """(B,) the method's own estimate of the hip's depth, for benchmarks with the reference ``from-depth``."""
    confidence: Tensor | None = None
    """(B, J) in 0..1, how sure the method is of each joint in the image, NaN where it extrapolates; benchmarks do not
    use it."""
    foreground: Tensor | None = None
    """(B, S, S) bool, which pixels of the input show the person: what ``kt3d detect`` stores as masks."""


class Method(torch.nn.Module, ABC):
    """Base class of every method. ``__init__(config, context)`` builds all submodules of all stages.

    On a GPU each submodule that has weights goes through ``torch.compile``. A module may name the parts of it to
    compile instead, for example ``compiled_parts = ("encoder",)``; ``()`` = none.
    """

    Config: ClassVar[type[Any]]
    """A frozen dataclass; every field has a default (the ``paper`` preset)."""
    PRESETS: ClassVar[Mapping[str, Mapping[str, Any]]]
    """Preset name -> fields of ``Config`` that differ from the defaults. Sizes and schedules only."""
    PRECISIONS: ClassVar[Mapping[str, str]] = {}
    """Preset name -> "bf16-mixed", where that trains as well on a CPU: a quarter faster on one that computes it, and
    not used on others. Results of the two differ by rounding."""
    BUNDLES: ClassVar[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {}
    """Field of ``Config`` -> each of its words -> fields that the word chooses together. A bundle wins over the preset,
    and what the user sets by name wins over a bundle."""

    reads_cameras: ClassVar[bool] = False
    """Whether ``predict`` looks at the cameras too: exported graphs then have the input ``intrinsics_px`` (B, 2, 3)."""

    def __init__(self, config: Any, context: MethodContext) -> None:
        super().__init__()
        self.config = config
        self.context = context

    @property
    @abstractmethod
    def input_px(self) -> int:
        """Side of the square network input."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Modalities that ``predict`` looks at. More than the benchmark gives is recorded with the prediction."""
        return (self.context.target_modality,)

    @property
    def clip(self) -> tuple[int, int] | None:
        """(T, stride) of the clips that ``predict`` is given, in the form of ``Stage.clip``; its estimate is of their B
        middle frames. ``validate`` must answer for those of its stage. ``None`` = single images."""
        return None

    @property
    def detections(self) -> str:
        """Name of the stored 2D detections that ``predict`` reads (``kt3d detect``), "" = none. ``OWN``: ``predict``
        is given no images, but what ``find_joints`` found in each of them, as ``detections_px``."""
        return ""

    def find_joints(self, batch: UnlabelledBatch) -> Tensor:
        """(B, J, 2) px of the input: where the joints are in single images, for ``detections`` that are ``OWN``; in
        evaluation mode, without gradients."""
        raise PluginError("has no find_joints()", where=type(self).__name__, hint="define it, or name detections")

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """The stages of this run, in order. Empty for methods that only need statistics or nothing."""

    def start_stage(self, stage: Stage) -> None:
        """Called once before ``stage`` trains, after earlier stages are loaded: copy weights, keep anchors."""
        return

    @abstractmethod
    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        """Losses of one step. ``batches`` maps role -> ``LabelledBatch``, or ``UnlabelledBatch`` for a target of
        which nothing may be seen."""

    def after_step(self, stage: Stage, progress: Progress) -> None:
        """Called after each step, of several optimisers after all turns, without gradients: moving averages and the
        like."""
        return

    @abstractmethod
    def predict(self, batch: UnlabelledBatch) -> Estimate:
        """Predict one batch in evaluation mode, without gradients."""

    def validate(self, stage: Stage, batch: UnlabelledBatch) -> Estimate | None:
        """What the networks that ``stage`` trains say of a batch of one of its roles, for the validation curve, which
        compares it with labels that the run was granted, and with what they say of the batch turned and mirrored; in
        evaluation mode, without gradients. ``None`` = nothing to measure. By default: ``predict``, of images that it
        reads, in clips and with detections as it reads them. ``stage.clip`` is that of the batch's role."""
        images = () if self.detections == OWN else self.reads
        joints = not self.detections or batch.detections_px is not None
        known = set(images) <= batch.images.keys() and stage.clip == self.clip and joints
        return self.predict(batch) if known else None
