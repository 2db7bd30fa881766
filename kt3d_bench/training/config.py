"""What ``kt3d train`` is asked for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from kt3d_bench.files import default_data_root
from kt3d_bench.schema import STRICT, Must, NotNegative, OneOf, Positive, Whole
from kt3d_bench.skeletons import LABEL_SUBSETS
from kt3d_bench.supervision import HELD_OUT, LEVELS

TRACKERS = ("tensorboard", "trackio", "wandb")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")
_MANY = 10**6

RunName = Annotated[
    str,
    Must("at most 100 letters, digits, '-', '_' and '.'", re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,99}").fullmatch),
]
Count = Annotated[int, Whole(1, _MANY)]


@dataclass(frozen=True)
class RunConfig:
    """What ``kt3d train`` is asked for. ``None`` for a dataset = the method's default."""

    __pydantic_config__ = STRICT
    method: str
    supervision: Annotated[str, OneOf(LEVELS)] = "none"
    joints: Annotated[int, Whole(1, 17), Must(f"one of {sorted(LABEL_SUBSETS)}", LABEL_SUBSETS.__contains__)] = 6
    """How many joints "partial" supervision gives."""
    target: str | None = None
    """A dataset, or a benchmark where a dataset has several; the same below."""
    source: str | None = None
    """``generated``: drawn on the fly as the method's default source is, ``generated:NAME``: as another dataset."""
    pretrain: str | None = None
    preset: str = "paper"
    settings: Mapping[str, Any] = field(default_factory=dict)
    """``--set``: fields of the method's config."""
    seed: Annotated[int, Whole(0, 2**32 - 1)] = 0
    init: str | None = None
    """A finished run or a weight file whose weights the networks start from; ``None`` = random ones."""
    device: str = "auto"
    """"auto", "cpu", "cuda" or "cuda:<index>"."""
    precision: Annotated[str, OneOf(PRECISIONS)] = "auto"
    """"auto" = bf16-mixed on a GPU that has it, on a CPU as the method's preset says, else 32-true."""
    deterministic: bool = False
    """Only operations that repeat exactly, also on a GPU."""
    channels_last: bool | None = None
    """Memory layout of the networks; ``None`` = on a GPU."""
    compiled: bool | None = None
    """Networks go through ``torch.compile``; ``None`` = on a GPU, but for the presets ``tiny`` and ``laptop``."""
    data_root: Path = field(default_factory=default_data_root)
    name: RunName | None = None
    """Folder below ``runs``; derived when ``None``."""
    shards: Mapping[str, Path | str] = field(default_factory=dict)
    """Role -> folder or URL with shards, where they do not lie below the data root."""
    devices: Count = 1
    num_nodes: Count = 1
    threads: Count | None = None
    steps_scale: Positive = 1.0
    time_scale: NotNegative | None = None
    """``None``: exactly the steps; a number scales the stages' time budgets, which then end them."""
    clip_norm: Positive | None = None
    checkpoint_steps: Count | None = None
    checkpoint_s: NotNegative = 300.0
    validate_every: Count | None = None
    """Measure the validation curve every so many steps; it changes no weight. ``None`` = never."""
    hold_out: Annotated[float, Must("from 0 to 0.5", lambda share: 0 <= share <= 0.5)] = 0.0
    """Share of every role's samples, the last in file order, that are validated on and not trained on."""
    masks: str = ""
    """Stored detections (``kt3d detect``) whose masks are the foreground of the target's images; "" = as prepared."""
    pseudo_labels: str = ""
    """Stored detections whose joints are the target's 2D labels, in the place of the true ones; "" = none."""
    log: tuple[Annotated[str, OneOf(TRACKERS)], ...] = ()
    """Programs that get the curves too, beside ``log.jsonl``."""
    stand_in_people: Count | None = None
    """Size of stand-ins made on the spot; ``None`` = by preset."""
    stand_in_frames: Count | None = None
    stand_in_held_out: Annotated[str, OneOf(HELD_OUT)] = HELD_OUT[0]
    """Whose people the test split of such a stand-in shows."""


class RunOptions(TypedDict, total=False):
    """The optional fields of ``RunConfig`` as keyword arguments of public functions."""

    supervision: str
    joints: int
    target: str | None
    source: str | None
    pretrain: str | None
    preset: str
    settings: Mapping[str, Any]
    seed: int
    init: str | None
    device: str
    precision: str
    deterministic: bool
    channels_last: bool | None
    compiled: bool | None
    name: str | None
    shards: Mapping[str, Path | str]
    devices: int
    num_nodes: int
    threads: int | None
    steps_scale: float
    time_scale: float | None
    clip_norm: float | None
    checkpoint_steps: int | None
    checkpoint_s: float
    validate_every: int | None
    hold_out: float
    masks: str
    pseudo_labels: str
    log: tuple[str, ...]
    stand_in_people: int | None
    stand_in_frames: int | None
    stand_in_held_out: str
