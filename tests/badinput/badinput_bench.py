"""What the tests of bad input share: small stand-ins, ways to damage a file, and what a good refusal looks like."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from h36m_handmade import write_raw

from kt3d_bench.cli import main

SMALLEST_SHARD = 4
HTML = b"<!DOCTYPE html>\n<html><head><title>403 Forbidden</title></head><body>Please sign in.</body></html>\n"
OPTIONS: Mapping[str, Sequence[str]] = {"h36m": ("--partial", "yes", "--train-every", "1")}
"""The dataset's own options that its stand-in here needs."""
_UBC3V_SECTIONS = 8


def make_standin(dataset: str, raw: Path) -> Path:
    """The official layout, as small as the cases allow."""
    MAKERS[dataset](raw)
    return raw


def _generate(dataset: str, raw: Path, **sizes: Any) -> None:
    import_module(f"kt3d_{dataset}.generate").generate(
        raw, **sizes, seed=3, motion=None, device="cpu", workers=1, progress=lambda done, total: None
    )


def _h36m(raw: Path) -> None:
    """Eight training and two test recordings of three frames each, not marked as generated."""
    frames = 3
    made = write_raw(raw, {1: [f"{name}{number}" for name in ("Directions", "Discussion", "Greeting", "Posing")
                               for number in ("", " 1")], 9: ["Directions 1", "Greeting"]}, frames=frames)  # fmt: skip
    metadata = made.root / "metadata.xml"
    metadata.write_text(re.sub(r"\[10\d 101 102 103 4\d\d\]", f"[3 3 3 3 {4 * frames}]", metadata.read_text()))


def _ubc3v(raw: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kt3d_ubc3v.generate._TEST_SECTIONS", 1)
        _generate("ubc3v", raw, people=2, frames=1, test_postures=2)
    for number in range(2, _UBC3V_SECTIONS + 1):
        copy_tree(raw / "hard-pose/test/1", raw / f"hard-pose/test/{number}")


def _mpii(raw: Path) -> None:
    _generate("mpii", raw, people=24, frames=1)


def _itop(raw: Path) -> None:
    _generate("itop", raw, people=2, frames=12)


MAKERS: Mapping[str, Callable[[Path], None]] = {"h36m": _h36m, "itop": _itop, "mpii": _mpii, "ubc3v": _ubc3v}


def clean_shards(dataset: str, raw: Path, out: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kt3d_bench.data.plan._FEWEST_PER_SHARD", SMALLEST_SHARD)
        done = kt3d("prepare", dataset, "--raw", raw, "--out", out, "--workers", "1", *OPTIONS.get(dataset, ()))
    assert done.exit_code == 0, done.output
    return out


def copy_tree(source: Path, target: Path) -> None:
    """Hard links: files are replaced, never written into."""
    shutil.copytree(source, target, copy_function=os.link)


def kt3d(*words: str | Path | int) -> Result:
    """The real command line, in this process."""
    return CliRunner().invoke(main, [str(word) for word in words])


def refused(result: Result, file: Path | str, *texts: str, code: int = 1) -> str:
    """One sentence with file, cause and hint; the exit code; no traceback. Returns the sentence."""
    assert result.exit_code == code, (result.output, result.exception)
    assert "Traceback" not in result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith(f"Error: {file}"), lines[0]
    assert "; " in lines[0], f"no hint: {lines[0]}"
    for text in texts:
        assert text in lines[0], lines[0]
    return lines[0]


@dataclass(frozen=True)
class Bench:
    """One damaged copy of a stand-in, and the shards made from it."""

    dataset: str
    raw: Path
    out: Path
    clean: Path

    def prepare(self, *words: str | Path | int, workers: int = 1) -> Result:
        own = OPTIONS.get(self.dataset, ())
        return kt3d("prepare", self.dataset, "--raw", self.raw, "--out", self.out, "--workers", workers, *own, *words)

    def bytes_of(self, *patterns: str) -> dict[str, bytes]:
        """Name -> content of the files in the shards folder."""
        return contents(self.out, *patterns)

    def manifest(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.out / "manifest.json").read_bytes())
        return content

    def skipped(self, split: str) -> list[dict[str, str]]:
        """What the manifest says was skipped, less what the stand-in leaves out by default."""
        usual = json.loads((self.clean / "manifest.json").read_bytes())["splits"][split]["skipped"]
        return [one for one in self.manifest()["splits"][split]["skipped"] if one not in usual]

    def is_clean(self) -> bool:
        """Whether the folder holds the very bytes of a run without any damage."""
        return self.bytes_of() == contents(self.clean)


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for pattern in patterns or ("*",) for path in sorted(folder.glob(pattern))}


def replace(path: Path, content: bytes) -> Path:
    """Put other bytes at ``path``, without writing into what is linked elsewhere."""
    path.unlink()
    path.write_bytes(content)
    return path


def restore(path: Path, original: Path) -> None:
    """The file as it was."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    os.link(original, path)


def _reads_everything() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder, "locked")
        locked.touch(mode=0)
        return os.access(locked, os.R_OK)


READS_EVERYTHING = _reads_everything()
"""The superuser: no file is without permission then."""
Damage = Callable[[Path], object]


def _cut(share: float) -> Damage:
    return lambda path: replace(path, path.read_bytes()[: int(path.stat().st_size * share)])


def _folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


CUTS: Mapping[str, Damage] = {
    "cut in the header": lambda path: replace(path, path.read_bytes()[:20]),
    "cut in the middle": _cut(0.5),
    "without its last bytes": lambda path: replace(path, path.read_bytes()[:-12]),
    "empty": lambda path: replace(path, b""),
    "a web page": lambda path: replace(path, HTML),
}
"""Ways in which downloads go wrong, for any file."""
EVERY_WAY: Mapping[str, Damage] = {**CUTS, "a folder": _folder_instead}


def ways(damages: Mapping[str, Damage], *, less: Sequence[str] = ()) -> list[Any]:
    return [pytest.param(damage, id=name) for name, damage in damages.items() if name not in less]
