"""A stage's digest (runs with the same one share it), freezing, and the store of finished stages."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kt3d_bench.errors import ArtefactError, PluginError, did_you_mean
from kt3d_bench.locks import held
from kt3d_bench.method import ASKS, Method, Optimiser, Stage
from kt3d_bench.training import checkpoint

STORE_VERSION = 1
_ASKED = ("clip_roles", "views", "detections", "asks")
"""Fields of ``Stage`` that are part of its digest only where they are set."""
_PATIENCE_S = 600.0


def check_stages(method: Method, stages: tuple[Stage, ...]) -> None:
    """Raise ``PluginError`` when a method's stages contradict themselves or name submodules it does not have."""
    children = {name for name, _ in method.named_children()}
    earlier: set[str] = set()
    for stage in stages:
        where = f"stage '{stage.name}' of {type(method).__name__}"
        if stage.name in earlier:
            raise PluginError("the name is used twice", where=where)
        if (stage.steps is None) == (stage.epochs is None):
            raise PluginError("must give exactly one of steps and epochs", where=where)
        if not stage.roles:
            raise PluginError("reads no data: it names no role", where=where)
        for name in stage.trains:
            if name not in children:
                near = did_you_mean(name, children)
                raise PluginError(f"trains '{name}', which is no submodule: {near}", where=where)
        _check_data(stage, where)
        _check_optimisers(stage, where)
        for name in stage.after:
            if name not in earlier:
                raise PluginError(f"builds on '{name}', which is no earlier stage", where=where)
        earlier.add(stage.name)


def _check_data(stage: Stage, where: str) -> None:
    for role in (*stage.clip_roles, *stage.detections):
        if role not in stage.roles:
            raise PluginError(f"has clips or detections of '{role}', {did_you_mean(role, stage.roles)}", where=where)
    for name in stage.asks:
        if name not in ASKS:
            raise PluginError(f"asks for '{name}', {did_you_mean(name, ASKS)}", where=where)
    if stage.views is not None and stage.clip is not None:
        raise PluginError("has clips and views at once", where=where, hint="choose one of them")


def _check_optimisers(stage: Stage, where: str) -> None:
    if isinstance(stage.optimiser, Optimiser):
        if stage.optimiser.trains:
            raise PluginError("its only optimiser names what it trains", where=where, hint="the stage's trains does so")
        return
    named = [module for one in stage.optimisers.values() for module in one.trains]
    if (
        "" in stage.optimisers
        or len(set(named)) < len(named)
        or not all(one.trains for one in stage.optimisers.values())
    ):
        raise PluginError(
            "several optimisers need names, and each of them submodules that no other trains",
            where=where,
            hint="give each Optimiser its trains",
        )
    missing = sorted(set(named) - set(stage.trains))
    if missing:
        raise PluginError(f"an optimiser trains '{missing[0]}', which the stage does not train", where=where)


def stage_steps(stage: Stage, samples: int, steps_scale: float) -> int:
    """Return the optimiser steps of a stage whose first role has ``samples`` samples; at least one."""
    steps = stage.steps if stage.steps is not None else (stage.epochs or 0.0) * samples / stage.batch_size
    return max(1, round(steps * steps_scale))


def stage_digest(stage: Stage, facts: Mapping[str, Any]) -> str:
    """Return the hex digest of a stage and of the ``facts`` that decide its outcome beside it, as plain data: stages of
    equal digest are trained once."""
    own = {
        "store": STORE_VERSION,
        "name": stage.name,
        "roles": {role: list(modalities) for role, modalities in stage.roles.items()},
        "trains": list(stage.trains),
        "recipe": stage.recipe,
        "batch_size": stage.batch_size,
        "optimisers": [[name, optimiser.facts()] for name, optimiser in stage.optimisers.items()],
        "schedule": stage.schedule.facts(),
        "average": stage.average,
        "augment": stage.augment,
        **({} if stage.clip is None else {"clip": list(stage.clip)}),
        **{name: value for name in _ASKED if (value := getattr(stage, name))},
    }
    try:
        text = json.dumps({**own, **facts}, sort_keys=True)
    except TypeError as error:
        raise PluginError(f"its recipe is not plain data: {error}", where=f"stage '{stage.name}'") from error
    return hashlib.sha256(text.encode()).hexdigest()


