"""Who converts shards, and what happens when a worker dies: the same whether workers are processes of this machine or
of a cluster."""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kt3d_bench.data.plan import ShardTask
from kt3d_bench.data.work import CONTINUE, Done, finished, in_worker, write_shard
from kt3d_bench.errors import Kt3dError, RawDataError
from kt3d_bench.progress import Reporter


@dataclass(frozen=True)
class Died:
    """A worker died while it had these shards, or some of them, in hand."""

    tasks: tuple[ShardTask, ...]


class Crew(Protocol):
    """Workers that convert shards."""

    tries: int
    """How many deaths it takes to give an item up."""
    gave_up: str
    """What is then said of it, before the item's name."""
    fewer: str
    """How the user gives each worker more memory, or sees the crash."""

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Done | Died]:
        """Convert shards in any order. May end early after a death. Closing it stops what is under way.

        Raises the ``Kt3dError`` that a shard ended with.
        """
        ...


class Processes:
    """Processes of this machine, or this very one."""

    tries = 3
    gave_up = "the worker process died 3 times while converting"
    fewer = "try fewer --workers; --workers 1 shows the crash"

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Done | Died]:
        if self._workers == 1:
            for task in tasks:
                yield write_shard(task)
            return
        import joblib
        from joblib.externals.loky import get_reusable_executor

        workers = max(2, min(self._workers, len(tasks)))
        pool = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1)
        results = pool(joblib.delayed(in_worker)(task) for task in tasks)
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
            get_reusable_executor(max_workers=workers).shutdown(kill_workers=True)


def convert_shards(title: str, tasks: Sequence[ShardTask], crew: Crew, report: Reporter) -> None:
    """Write every shard that is not there yet.

    A shard whose worker dies is tried again alone, as often as the crew's ``tries``; the others are finished first.
    """
    report.start(title, sum(len(task.items) for task in tasks))
    totals = Counter[str]()

    def add(task: ShardTask, done: Done) -> None:
        totals.update(items=len(task.items), samples=done.samples, skipped=done.skipped)
        report.advance(totals["items"], samples=totals["samples"], values={"skipped": totals["skipped"]})

    deaths = Counter[Path]()
    pending = list(tasks)
    while pending := _unfinished(pending, add):
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


def _blamed(tasks: Iterable[ShardTask], pending: Sequence[ShardTask]) -> list[ShardTask]:
    """Those that were begun, cleared of what was begun; all of them where none shows."""
    suspects = [task for task in tasks if task in pending]
    left = _temporaries(suspects)
    begun = [task for task in suspects if task.path in left]
    remove_temporaries(begun)
    return begun or suspects


def remove_temporaries(tasks: Sequence[ShardTask]) -> None:
    """Delete what was begun of these shards, whoever began it."""
    for paths in _temporaries(tasks).values():
        for path in paths:
            path.unlink(missing_ok=True)


def _temporaries(tasks: Sequence[ShardTask]) -> dict[Path, list[Path]]:
    """Shard -> the unfinished files of it or of its index, for the shards that have any."""
    wanted = {task.path for task in tasks}
    found: dict[Path, list[Path]] = defaultdict(list)
    for folder in {path.parent for path in wanted}:
        for path in folder.glob("*.tmp"):
            shard = folder / f"{path.name.partition('.')[0]}.tar"
            if shard in wanted:
                found[shard].append(path)
    return found


def _unfinished(tasks: Sequence[ShardTask], add: Callable[[ShardTask, Done], None]) -> list[ShardTask]:
    left = []
    for task in tasks:
        done = finished(task)
        if done is None:
            left.append(task)
        else:
            add(task, done)
    return left


def _worker_died(tasks: Sequence[ShardTask], crew: Crew) -> RawDataError:
    names = [item.name for task in tasks for item in task.items]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return RawDataError(
        f"{crew.gave_up} {shown}",
        where=tasks[0].path,
        hint=f"a raw file of these items may be damaged, or memory short ({crew.fewer}); {CONTINUE}",
    )
