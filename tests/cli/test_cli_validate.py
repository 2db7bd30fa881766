"""``kt3d validate``: what it prints, what it exits with, and that its command repairs what it names."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kt3d_bench.cli import main
from kt3d_bench.data.prepare import prepare
from kt3d_bench.plugins import registry


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a tiny prepared stand-in."""
    root = tmp_path_factory.mktemp("data root")
    plugin = registry.dataset("mpii")
    registry.load_function(plugin.generate, "generate")(
        root / "raw" / "mpii", people=8, frames=1, seed=2, motion=None, device="cpu", workers=1,
        progress=lambda done, total: None,
    )  # fmt: skip
    prepare(plugin, raw=root / "raw" / "mpii", out=root / "shards" / "mpii", workers=1)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data root"))


def kt3d(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def flip_in_the_middle(path: Path) -> bytes:
    """Changes one byte, returns what was there."""
    good = path.read_bytes()
    at = len(good) // 2
    path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
    return good


def test_sound_shards(root: Path) -> None:
    result = kt3d("validate", root / "shards" / "mpii")
    assert result.exit_code == 0, result.output
    row = next(line for line in result.output.splitlines() if "every image decodes" in line)
    assert "6 of 6" in row
    assert (
        "6 samples of mpii (generated stand-in data; train): all files and labels, the images of all" in result.output
    )
    assert "Nothing is wrong in what was checked." in result.output
    unchecked = result.output.partition("What could not be checked:\n")[2]
    assert unchecked.startswith("  clips fit (train): the shards hold no depth, parts or foreground, so that")
    assert result.output.splitlines()[-1].startswith("Next: kt3d inspect ")
    assert "WRONG" not in result.output


def test_what_is_wrong_is_named_and_the_printed_command_repairs_it(root: Path) -> None:
    shards = root / "shards" / "mpii"
    tar = shards / "train-000000.tar"
    good = flip_in_the_middle(tar)
    result = kt3d("validate", shards)
    assert result.exit_code == 1
    assert "train train-000000.tar: the tar was changed" in result.output
    row = next(line for line in result.output.splitlines() if "SHA-256 of every tar" in line)
    assert "0 of 1" in row
    assert "WRONG" in row
    lines = result.output.splitlines()
    removal, _, command = lines[lines.index("To repair it:") + 1].partition(" && ")
    assert shlex.split(removal) == ["rm", str(tar)]
    tar.unlink()
    words = shlex.split(command)
    assert words[:2] == ["kt3d", "prepare"]
    assert kt3d(*words[1:], "--workers", "1").exit_code == 0
    assert tar.read_bytes() == good
    assert kt3d("validate", shards).exit_code == 0


def test_the_raw_folder_is_repeated_as_typed(root: Path) -> None:
    (root / "shards" / "mpii" / "train-000000.tar").unlink()
    result = kt3d("validate", root / "shards" / "mpii", "--raw", "elsewhere/my download")
    shards = shlex.quote(str(root / "shards" / "mpii"))
    assert f"kt3d prepare mpii --raw 'elsewhere/my download' --out {shards}" in result.output
    assert result.exit_code == 1


def test_json_says_the_same(root: Path) -> None:
    shards = root / "shards" / "mpii"
    sound = json.loads(kt3d("validate", shards, "--json").stdout)
    assert sound["sound"] is True
    assert {check["check"] for check in sound["checks"]} >= {"digest", "images", "box"}
    flip_in_the_middle(shards / "train-000000.tar")
    result = kt3d("validate", shards, "--json")
    assert result.exit_code == 1
    content: dict[str, Any] = json.loads(result.stdout)
    (digest,) = (check for check in content["checks"] if check["check"] == "digest")
    assert (digest["tested"], digest["failed"]) == (1, 1)
    assert digest["findings"][0]["shard"] == "train-000000.tar"
    assert content["repairs"][0].startswith("rm ")


def test_a_damaged_manifest_is_named(root: Path) -> None:
    (root / "shards" / "mpii" / "manifest.json").write_text("{")
    result = kt3d("validate", root / "shards" / "mpii")
    assert result.exit_code == 1
    assert "manifest.json: the manifest cannot be read" in result.stderr
    assert "run the same kt3d prepare command again" in result.stderr


def test_what_is_not_there_is_said(root: Path) -> None:
    result = kt3d("validate", root / "shards" / "mpii", "--split", "tran")
    assert (result.exit_code, "did you mean 'train'?" in result.stderr) == (2, True)
    result = kt3d("validate", root / "nothing")
    assert (result.exit_code, "the shards are missing" in result.stderr) == (1, True)
