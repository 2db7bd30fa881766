"""Build a stage's optimisers, and average its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim.swa_utils import get_ema_multi_avg_fn

from kt3d_bench.errors import PluginError
from kt3d_bench.method import Method, Optimiser, Stage
from kt3d_bench.training.acceleration import Acceleration

_KINDS: Mapping[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}


def build(method: Method, stage: Stage, acceleration: Acceleration) -> dict[str, torch.optim.Optimizer]:
    """Return the stage's optimisers by name, in its order; none where nothing that it trains has parameters.

    Raises ``PluginError`` for an optimiser without parameters and for a name that fits no parameter.
    """
    own = {name: parameter for name, parameter in method.named_parameters() if parameter.requires_grad}
    if not own:
        return {}
    return {name: _build(method, stage, own, name, one, acceleration) for name, one in stage.optimisers.items()}


def _build(
    method: Method, stage: Stage, own: Mapping[str, nn.Parameter], name: str, asked: Optimiser, speed: Acceleration
) -> torch.optim.Optimizer:
    where = f"stage '{stage.name}' of {type(method).__name__}"
    prefixes = tuple(f"{module}." for module in asked.trains)
    moved = {each: parameter for each, parameter in own.items() if not prefixes or each.startswith(prefixes)}
    if not moved:
        raise PluginError(f"the optimiser '{name}' has no parameters to train", where=where)
    for prefix in (*asked.factors, *(each for each in asked.no_decay if each not in ("bias", "norm"))):
        if not any(each.startswith(prefix) for each in moved):
            raise PluginError(
                f"an optimiser names '{prefix}', with which no name of its parameters begins",
                where=where,
                hint=f"they begin as {next(iter(moved))} does",
            )
    settings: dict[str, Any] = {"lr": asked.learning_rate}
    settings |= {"betas": asked.betas} if asked.kind.startswith("adam") else {"momentum": asked.momentum}
    if asked.kind != "rmsprop":
        settings["fused"] = speed.fused or None
    return _KINDS[asked.kind](_groups(method, moved, asked), **settings)


def _groups(method: Method, moved: Mapping[str, nn.Parameter], asked: Optimiser) -> list[dict[str, Any]]:
    """One group per factor and weight decay; the group's ``factor`` is kept beside torch's settings."""
    norms = {
        f"{name}.{inner}"
        for name, module in method.named_modules()
        if "Norm" in type(module).__name__
        for inner, _ in module.named_parameters(recurse=False)
    }
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in moved.items():
        fitting = [prefix for prefix in asked.factors if name.startswith(prefix)]
        factor = asked.factors[max(fitting, key=len)] if fitting else 1.0
        kinds = {"bias": name.rpartition(".")[2] == "bias", "norm": name in norms}
        spared = any(kinds.get(each, name.startswith(each)) for each in asked.no_decay)
        groups.setdefault((factor, 0.0 if spared else asked.weight_decay), []).append(parameter)
    return [{"params": found, "factor": factor, "weight_decay": decay} for (factor, decay), found in groups.items()]


class Average:
    """The moving average of what a stage trains: parameters and batch norm's running statistics."""

    def __init__(self, method: Method, decay: float, saved: Mapping[str, Tensor] | None = None) -> None:
        """``saved``: what ``state_dict`` gave. The method's tensors must stay where they are from now on."""
        self._decay = decay
        self._live = dict(_averaged(method))
        source = self._live if saved is None else saved
        self._held = {name: source[name].detach().to(live.device).clone() for name, live in self._live.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Take in the weights after ``step`` (counted from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        mixed: Any = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        mixed(list(self._held.values()), list(self._live.values()), step)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the average and the weights."""
        for name, live in self._live.items():
            held = self._held[name].clone()
            self._held[name].copy_(live)
            live.copy_(held)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the method the averaged weights inside the block."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state_dict(self) -> dict[str, Tensor]:
        """The averages by the names of what they average."""
        return self._held


def _averaged(method: Method) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, parameter) for name, parameter in method.named_parameters() if parameter.requires_grad)
    for name, module in method.named_modules():
        if isinstance(module, _NormBase) and module.training:
            statistics = {"running_mean": module.running_mean, "running_var": module.running_var}
            yield from ((f"{name}.{key}", value) for key, value in statistics.items() if value is not None)
