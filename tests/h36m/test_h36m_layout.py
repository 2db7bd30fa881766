from __future__ import annotations

import io
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from h36m_handmade import CAMERA_IDS, write_raw
from kt3d_h36m import archives
from kt3d_h36m.archives import Source, local_file
from kt3d_h36m.convert import convert, describe, plan
from kt3d_h36m.layout import scan
from kt3d_h36m.recordings import recordings

from kt3d_bench.errors import RawDataError
from kt3d_bench.records import Sample

PART = {"partial": True}


def same(one: Sample, other: Sample) -> bool:
    arrays = ("joints_px", "joints_cam_mm", "visible", "quality", "box_px", "rgb")
    names = ("key", "subject", "action", "camera_id", "sequence", "frame")
    return all(np.array_equal(getattr(one, n), getattr(other, n)) for n in arrays) and all(
        getattr(one, n) == getattr(other, n) for n in names
    )


def converted(root):
    return [record for item in plan(root, "test", PART) for record in convert(item)]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    made = write_raw(tmp_path_factory.mktemp("h36m") / "raw", {9: ["Greeting", "SittingDown 1"]}, frames=2)
    made.write_mono()
    return made


@pytest.fixture(scope="module")
def expected(unpacked):
    return converted(unpacked.root)


def test_archives_give_the_same_samples(unpacked, expected, tmp_path):
    packed = unpacked.pack(tmp_path / "packed")
    assert sorted(path.name for path in packed.iterdir()) == [
        "Poses_D2_Positions_S9.tgz",
        "Poses_D3_Positions_S9.tgz",
        "Poses_D3_Positions_mono_S9.tgz",
        "Videos_S9.tgz",
        "metadata.xml",
    ]
    found = converted(packed)
    assert len(found) == len(expected) == 8
    assert all(map(same, found, expected))


def rerooted(unpacked, root, move) -> None:
    for path in sorted(unpacked.root.rglob("*")):
        if path.is_file() and path.suffix != ".xml":
            target = root / move(path.parent.name, path.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    with zipfile.ZipFile(root / "code-v1.2.zip", "w") as bundle:
        bundle.write(unpacked.root / "metadata.xml", "Release-v1.2/metadata.xml")


@pytest.mark.parametrize(
    "move",
    [
        lambda feature, name: f"extracted/S9/{feature if feature == 'Videos' else 'Poses_' + feature}/{name}",
        lambda feature, name: f"s9/{feature}/{name.replace(' ', '_')}",
        lambda feature, name: f"deep/er/still/S9/MyPoseFeatures/{feature}/{name}",
    ],
)
def test_files_are_known_by_their_ends(unpacked, expected, tmp_path, move):
    rerooted(unpacked, tmp_path, move)
    assert all(map(same, converted(tmp_path), expected))


def test_names_have_any_capitals(unpacked, expected, tmp_path):
    rerooted(unpacked, tmp_path / "x", lambda feature, name: f"s9/{feature.upper()}/{name.upper()}")
    (tmp_path / "x/code-v1.2.zip").unlink()
    shutil.copy(unpacked.root / "metadata.xml", tmp_path / "x/Metadata.XML")
    found = converted(tmp_path / "x")
    assert len(found) == 8
    assert all(map(same, found, expected))


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "shift_jis"])
def test_archives_hold_folders_of_any_encoding(unpacked, expected, tmp_path, encoding):
    outer = "データ表" if encoding == "shift_jis" else "été"
    with tarfile.open(tmp_path / "all.TGZ", "w:gz", encoding=encoding, format=tarfile.GNU_FORMAT) as bundle:
        bundle.add(unpacked.root, outer)
    found = converted(tmp_path)
    assert len(found) == 8
    assert all(map(same, found, expected))


