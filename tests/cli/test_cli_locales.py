"""Every command once in a Latin-1 and in an ASCII terminal: output never fails, and says the same in other signs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kt3d_bench.cli import main
from kt3d_bench.cli.console import Terminal, console, say, write_anything

NAME = "w\u00f6rld \u4f60"
"""A folder that neither of the two can write."""
LINES = """
list
list itop
generate itop --people 2 --frames 6 --workers 1 --out RAW
inspect RAW
prepare itop --raw RAW --out SHARDS --workers 1
validate SHARDS
inspect SHARDS
train --method mean-pose-oracle --target itop-front --supervision full --preset tiny --device cpu
estimate --method mean-pose-oracle --target itop-front --supervision full --preset tiny --images-per-second 9
predict
score
report
submit PREDICTED --benchmark itop-front --name other --labels-seen none --replace
leaderboard build
leaderboard check
new method w-method --out NEW
convert PREDICTED --to bvh
weights list
pack
detect SHARDS --with \u4f60
export \u4f60 --onnx x
check \u4f60
reproduce \u4f60
demo --recipe \u4f60
"""


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_tables_bars_and_lines_have_ascii_forms(monkeypatch: pytest.MonkeyPatch, encoding: str, terminal: bool) -> None:
    from rich.table import Table

    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    write_anything()
    say("1 \u2013 2 \u00b1 3\u2026 \u2192 \u2713 \u2717 \u4f60")
    out = console()
    monkeypatch.setattr(type(out), "is_terminal", terminal)
    table = Table("a \u2013", title="\u2026")
    table.add_row("\u00b1")
    out.print(table)
    with Terminal(out) as report:
        report.start("task \u4f60", 2)
        report.advance(1, samples=1)
        report.finish()
    sys.stdout.flush()
    text = written.getvalue().decode(encoding)
    sign = "\u00b1" if encoding == "latin-1" else "+-"
    assert text.splitlines()[0] == rf"1 - 2 {sign} 3... -> ok NO \u4f60"
    assert "a -" in text
    assert r"task \u4f60" in text


def test_the_program_runs_in_the_c_locale(tmp_path: Path) -> None:
    folder = tmp_path / NAME
    folder.mkdir()
    for more in ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "latin-1"}):
        done = subprocess.run([sys.executable, "-m", "kt3d_bench", "inspect", os.fsencode(folder)],
                              env={**os.environ, **more}, capture_output=True, timeout=60, check=False)  # fmt: skip
        assert done.returncode == 1
        assert done.stderr.startswith(b"Error: ")
        assert b"nothing of any dataset is here" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.fixture(scope="module", params=["ascii", "latin-1"])
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Result]]:
    """Every line and what came of it."""
    home = tmp_path_factory.mktemp("locales") / NAME
    home.mkdir()
    made = []
    for line in LINES.strip().splitlines():
        places = {"RAW": home / "raw", "SHARDS": home / "shards" / "itop", "NEW": home / "new",
                  "PREDICTED": next(home.glob("runs/*/predictions/*.npz"), home)}  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(home)
            runner = CliRunner(charset=request.param, env={"KT3D_DATA": str(home)})
            made.append((line, runner.invoke(main, [str(places.get(word, word)) for word in line.split()])))
    return made


def test_every_command_runs(results: list[tuple[str, Result]]) -> None:
    assert {line.split()[0] for line, _ in results} == set(main.commands)
    for line, result in results:
        refused = NAME[-1] in line
        assert result.exception is None or isinstance(result.exception, SystemExit), (line, result.output)
        assert result.exit_code == 2 * refused, (line, result.output)
    text = dict(results)["validate SHARDS"].output
    assert r"w\xf6rld \u4f60" in text or "w\u00f6rld \\u4f60" in text
    assert "+-" in text, "the corner of a table"
