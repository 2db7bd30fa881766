"""The folder a generated stand-in grows in: half of one is never taken for the dataset, and nobody's files are lost."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from kt3d_bench.errors import UsageError

MARKER = "kt3d-generated.json"
"""Every stand-in holds it; ``prepare`` reads from it that the data is generated."""
_UNFINISHED = ".kt3d-unfinished"


@contextmanager
def growing(out: Path, names: Collection[str]) -> Iterator[Path]:
    """A new folder beside ``out`` (``<out>.part``) for a stand-in that consists of ``names`` and its marker.

    The caller writes everything there, the marker included; when the block ends without an error it takes the place
    of ``out``. Until then an earlier stand-in in ``out`` stays as it was. What a killed run left beside ``out`` is
    removed. Raises ``UsageError``, before anything is changed, when ``out`` holds something that was not generated,
    or when a folder ``<out>.part`` is somebody else's.
    """
    out = out.absolute()
    part = out.with_name(out.name + ".part")
    _refuse_foreign(out, names)
    _clear_leftover(part)
    part.mkdir(parents=True)
    (part / _UNFINISHED).touch()
    yield part
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
    """Its mark goes last, so that an interrupted removal can be taken up again."""
    if not part.exists() and not part.is_symlink():
        return
    if part.is_symlink() or not part.is_dir() or (any(part.iterdir()) and not (part / _UNFINISHED).is_file()):
        raise UsageError(
            "is in the way, and no unfinished stand-in", where=part, hint="move it, or choose another --out"
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