_HARNESS = tuple(f"kt3d_bench.{part}" for part in ("geometry", "loading", "method", "nn", "optimisation", "training"))


def code_digests(method: Method, stage: Stage) -> dict[str, str]:
    """Return package -> digest of its source, for this package's parts and for the package that defines the stage."""
    own = stage.code or type(method).__module__.partition(".")[0]
    return {name: source_digest(name) for name in (*_HARNESS, own)}


@cache
def source_digest(package: str) -> str:
    """Return the SHA-256 over the names and bytes of all Python files of an importable package or module."""
    module = importlib.import_module(package)
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    files = [(path.relative_to(folder).as_posix(), path) for folder in folders for path in folder.rglob("*.py")]
    if not folders and module.__file__ is not None:
        files = [(package, Path(module.__file__))]
    digest = hashlib.sha256()
    for name, path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def trained_state(method: Method, stage: Stage) -> dict[str, torch.Tensor]:
    """Return the part of the method's state that the stage trains: parameters and buffers, on the CPU."""
    prefixes = tuple(f"{name}." for name in stage.trains)
    return {name: tensor.detach().cpu() for name, tensor in method.state_dict().items() if name.startswith(prefixes)}


def frozen_digests(method: Method, stage: Stage) -> dict[str, str]:
    """Return the digest of each submodule that the stage must not change."""
    frozen = {name: child for name, child in method.named_children() if name not in stage.trains}
    return {name: checkpoint.state_digest(child.state_dict()) for name, child in frozen.items()}


def check_frozen(method: Method, stage: Stage, before: Mapping[str, str]) -> None:
    """Raise ``PluginError`` naming a submodule that changed although the stage does not train it."""
    for name, digest in frozen_digests(method, stage).items():
        if digest != before[name]:
            raise PluginError(
                f"changed the frozen submodule '{name}'",
                where=f"stage '{stage.name}' of {type(method).__name__}",
                hint="list it in the stage's trains, or keep its weights and batch-norm statistics unchanged",
            )


def freeze_all_but(method: Method, stage: Stage) -> None:
    """Set training mode and gradients for the stage's submodules, evaluation mode and no gradients for all others.

    This also unfreezes parameters that the method froze in ``start_stage`` inside a trained submodule.
    """
    method.eval()
    method.requires_grad_(False)
    for name in stage.trains:
        child: nn.Module = method.get_submodule(name)
        child.train()
        child.requires_grad_(True)


class StageStore:
    """Finished stages by digest: ``<folder>/<digest>.pt`` with its sidecar. Runs that share it wait for one another
    while one of them writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _locked(self) -> AbstractContextManager[None]:
        return held(self.folder / ".lock", "another run writes a stage here", "wait for it", wait_s=_PATIENCE_S)

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            return checkpoint.load(path)
        except ArtefactError:
            if not os.access(self.folder, os.W_OK):
                raise
            with self._locked():  # another run may have written one of the two files
                return checkpoint.load(path)

    def save(self, digest: str, method: Method, stage: Stage, about: Mapping[str, Any]) -> None:
        """Store what the stage trained."""
        content = {"stage": stage.name, "digest": digest, "about": dict(about), "state": trained_state(method, stage)}
        with checkpoint.writing(self.folder), self._locked():
            checkpoint.remove_unfinished(self.folder)
            checkpoint.save(self.folder / f"{digest}.pt", content)

    def restore(self, digest: str, method: Method, stage: Stage) -> dict[str, Any] | None:
        """Load the stage into ``method`` and return what was recorded about it; ``None`` when it is not here.

        Raises ``ArtefactError`` when it is corrupt.
        """
        path = self.folder / f"{digest}.pt"
        if not path.exists():
            return None
        content = self._read(path)
        state, about = content.get("state"), content.get("about")
        expected = {name: tensor.shape for name, tensor in trained_state(method, stage).items()}
        if (
            not (isinstance(state, dict) and isinstance(about, dict))
            or {n: t.shape for n, t in state.items()} != expected
        ):
            raise ArtefactError(
                f"does not hold what stage '{stage.name}' trains", where=path, hint="delete it and train again"
            )
        method.load_state_dict({**method.state_dict(), **state})
        return about
