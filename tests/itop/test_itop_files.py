"""Finding, unpacking and checking the files: an error names the file, what was found, and what to do next."""

from __future__ import annotations

import errno
import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import kt3d_itop
import numpy as np
import pytest
from click.testing import CliRunner
from itop_handmade import frames, write
from kt3d_itop import convert, unpack

from kt3d_bench.cli import main
from kt3d_bench.data.prepare import prepare
from kt3d_bench.errors import MissingDataError, RawDataError
from kt3d_bench.records import Sample

(PLUGIN,) = kt3d_itop.kt3d_datasets()


def samples(raw: Path, split: str = "front-test") -> list[Sample]:
    found = [result for item in convert.plan(raw, split, {}) for result in convert.convert(item)]
    return [one for one in found if isinstance(one, Sample)]


def error_of(raw: Path, split: str = "front-test") -> str:
    with pytest.raises(RawDataError) as caught:
        convert.plan(raw, split, {})
    return caught.value.message


def test_what_is_missing_is_named_exactly(tmp_path: Path) -> None:
    assert "is not a folder" in error_of(tmp_path / "nowhere")
    assert "kt3d generate itop" in error_of(tmp_path / "nowhere")
    with pytest.raises(MissingDataError) as caught:
        convert.plan(tmp_path, "top-train", {})
    message = caught.value.message
    assert "ITOP_top_train_depth_map.h5 and ITOP_top_train_labels.h5 (or .h5.gz) are missing, found nothing" in message
    assert "zenodo.org/records/3932973" in message
    paths = write(tmp_path, frames(1))
    with pytest.raises(MissingDataError, match=r"found ITOP_side_test_depth_map\.h5, ITOP_side_test_labels\.h5"):
        convert.plan(tmp_path, "front-train", {})
    paths["labels"].unlink()
    with pytest.raises(RawDataError, match=r"ITOP_side_test_labels.h5 \(or .h5.gz\) is missing, its partner") as one:
        convert.plan(tmp_path, "front-test", {})
    assert not isinstance(one.value, MissingDataError)


def test_unpacked_files_win_and_one_folder_further_down_will_do(tmp_path: Path) -> None:
    write(tmp_path / "raw" / "download", frames(2, start=10), packed=True)
    assert [one.frame for one in samples(tmp_path / "raw")] == [10, 11]
    write(tmp_path / "raw" / "plain", frames(1, start=77))
    assert [one.frame for one in samples(tmp_path / "raw")] == [77]


def shard_bytes(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.tar"))]


def test_packed_and_unpacked_files_give_the_same_bytes(tmp_path: Path) -> None:
    contents = frames(5)
    write(tmp_path / "plain", contents)
    write(tmp_path / "packed", contents, packed=True)
    for name, workers in (("plain", 1), ("packed", 1), ("packed", 2)):
        prepare(PLUGIN, raw=tmp_path / name, out=tmp_path / f"{name}{workers}", splits=["front-test"], workers=workers,
                samples_per_shard=2)  # fmt: skip
    assert shard_bytes(tmp_path / "plain1") == shard_bytes(tmp_path / "packed1") == shard_bytes(tmp_path / "packed2")
    assert shard_bytes(tmp_path / "plain1")


def test_files_are_told_by_content_and_names_have_any_capitals(tmp_path: Path) -> None:
    """A browser unpacked the download and kept its name, or packed bytes lost their ending."""
    paths = write(tmp_path / "plain", frames(2))
    expected = samples(tmp_path / "plain")
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "itop_side_test_depth_map.h5.gz").write_bytes(paths["depth_map"].read_bytes())
    (odd / "ITOP_side_test_labels.H5").write_bytes(gzip.compress(paths["labels"].read_bytes()))
    assert "packed" not in " ".join(convert.describe(odd)[:1]) or unpack.unpacked_copy(odd / "ITOP_side_test_labels.H5")
    found = samples(odd)
    assert [one.key for one in found] == [one.key for one in expected]
    assert all(np.array_equal(one.depth_mm, other.depth_mm) for one, other in zip(found, expected, strict=True))
    (odd / "ITOP_side_test_labels.H5").rename(odd / "ITOP_side_test_labels (1).h5")
    assert "its partner is there, but near it is ITOP_side_test_labels (1).h5; download" in error_of(odd)


