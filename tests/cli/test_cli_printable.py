"""Texts from files reach the terminal without the characters that steer it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from rich.table import Table
from rich.text import Text

from kt3d_bench.cli import main
from kt3d_bench.cli.console import Terminal, console, printable

EVIL = "a\x1b]0;pwned\x07\x1b[31m\x9b\u202eb\udc80"
SHOWN = r"a\x1b]0;pwned\x07\x1b[31m\x9b\u202eb\udc80"


def test_what_steers_a_terminal_is_written_out() -> None:
    assert printable(EVIL) == SHOWN
    assert printable("Ångström 你好 é\n", "\n") == "Ångström 你好 é\n"
    assert printable("a\r\nb") == r"a\r\nb"


@pytest.mark.parametrize("terminal", [True, False])
def test_tables_texts_and_notes_are_printable(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    out = console()
    out.file = io.StringIO()
    if terminal:
        monkeypatch.setattr(type(out), "is_terminal", True)
    table = Table(title=EVIL)
    table.add_column(Text(EVIL))
    table.add_row(EVIL)
    out.print(table)
    out.print(EVIL, markup=False)
    report = Terminal(out)
    report.note(EVIL)
    report.start(EVIL, 2)
    report.finish(EVIL)
    text = out.file.getvalue()
    assert text.count(SHOWN.replace(r"\x07", "")) >= 5, "rich itself leaves the bell out"
    for sign in ("\x1b]", "\x07", "\x1b[31mb", "\x9b", "\u202e"):
        assert sign not in text


def test_an_error_shows_names_in_a_file_as_text(tmp_path: Path) -> None:
    path = tmp_path / "q.npz"
    np.savez(path, **{"bad\x1b[31m\nError: fake": np.ones(1)})
    done = CliRunner().invoke(main, ["score", str(path), "--benchmark", "h36m-s9s11-64"])
    assert done.exit_code == 1
    assert r"bad\x1b[31m\nError: fake" in done.output
    assert "\x1b" not in done.output
    assert done.output.count("\n") == 1


def test_a_file_name_that_is_not_utf8_is_shown(tmp_path: Path) -> None:
    name = "p\udcff\x1b[31m.npz"
    (tmp_path / name).write_bytes(b"")
    done = CliRunner().invoke(main, ["score", str(tmp_path / name), "--benchmark", "h36m-s9s11-64"])
    assert done.exit_code == 1
    assert r"p\udcff\x1b[31m.npz: " in done.output
