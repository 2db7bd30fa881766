"""A method under observation: the same class with every stage cut to a few small steps, each of them looked at."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kt3d_bench.errors import did_you_mean
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Estimate, Method, Progress, Stage, StepResult
from kt3d_bench.rehearsal.log import BrokenError

STEPS = 3
BATCH_SIZE = 4
MODULE = "kt3d_rehearsal_subject"
"""Name under which the watched class can be loaded while a rehearsal lasts."""


@dataclass
class Seen:
    """What was seen over all steps."""

    learning: dict[str, set[str]] = field(default_factory=dict)
    """Stage -> its submodules that some loss reached, or that were changed otherwise, as a moving average is."""
    before: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Stage -> the method's state before its first step."""
    stages: dict[str, Stage] = field(default_factory=dict)

    def unreached(self) -> list[tuple[str, str]]:
        """(stage, submodule) that a stage trains and no loss ever reached."""
        return [
            (stage.name, name)
            for stage in self.stages.values()
            for name in stage.trains
            if name not in self.learning.get(stage.name, set())
        ]


def watch(kind: type[Method]) -> tuple[Seen, str]:
    """Make a watched subclass of ``kind`` loadable; returns what it will have seen, and its reference."""
    seen = Seen()

    def stages(self: Method) -> tuple[Stage, ...]:
        given = kind.stages(self)
        _check_stages_type(given)
        return tuple(_shortened(stage) for stage in given)

    def step(self: Method, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        if stage.name not in seen.before:
            seen.before[stage.name] = {name: tensor.clone() for name, tensor in self.state_dict().items()}
        result = kind.step(self, stage, batches, progress)
        _check_result(self, stage, result)
        return result

    def after_step(self: Method, stage: Stage, progress: Progress) -> None:
        seen.stages[stage.name] = stage
        learning = seen.learning.setdefault(stage.name, set())
        learning.update(_reached(self, stage))
        kind.after_step(self, stage, progress)
        learning.update(_changed(self, stage, seen.before[stage.name]))

    def predict(self: Method, batch: UnlabelledBatch) -> Estimate:
        estimate = kind.predict(self, batch)
        if not isinstance(estimate, Estimate):
            raise BrokenError(f"predict() returned {type(estimate).__name__}", "return an Estimate from predict()")
        return estimate

    members = {"stages": stages, "step": step, "after_step": after_step, "predict": predict}
    watched = type(kind.__name__, (kind,), {**members, "__module__": kind.__module__})
    module = ModuleType(MODULE)
    module.__dict__["Watched"] = watched
    sys.modules[MODULE] = module
    return seen, f"{MODULE}:Watched"


def forget() -> None:
    """Undo ``watch``."""
    sys.modules.pop(MODULE, None)


def _check_stages_type(stages: Any) -> None:
    if not isinstance(stages, tuple | list) or not all(isinstance(stage, Stage) for stage in stages):
        raise BrokenError(f"stages() returned {stages!r:.80}", "return a tuple of Stage records from stages()")


def _shortened(stage: Stage) -> Stage:
    return replace(stage, steps=STEPS, epochs=None, batch_size=min(stage.batch_size, BATCH_SIZE), budget_s=None)


def _check_result(method: Method, stage: Stage, result: Any) -> None:
    where = f"step() of stage '{stage.name}'"
    if not isinstance(result, StepResult) or not isinstance(result.losses, Mapping):
        raise BrokenError(f"{where} returned {type(result).__name__}", "return StepResult({name: loss}) from step()")
    learns = any(parameter.requires_grad for parameter in method.parameters())
    if learns and not result.losses:
        raise BrokenError(f"{where} returned no loss, though it trains {', '.join(stage.trains)}", "return one")
    for name, loss in result.losses.items():
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise BrokenError(f"the loss '{name}' of {where} is no single number", "return a scalar tensor")
        if not bool(torch.isfinite(loss)):
            raise BrokenError(
                f"the loss '{name}' of {where} is {float(loss.detach())}",
                "mask what is not labelled (batch.mask_2d, batch.mask_3d): hidden labels are NaN",
            )
        if learns and not loss.requires_grad:
            raise BrokenError(
                f"the loss '{name}' of {where} depends on nothing that learns",
                "put what is only to be seen into StepResult.logs, and do not detach a loss",
            )
    for name, value in result.logs.items():
        if not isinstance(value, int | float):
            raise BrokenError(f"the log '{name}' of {where} is a {type(value).__name__}", "give a float: float(value)")


def _changed(method: Method, stage: Stage, before: Mapping[str, Tensor]) -> set[str]:
    """Submodules in ``trains`` whose state is no longer what it was."""
    moved = [name for name, tensor in method.state_dict().items() if not torch.equal(tensor, before[name])]
    return {name for name in stage.trains if any(one.startswith(f"{name}.") for one in moved)}


def _reached(method: Method, stage: Stage) -> set[str]:
    """Submodules in ``trains`` that got a gradient, or have nothing that could. A frozen one must get none."""
    reached = set()
    for name, child in method.named_children():
        parameters = list(child.parameters())
        moved = any(parameter.grad is not None for parameter in parameters)
        if name in stage.trains and (moved or not parameters):
            reached.add(name)
        if name not in stage.trains and any(parameter.requires_grad for parameter in parameters):
            raise BrokenError(
                f"stage '{stage.name}' switched gradients on in '{name}', which it does not train",
                f"name it in the stage's trains, or leave it frozen; {did_you_mean(name, stage.trains)}",
            )
    return reached
