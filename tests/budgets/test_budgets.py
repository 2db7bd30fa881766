"""Small files that declare or unpack to gigabytes are refused with one sentence, in little time and memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
import torch
from kt3d_h36m.archives import tar_members
from kt3d_h36m.fetch import read_annotation
from kt3d_h36m.video import frames_rgb, spread_pictures
from kt3d_h36m.videopose import read_poses_mm

from kt3d_bench import budgets
from kt3d_bench.budgets import OverBudgetError, require_stored
from kt3d_bench.data.index import read_index
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.errors import ArtefactError, RawDataError
from kt3d_bench.leaderboard.entries import read_entry
from kt3d_bench.metrics.forms import read_prediction_file
from kt3d_bench.nn.weights import read_weights
from kt3d_bench.rawfiles import own_dataset
from kt3d_bench.schema import read_yaml
from kt3d_bench.training import checkpoint


def tar_header(kind: bytes, size: int) -> bytes:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = kind, size
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_tar_whose_name_declares_gigabytes_is_not_read(tmp_path: Path, kind: bytes) -> None:
    path = tmp_path / "Poses.tgz"
    path.write_bytes(gzip.compress(tar_header(kind, 3 << 30) + bytes(1 << 20)))
    with pytest.raises(RawDataError, match=rf"Poses\.tgz: is not read: a name in it would unpack to {3 << 30} "):
        list(tar_members(path))


def test_a_member_that_claims_exabytes_does_not_make_the_reader_wait_for_them(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a")
    info.size = (1 << 63) - 1
    path = tmp_path / "Poses.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(20_480))
    with pytest.raises(RawDataError, match=r"damaged or cut short \(EOFError: a member in it is longer than the file"):
        list(tar_members(path))


def test_long_names_that_are_possible_are_read(tmp_path: Path) -> None:
    for number, form in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        path = tmp_path / f"{number}.tar"
        with tarfile.open(path, "w", format=form) as tar:
            tar.addfile(tarfile.TarInfo("a" * 300), io.BytesIO())
        assert list(tar_members(path)) == ["a" * 300]


def test_a_tar_that_unpacks_to_far_more_than_it_is_is_not_read_on(tmp_path: Path) -> None:
    path = tmp_path / "Poses.tgz"
    info = tarfile.TarInfo("zeros")
    info.size = 200 << 20
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(200):
            file.write(bytes(1 << 20))
    with pytest.raises(RawDataError, match=r"is not read: \d+ bytes would unpack to \d+; download the archive again"):
        list(tar_members(path))


def test_a_dataset_in_a_huge_piece_is_refused_before_a_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "annot.h5"
    with h5py.File(path, "w") as file:
        for name in ("frame", "camera", "subject", "action", "subaction"):
            file[name] = np.ones(2, np.int64)
        file.create_dataset("pose/3d", (2, 32, 3), "f8", chunks=(1 << 20, 32, 3), maxshape=(None, 32, 3))
        file.create_dataset("pieces", (1 << 14, 1 << 14), "u1", chunks=(1, 1))
    size = (1 << 20) * 32 * 3 * 8
    with pytest.raises(
        RawDataError,
        match=rf"dataset /pose/3d cannot be read: a piece of it would unpack to {size} bytes, and at most ",
    ):
        read_annotation(path, (1, 1, 1))
    with h5py.File(path) as file, pytest.raises(RawDataError, match=rf"it lies in {1 << 28} pieces"):
        own_dataset(file, "pieces", path, "hint")


def test_archives_have_at_most_so_many_members_of_at_most_so_many_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            archive.writestr(str(number), bytes(10))
    with zipfile.ZipFile(path) as archive:
        assert len(budgets.zip_members(archive, 30)) == 3
        with pytest.raises(budgets.OverBudgetError, match=r"^it would unpack to 30 bytes, and at most 29 are read$"):
            budgets.zip_members(archive, 29)
        monkeypatch.setattr(budgets, "MOST_MEMBERS", 2)
        with pytest.raises(budgets.OverBudgetError, match=r"^it has 3 members, and at most 2 are read$"):
            budgets.zip_members(archive)


def signed(path: Path) -> Path:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    checkpoint.sidecar(path).write_text(f"{digest}  {path.name}\n")
    return path


def repacked(source: Path, target: Path, change: dict[str, bytes], method: int) -> Path:
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", method) as written:
        for one in archive.infolist():
            written.writestr(one.filename, change.get(Path(one.filename).name, archive.read(one)))
    return signed(target)


def test_a_compressed_checkpoint_is_refused_unread(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "good.pt", {"model": {"w": torch.zeros(1 << 20)}})
    bomb = repacked(tmp_path / "good.pt", tmp_path / "bomb.pt", {}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 1 << 17
    with pytest.raises(ArtefactError, match=r"bomb\.pt: this is not a checkpoint \(.* is compressed"):
        checkpoint.load(bomb)
    with pytest.raises(ArtefactError, match="is compressed"):
        read_weights(bomb)


def test_members_that_share_their_bytes_are_counted_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "shared.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", bytes(1000))
    with zipfile.ZipFile(path) as archive:
        require_stored(archive, path.stat().st_size)
        archive.infolist().append(archive.infolist()[0])
        with pytest.raises(OverBudgetError, match="its members together are larger than the file"):
            require_stored(archive, path.stat().st_size)


@pytest.mark.parametrize("pickled", [b"\x80\x02X\x01", b"\x80\x02}q\x00(", b"\x80\x02\x8c", b"\x80\x02h\x05.", b""])
def test_a_checkpoint_whose_pickle_is_cut_is_one_sentence(tmp_path: Path, pickled: bytes) -> None:
    checkpoint.save(tmp_path / "good.pt", {"model": {}})
    bad = repacked(tmp_path / "good.pt", tmp_path / "bad.pt", {"data.pkl": pickled}, zipfile.ZIP_STORED)
    with pytest.raises(ArtefactError, match=r"this is not a checkpoint \(\w+\); train again"):
        checkpoint.load(bad)


def test_a_playlist_is_no_video(tmp_path: Path) -> None:
    """FFmpeg would open the files that it names, whatever they are and wherever they lie."""
    with av.open(str(tmp_path / "real.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 64, 48
        for packet in stream.encode(av.VideoFrame(64, 48, "yuv420p")):
            container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    assert len(list(frames_rgb(tmp_path / "real.mp4", 1, 1, where="v", name="n"))) == 1
    playlist = tmp_path / "list.mp4"
    playlist.write_text("ffconcat version 1.0\nfile 'real.mp4'\n")
    with pytest.raises(RawDataError, match=re.escape("cannot be decoded after frame 0 of 1")):
        list(frames_rgb(playlist, 1, 1, where="v", name="n"))
    assert list(spread_pictures(playlist, 2)) == []


def test_a_video_of_huge_frames_is_refused_before_one_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 4112, 16
        for packet in [*stream.encode(av.VideoFrame(4112, 16, "yuv420p")), *stream.encode()]:
            container.mux(packet)
    with pytest.raises(RawDataError, match="v: claims frames of 4112 x 16 pixels"):
        list(frames_rgb(path, 1, 1, where="v", name="n"))
    assert list(spread_pictures(path, 2)) == []


def test_only_files_of_bounded_size_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(10))
    assert budgets.read_whole(path, 10) == bytes(10)
    with pytest.raises(OverBudgetError, match="it is larger than 9 bytes"):
        budgets.read_whole(path, 9)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        with pytest.raises(OverBudgetError, match="it is no regular file"):
            budgets.read_whole(tmp_path / name)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"[" + b"[]," * 6_000_000 + b"[]]", "it holds some 12000002 values, and at most 10000000 are read"),
        (b"[" * 100_000, "it nests too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    ],
    ids=["wide", "deep", "long"],
)
def test_json_is_limited_by_what_it_holds(document: bytes, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MOST_VALUES", 10_000_000)
    with pytest.raises(ValueError, match=reason):
        budgets.json_value(document)


@pytest.mark.parametrize("name", ["manifest.json", "entry.json", "run.yaml", "a.index.npz", "p.json"])
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    readers: dict[str, Callable[[Path], object]] = {
        "manifest.json": lambda path: read_manifest(path.parent), "entry.json": read_entry, "a.index.npz": read_index,
        "run.yaml": lambda path: read_yaml(path, error=ArtefactError, hint="h"), "p.json": read_prediction_file,
    }  # fmt: skip
    with pytest.raises(ArtefactError, match=r"no regular file|no such prediction file"):
        readers[name](tmp_path / name)


@pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_member_that_cannot_be_unpacked_is_one_sentence(tmp_path: Path, how: int) -> None:
    path = tmp_path / "p.npz"
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("keys.npy", bytes(1000))
    content = bytearray(path.read_bytes())
    content[40:60] = b"\xff" * 20
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"p\.npz: is not a readable \.npz file"):
        read_prediction_file(path)
    with pytest.raises(RawDataError, match=r"p\.npz: is damaged or cut short"):
        read_poses_mm(path, "keys.npy")
