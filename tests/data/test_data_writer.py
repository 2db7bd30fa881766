"""One shard: its bytes, its index, and what is left when writing fails."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_fake_dataset import sample

from kt3d_bench.data import writer as writer_module
from kt3d_bench.data.format import FIELDS, encode
from kt3d_bench.data.index import Labels, encode_index, index_path, read_index
from kt3d_bench.data.writer import ShardWriter
from kt3d_bench.errors import ArtefactError, PluginError
from kt3d_bench.records import Skipped


def write(path: Path, seeds: range = range(4)) -> ShardWriter:
    with ShardWriter(path, configuration="c") as writer:
        writer.start_item("first")
        for seed in seeds:
            writer.write(sample(f"k{seed}", seed))
        writer.skip(Skipped("k9", "no person"))
    return writer


def test_bytes_repeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    write(tmp_path / "one/train-000000.tar")
    monkeypatch.setattr("time.time", lambda: 4e9)
    write(tmp_path / "two/train-000000.tar")
    for name in ("train-000000.tar", "train-000000.index.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_tar_is_plain(tmp_path: Path) -> None:
    path = tmp_path / "train-000000.tar"
    write(path)
    with tarfile.open(path, "r:") as tar:
        members = tar.getmembers()
    assert [member.name for member in members[:4]] == [
        "k0.depth.png", "k0.parts.png", "k0.rgb.jpg", "k0.sample.json",
    ]  # fmt: skip
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "kt3d", "kt3d", 0o444)}
    with zipfile.ZipFile(index_path(path)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_webdataset_reads_what_the_index_points_at(tmp_path: Path) -> None:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    path = tmp_path / "train-000000.tar"
    index = write(path).index
    assert index is not None
    data = path.read_bytes()
    with path.open("rb") as stream:
        read = list(group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}])))
    assert [one["__key__"] for one in read] == index.keys.tolist() == ["k0", "k1", "k2", "k3"]
    for number, one in enumerate(read):
        expected = encode(sample(f"k{number}", number))
        for name in index.offsets:
            field = FIELDS[name]
            start, size = index.offsets[name][number], index.sizes[name][number]
            assert one[field.extension] == expected[field.extension] == data[start : start + size]


def test_numpy_alone_reads_the_index(tmp_path: Path) -> None:
    path = tmp_path / "train-000000.tar"
    write(path)
    with np.load(index_path(path), allow_pickle=False) as arrays:
        assert arrays["keys"].tolist() == ["k0", "k1", "k2", "k3"]
        assert str(arrays["tar_sha256"]) == hashlib.sha256(path.read_bytes()).hexdigest()
        np.testing.assert_array_equal(arrays["label.joints_cam_mm"][2], sample("k2", 2).joints_cam_mm)


def test_the_index_survives_the_circle(tmp_path: Path) -> None:
    path = tmp_path / "train-000000.tar"
    written = write(path).index
    assert written is not None
    read = read_index(index_path(path))
    assert encode_index(read) == encode_index(written) == index_path(path).read_bytes()
    assert read.skipped == (Skipped("k9", "no person"),)
    assert read.items == ("first",)
    assert (read.configuration, read.tar_size, len(read)) == ("c", path.stat().st_size, 4)
    assert read.labels.frame.tolist() == [0, 1, 2, 3]
    assert read.labels.take([2, 0]).frame.tolist() == [2, 0]
    assert read.labels.take(read.labels.frame > 1).action.tolist() == ["", "walk"]


def test_2d_labels_become_nan() -> None:
    import dataclasses

    flat = dataclasses.replace(sample("k", 0), joints_cam_mm=None)
    labels = Labels.of([flat, sample("m", 1)])
    assert np.isnan(labels.joints_cam_mm[0]).all()
    assert np.isfinite(labels.joints_cam_mm[1]).all()


def _fail(path: Path, error: type[BaseException]) -> None:
    with ShardWriter(path) as writer:
        writer.write(sample("k", 0))
        raise error


def test_a_failed_shard_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _fail(tmp_path / "train-000000.tar", KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_shard_leaves_its_predecessor(tmp_path: Path) -> None:
    path = tmp_path / "train-000000.tar"
    write(path)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    with pytest.raises(RuntimeError):
        _fail(path, RuntimeError)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


def test_a_shard_of_skipped_samples_is_an_index_without_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "train-000000.tar"
    with ShardWriter(path) as writer:
        writer.skip(Skipped("a", "blank"))
    assert [one.name for one in tmp_path.iterdir()] == ["train-000000.index.npz"]
    index = read_index(index_path(path))
    assert (len(index), index.skipped) == (0, (Skipped("a", "blank"),))


def test_samples_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    def second(offending: object) -> None:
        with ShardWriter(tmp_path / "train-000000.tar") as writer:
            writer.start_item("i1")
            writer.write(sample("k", 0))
            writer.start_item("i2")
            writer.write(offending)  # type: ignore[arg-type]

    with pytest.raises(PluginError, match="key k is produced by items i1 and i2; keys must be unique"):
        second(sample("k", 1))
    with pytest.raises(PluginError, match="item i2: sample m holds rgb but those before it hold rgb, depth_mm, parts"):
        second(sample("m", 1, images=("rgb",)))
    with pytest.raises(PluginError, match=r"sample m has tangential factor 1\.0, those before it 2\.0"):
        second(sample("m", 1, tangential_factor=1.0))
    with pytest.raises(PluginError, match=r"item i2: a sample cannot be stored \(sample m: a stored image"):
        second(sample("m", 1, size_px=(4000, 1)))


def test_a_damaged_index_is_one_error_whatever_the_damage(tmp_path: Path) -> None:
    path = index_path(tmp_path / "train-000000.tar")
    write(tmp_path / "train-000000.tar", range(2))
    data = path.read_bytes()
    refused = 0
    for at in range(0, len(data), 23):
        damaged = bytearray(data)
        damaged[at] ^= 0x41
        path.write_bytes(damaged)
        try:
            read_index(path)
        except ArtefactError:
            refused += 1
    assert refused > 50
    for length in range(0, len(data), 501):
        path.write_bytes(data[:length])
        with pytest.raises(ArtefactError, match="the index is corrupt"):
            read_index(path)
    path.unlink()
    with pytest.raises(ArtefactError, match="index of this shard is missing; run the same kt3d prepare command again"):
        read_index(path)


def _npy(header: str, content: bytes = b"") -> bytes:
    """An array file of this very header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


