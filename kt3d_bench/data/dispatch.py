"""Distribute shards to workers and retry those whose worker died; workers are local processes or a cluster's."""

from __future__ import annotations

import os
import shutil
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kt3d_bench.data.plan import ShardTask
from kt3d_bench.data.work import CONTINUE, Done, finished, in_worker, write_shard
from kt3d_bench.errors import Kt3dError, RawDataError
from kt3d_bench.lifeline import require_shared_memory, tie
from kt3d_bench.progress import Reporter


@dataclass(frozen=True)
class Died:
    """A worker died while it was converting some of these shards."""

    tasks: tuple[ShardTask, ...]


class Crew(Protocol):
    """Workers that convert shards."""

    tries: int
    """Number of deaths after which a work item is given up."""
    gave_up: str
    """Start of the error message that follows, before the item's name."""
    fewer: str
    """Advice on giving each worker more memory, or on seeing the crash."""

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Done | Died]:
        """Convert shards in any order; may end early after a death. Closing the generator stops running conversions.

        Raises the ``Kt3dError`` that a shard ended with.
        """
        ...


class Processes:
    """Processes of this machine; with one worker, this process."""

    tries = 3
    gave_up = "the worker process died 3 times while converting"
    fewer = "try fewer --workers; --workers 1 shows the crash"

    def __init__(self, workers: int, lease: Path) -> None:
        self._workers, self._lease = workers, lease

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Done | Died]:
        if self._workers == 1:
            for task in tasks:
                yield write_shard(task)
            return
        require_shared_memory()
        import joblib
        from joblib.externals.loky import get_reusable_executor

        workers = max(2, min(self._workers, len(tasks)))
        pool = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1,
                               initializer=tie, initargs=(os.getpid(),))  # fmt: skip
        results = pool(joblib.delayed(in_worker)(task, self._lease) for task in tasks)
        try:
            for result in results:
                if isinstance(result, Kt3dError):
                    raise result
                yield result
        except BrokenExecutor:
            yield Died(tuple(tasks))
        finally:
            with warnings.catch_warnings():
                warnings.filterwarnings(
                    "ignore", message=r".*tasks which were still being processed", category=UserWarning
                )
                results.close()
            get_reusable_executor(reuse=True).shutdown(kill_workers=True)


def convert_shards(title: str, tasks: Sequence[ShardTask], crew: Crew, report: Reporter) -> None:
    """Write every shard that is not finished.

    A shard whose worker dies is retried alone, up to ``crew.tries`` times; the others are finished first. ``report`` is
    told once, as soon as it can be foreseen, that the disk will not hold all shards.
    """
    items = sum(len(task.items) for task in tasks)
    report.start(title, items)
    totals = Counter[str]()

    def add(task: ShardTask, done: Done) -> None:
        size = task.path.stat().st_size if done.samples else 0
        totals.update(items=len(task.items), samples=done.samples, skipped=done.skipped, bytes=size)
        report.advance(totals["items"], samples=totals["samples"], values={"skipped": totals["skipped"]})

    def foresee(folder: Path) -> None:
        more = totals["bytes"] / totals["items"] * (items - totals["items"])
        free = shutil.disk_usage(folder).free
        if more > free and not totals["told"]:
            totals["told"] += 1
            need = f"about {more / 1e9:.1f} GB are still to be written and {free / 1e9:.1f} GB are free"
            report.note(f"the disk of {folder} will be full before the end: {need}")

    deaths = Counter[Path]()
    pending = list(tasks)
    while True:
        known = [(task, finished(task)) for task in pending]
        for task, done in known:
            if done is not None:
                add(task, done)
        pending = [task for task, done in known if done is None]
        if not pending:
            return
        hopeful = [task for task in pending if deaths[task.path] < crew.tries]
        if not hopeful:
            raise _worker_died(pending, crew)
        batch = [task for task in hopeful if not deaths[task.path]] or hopeful[:1]
        with closing(crew.run(batch)) as results:
            for result in results:
                if isinstance(result, Died):
                    deaths.update(task.path for task in _blamed(result.tasks, pending))
                else:
                    task = next(task for task in batch if task.path == result.path)
                    pending.remove(task)
                    add(task, result)
                    foresee(task.path.parent)


def _blamed(tasks: Iterable[ShardTask], pending: Sequence[ShardTask]) -> list[ShardTask]:
    """Return the tasks that have unfinished files, and delete those files; all tasks where none has any."""
    suspects = [task for task in tasks if task in pending]
    removed = remove_temporaries(suspects)
    return [task for task in suspects if task.path in removed] or suspects


def remove_temporaries(tasks: Sequence[ShardTask]) -> set[Path]:
    """Delete the unfinished files of these shards and of their indexes; return the shards that had any."""
    wanted = {task.path for task in tasks}
    found: set[Path] = set()
    for path in [path for folder in {shard.parent for shard in wanted} for path in folder.glob("*.tmp")]:
        shard = path.with_name(f"{path.name.partition('.')[0]}.tar")
        if shard in wanted:
            path.unlink(missing_ok=True)
            found.add(shard)
    return found


def _worker_died(tasks: Sequence[ShardTask], crew: Crew) -> RawDataError:
    names = [item.name for task in tasks for item in task.items]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return RawDataError(
        f"{crew.gave_up} {shown}",
        where=tasks[0].path,
        hint=f"a raw file of these items may be corrupt, or memory too small ({crew.fewer}); {CONTINUE}",
    )
