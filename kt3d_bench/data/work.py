"""Convert one shard in any process; no unfinished file remains, and a worker that was given up publishes nothing."""

from __future__ import annotations

import errno
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kt3d_bench.data.format import FIELDS, IMAGES
from kt3d_bench.data.index import index_path, read_index
from kt3d_bench.data.lease import valid
from kt3d_bench.data.plan import ShardTask
from kt3d_bench.data.writer import ShardWriter
from kt3d_bench.errors import (
    SYSTEM_ERRORS,
    TEMPORARY_FULL,
    TEMPORARY_HINT,
    ArtefactError,
    Kt3dError,
    PluginError,
    RawDataError,
)
from kt3d_bench.plugins.registry import load_function
from kt3d_bench.records import Sample, Skipped, WorkItem

_FULL = (errno.ENOSPC, errno.EDQUOT)
_CANNOT_GROW = (*_FULL, errno.EFBIG)
CONTINUE = "finished shards are kept: run the same command again to continue"


@dataclass(frozen=True)
class Done:
    """What a worker reports of one shard."""

    path: Path
    samples: int
    skipped: int


def finished(task: ShardTask) -> Done | None:
    """Return the shard that is in the folder, if it is complete and was made from the same things.

    A shard that lacks something because of a corrupt raw file does not count: the file may have been replaced by one
    of the same size and first bytes.
    """
    try:
        index = read_index(index_path(task.path))
        whole = not len(index) or task.path.stat().st_size == index.tar_size
    except (ArtefactError, FileNotFoundError):
        return None
    complete = whole and not any(skipped.where for skipped in index.skipped)
    same = complete and index.configuration == task.configuration
    return Done(task.path, len(index), len(index.skipped)) if same else None


def in_worker(task: ShardTask, lease: Path | None = None) -> Done | Kt3dError:
    """Run ``write_shard`` in a worker process. An expected error is returned, since not every pool transports it
    intact."""
    import cv2

    cv2.setNumThreads(1)
    try:
        return write_shard(task, lease)
    except Kt3dError as error:
        return error


class _BegunError(Exception):
    """A work item failed after some of its samples were written; holds its ``Skipped`` record."""


def write_shard(task: ShardTask, lease: Path | None = None) -> Done:
    """Write one shard. A work item whose raw file is corrupt is left out entirely and listed as skipped; if samples of
    it were already written, the shard is started again without it.

    ``lease``: of the preparation that wants the shard (``data.lease``); once that has ended, the shard is given up
    (``ArtefactError``), so that a forgotten worker cannot put an old shard among new ones.
    """
    convert: Callable[[WorkItem], Iterator[Any]] = load_function(task.convert, "convert")
    damaged: dict[str, Skipped] = {}
    while True:
        try:
            with ShardWriter(task.path, configuration=task.configuration) as writer:
                for item in task.items:
                    if lease is not None and not lease.exists():
                        raise _ended(lease)
                    writer.start_item(item.name)
                    if item.name in damaged:
                        writer.skip(damaged[item.name])
                    else:
                        _write_item(writer, convert, item, task)
                if lease is not None and not valid(lease):
                    raise _ended(lease)
        except _BegunError as error:
            damaged[error.args[0].name] = error.args[0]
            continue
        except OSError as error:
            raise cannot_write(task.path, error) from error
        assert writer.index is not None
        return Done(task.path, len(writer.index), len(writer.index.skipped))


def _ended(lease: Path) -> ArtefactError:
    return ArtefactError("the preparation that needed this shard has ended", where=lease)


def _write_item(
    writer: ShardWriter, convert: Callable[[WorkItem], Iterator[Any]], item: WorkItem, task: ShardTask
) -> None:
    begun = False
    try:
        for result in _converted(convert, item, task.convert):
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


def _converted(convert: Callable[[WorkItem], Iterator[Any]], item: WorkItem, module: str) -> Iterator[Any]:
    """Yield what the converter yields."""
    last = "before its first sample"
    with converter_errors("the converter", item, lambda: f"{module}.convert, item {item.name}, {last}"):
        for result in convert(item):
            yield result
            if isinstance(result, Sample):
                last = f"after sample {result.key} (frame {result.frame})"


@contextmanager
def converter_errors(what: str, item: WorkItem, where: Callable[[], str]) -> Iterator[None]:
    """Turn a reading error into ``RawDataError``, so that it is not taken for a writing error; any other exception is a
    bug of ``what``, a function of the converter, and becomes ``PluginError``, with the traceback as a note."""
    try:
        yield
    except Kt3dError:
        raise
    except OSError as error:
        if error.errno in _CANNOT_GROW:
            raise
        place = error.filename or f"item {item.name}"
        raise RawDataError(f"cannot be read ({error.strerror or error})", where=place,
                           hint=SYSTEM_ERRORS.get(error.errno or 0, "repair it")) from error  # fmt: skip
    except Exception as error:
        found = PluginError(
            f"{what} raised {type(error).__name__}: {error}",
            where=where(),
            hint=f"correct the converter (--traceback shows where it was raised); {CONTINUE}",
        )
        found.add_note("".join(traceback.format_exception(error)))
        raise found from error


def _check(sample: Any, item: WorkItem, task: ShardTask) -> None:
    where = f"{task.convert}.convert, item {item.name}"
    if not isinstance(sample, Sample):
        raise PluginError(f"expected Sample or Skipped records, found {type(sample).__name__}", where=where)
    if not item.poses_only and all(getattr(sample, name) is None for name in IMAGES):
        hint = "yield Skipped for it, or set poses_only in the work item"
        raise PluginError(f"sample {sample.key} has no image", where=where, hint=hint)
    for name in IMAGES:
        modality = FIELDS[name].modality
        if getattr(sample, name) is not None and modality not in task.modalities:
            raise PluginError(f"sample {sample.key} holds {modality}, which the dataset does not declare", where=where)
    if sample.parts is not None and (part := int(sample.parts.max())) >= task.num_parts:
        what = f"sample {sample.key} has part {part}, but the card counts {task.num_parts} classes"
        raise PluginError(what, where=where)


def cannot_write(where: Path, error: OSError) -> ArtefactError:
    if error.errno in _FULL:
        if error.filename == tempfile.gettempdir():
            return ArtefactError(TEMPORARY_FULL, where=error.filename, hint=f"{TEMPORARY_HINT}; {CONTINUE}")
        return ArtefactError("the disk is full", where=where, hint=f"free some space; {CONTINUE}")
    return ArtefactError(f"cannot be written ({error})", where=where, hint=f"choose another --out; {CONTINUE}")
