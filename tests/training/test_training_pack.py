"""A packed run: one file, accepted wherever a run is, and read with care."""

from __future__ import annotations

import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from training_workplace import Workplace

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import file_sha256
from kt3d_bench.packs import FACTS, RUN, WEIGHTS, read_facts
from kt3d_bench.run_folder import final_checkpoint, read_run, write_run
from kt3d_bench.training import checkpoint
from kt3d_bench.training.train import train


@pytest.fixture
def packed(workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    train(workplace.config(method="stageless", settings={}, name="mine"))
    monkeypatch.setenv("KT3D_CACHE", str(tmp_path / "cache"))
    return kt.pack("mine", tmp_path / "mine.kt3d", data=workplace.root)


def test_it_is_a_run_elsewhere(packed: Path, workplace: Workplace, tmp_path: Path) -> None:
    own = workplace.root / "runs" / "mine"
    elsewhere = kt.load_run(packed, data=tmp_path / "nowhere")
    assert elsewhere.finished
    assert elsewhere.folder.parents[1] == tmp_path / "cache" / "packs"
    assert elsewhere.name == "mine"
    content, other = (checkpoint.load(final_checkpoint(folder)) for folder in (own, elsewhere.folder))
    assert all(torch.equal(value, other["model"][name]) for name, value in content["model"].items())
    test = kt.load("dots-target", "test", data=workplace.root)
    np.testing.assert_array_equal(elsewhere.predict(test).joints_cam_mm, kt.load_run(own).predict(test).joints_cam_mm)
    assert kt.load_run(packed).folder == elsewhere.folder, "it is unpacked once"
    again = train(workplace.config(method="stageless", settings={}, name="again", init=str(packed)))
    assert read_run(again)["init"]["set"] == len(content["model"])


def test_it_says_what_it_is_and_names_no_place_of_the_machine(packed: Path, tmp_path: Path) -> None:
    facts = read_facts(packed)
    assert (facts["method"], facts["input_px"], facts["joints"][0]) == ("stageless", 8, "hip")
    assert facts["data"][0]["licence"] == "Do as you like."
    with zipfile.ZipFile(packed) as archive:
        assert str(tmp_path) not in archive.read(RUN).decode() + archive.read(FACTS).decode()
    before = packed.read_bytes()
    packed.unlink()
    kt.pack("mine", packed, data=tmp_path / "data")
    assert packed.read_bytes() == before


def test_a_name_that_is_no_utf8_is_packed_and_read_again(packed: Path, workplace: Workplace, tmp_path: Path) -> None:
    own = (workplace.root / "runs" / "mine").rename(workplace.root / "runs" / "mine\udcff")
    write_run(own, {**read_run(own), "command": f"train {own}"})
    elsewhere = kt.load_run(kt.pack(own, tmp_path / "odd\udcfe.kt3d", data=workplace.root), data=tmp_path / "nowhere")
    assert elsewhere.name == "odd\udcfe"
    assert elsewhere.document["command"] == shlex.join(["train", f"{workplace.root.name}/runs/{own.name}"])


def rewritten(path: Path, changes: dict[str, Any], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, one in content.items():
            if one is not None:
                archive.writestr(name, one)
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"../evil": b"x"}, "does not hold pack.json, run.yaml and final.pt alone"),
        ({WEIGHTS: None}, "does not hold pack.json, run.yaml and final.pt alone"),
        ({FACTS: b"{"}, "is not a packed run"),
        ({FACTS: b"[]"}, "pack format None, expected 1"),
        ({FACTS: b'{"format_version": 2}'}, "pack format 2, expected 1"),
        ({FACTS: bytes(5 << 20)}, "pack.json would unpack to 5242880 bytes"),
        ({WEIGHTS: b"other"}, "its weights are corrupt: their SHA-256 is another one"),
    ],
)
def test_what_is_no_sound_pack_is_refused(packed: Path, changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=message):
        kt.load_run(rewritten(packed, changes))
    assert not list((tmp_path / "cache").rglob("*.pt"))


def test_files_that_are_no_zip_and_compressed_ones_are_refused(packed: Path) -> None:
    with pytest.raises(ArtefactError, match="in it is compressed"):
        kt.load_run(rewritten(packed, {}, zipfile.ZIP_DEFLATED))
    packed.write_bytes(b"no zip")
    with pytest.raises(ArtefactError, match="is not a packed run"):
        kt.load_run(packed)


def test_a_flipped_byte_and_a_folder_that_is_a_file_are_told(packed: Path) -> None:
    with pytest.raises(ArtefactError, match=r"x\.kt3d: cannot be written"):
        kt.pack(kt.load_run(packed).folder, packed / "x.kt3d")
    packed = kt.pack(kt.load_run(packed).folder, packed.with_name("other.kt3d"))
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 1
    packed.write_bytes(content)
    with pytest.raises(ArtefactError, match="cannot be unpacked"):
        kt.load_run(packed)


def test_a_pickle_in_the_weights_is_not_executed(packed: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"format_version": 1, "model": Evil()}, tmp_path / "evil.pt")
    facts = {**read_facts(packed), "weights_sha256": file_sha256(tmp_path / "evil.pt")}
    changes = {WEIGHTS: (tmp_path / "evil.pt").read_bytes(), FACTS: json.dumps(facts).encode()}
    run = kt.load_run(rewritten(packed, changes))
    with pytest.raises(ArtefactError, match="this is not a checkpoint"):
        checkpoint.load(final_checkpoint(run.folder))
    assert not (tmp_path / "executed").exists()


def test_the_command_and_another_ending(packed: Path, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KT3D_DATA", str(workplace.root))
    text = CliRunner().invoke(main, ["pack", "mine", "--out", str(packed)]).output
    assert text.startswith(f"Packed: {packed} (0.0 MB)\nNext: kt3d predict {packed} photo.jpg")
    with pytest.raises(UsageError, match=r"a packed run ends in \.kt3d; name it x\.zip\.kt3d"):
        kt.pack("mine", packed.with_name("x.zip"))
