"""What a contract check finds: one sentence per rule, with what broke it and the function to change."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kt3d_bench.errors import Kt3dError

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One rule of the contract, and whether it holds."""

    subject: str
    """What was checked: ``method my-method``."""
    rule: str
    """The rule, as a sentence that is true when it holds."""
    holds: bool
    what: str = ""
    """What happened instead."""
    hint: str = ""
    traceback: str = ""

    @property
    def sentence(self) -> str:
        """Subject, rule, and what happened with the hint, in one line."""
        happened = "; ".join(text for text in (self.what, self.hint) if text)
        return f"{self.subject}: {self.rule}" + (f": {happened}" if happened else "")


class BrokenRuleError(Exception):
    """A rule does not hold: what happened, and what to change."""

    def __init__(self, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.what, self.hint = what, hint


def require(holds: object, what: str, hint: str = "") -> None:
    """Raise ``BrokenRuleError`` unless the condition holds."""
    if not holds:
        raise BrokenRuleError(what, hint)


class Checklist:
    """The findings on one subject; each goes to ``say`` as it is made.

    ``package``: folder of the plugin's package, or its only file: code in it is the author's.
    """

    def __init__(self, subject: str, package: Path, say: Callable[[Finding], None]) -> None:
        self.subject, self.package, self._say = subject, package.resolve(), say
        self.findings: list[Finding] = []

    def check(self, rule: str, function: Callable[[], T]) -> T | None:
        """Return what ``function`` returns; when it raises anything, add a finding and return ``None``."""
        try:
            value = function()
        except (Exception, SystemExit) as error:
            what, hint = self._explained(error)
            self.add(rule, what, hint, holds=False, text="".join(traceback.format_exception(error)))
            return None
        self.add(rule)
        return value

    def add(self, rule: str, what: str = "", hint: str = "", *, holds: bool = True, text: str = "") -> None:
        """Add a finding."""
        self.findings.append(Finding(self.subject, rule, holds, what, hint, text))
        self._say(self.findings[-1])

    def _explained(self, error: BaseException) -> tuple[str, str]:
        """What happened, and what to change."""
        if isinstance(error, BrokenRuleError):
            return error.what, error.hint
        own = self._own_line(error)
        if isinstance(error, Kt3dError):
            return error.message + (f", in {own}" if own and error.__cause__ is not None else ""), ""
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return said, "run again with --traceback to see where" if own is None else f"change {own}"

    def _own_line(self, error: BaseException) -> str | None:
        """The last line of the plugin's own code that an exception, or what caused it, went through."""
        one: BaseException | None = error
        seen: list[BaseException] = []
        while one is not None and one not in seen:
            seen.append(one)
            for frame in reversed(traceback.extract_tb(one.__traceback__)):
                if Path(frame.filename).resolve().is_relative_to(self.package):
                    return f"{frame.name}() in {Path(frame.filename).name}, line {frame.lineno}: {frame.line}"
            one = one.__cause__ or one.__context__
        return None
