"""What generators of stand-ins share: the output folder and its marker, checks, worker processes and .mat files.

A stand-in appears whole or not at all, so an unfinished one is never mistaken for the dataset, and files that were not
generated are never touched.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.lifeline import require_shared_memory, tie
from kt3d_bench.locks import held
from kt3d_bench.supervision import HELD_OUT

MARKER = "kt3d-generated.json"
"""The file in every stand-in that tells ``prepare`` that the data is generated."""
_UNFINISHED = ".kt3d-unfinished"
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def check_numbers(seed: int, workers: int | None, **numbers: tuple[int, int, int]) -> None:
    """Raise ``UsageError`` unless the seed, the workers and every number (value, least, most) are within bounds."""
    common = {"seed": (seed, 0, 2**63), "workers": (1 if workers is None else workers, 1, 1024)}
    for name, (value, least, most) in {**numbers, **common}.items():
        if not least <= value <= most:
            raise UsageError(f"{name} must be {least:,} to {most:,}, found {value:,}")


def check_options(generate: Callable[..., Any], options: Collection[str]) -> None:
    """Raise ``UsageError`` for an option that the dataset's ``generate`` does not have."""
    known = inspect.signature(generate).parameters
    any_name = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
    for name in [] if any_name else sorted(set(options) - set(known)):
        raise UsageError(f"the generator has no option '{name}'", hint=did_you_mean(name, known))


def check_held_out(held_out: str) -> None:
    """Raise ``UsageError`` unless ``held_out`` is one of ``HELD_OUT``."""
    if held_out not in HELD_OUT:
        raise UsageError(f"held-out people are '{held_out}', expected one of {', '.join(HELD_OUT)}")


def held_out_options(generate: Callable[..., Any], held_out: str, *, tested: bool) -> dict[str, str]:
    """Return what to pass to a dataset's ``generate`` so that its test split shows the ``held_out`` people.

    Nothing for a generator that does not know the option, where it makes no difference: for the test people, and for
    datasets that are not ``tested``, which have no labelled test split. Raises ``UsageError`` for other generators:
    they would show the test people.
    """
    check_held_out(held_out)
    if "held_out" in inspect.signature(generate).parameters:
        return {"held_out": held_out}
    if held_out != HELD_OUT[0] and tested:
        raise UsageError(
            f"this dataset's generator has no {held_out} people",
            hint="choose another dataset, or give its generate() the option held_out",
        )
    return {}


def in_parallel(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, workers: int | None, device: str, batch: int = 1
) -> Iterator[_Result]:
    """Yield ``function(item)`` of every item, in order, each computed by one thread of one of ``workers`` processes.

    ``workers`` ``None``: one process per core. Anything but a CPU as ``device``: this process alone. A worker takes
    ``batch`` items at a time.
    """
    jobs = (workers or -1) if device == "cpu" else 1
    if jobs != 1:
        require_shared_memory()
    from joblib import Parallel, delayed

    pool = Parallel(n_jobs=jobs, return_as="generator", batch_size=batch,
                    initializer=tie, initargs=(os.getpid(),))  # fmt: skip
    yield from pool(delayed(_on_one_thread)(function, item) for item in items)


def _on_one_thread(function: Callable[[_Item], _Result], item: _Item) -> _Result:
    import cv2
    import torch

    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    try:
        return function(item)
    finally:
        cv2.setNumThreads(before[0])
        torch.set_num_threads(before[1])


def write_mat(path: Path, content: Mapping[str, Any], layout: str) -> None:
    """Write a compressed MATLAB 5 file whose header names the ``layout`` in place of the date: same content, same
    bytes."""
    import scipy.io

    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, content, do_compression=True)
    with path.open("r+b") as file:
        file.write(f"MATLAB 5.0 MAT-file, generated stand-in in the layout of {layout}".encode().ljust(116))


def mat_cells(items: Sequence[Any], *, column: bool = False) -> npt.NDArray[np.object_]:
    """Return a (1, n) cell array of ``items``, or an (n, 1) ``column``."""
    cells = np.empty(len(items), object)
    for index, item in enumerate(items):
        cells[index] = item
    return cells.reshape((-1, 1) if column else (1, -1))


@contextmanager
def standin_folder(
    out: Path, names: Collection[str], marker: Mapping[str, Any], *, indent: int | None = None
) -> Iterator[Path]:
    """Yield a new folder beside ``out`` (``<out>.part``) for a stand-in that consists of ``names``.

    When the block ends without an error, ``marker`` is written as JSON and the folder takes the place of ``out``. Until
    then an earlier stand-in in ``out`` stays as it was. Leftovers of a killed run beside ``out`` are removed. Raises
    ``LockedError`` beside another process that generates it, and ``UsageError``, before anything is changed, when
    ``out`` holds something that was not generated, or when a folder ``<out>.part`` is not an unfinished stand-in.
    """
    out = out.absolute()
    with held(out.with_name(f".{out.name}.lock"), f"another process is generating {out.name}", "wait for it, or choose "
              "another --out"):  # fmt: skip
        part = out.with_name(out.name + ".part")
        _refuse_foreign(out, names)
        _clear_leftover(part)
        part.mkdir(parents=True)
        (part / _UNFINISHED).touch()
        yield part
        (part / MARKER).write_text(json.dumps(marker, indent=indent) + "\n", encoding="utf-8")
        _refuse_foreign(out, names)
        (part / _UNFINISHED).unlink()
        if not out.exists():
            part.rename(out)
            return
        for name in names:
            _remove(out / name)
        for path in sorted(part.iterdir(), key=lambda path: path.name != MARKER):
            shutil.move(path, out / path.name)
        part.rmdir()


def _refuse_foreign(out: Path, names: Collection[str]) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError("is a file, not a folder", where=out, hint="choose another --out")
    known = {*names, MARKER} if (out / MARKER).is_file() else set()
    foreign = sorted(path.name for path in out.iterdir() if path.name not in known) if out.exists() else []
    if foreign:
        more = f" and {len(foreign) - 4} more" if len(foreign) > 4 else ""
        raise UsageError(
            f"already holds {', '.join(foreign[:4])}{more}, which was not generated",
            where=out,
            hint="choose another --out; nothing was changed",
        )


def _clear_leftover(part: Path) -> None:
    """Remove an unfinished stand-in, its mark last, so that an interrupted removal can be repeated."""
    if not part.exists() and not part.is_symlink():
        return
    if part.is_symlink() or not part.is_dir() or (any(part.iterdir()) and not (part / _UNFINISHED).is_file()):
        raise UsageError(
            "is in the way and is not an unfinished stand-in", where=part, hint="move it, or choose another --out"
        )
    for path in part.iterdir():
        if path.name != _UNFINISHED:
            _remove(path)
    shutil.rmtree(part)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
