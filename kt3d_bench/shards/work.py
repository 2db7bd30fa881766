"""Converting shards in worker processes, so that nothing finished is ever lost and nothing half-written stays."""

from __future__ import annotations

import errno
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kt3d_bench.errors import ArtefactError, Kt3dError, PluginError, RawDataError
from kt3d_bench.plugins import load_function
from kt3d_bench.records import Sample, Skipped, WorkItem
from kt3d_bench.shards.format import FIELDS, IMAGES
from kt3d_bench.shards.index import ShardIndex, index_path, read_index
from kt3d_bench.shards.plan import ShardTask
from kt3d_bench.shards.writer import ShardWriter, temporary_of

_TRIES = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_GROW = (*_FULL, errno.EFBIG)
CONTINUE = "finished shards are kept: run the same command again to continue"


class Report(Protocol):
    """Where progress goes."""

    def start(self, total_items: int) -> None:
        """Called once, with the number of work items of all splits."""
        ...

    def advance(self, done: int, samples: int, skipped: int) -> None:
        """Called after each shard with totals so far: work items done, samples written, samples skipped."""
        ...

    def note(self, text: str) -> None:
        """Something that the user should know, such as a split that is not there."""
        ...


class Silent:
    """Reports nothing."""

    def start(self, total_items: int) -> None:
        return

    def advance(self, done: int, samples: int, skipped: int) -> None:
        return

    def note(self, text: str) -> None:
        return


@dataclass(frozen=True)
class _Done:
    """What a worker reports of one shard."""

    path: Path
    samples: int
    skipped: int


def remove_temporaries(tasks: Sequence[ShardTask]) -> None:
    for task in tasks:
        for path in (task.path, index_path(task.path)):
            temporary_of(path).unlink(missing_ok=True)