def test_what_lies_near_is_named_before_missing(unpacked, tmp_path):
    rerooted(unpacked, tmp_path, lambda feature, name: f"S9/{feature}/{name.replace('.mp4', ' - Copy.mp4')}")
    with pytest.raises(RawDataError, match=r"names mean no recording: S9/Videos/Greeting\.\d+ - Copy\.mp4"):
        plan(tmp_path, "test", {})
    (tmp_path / "code-v1.2.zip").rename(tmp_path / "code")
    (tmp_path / "metadata (1).xml").write_bytes(b"")
    with pytest.raises(RawDataError, match=r"cameras is missing, but near it is metadata \(1\)\.xml; put"):
        plan(tmp_path, "test", {})


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("s9/Videos.tgz", "{file}"),
        ("Videos/SubjectSpecific_4.tgz", "{file}"),
        ("Videos_S9.tgz", "./S9/Videos/{file}"),
        ("Videos_S9.tar", "S9/Videos/{file}"),
    ],
)
def test_archives_under_other_names(unpacked, tmp_path, name, member):
    archive = tmp_path / name
    archive.parent.mkdir(exist_ok=True)
    with tarfile.open(archive, "w" if name.endswith(".tar") else "w:gz") as tar:
        for path in sorted((unpacked.root / "S9" / "Videos").iterdir()):
            tar.add(path, member.format(file=path.name))
    found = scan(tmp_path).files["Videos"]
    assert sorted({recording.title for recording, _ in found}) == ["S9 Greeting", "S9 SittingDown 1"]
    assert sorted({camera for _, camera in found}) == sorted(CAMERA_IDS)


def test_archives_of_other_datasets_are_left_after_a_glance(tmp_path):
    """They may hold a million images, and to list them all takes unpacking them."""
    with tarfile.open(tmp_path / "images.tar.gz", "w:gz") as tar:
        for number in range(100):
            tar.addfile(tarfile.TarInfo(f"images/{number:09d}.jpg"))
    cut = (tmp_path / "images.tar.gz").read_bytes()[:-12]
    (tmp_path / "images.tar.gz").write_bytes(cut)
    (tmp_path / "annotations.zip").write_bytes(b"no zip")
    (tmp_path / "notes.tar").write_bytes(b"no tar")
    found = scan(tmp_path)
    assert not any(found.files.values())
    assert found.metadata is None


def test_unpacked_files_win_over_archived_ones(unpacked, tmp_path):
    packed = unpacked.pack(tmp_path / "packed")
    shutil.copytree(unpacked.root / "S9", packed / "S9")
    found = scan(packed).files
    assert all(source.member is None for files in found.values() for source in files.values())


def test_warm_up_and_unknown_names_are_no_recordings(make_raw):
    made = make_raw({1: ["TakingPhoto"]})
    shutil.copy(made.video(1, "TakingPhoto"), made.video(1, "_ALL 1"))
    shutil.copy(made.video(1, "TakingPhoto"), made.video(1, "Dancing"))
    found = scan(made.root)
    assert {recording.action_name for recording, _ in found.files["Videos"]} == {"Photo"}
    assert [name.rsplit("/")[-1] for name in found.unknown] == ["Dancing.54138969.mp4"]
    assert any("1 files whose names mean no recording" in line for line in describe(made.root))


def test_folders_reached_through_links_are_read_once(unpacked, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "data").symlink_to(unpacked.root, target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    assert len(scan(root).files["Videos"]) == 8


def test_links_and_escaping_names_in_archives_touch_nothing(tmp_path):
    secret = tmp_path / "secret.cdf"
    secret.write_bytes(b"secret")
    root = tmp_path / "raw"
    root.mkdir()
    with tarfile.open(root / "Poses_D3_Positions_S9.tgz", "w:gz") as tar:
        link = tarfile.TarInfo("S9/MyPoseFeatures/D3_Positions/Greeting.cdf")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        tar.addfile(link)
        for name in ("../../S9/D3_Positions/Posing.cdf", "/S9/D3_Positions/Waiting.cdf"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))
    found = scan(root).files["D3_Positions"]
    assert {recording.title for recording, _ in found} == {"S9 Posing", "S9 Waiting"}
    before = sorted(tmp_path.rglob("*"))
    for source in found.values():
        with local_file(source) as path:
            assert path.read_bytes() == b"abc"
            assert not path.is_relative_to(tmp_path)
        assert not path.exists()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_member_larger_than_its_kind_is_refused(tmp_path, monkeypatch):
    archive = tmp_path / "Poses_D3_Positions_S9.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("S9/D3_Positions/Posing.cdf")
        member.size = 2000
        tar.addfile(member, io.BytesIO(bytes(2000)))
    monkeypatch.setitem(archives._LARGEST_MEMBER, ".cdf", 1000)
    with (
        pytest.raises(RawDataError, match="claims 2000 bytes"),
        local_file(Source(str(archive), "S9/D3_Positions/Posing.cdf")),
    ):
        pass


