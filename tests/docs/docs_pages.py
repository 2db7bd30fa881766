"""Pages of the documentation, run as a reader would: a page's blocks one after another in one folder.

Commands run in this process. Two things differ from a reader's machine, and both are named here: stand-ins and
trainings are tiny, and ``pip install -e`` of a package that ``kt3d new`` wrote offers it without pip.
"""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.plugins import registry

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"(?ms)^```(\w+)(?: (slow|elsewhere))?\n(.*?)^```$")
STEPS = (
    "synthetic_steps", "generator_steps", "pretrain_steps", "bridge_steps", "adapt_steps", "prior_steps", "batch_size",
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, how the tests treat it ("" = run), and its text."""

    language: str
    how: str
    text: str

    @property
    def commands(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.strip() and not line.startswith("#")]


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page; a fence that this module does not understand is an error, not a block less."""
    text = page.read_text()
    found = [Block(*match.groups(default="")) for match in _FENCE.finditer(text)]
    assert text.count("\n```") == 2 * len(found), f"{page.name}: a fence is none of ```LANGUAGE [slow|elsewhere]"
    return found


def refused_words(line: str) -> str:
    """Return what is wrong with the ``kt3d`` command in a line of shell: unknown names and options; "" if nothing."""
    words = shlex.split(line, comments=True)
    if "kt3d" not in words:
        return ""
    words = words[words.index("kt3d") + 1 :]
    stop = next((at for at, word in enumerate(words) if word in ("||", "&&", ";", "|", ">")), len(words))
    words = [word for word in words[:stop] if not word.startswith("$")]
    command: click.Command = main
    while isinstance(command, click.Group):
        while words and words[0].startswith("-"):
            words = words[1:]
        if not words:
            return ""
        if words[0] not in command.commands:
            return f"no command {words[0]!r}: {line}"
        command, words = command.commands[words[0]], words[1:]
    try:
        command.make_parser(click.Context(command, **command.context_settings)).parse_args(list(words))
    except click.UsageError as error:
        return f"{error.format_message()}: {line}"
    return ""


@dataclass
class Reader:
    """Somebody who types a page's blocks in ``folder``; ``names`` are the Python names defined so far."""

    folder: Path
    names: dict[str, Any]
    offered: ExitStack
    patch: pytest.MonkeyPatch

    def run(self, block: Block, page: str) -> None:
        if block.how == "elsewhere" or block.language == "text":
            return
        if block.language == "python":
            exec(compile(block.text, page, "exec"), self.names)
            return
        for line in block.commands:
            self._type(line)

    def _type(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        if words[0] == "kt3d":
            done = CliRunner(env={"KT3D_DATA": ""}).invoke(main, words[1:])
            assert done.exit_code == 0, f"{line}\n{done.output}"
        elif words[:3] == ["pip", "install", "-e"]:
            self._offer(self.folder / words[3])
        else:
            path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
            subprocess.run(["bash", "-ec", line], cwd=self.folder, env={"PATH": path}, check=True, timeout=60)

    def _offer(self, folder: Path) -> None:
        self.patch.syspath_prepend(folder / "src")
        module = importlib.import_module(folder.name.replace("-", "_"))
        self.offered.enter_context(registry.lent({folder.name.removeprefix("kt3d-"): module}))


def reader(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """Yield a reader in ``folder``, where the preset ``tiny`` of trained methods has four steps."""
    from kt3d_knowledge_transfer.method import KnowledgeTransfer

    tiny = KnowledgeTransfer.PRESETS["tiny"]
    short = tiny | dict.fromkeys(STEPS, 4)
    patch.setattr(KnowledgeTransfer, "PRESETS", KnowledgeTransfer.PRESETS | {"tiny": short})
    patch.chdir(folder)
    patch.setenv("KT3D_DATA", "kt3d-data")
    with ExitStack() as offered:
        yield Reader(folder, {"__name__": "__main__"}, offered, patch)