class _Progress:
    """Totals over shards, passed on to a report."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._totals = Counter[str]()

    def add(self, task: ShardTask, done: _Done) -> None:
        self._totals.update(items=len(task.items), samples=done.samples, skipped=done.skipped)
        self._report.advance(self._totals["items"], self._totals["samples"], self._totals["skipped"])


def convert_shards(tasks: Sequence[ShardTask], workers: int, report: Report) -> None:
    """Write every shard that is not there yet.

    A shard whose worker dies is tried again alone, three times in all; the others are finished first.
    """
    report.start(sum(len(task.items) for task in tasks))
    progress = _Progress(report)
    deaths = Counter[Path]()
    pending = list(tasks)
    died: BrokenExecutor | None = None
    while pending := _unfinished(pending, progress):
        hopeful = [task for task in pending if deaths[task.path] < _TRIES]
        if not hopeful:
            raise _worker_died(pending) from died
        batch = [task for task in hopeful if not deaths[task.path]] or hopeful[:1]
        try:
            with closing(_run(batch, workers)) as results:
                for done in results:
                    task = next(task for task in batch if task.path == done.path)
                    pending.remove(task)
                    progress.add(task, done)
        except BrokenExecutor as error:
            died = error
            begun = [task for task in batch if task in pending and _begun(task)] or batch
            deaths.update(task.path for task in begun)
            remove_temporaries(begun)


def _unfinished(tasks: Sequence[ShardTask], progress: _Progress) -> list[ShardTask]:
    left = []
    for task in tasks:
        done = _finished(task)
        if done is None:
            left.append(task)
        else:
            progress.add(task, done)
    return left


def _finished(task: ShardTask) -> _Done | None:
    """The shard as it lies in the folder, if it is whole and made from the same things.

    Not if it lacks something for a damaged raw file: that file may have been mended, even without a change that its
    size and first bytes would show.
    """
    try:
        index = read_index(index_path(task.path))
        whole = not len(index) or task.path.stat().st_size == index.tar_size
    except (ArtefactError, FileNotFoundError):
        return None
    complete = whole and not any(skipped.where for skipped in index.skipped)
    return _done(task, index) if complete and index.configuration == task.configuration else None


def _done(task: ShardTask, index: ShardIndex) -> _Done:
    return _Done(task.path, len(index), len(index.skipped))


def _begun(task: ShardTask) -> bool:
    return temporary_of(task.path).exists()


def _worker_died(tasks: Sequence[ShardTask]) -> RawDataError:
    names = [item.name for task in tasks for item in task.items]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return RawDataError(
        f"the worker process died {_TRIES} times while converting {shown}",
        where=tasks[0].path,
        mend="a raw file of these items may be damaged, or memory short (try fewer --workers; --workers 1 shows the "
        f"crash); {CONTINUE}",
    )


def _run(tasks: Sequence[ShardTask], workers: int) -> Generator[_Done, None, None]:
    """Convert shards in any order, in this process or in a pool that is gone when the iterator is closed."""
    if workers == 1:
        for task in tasks:
            yield _write_shard(task)
        return
    import joblib
    from joblib.externals.loky import get_reusable_executor

    workers = max(2, min(workers, len(tasks)))
    pool = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator_unordered", batch_size=1)
    results = pool(joblib.delayed(_in_worker)(task) for task in tasks)
    try:
        for result in results:
            if isinstance(result, Kt3dError):
                raise result
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*tasks which were still being processed", category=UserWarning)
            results.close()
        get_reusable_executor(max_workers=workers).shutdown(kill_workers=True)


def _in_worker(task: ShardTask) -> _Done | Kt3dError:
    import cv2

    cv2.setNumThreads(1)
    try:
        return _write_shard(task)
    except Kt3dError as error:
        return error


class _BegunError(Exception):
    """A work item failed after some of its samples were written."""

    def __init__(self, skipped: Skipped) -> None:
        self.skipped = skipped
        super().__init__(skipped.name)


def _write_shard(task: ShardTask) -> _Done:
    """Write one shard. A work item whose raw file turns out to be damaged is left out whole and listed as skipped: what
    was written of it before is worth nothing, and the shard is begun again without it."""
    convert: Callable[[WorkItem], Iterator[Any]] = load_function(task.convert, "convert")
    damaged: dict[str, Skipped] = {}
    while True:
        try:
            with ShardWriter(task.path, configuration=task.configuration) as writer:
                for item in task.items:
                    writer.start_item(item.name)
                    if item.name in damaged:
                        writer.skip(damaged[item.name])
                    else:
                        _write_item(writer, convert, item, task)
        except _BegunError as error:
            damaged[error.skipped.name] = error.skipped
            continue
        except OSError as error:
            raise cannot_write(task.path, error) from error
        assert writer.index is not None
        return _done(task, writer.index)


def _write_item(
    writer: ShardWriter, convert: Callable[[WorkItem], Iterator[Any]], item: WorkItem, task: ShardTask
) -> None:
    begun = False
    try:
        for result in _converted(convert, item):
            begun = True
            if isinstance(result, Skipped):
                writer.skip(result)
            else:
                _check(result, item, task)
                writer.write(result)
    except RawDataError as error:
        skipped = Skipped.damaged(item.name, error)
        if begun:
            raise _BegunError(skipped) from error
        writer.skip(skipped)


def _converted(convert: Callable[[WorkItem], Iterator[Any]], item: WorkItem) -> Iterator[Any]:
    """What the converter yields; its reading errors become ``RawDataError``, lest they look like writing errors."""
    try:
        yield from convert(item)
    except OSError as error:
        if error.errno in _CANNOT_GROW:
            raise
        where = error.filename or f"item {item.name}"
        raise RawDataError(f"cannot be read ({error.strerror or error})", where=where, mend="repair it") from error


def _check(sample: Any, item: WorkItem, task: ShardTask) -> None:
    where = f"{task.convert}.convert, item {item.name}"
    if not isinstance(sample, Sample):
        raise PluginError(f"expected Sample or Skipped records, found {type(sample).__name__}", where=where)
    if not item.poses_only and all(getattr(sample, name) is None for name in IMAGES):
        raise PluginError(
            f"sample {sample.key} has no image",
            where=where,
            mend="yield Skipped for it, or say poses_only in the work item",
        )
    for name in IMAGES:
        modality = FIELDS[name].modality
        if getattr(sample, name) is not None and modality not in task.modalities:
            raise PluginError(f"sample {sample.key} holds {modality}, which the dataset does not declare", where=where)
    if sample.parts is not None and int(sample.parts.max()) >= task.num_parts:
        raise PluginError(
            f"sample {sample.key} has part {int(sample.parts.max())}, but the card counts {task.num_parts} classes",
            where=where,
        )


def cannot_write(where: Path, error: OSError) -> ArtefactError:
    if error.errno in _FULL:
        if error.filename == tempfile.gettempdir():
            return ArtefactError("the disk of temporary files is full", where=error.filename,
                                 mend=f"free some space, or name another folder by TMPDIR; {CONTINUE}")  # fmt: skip
        return ArtefactError("the disk is full", where=where, mend=f"free some space; {CONTINUE}")
    return ArtefactError(f"cannot be written ({error})", where=where, mend=f"choose another --out; {CONTINUE}")
