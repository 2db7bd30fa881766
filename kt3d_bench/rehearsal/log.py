"""What a rehearsal finds: one sentence per part of the contract, with what broke it and the function to change."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kt3d_bench.errors import Kt3dError

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One part of the contract, and whether it holds."""

    subject: str
    """What was looked at: ``method my-method``."""
    rule: str
    """The part of the contract, as a sentence that is true when it holds."""
    holds: bool
    what: str = ""
    """What happened instead."""
    hint: str = ""
    traceback: str = ""

    @property
    def sentence(self) -> str:
        happened = "; ".join(text for text in (self.what, self.hint) if text)
        return f"{self.subject}: {self.rule}" + (f": {happened}" if happened else "")


class BrokenError(Exception):
    """A part of the contract does not hold: what happened, and what to change."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


class Log:
    """Findings on one subject, told as they come."""

    def __init__(self, subject: str, package: Path, say: Callable[[Finding], None]) -> None:
        self.subject = subject
        self.package = package
        """Folder of the plugin's package, or its only file: lines of code in it are the author's."""
        self.findings: list[Finding] = []
        self._say = say

    def attempt(self, rule: str, function: Callable[[], T]) -> T | None:
        """What ``function`` returns; ``None``, and a finding, when it raises anything."""
        try:
            value = function()
        except (Exception, SystemExit) as error:
            self.add(self._explained(rule, error))
            return None
        self.add(Finding(self.subject, rule, True))
        return value

    def add(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._say(finding)

    def _explained(self, rule: str, error: BaseException) -> Finding:
        text = "".join(traceback.format_exception(error))
        own = self._own_line(error)
        if isinstance(error, BrokenError):
            return Finding(self.subject, rule, False, error.what, error.hint, text)
        if isinstance(error, Kt3dError):
            cause = f", in {own}" if own and error.__cause__ is not None else ""
            return Finding(self.subject, rule, False, error.message + cause, "", text)
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if own is None:
            return Finding(self.subject, rule, False, f"{said}", "run again with --traceback to see where", text)
        return Finding(self.subject, rule, False, said, f"change {own}", text)

    def _own_line(self, error: BaseException) -> str | None:
        """The last line of the plugin's own code that an exception, or what caused it, went through."""
        for one in _chain(error):
            frames = [frame for frame in traceback.extract_tb(one.__traceback__) if self._is_own(frame.filename)]
            if frames:
                last = frames[-1]
                return f"{last.name}() in {Path(last.filename).name}, line {last.lineno}: {last.line}"
        return None

    def _is_own(self, filename: str) -> bool:
        return Path(filename).resolve().is_relative_to(self.package.resolve())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__