def test_a_copy_is_made_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    source = write(tmp_path, frames(1), packed=True)["labels"]
    copy = unpack.plain_file(source)
    assert copy.parent == tmp_path / unpack.FOLDER
    assert copy.read_bytes() == gzip.decompress(source.read_bytes())
    stamp = copy.stat().st_mtime_ns
    assert unpack.plain_file(source) == copy
    assert copy.stat().st_mtime_ns == stamp
    assert unpack.unpacked_copy(source) == copy
    write(tmp_path, frames(2), packed=True)
    assert unpack.unpacked_copy(source) is None
    other = unpack.plain_file(source)
    assert [path.name for path in other.parent.iterdir()] == [other.name], "the copy of the older file is gone"
    (tmp_path / "plain.h5").write_bytes(b"plain")
    assert unpack.plain_file(tmp_path / "plain.h5") == tmp_path / "plain.h5"


def test_processes_that_unpack_at_once_make_one_copy(tmp_path: Path) -> None:
    source = write(tmp_path, frames(3), packed=True)["depth_map"]
    script = (
        "import sys; from pathlib import Path; from kt3d_itop.unpack import plain_file; "
        "print(plain_file(Path(sys.argv[1])))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script, str(source)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    printed = {process.communicate(timeout=60)[0].strip() for process in started}
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(printed) == 1
    assert [str(path) for path in (tmp_path / unpack.FOLDER).iterdir()] == list(printed)


def test_a_place_that_cannot_be_written_is_left_for_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path / "raw", frames(1), packed=True)["labels"]
    (tmp_path / "raw" / unpack.FOLDER).write_bytes(b"in the way")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    copy = unpack.plain_file(source)
    assert copy.parent == tmp_path / f"{unpack.FOLDER}-{os.getuid()}"
    assert copy.parent.stat().st_mode & 0o077 == 0
    assert unpack.plain_file(source) == copy


def test_a_folder_that_somebody_else_left_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "raw", frames(1), packed=True)["labels"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "raw" / unpack.FOLDER).symlink_to(tmp_path / "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    unpack.plain_file(source)
    assert not list((tmp_path / "elsewhere").iterdir())


class _Usage(NamedTuple):
    free: int


def test_room_is_asked_for_before_and_watched_while_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, frames(1), packed=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(unpack.shutil, "disk_usage", lambda _: _Usage(1000))
        message = error_of(tmp_path)
        assert "needs 0.0 GB to be unpacked, but" in message
        assert "kt3d-unpacked has 0.0 GB and" in message
        assert "set TMPDIR" in message

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(unpack.os, "write", full)
        assert "cannot be unpacked to" in (message := error_of(tmp_path))
        assert "the disk is full" in message
    assert not list((tmp_path / unpack.FOLDER).iterdir())
    assert len(samples(tmp_path)) == 1
    assert paths["labels"].is_file()


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    return data[:-8] + bytes(255 - byte for byte in data[-8:-4]) + data[-4:]


def declare(size: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        plain = gzip.decompress(data)
        return gzip.compress(plain[:40] + size.to_bytes(8, "little") + plain[48:], 1)

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut, "is damaged or cut short (EOFError: "),
        (flip, "is damaged or cut short (BadGzipFile: CRC check failed"),
        (lambda data: b"", "holds no HDF5 file"),
        (lambda data: b"no gzip", "holds no HDF5 file"),
        (lambda data: gzip.compress(b"no HDF5" * 100), "holds no HDF5 file"),
        (gzip.compress, "is packed twice; unpack it once with gunzip, or download it again"),
        (lambda data: gzip.compress(gzip.decompress(data)[:-500]), "its HDF5 header declares"),
        (declare(300 << 40), f"declares to unpack to {300 << 40} bytes, no official file has more than"),
        (lambda data: gzip.compress(gzip.decompress(data) + bytes(64 << 20)), "unpacks to more than the"),
    ],
)
def test_damaged_and_hostile_archives(tmp_path: Path, damage: Callable[[bytes], bytes], words: str) -> None:
    path = write(tmp_path, frames(1), packed=True)["labels"]
    path.write_bytes(damage(path.read_bytes()))
    message = error_of(tmp_path)
    assert words in message
    assert str(path) in message
    assert "download " in message
    folder = tmp_path / unpack.FOLDER
    assert not folder.exists() or not list(folder.iterdir()), "nothing half-written stays"