@pytest.mark.parametrize(
    "keys",
    [
        _npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,\n\0"),
        _npy("{'descr': '<U1', 'fortran_order': False, 'shape': " + "(" * 5000),
        _npy("{'descr': ('<U1', -1), 'fortran_order': False, 'shape': (1,)}\n", b"a\0\0\0"),
        _npy("{'descr': '>U1', 'fortran_order': False, 'shape': (1,)}\n", b"\0\0\0a"),
        _npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}\n", b"\0\0\x11\0"),
        _npy("{'descr': '<U1', 'fortran_order': False, 'shape': (1,)}\n", b"\0\xd8\0\0"),
    ],
    ids=["cut off", "endless brackets", "other header", "byte order", "beyond Unicode", "half a character"],
)
def test_an_array_that_numpy_stumbles_over_is_one_sentence(tmp_path: Path, keys: bytes) -> None:
    path = index_path(tmp_path / "train-000000.tar")
    write(tmp_path / "train-000000.tar", range(1))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, "keys.npy": keys}.items():
            archive.writestr(name, data)
    with pytest.raises(ArtefactError, match="the index is corrupt") as caught:
        read_index(path)
    assert caught.value.where == str(path)
    assert "\n" not in caught.value.message


def _rewritten(data: bytes, **changes: np.ndarray) -> bytes:
    arrays = dict(np.load(io.BytesIO(data), allow_pickle=False))
    buffer = io.BytesIO()
    np.savez(buffer, **{**arrays, **changes})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("format_version", np.array(99), "format version 99, this kt3d reads 1; prepare the shards again"),
        ("keys", np.array(["a"]), "corrupt"),
        ("label.frame", np.zeros(2, np.float64), "label.frame is float64"),
        ("label.visible", np.zeros((2, 16), np.int8), "label.visible is int8"),
        ("offset.labels", np.array([0, 10**9]), "members of labels lie outside the tar"),
        ("size.rgb", np.array([1, -1]), "members of rgb lie outside the tar"),
        ("item_of", np.array([0, 4]), "item_of points outside items"),
        ("fields", np.array(["rgb", "smell"]), "corrupt"),
        ("skipped_reason", np.array([], np.str_), "corrupt"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, name: str, value: np.ndarray, message: str) -> None:
    path = index_path(tmp_path / "train-000000.tar")
    write(tmp_path / "train-000000.tar", range(2))
    path.write_bytes(_rewritten(path.read_bytes(), **{name: value}))
    with pytest.raises(ArtefactError, match=message):
        read_index(path)


def test_an_index_with_objects_or_compression_is_refused(tmp_path: Path) -> None:
    path = index_path(tmp_path / "train-000000.tar")
    write(tmp_path / "train-000000.tar", range(2))
    good = path.read_bytes()
    buffer = io.BytesIO()
    np.savez(buffer, keys=np.array([{}], dtype=object))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ArtefactError, match="an array is not plain"):
        read_index(path)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(np.load(io.BytesIO(good))))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ArtefactError, match="is not stored plainly"):
        read_index(path)


def test_members_lie_as_tarfile_writes_them(tmp_path: Path) -> None:
    """The same bytes as Python's own ustar archives, for names up to the longest that fit and sizes around a block."""
    path = tmp_path / "train-000000.tar"
    keys = ["a", "k" * 88]
    with ShardWriter(path) as writer:
        for seed, key in enumerate(keys):
            writer.write(sample(key, seed))
    expected = io.BytesIO()
    with tarfile.open(fileobj=expected, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for seed, key in enumerate(keys):
            for extension, data in sorted(encode(sample(key, seed)).items()):
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size, member.mode, member.uname, member.gname = len(data), 0o444, "kt3d", "kt3d"
                tar.addfile(member, io.BytesIO(data))
    assert path.read_bytes() == expected.getvalue()


def test_an_image_that_fits_no_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven octal digits hold 8 GiB less one byte."""
    assert writer_module._MOST_BYTES == 8 << 30
    assert len(writer_module._header(b"k" * 100, (8 << 30) - 1)) == tarfile.BLOCKSIZE
    monkeypatch.setattr(writer_module, "_MOST_BYTES", 10)
    said = r"sample k is too large for a plain tar header \(depth\.png: \d+ bytes\)"
    with pytest.raises(PluginError, match=said), ShardWriter(tmp_path / "a.tar") as writer:
        writer.write(sample("k", 0))


def test_a_key_that_fits_no_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="too long for a plain tar header"), ShardWriter(tmp_path / "a.tar") as writer:
        writer.write(sample("k" * 89, 0))
    assert list(tmp_path.iterdir()) == []
