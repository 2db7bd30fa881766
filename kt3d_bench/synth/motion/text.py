"""The text of motion files, line by line and word by word, in bounded memory; errors name the line."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

from kt3d_bench.errors import RawDataError
from kt3d_bench.files import encoding_of

MOST_BYTES = 512 * 2**20
MOST_JOINTS = 500
MOST_DEPTH = 100
"""Greatest depth of the hierarchy."""
MOST_JOINT_FRAMES = 4_000_000
"""Joints x frames of one file: 15 minutes of CMU's 38 joints at 120 Hz, 400 MB in memory."""
MOST = 1e9
"""Upper bound of any offset or channel, in any unit."""
_LONGEST_LINE = 2**20


def lines_of(path: Path, kind: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of a text file with any line ending and any encoding of ``files.encoding_of``.

    Raises ``RawDataError`` when the file cannot be read, is larger than 512 MiB, or is not text.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise RawDataError(
                f"the {kind} file is larger than {MOST_BYTES >> 20} MiB", where=path, hint="cut it into clips"
            )
        with path.open("rb") as start:
            head = start.read(_LONGEST_LINE)
        whole = len(head) if len(head) < _LONGEST_LINE else max(head.rfind(b"\n"), head.rfind(b"\r")) + 1
        encoding = encoding_of(head[:whole])
        with path.open(encoding=encoding, errors="replace") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if "\0" in line or len(line) == _LONGEST_LINE:
                    raise RawDataError(
                        f"this is not {kind} text", where=f"{path}, line {number}", hint="check the file"
                    )
                yield number, line
    except OSError as error:
        raise RawDataError(
            f"the {kind} file cannot be read ({error.strerror})", where=path, hint="check the path"
        ) from error


def numbers_of(words: Sequence[str]) -> array[float] | None:
    """Return ``words`` as finite numbers of plausible size, or ``None`` if one of them is not."""
    try:
        values = array("d", map(float, words))
    except ValueError:
        return None
    possible = not values or (math.isfinite(sum(values)) and -MOST <= min(values) <= max(values) <= MOST)
    return values if possible else None


def number_of(token: str) -> float | None:
    """Return one word as such a number, or ``None``."""
    values = numbers_of([token])
    return None if values is None else values[0]


class Tokens:
    """The words of a text; ``line`` is the line of the last one."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self._lines: Iterator[tuple[int, str | None]] = iter(lines_of(path, kind))
        self.line = 0
        self._waiting: list[str] = []

    def fail(self, what: str, hint: str = "the file is corrupt or of another format") -> RawDataError:
        return RawDataError(what, where=f"{self.path}, line {self.line}", hint=hint)

    def next(self, wanted: str) -> str:
        while not self._waiting:
            following = self.next_line()
            if following is None:
                raise self.fail(f"expected {wanted}, found the end of the file")
            self._waiting = following[::-1]
        return self._waiting.pop()

    def next_line(self) -> list[str] | None:
        """Return the words of the next line, ``None`` at the end of the file."""
        self.line, text = next(self._lines, (self.line, None))
        return None if text is None else text.split()

    def name(self, wanted: str) -> str:
        """Return the words up to the end of the line or an opening brace: names may contain spaces."""
        words = [self.next(wanted)]
        while self._waiting and self._waiting[-1] != "{":
            words.append(self._waiting.pop())
        if words[-1] != "{" and words[-1].endswith("{"):
            words[-1] = words[-1][:-1]
            self._waiting.append("{")
        if words[0] == "{":
            raise self.fail(f"expected {wanted}, found '{{'")
        return " ".join(words)

    def skip_to_brace(self) -> None:
        """Skip the rest of a line before an opening brace, such as the name that some files give an end site."""
        while self._waiting and self._waiting[-1] != "{":
            self._waiting.pop()

    def field(self, label: str) -> str:
        """Return ``X`` of the next line ``label: X``."""
        text = " ".join([self.next(f"'{label}:'"), *self._waiting[::-1]])
        self._waiting = []
        match = re.fullmatch(rf"{re.escape(label)}\s*:?\s*(\S+)", text, re.IGNORECASE)
        if match is None:
            raise self.fail(f"expected '{label}:' and a number, found '{text[:60]}'")
        return match[1]

    def expect(self, word: str) -> None:
        token = self.next(f"'{word}'")
        if token.upper() != word.upper():
            raise self.fail(f"expected '{word}', found '{token}'")

    def number(self, wanted: str, token: str | None = None) -> float:
        token = self.next(wanted) if token is None else token
        value = number_of(token)
        if value is None:
            raise self.fail(f"expected {wanted}, found '{token}'")
        return value

    def count(self, wanted: str, most: int, token: str | None = None) -> int:
        value = self.number(wanted, token)
        if value != int(value) or not 0 <= value <= most:
            raise self.fail(f"expected {wanted} between 0 and {most}, found {value:g}")
        return int(value)