def test_a_bomb_is_stopped_at_what_its_header_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, frames(1), packed=True)["labels"]
    plain = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(plain + bytes(200 << 20)))
    written = []
    real_write = os.write
    monkeypatch.setattr(unpack.os, "write", lambda file, data: written.append(len(data)) or real_write(file, data))
    assert "unpacks to more than" in error_of(tmp_path)
    assert sum(written) <= len(plain)


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        change(file)


def replace(name: str, **storage: Any) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **storage)

    return change


def link_outside(file: h5py.File) -> None:
    del file["segmentation"]
    file["segmentation"] = h5py.ExternalLink("other.h5", "segmentation")


def make_virtual(file: h5py.File) -> None:
    del file["segmentation"]
    layout = h5py.VirtualLayout((2, 240, 320), np.int8)
    layout[:] = h5py.VirtualSource("other.h5", "segmentation", (2, 240, 320))
    file.create_virtual_dataset("segmentation", layout)


@pytest.mark.parametrize(
    ("kind", "change", "words"),
    [
        ("depth_map", replace("data", data=np.zeros((2, 240, 320), np.float32)),
         "'data' is float32 (2, 240, 320), expected float16 (n, 240, 320)"),
        ("depth_map", replace("data", data=np.zeros((2, 320, 240), np.float16)), "expected float16 (n, 240, 320)"),
        ("labels", replace("segmentation", data=np.zeros((2, 240, 320), np.int16)), "expected int8 (n, 240, 320)"),
        ("labels", replace("is_valid", data=np.ones((2, 1), np.uint8)), "expected whole numbers (n,)"),
        ("labels", replace("is_valid", data=np.ones(2)), "'is_valid' is float64 (2,), expected whole numbers (n,)"),
        ("labels", replace("visible_joints", data=np.ones((2, 17), np.int16)), "expected whole numbers (n, 15)"),
        ("labels", replace("id", data=np.ones(2)), "'id' is float64 (2,), expected byte strings (n,)"),
        ("labels", replace("id", data=np.zeros((2, 70), np.uint8)), "expected byte strings (n,)"),
        ("labels", replace("id", data=3), "expected byte strings (n,)"),
        ("labels", replace("is_valid", data=np.ones(3, np.uint8)), "different numbers of frames: id 2, is_valid 3"),
        ("labels", lambda file: file.__delitem__("segmentation"), "no dataset 'segmentation' of its own (found: id"),
        ("labels", link_outside, "no dataset 'segmentation' of its own"),
        ("labels", make_virtual, "no dataset 'segmentation' of its own"),
        ("labels", replace("segmentation", shape=(2, 240, 320), dtype=np.int8, external=[("x.bin", 0, 2 * 76800)]),
         "no dataset 'segmentation' of its own"),
        ("depth_map", replace("data", shape=(1 << 31, 240, 320), dtype=np.float16, chunks=(1, 240, 320)),
         "its dataset /data cannot be read: it lies in 2147483648 pieces"),
        ("depth_map", replace("data", shape=(9000, 240, 320), dtype=np.float16, chunks=(9000, 240, 320)),
         "its dataset /data cannot be read: a piece of it would unpack to 1382400000 bytes, and at most 536870912 are"),
        ("labels", replace("id", data=np.array(["00_00050", "0_51"], "S8")), "id 1 is '0_51', expected PP_FFFFF"),
        ("labels", replace("id", data=np.array(["00_00050", "00_00050"], "S8")), "ids 0 and 1 are both '00_00050'"),
        ("labels", replace("id", data=np.array(["00_00050", "00_00052"], "S8")),
         "the ids differ from those of ITOP_side_test_labels.h5: number 1 is 00_00051 here and 00_00052 there"),
    ],
)  # fmt: skip
def test_files_that_are_not_as_the_format_has_them(
    tmp_path: Path, kind: str, change: Callable[[h5py.File], None], words: str
) -> None:
    paths = write(tmp_path, frames(2))
    edit(paths[kind], change)
    message = error_of(tmp_path)
    assert words in message
    assert "ITOP_side_test_" in message
    assert "; " in message, "no hint"


