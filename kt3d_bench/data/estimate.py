"""Estimate the disk space and time of a preparation by converting a few samples, without writing files.

Reading corrupt raw data may crash or hang, so it happens in a process of its own, which is killed after a while.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as TooLongError
from dataclasses import dataclass, fields
from typing import Any

from kt3d_bench.data.format import encode
from kt3d_bench.data.index import Labels
from kt3d_bench.errors import ArtefactError, Kt3dError
from kt3d_bench.lifeline import require_shared_memory, tie
from kt3d_bench.plugins.registry import load_function
from kt3d_bench.records import Sample, WorkItem

SAMPLES = 8
"""Most samples converted for an estimate."""
ITEMS = 4
"""Work items that they come from, spread over the split."""
LIMIT_S = 20.0
"""The process is killed after this long."""
STARTING_S = 2.0
"""Start-up time of worker processes."""
_STOP_S = 6.0
"""No further sample is started after this long."""
_BLOCK = 512
"""Bytes of a tar block: every member has a header of one block and is padded to whole blocks."""


@dataclass(frozen=True)
class Probe:
    """Measured disk space and time of a few samples."""

    samples: int
    items: int
    bytes_per_sample: float
    """Members of the tar and their share of the index."""
    seconds_per_sample: float
    opening_s: float
    """Time before an item's first sample."""

    def disk_bytes(self, samples: int) -> float:
        """Return the size of the shards of so many samples."""
        return samples * self.bytes_per_sample

    def seconds(self, items: int, samples: int, workers: int) -> float:
        """Return the time to convert so many samples of so many work items, start-up of the workers included."""
        return STARTING_S + (items * self.opening_s + samples * self.seconds_per_sample) / max(1, min(workers, items))


def probe(convert: str, items: Sequence[WorkItem], *, limit_s: float = LIMIT_S) -> Probe | str:
    """Convert a few samples of some of the work items with the dataset's module ``convert`` and measure them.

    Returns a sentence instead where that is impossible: a corrupt file, a crash or a hang is not an error here.
    """
    filled = [item for item in items if item.expected_samples > 0]
    if not filled:
        return "no work item has samples"
    chosen = [filled[len(filled) * (2 * number + 1) // (2 * ITEMS)] for number in range(ITEMS)]
    chosen = [item for number, item in enumerate(chosen) if item not in chosen[:number]]
    names = ", ".join(item.name for item in chosen)
    try:
        require_shared_memory()
    except ArtefactError as error:
        return error.message
    from joblib.externals.loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=1, initializer=tie, initargs=(os.getpid(),))
    try:
        result: Probe | str = pool.submit(_measured, convert, chosen).result(timeout=limit_s)
    except TooLongError:
        result = f"{names} took longer than {limit_s:g} s to begin"
    except BrokenExecutor:
        result = f"the process that read {names} died"
    finally:
        pool.shutdown(kill_workers=True)
    return result


_Run = list[tuple[float, int]]
"""The first samples of one item: the time when each was ready (s) and its size on disk (bytes)."""


def _measured(convert: str, items: Sequence[WorkItem]) -> Probe | str:
    each = -(-SAMPLES // len(items))
    problems: list[str] = []
    runs: list[_Run] = []
    stop = time.perf_counter() + _STOP_S
    function = load_function(convert, "convert")
    for item in items:
        if time.perf_counter() > stop and runs:
            break
        try:
            if not runs:
                _some(function, item, 1, stop)
            runs.append(_some(function, item, each, stop))
        except Kt3dError as error:
            problems.append(f"{item.name}: {error}")
        except Exception as error:
            problems.append(f"{item.name}: {type(error).__name__}: {error}")
    runs = [run for run in runs if run]
    if not runs:
        return problems[0] if problems else f"{items[0].name} gives no sample at its beginning"
    sizes = [size for run in runs for _, size in run]
    first = sum(run[0][0] for run in runs) / len(runs)
    further = len(sizes) - len(runs)
    seconds = sum(run[-1][0] - run[0][0] for run in runs if len(run) > 1) / further if further else first
    return Probe(len(sizes), len(runs), sum(sizes) / len(sizes), seconds, max(first - seconds, 0.0))


def _some(convert: Callable[[WorkItem], Iterator[Any]], item: WorkItem, count: int, stop: float) -> _Run:
    """Convert the first ``count`` samples of an item. The first call also imports modules, and is not counted."""
    started = time.perf_counter()
    run: _Run = []
    results = convert(item)
    for result in results:
        if isinstance(result, Sample):
            size = _disk_bytes(result)
            run.append((time.perf_counter() - started, size))
        if len(run) == count or time.perf_counter() > stop:
            break
    if hasattr(results, "close"):
        results.close()
    return run


def _disk_bytes(sample: Sample) -> int:
    members = encode(sample).values()
    labels = Labels.of([sample])
    index = sum(int(getattr(labels, field.name).nbytes) for field in fields(labels)) + 4 * len(sample.key) + 8
    return sum(_BLOCK + -(-len(data) // _BLOCK) * _BLOCK + 16 for data in members) + index
