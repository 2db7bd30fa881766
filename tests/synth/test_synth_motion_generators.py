"""Every dataset's generator moves its people by a folder of recorded motions."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from synth_motion_files import walker, write_acclaim, write_bvh

from kt3d_bench.cli import main
from kt3d_bench.errors import RawDataError
from kt3d_bench.standins import MARKER

SMALL: dict[str, dict[str, Any]] = {
    "kt3d_h36m": {"people": 2, "frames": 2, "actions": 1, "takes": 1, "frame_px": 64, "long_clip": False},
    "kt3d_ubc3v": {"people": 1, "frames": 4, "test_postures": 2},
    "kt3d_mpii": {"people": 6, "frames": 1},
    "kt3d_itop": {"people": 2, "frames": 3},
}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("package", SMALL)
def test_a_folder_of_motions_moves_the_people(tmp_path: Path, package: str) -> None:
    generate = importlib.import_module(f"{package}.generate").generate
    motions = tmp_path / "motions"
    motions.mkdir()
    write_bvh(motions / "a.bvh", walker(40, seed=1))
    write_acclaim(motions, walker(40, seed=2))
    (motions / "damaged.bvh").touch()
    made = {}
    for name, motion in (("drawn", None), ("one", motions), ("again", motions)):
        generate(tmp_path / name, **SMALL[package], seed=3, workers=1, motion=motion)
        made[name] = files(tmp_path / name)
    assert made["one"] == made["again"]
    assert not [name for name in made["one"] if name.endswith(".part")]
    images = [name for name in made["one"] if name != MARKER and made["drawn"].get(name) != made["one"][name]]
    assert images, "the people stand as they would without the motions"
    first, drawn = (json.loads(made[name][MARKER]) for name in ("one", "drawn"))
    assert first["motion"] == "motions"
    assert drawn.get("motion") is None
    (motions / "b.bvh").write_bytes((motions / "a.bvh").read_bytes())
    generate(tmp_path / "one", **SMALL[package], seed=3, workers=1, motion=motions)
    assert json.loads((tmp_path / "one" / MARKER).read_bytes())["motion_digest"] != first["motion_digest"]


@pytest.mark.parametrize("package", SMALL)
def test_useless_motions_are_said_before_anything_is_changed(tmp_path: Path, package: str) -> None:
    generate = importlib.import_module(f"{package}.generate").generate
    (tmp_path / "motions").mkdir()
    (tmp_path / "motions" / "damaged.bvh").touch()
    with pytest.raises(RawDataError, match=r"none of the motions can be used: damaged\.bvh: expected 'HIERARCHY'"):
        generate(tmp_path / "out", **SMALL[package], seed=3, workers=1, motion=tmp_path / "motions")
    assert [path.name for path in tmp_path.iterdir()] == ["motions"]


def test_the_command_line_takes_a_folder_and_says_what_it_skips(tmp_path: Path) -> None:
    write_bvh(tmp_path / "a.bvh", walker(40))
    (tmp_path / "damaged.bvh").touch()
    out = tmp_path / "out"
    words = ["generate", "mpii", "--people", "2", "--frames", "1", "--workers", "1", "--out", str(out)]
    done = CliRunner().invoke(main, [*words, "--motion", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"1 motion, 0.7 s, from {tmp_path}" in done.output
    assert "skipped damaged.bvh: expected 'HIERARCHY', found the end of the file" in done.output
    assert (out / MARKER).is_file()
    none = CliRunner().invoke(
        main, ["generate", "mpii", "--out", str(tmp_path / "x"), "--motion", str(tmp_path / "no")]
    )
    assert none.exit_code == 2
    assert "there is no such file or folder" in none.output