def test_fewer_labels_than_frames(tmp_path: Path) -> None:
    write(tmp_path, frames(3))
    write(tmp_path, {"labels": frames(2)["labels"]})
    assert "holds 3 frames, but ITOP_side_test_labels.h5 2" in error_of(tmp_path)
    write(tmp_path, {kind: {name: values[:0] for name, values in one.items()} for kind, one in frames(1).items()})
    assert "holds no frames" in error_of(tmp_path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, frames(2))["depth_map"]
    path.write_bytes(path.read_bytes()[:-1000])
    message = error_of(tmp_path)
    assert f"{path}: is damaged or cut short" in message
    assert "truncated file" in message
    path.write_bytes(b"no HDF5")
    assert "holds no HDF5 file" in error_of(tmp_path)


def test_damage_inside_stops_its_item_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convert, "ROWS_PER_ITEM", 2)
    path = write(tmp_path / "raw", frames(4), chunks=(1, 240, 320), compression="gzip")["depth_map"]
    with h5py.File(path, "r") as file:
        chunk = file["data"].id.get_chunk_info(3)
    with path.open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\0" * chunk.size)
    manifest = prepare(PLUGIN, raw=tmp_path / "raw", out=tmp_path / "out", splits=["front-test"], workers=1)
    split = manifest.splits["front-test"]
    assert split.samples == 2
    (skipped,) = split.skipped
    assert skipped.name == "front_test_rows_00002"
    assert "is damaged or cut short" in skipped.reason
    assert skipped.where == "ITOP_side_test_depth_map.h5"


def test_inspect_says_what_is_here(tmp_path: Path) -> None:
    contents = frames(4)
    contents["labels"]["is_valid"][:1] = 0
    write(tmp_path, contents)
    write(tmp_path, frames(2), split="train")
    write(tmp_path, frames(1, "top"), view="top", packed=True)
    lines = "\n".join(convert.describe(tmp_path))
    assert "front-test: 4 frames of 1 people, 3 of them valid (ITOP_side_test_depth_map.h5, ITOP_side" in lines
    assert "top-test: ITOP_top_test_depth_map.h5.gz, ITOP_top_test_labels.h5.gz, packed" in lines
    assert "view top, split 'top-train' cannot be prepared" in lines
    assert "front: train and test both use the person numbers 00" in lines
    assert not (tmp_path / unpack.FOLDER).exists()
    samples(tmp_path, "top-test")
    assert "top-test: 1 frames of 1 people, 1 of them valid" in "\n".join(convert.describe(tmp_path))
    with pytest.raises(RawDataError, match="is not a folder"):
        convert.describe(tmp_path / "nowhere")


def test_inspect_unpacks_nothing_large(tmp_path: Path) -> None:
    for path in write(tmp_path, frames(2), packed=True).values():
        content = bytearray(gzip.decompress(path.read_bytes()))
        content[40:48] = (5_000_000_000 if "depth" in path.name else 400_000_000).to_bytes(8, "little")
        path.write_bytes(gzip.compress(content))
    result = CliRunner().invoke(main, ["inspect", str(tmp_path)])
    assert result.exit_code == 0
    (said,) = [line for line in result.output.splitlines() if "split 'front-test'" in line]
    assert "view front, split 'front-test': about 32552 frames; how many of them are valid is known once" in said
    assert said.endswith("ITOP_side_test_depth_map.h5.gz and ITOP_side_test_labels.h5.gz, which takes 5.4 GB")
    assert "Disk and time are not known" not in result.output
    assert f"Next: kt3d prepare itop --raw {tmp_path} --split front-test" in result.output
    assert not (tmp_path / unpack.FOLDER).exists()
