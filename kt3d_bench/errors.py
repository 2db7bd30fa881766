"""Expected errors: one sentence saying what was found, in which file, and what to do next.

The library raises these; the command line prints them without a traceback and exits with ``exit_code``.
Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from os import PathLike

SYSTEM_ERRORS = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions, or choose another place"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (ulimit -n), or use fewer --workers"),
    **dict.fromkeys((errno.ENOMEM, errno.EAGAIN), "free memory, or use fewer --workers"),
    **dict.fromkeys(
        (errno.EIO, errno.ESTALE, errno.EXDEV, errno.ENOLCK), "check the disk, and run the same command again"
    ),
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP, errno.EFBIG), "choose another folder"),
}
"""Errors of the machine, which say nothing about the bytes of a file -> hint."""
TEMPORARY_FULL = "the disk of temporary files is full"
TEMPORARY_HINT = "free some space, or name another folder by TMPDIR"


class Kt3dError(Exception):
    """Base of every expected error.

    ``what`` says what was expected and what was found, ``where`` names the file, folder or argument, and ``hint``
    says what to do next. All three are printed.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str | PathLike[str] | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint
        super().__init__(self.message)

    @property
    def message(self) -> str:
        text = self.what if self.where is None else f"{self.where}: {self.what}"
        return text if self.hint is None else f"{text}; {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.where, self.hint), self.__dict__)


def _rebuild(kind: type[Kt3dError], what: str, where: str | None, hint: str | None) -> Kt3dError:
    return kind(what, where=where, hint=hint)


class UsageError(Kt3dError):
    """The command or call itself is off: an unknown name, an impossible combination of options."""

    exit_code = 2


class RawDataError(Kt3dError):
    """A raw folder or one of its files is missing, damaged, or not what its format promises."""


class MissingDataError(RawDataError):
    """Nothing of what was asked for is there: where several parts were asked for, the others may still be used."""


class ArtefactError(Kt3dError):
    """One of our own files (shards, checkpoint, predictions, entry) is missing, damaged or does not fit."""


class PluginError(Kt3dError):
    """A plugin cannot be loaded or breaks the contract; the plugin is named."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"did you mean 'x'?"`` when a known name is near, else the list of known names."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean '{near[0]}'?"
    return f"known names: {', '.join(names)}" if names else "none are known"