@pytest.mark.parametrize("kept", [0.3, 0.97])
def test_a_cut_archive_is_refused(unpacked, tmp_path, kept):
    packed = unpacked.pack(tmp_path / "packed")
    archive = packed / "Videos_S9.tgz"
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(RawDataError, match="damaged or cut short") as caught:
        plan(packed, "test", PART)
    assert str(archive) in caught.value.message
    assert "MD5" in caught.value.message


def test_a_flipped_byte_in_an_archive_is_noticed(unpacked, tmp_path):
    packed = unpacked.pack(tmp_path / "packed")
    archive = packed / "Poses_D3_Positions_S9.tgz"
    content = bytearray(archive.read_bytes())
    content[-6] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(RawDataError, match="damaged or cut short"):
        plan(packed, "test", PART)


def test_a_damaged_zip_is_refused(tmp_path):
    (tmp_path / "code-v1.2.zip").write_bytes(b"PK not a zip")
    with pytest.raises(RawDataError, match=r"code-v1\.2\.zip.*damaged"):
        plan(tmp_path, "test", PART)


def test_archives_of_other_subjects_stay_closed(unpacked, tmp_path):
    packed = unpacked.pack(tmp_path / "packed")
    (packed / "Videos_S1.tgz").write_bytes(b"not an archive")
    assert len(plan(packed, "test", PART)) == 8
    with pytest.raises(RawDataError, match=r"Videos_S1\.tgz"):
        plan(packed, "train", PART)


def test_archives_of_what_is_unpacked_and_complete_stay_closed(tmp_path):
    folder = tmp_path / "extracted" / "S9" / "Poses_D3_Positions"
    folder.mkdir(parents=True)
    for recording in recordings():
        if recording.subject == 9:
            (folder / f"{recording.file_name}.cdf").write_bytes(b"")
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "Poses_D3_Positions_S9.tgz").write_bytes(b"not opened")
    assert len(scan(tmp_path).files["D3_Positions"]) == 30
    (folder / "Posing.cdf").unlink()
    with pytest.raises(RawDataError, match=r"Poses_D3_Positions_S9\.tgz: is damaged"):
        scan(tmp_path)


def test_a_member_that_is_gone_is_named(unpacked, tmp_path):
    packed = unpacked.pack(tmp_path / "packed")
    gone = Source(str(packed / "Videos_S9.tgz"), "S9/Videos/Gone.mp4")
    with pytest.raises(RawDataError, match=r"no longer holds S9/Videos/Gone\.mp4"), local_file(gone):
        pass


def test_description_counts_and_names_what_is_missing(unpacked, tmp_path):
    text = "\n".join(describe(unpacked.root))
    assert "8 videos: S9 8/120." in text
    assert "2 poses in the world (D3_Positions): S9 2/30." in text
    assert "44 calibrated cameras" in text
    assert "Split test lacks Videos_S11.tgz, Poses_D3_Positions_S11.tgz: get them from http://vision" in text
    packed = unpacked.pack(tmp_path / "packed")
    (packed / "metadata.xml").unlink()
    text = "\n".join(describe(packed))
    assert "Archives, read in place: Poses_D2_Positions_S9.tgz" in text
    assert "unpack the archives where time matters" in text
    assert "metadata.xml is missing: put code-v1.2.zip (or its Release-v1.2/metadata.xml) there" in text
    with pytest.raises(RawDataError, match="is not a folder"):
        describe(tmp_path / "nowhere")
