"""How a stage's weights follow their gradients: which optimiser of torch, and how its learning rate runs.

Methods import these records from ``kt3d_bench.method``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from kt3d_bench.schema import STRICT, Must, NotNegative, Positive

Share = Annotated[float, Must("from 0 to below 1", lambda value: 0 <= value < 1)]


@dataclass(frozen=True)
class Optimiser:
    """One of torch's optimisers with its settings; those that it does not have are not used."""

    __pydantic_config__ = STRICT
    kind: Literal["adam", "adamw", "sgd", "rmsprop"] = "adam"
    learning_rate: NotNegative = 1e-3
    weight_decay: NotNegative = 0.0
    """adamw: decoupled from the gradient; the others: as an L2 penalty."""
    no_decay: tuple[str, ...] = ("bias", "norm")
    """What weight decay spares: "bias" = all biases, "norm" = the parameters of normalisation layers, anything else =
    the parameters whose name begins so ("net.offset")."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """adam and adamw."""
    momentum: Share = 0.0
    """sgd and rmsprop."""
    factors: Mapping[str, NotNegative] = field(default_factory=dict)
    """Beginning of a parameter's name, as "net.encoder" -> factor of its learning rate; the longest that fits counts.
    0 leaves these weights as they are; batch norm still gathers statistics."""
    clip_norm: Positive | None = None
    """Largest norm of the gradient of these parameters; ``None`` = no clipping. ``kt3d train --clip-norm`` wins."""
    trains: tuple[str, ...] = ()
    """The submodules it moves, where a stage has several optimisers; () = all that the stage trains."""

    def facts(self) -> dict[str, Any]:
        """Return, as plain data, what of this decides how weights move."""
        used = ["kind", "learning_rate", "weight_decay", "clip_norm", "trains"]
        used.append("betas" if self.kind.startswith("adam") else "momentum")
        used += ["no_decay"] if self.weight_decay else []
        return {name: getattr(self, name) for name in used} | {"factors": dict(self.factors)}


@dataclass(frozen=True)
class Schedule:
    """The learning rate's factor as a function of the fraction of the stage, so that shorter runs follow it too."""

    __pydantic_config__ = STRICT
    kind: Literal["steps", "constant", "cosine", "exponential"] = "steps"
    milestones: tuple[Annotated[float, Must("from 0 to 1", lambda value: 0 <= value <= 1)], ...] = (90 / 140, 120 / 140)
    """steps: fractions of the stage at which the rate is multiplied by 0.1."""
    hold: Share = 0.0
    """cosine and exponential: the share of the stage before the decay begins."""
    end: Annotated[float, Must("above 0, at most 1", lambda value: 0 < value <= 1)] = 0.01
    """cosine and exponential: the factor at the end of the stage."""
    warm_up: Share = 0.0
    """The share of the stage during which the factor rises from 0, in a straight line, to what it is without this."""

    def factor(self, fraction: float) -> float:
        """Return what the learning rate is multiplied by at ``fraction`` (0..1) of the stage."""
        rising = min(1.0, fraction / self.warm_up) if self.warm_up else 1.0
        return rising * self._decayed(fraction)

    def _decayed(self, fraction: float) -> float:
        if self.kind == "steps":
            passed: int = sum(fraction >= milestone for milestone in self.milestones)
            return float(0.1**passed)
        if self.kind == "constant":
            return 1.0
        done = max(0.0, (fraction - self.hold) / (1 - self.hold))
        if self.kind == "exponential":
            return float(self.end**done)
        return self.end + (1 - self.end) * (1 + math.cos(math.pi * done)) / 2

    def facts(self) -> dict[str, Any]:
        """Return, as plain data, what of this decides the factor."""
        used = {"steps": ("milestones",), "constant": ()}.get(self.kind, ("hold", "end"))
        return {name: getattr(self, name) for name in ("kind", "warm_up", *used)}
