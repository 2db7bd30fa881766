"""A method under observation: the same class with every stage cut to a few small steps, each of them checked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kt3d_bench.errors import did_you_mean
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Estimate, Method, Progress, Stage, StepResult
from kt3d_bench.testing.findings import BrokenRuleError, require

STEPS = 3
BATCH_SIZE = 4
_MODULE = "kt3d_method_under_test"


@dataclass
class Observed:
    """What was seen over all steps."""

    reference: str = f"{_MODULE}:Observed"
    """Where the observed class can be loaded from."""
    learning: dict[str, set[str]] = field(default_factory=dict)
    """Stage -> its submodules that a loss reached, or that were changed otherwise, as a moving average is."""
    before: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """Stage -> the method's state before its first step."""
    stages: dict[str, Stage] = field(default_factory=dict)


@contextmanager
def observed(kind: type[Method]) -> Iterator[Observed]:
    """Make an observed subclass of ``kind`` loadable while the context lasts."""
    seen = Observed()

    def stages(self: Method) -> tuple[Stage, ...]:
        given = kind.stages(self)
        if not isinstance(given, tuple | list) or not all(isinstance(stage, Stage) for stage in given):
            raise BrokenRuleError(f"stages() returned {given!r:.80}", "return a tuple of Stage records from stages()")
        short: dict[str, Any] = {"steps": STEPS, "epochs": None, "step_s": None}
        return tuple(replace(stage, batch_size=min(stage.batch_size, BATCH_SIZE), **short) for stage in given)

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
        before = seen.before[stage.name]
        moved = [name for name, tensor in self.state_dict().items() if not torch.equal(tensor, before[name])]
        learning.update(name for name in stage.trains if any(one.startswith(f"{name}.") for one in moved))

    def predict(self: Method, batch: UnlabelledBatch) -> Estimate:
        estimate = kind.predict(self, batch)
        if not isinstance(estimate, Estimate):
            raise BrokenRuleError(f"predict() returned {type(estimate).__name__}", "return an Estimate from predict()")
        return estimate

    members = {"stages": stages, "step": step, "after_step": after_step, "predict": predict}
    module = ModuleType(_MODULE)
    module.__dict__["Observed"] = type(kind.__name__, (kind,), {**members, "__module__": kind.__module__})
    sys.modules[_MODULE] = module
    try:
        yield seen
    finally:
        sys.modules.pop(_MODULE, None)


def _check_result(method: Method, stage: Stage, result: Any) -> None:
    where = f"step() of stage '{stage.name}'"
    if not isinstance(result, StepResult) or not isinstance(result.losses, Mapping):
        raise BrokenRuleError(
            f"{where} returned {type(result).__name__}", "return StepResult({name: loss}) from step()"
        )
    learns = any(parameter.requires_grad for parameter in method.parameters())
    trained = ", ".join(stage.trains)
    require(result.losses or not learns, f"{where} returned no loss, though it trains {trained}", "return one")
    for name, loss in result.losses.items():
        single = isinstance(loss, Tensor) and loss.numel() == 1
        require(single, f"the loss '{name}' of {where} is not a single number", "return a scalar tensor")
        require(
            torch.isfinite(loss),
            f"the loss '{name}' of {where} is {float(loss.detach())}",
            "mask what is not labelled (batch.mask_2d, batch.mask_3d): hidden labels are NaN",
        )
        require(
            loss.requires_grad or not learns,
            f"the loss '{name}' of {where} depends on nothing that learns",
            "put values that are only logged into StepResult.logs, and do not detach a loss",
        )
    for name, value in result.logs.items():
        kind = type(value).__name__
        require(isinstance(value, int | float), f"the log '{name}' of {where} is a {kind}", "use float(value)")


def _reached(method: Method, stage: Stage) -> Iterator[str]:
    """Submodules in ``trains`` that got a gradient, or have nothing that could. A frozen one must get none."""
    for name, child in method.named_children():
        parameters = list(child.parameters())
        if name in stage.trains and (not parameters or any(one.grad is not None for one in parameters)):
            yield name
        if name not in stage.trains and any(one.requires_grad for one in parameters):
            raise BrokenRuleError(
                f"stage '{stage.name}' switched gradients on in '{name}', which it does not train",
                f"name it in the stage's trains, or leave it frozen; {did_you_mean(name, stage.trains)}",
            )
