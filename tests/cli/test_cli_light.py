"""The command line answers fast because it imports little; and it lists what is there."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from kt3d_bench.cli import catalogue, main
from kt3d_bench.cli.console import Terminal

HEAVY = ("torch", "webdataset", "scipy", "cv2", "h5py", "matplotlib", "cdflib", "av", "joblib", "asyncio", "rich")
OF_ANSWERS = ("numpy", "pydantic", "yaml", "importlib.metadata")


@pytest.mark.parametrize(
    ("words", "unused"),
    [
        (["--help"], HEAVY + OF_ANSWERS),
        (["train", "--help"], HEAVY + OF_ANSWERS),
        (["list"], HEAVY),
        (["list", "h36m"], HEAVY),
    ],
)
def test_help_and_list_import_nothing_heavy(words: list[str], unused: tuple[str, ...]) -> None:
    script = (
        "import sys\nfrom kt3d_bench.cli import main\n"
        f"try:\n    main({words!r}, prog_name='kt3d')\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {unused!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"
    assert done.stdout


def test_what_is_left_at_the_end_is_not_searched_for_cycles() -> None:
    script = (
        "import atexit, gc, sys\natexit.register(lambda: print(gc.get_freeze_count() > 10_000, file=sys.stderr))\n"
        "from kt3d_bench.__main__ import run\nrun()"
    )
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (0, "True")


def processor_s(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, timeout=60, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(("words", "ratio"), [(["--help"], 4), (["list"], 12)])
def test_help_and_list_answer_at_once(words: list[str], ratio: float) -> None:
    """Processor time, the quickest of five, against a Python that only imports click (0.05 s on a quiet machine)."""
    spent = [(processor_s("-c", "import click"), processor_s("-m", "kt3d_bench", *words)) for _ in range(5)]
    bare, command = map(min, zip(*spent, strict=True))
    assert command < ratio * bare


def test_list_names_everything_and_never_cuts_it_when_piped() -> None:
    text = CliRunner().invoke(main, ["list"]).output
    for name in ("h36m", "ubc3v", "mpii", "knowledge-transfer", "integral-pose", "martinez", "h36m-s9s11-64", "demo"):
        assert name in text
    assert "…" not in text


def test_list_as_json_is_json() -> None:
    listed = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    assert set(listed) == {"datasets", "methods", "benchmarks", "metrics", "recipes"}
    assert listed["benchmarks"]["ubc3v-hard"]["dataset"] == "ubc3v"


def test_list_has_one_line_per_item_that_fits() -> None:
    listed = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    for width in (60, None):
        shown = catalogue.lines(width)
        assert width is None or max(map(len, shown)) <= width
        for names in listed.values():
            for name in names:
                assert [line for line in shown if line.split()[:1] == [name]]
        assert len(shown) == len(listed) * 2 - 1 + sum(map(len, listed.values())) + 2
    assert catalogue.shortened("one two three", 11) == "one two..."


@pytest.mark.parametrize(
    ("name", "kind", "key", "value"),
    [("h36m", "dataset", "name", "h36m"), ("mean-pose", "method", "name", "mean-pose"),
     ("itop-top", "benchmark", "dataset", "itop"), ("demo", "recipe", "name", "demo")],
)  # fmt: skip
def test_one_name_as_json(name: str, kind: str, key: str, value: str) -> None:
    found = json.loads(CliRunner().invoke(main, ["list", name, "--json"]).output)
    assert (found["kind"], found[key]) == (kind, value)


def test_an_unknown_name_as_json_is_refused() -> None:
    done = CliRunner().invoke(main, ["list", "h36n", "--json"])
    assert done.exit_code == 2
    assert "nothing is called 'h36n'; did you mean 'h36m'?" in done.output


@pytest.mark.parametrize(
    ("words", "begun", "completed"),
    [
        (["train", "--method"], "know", ["knowledge-transfer"]),
        (["score", "--benchmark"], "itop", ["itop-front", "itop-top"]),
        (["prepare"], "u", ["ubc3v"]),
        (["list"], "mp", ["mpii"]),
        (["report"], "", ["first", "second"]),
        (["score", "--run"], "sec", ["second"]),
    ],
)
def test_shells_complete_names(
    words: list[str], begun: str, completed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.yaml").touch()
    (tmp_path / "runs" / "none").mkdir()
    monkeypatch.setenv("KT3D_DATA", str(tmp_path))
    found = ShellComplete(main, {}, "kt3d", "_KT3D_COMPLETE").get_completions(words, begun)
    assert sorted(one.value for one in found) == completed


@pytest.mark.parametrize("quiet", [True, False])
def test_quiet_shows_no_progress_and_no_notes(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(main) as context:
        context.params["quiet"] = quiet
        with Terminal() as report:
            report.note("a note")
            report.start("work", 1)
            report.finish("done")
    assert ("a note" in capsys.readouterr().err) != quiet


@pytest.mark.parametrize("words", [[], ["leaderboard"], ["new"], ["weights"]])
def test_help_gives_whole_sentences(words: list[str]) -> None:
    told = CliRunner().invoke(main, [*words, "--help"]).output
    commands = told.partition("Commands:")[2]
    assert commands
    assert "..." not in commands
    if not words:
        whole = "Check and measure predictions made elsewhere; write their entry and model card for a pull request"
        assert whole in " ".join(told.split())


def test_help_names_the_data_folder() -> None:
    assert "KT3D_DATA" in CliRunner().invoke(main, ["--help"]).output


@pytest.mark.parametrize("name", ["h36m", "ubc3v", "mpii"])
def test_cards_say_how_to_obtain_a_dataset_and_on_which_terms(name: str) -> None:
    text = CliRunner().invoke(main, ["list", name]).output
    for heading in ("How to obtain it:", "Terms:", "Redistribution:", "Joints:", "Cite:"):
        assert heading in text


def test_every_listed_name_can_be_asked_about() -> None:
    listed = json.loads(CliRunner().invoke(main, ["list", "--json"]).output)
    for names in listed.values():
        for name in names:
            result = CliRunner().invoke(main, ["list", name])
            assert result.exit_code == 0, result.output
            assert name in result.output.splitlines()[0]


def test_a_recipe_is_shown_as_the_commands_it_stands_for() -> None:
    text = CliRunner().invoke(main, ["list", "demo"]).output
    assert "  kt3d train --method mean-pose --supervision none" in text


def test_every_option_says_what_it_is_for() -> None:
    commands = [main, *main.commands.values()]
    silent = [
        f"{command.name} {option.opts[0]}"
        for command in commands
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


def test_the_next_step_names_the_folder_that_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    long = "a folder with spaces and a name so long that it does not fit on one line of any terminal " * 2
    generated = CliRunner().invoke(
        main, ["generate", "mpii", "--people", "1", "--frames", "1", "--out", long, "--workers", "1"]
    )
    assert f"Next: kt3d prepare mpii --raw '{long}'" in generated.output.splitlines()
    prepared = CliRunner().invoke(main, ["prepare", "mpii", "--raw", long, "--out", "x y", "--workers", "1"])
    assert "Next: kt3d inspect 'x y'" in prepared.output.splitlines()
