"""The folder of a run belongs to one process at a time: it is found, locked and cleared of what a killed one left."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kt3d_bench.errors import UsageError
from kt3d_bench.locks import LockedError, held
from kt3d_bench.run_folder import RUN_FILE, finished
from kt3d_bench.training.ranks import by_first
from kt3d_bench.training.resolve import Resolved

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOCK = ".lock"


@contextmanager
def claimed(fabric: Fabric, resolved: Resolved, *, resume: bool) -> Iterator[Path]:
    """Yield the run's folder in every process, locked by the first one until the block ends: a new folder, or with
    ``resume`` the newest unfinished one of that name that no other process trains.

    A derived name is numbered where it is taken, also by a run that started this very moment. Raises ``UsageError`` for
    a given name that is taken and when there is nothing to resume, ``LockedError`` when another process trains it.
    """
    with ExitStack() as stack:
        found = by_first(fabric, lambda: _resumed(resolved, stack) if resume else _new(resolved, stack))
        if fabric.world_size > 1:
            found = fabric.broadcast(found)
        assert found is not None
        yield found


@contextmanager
def _mine(folder: Path) -> Iterator[None]:
    """Hold the run's lock, and delete what a killed process left of checkpoints."""
    from kt3d_bench.training.checkpoint import remove_unfinished

    with held(folder / LOCK, "another process trains this run", "wait for it, or choose another --name"):
        remove_unfinished(folder / "checkpoints")
        yield


def _resumed(resolved: Resolved, stack: ExitStack) -> Path:
    config = resolved.config
    runs, name = config.data_root / "runs", config.name or resolved.base_name
    names = re.compile(re.escape(name) + ("" if config.name else r"(-\d+)?"))
    unfinished = [path.parent for path in runs.glob(f"*/{RUN_FILE}") if not finished(path.parent)]
    taken = [path for path in unfinished if names.fullmatch(path.name)]
    busy: LockedError | None = None
    for folder in sorted(taken, key=lambda path: (path / RUN_FILE).stat().st_mtime_ns, reverse=True):
        with ExitStack() as attempt:
            try:
                attempt.enter_context(_mine(folder))
            except LockedError as error:
                busy = busy or error
                continue
            if not finished(folder):
                stack.enter_context(attempt.pop_all())
                return folder
    if busy is not None:
        raise busy
    hint = "leave out --resume to start one"
    if finished(runs / name):
        hint = f"it has finished: kt3d predict {name}; or {hint}"
    raise UsageError(f"no unfinished run '{name}'", where=runs, hint=hint)


def _new(resolved: Resolved, stack: ExitStack) -> Path:
    config = resolved.config
    runs, name = config.data_root / "runs", config.name or resolved.base_name
    number = 1
    while True:
        folder = runs / (name if number == 1 else f"{name}-{number}")
        if not (folder / RUN_FILE).exists():
            with ExitStack() as attempt, suppress(*(() if config.name else (LockedError,))):
                attempt.enter_context(_mine(folder))
                if not (folder / RUN_FILE).exists():
                    stack.enter_context(attempt.pop_all())
                    return folder
        if config.name is not None:
            raise UsageError(f"the run '{name}' exists", where=folder, hint="choose another --name, or --resume")
        number += 1
