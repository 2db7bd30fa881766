"""What can be wrong with a download of MPII, and the errors that name it."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from kt3d_mpii import annotations, convert
from mpii_release import image_entry, one, points, standing, write_jpg, write_release

from kt3d_bench.errors import RawDataError
from kt3d_bench.records import Sample, Skipped

MAT = "mpii_human_pose_v1_u12_2/mpii_human_pose_v1_u12_1.mat"


def plan_error(raw: Path) -> str:
    with pytest.raises(RawDataError) as caught:
        convert.plan(raw, "train", {})
    return caught.value.message


def one_image(raw: Path, name: str = "000000001.jpg", **person: object) -> None:
    rectangle = one(annopoints=points(standing(101, 121)), **person)
    write_release(raw / MAT, [image_entry(name, rectangle)], [1])


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("mpii_human_pose_v1.tar.gz", "tar -xf mpii_human_pose_v1.tar.gz"),
        ("download/mpii_human_pose_v1.tar.gz", "tar -xf mpii_human_pose_v1.tar.gz"),
        ("images.tar.gz", "tar -xf images.tar.gz"),
        ("images.zip", "unzip images.zip"),
    ],
)
def test_images_that_are_still_packed_are_named_with_the_command(tmp_path: Path, name: str, command: str) -> None:
    one_image(tmp_path)
    packed = tmp_path / name
    packed.parent.mkdir(exist_ok=True)
    packed.write_bytes(b"")
    message = plan_error(tmp_path)
    assert message.startswith(f"{packed}: is still packed, expected the folder images; unpack it first")
    assert f"cd {packed.parent} && {command}" in message
    assert f"No images: {message}." in convert.describe(tmp_path)


def test_names_have_any_capitals_and_what_lies_near_is_named(tmp_path: Path) -> None:
    one_image(tmp_path)
    write_jpg(tmp_path / "images", "000000001.jpg")
    (item,) = convert.plan(tmp_path, "train", {})
    expected = list(convert.convert(item))
    (tmp_path / "images").rename(tmp_path / "Images")
    (tmp_path / "Images/000000001.jpg").rename(tmp_path / "Images/000000001.JPG")
    (tmp_path / MAT).rename(tmp_path / "MPII_human_pose_v1_u12_1.MAT")
    (item,) = convert.plan(tmp_path, "train", {})
    (found,) = convert.convert(item)
    assert isinstance(found, Sample)
    np.testing.assert_array_equal(found.rgb, expected[0].rgb)
    assert "1 files in" in " ".join(convert.describe(tmp_path))
    assert not any("missing" in line for line in convert.describe(tmp_path))
    (tmp_path / "Images").rename(tmp_path / "images (1)")
    assert "but near it are images (1)" in plan_error(tmp_path)


def zipped(raw: Path, *members: tuple[str, bytes]) -> Path:
    path = raw / "mpii_human_pose_v1_u12_2.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def packed_annotations(raw: Path) -> bytes:
    """Only images are left in the folder; the .mat file's bytes come back."""
    one_image(raw)
    write_jpg(raw / "images", "000000001.jpg")
    content = (raw / MAT).read_bytes()
    (raw / MAT).unlink()
    return content


def test_annotations_are_read_in_their_archive(tmp_path: Path) -> None:
    packed = zipped(tmp_path, ("mpii_human_pose_v1_u12_2/README.md", b"read me"), (MAT, packed_annotations(tmp_path)))
    before = sorted(tmp_path.rglob("*"))
    (item,) = convert.plan(tmp_path, "train", {})
    assert len(list(convert.convert(item))) == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert "Layout: the official download, with its annotations read from the .zip." in convert.describe(tmp_path)
    one_image(tmp_path)
    packed.write_bytes(b"never opened where the file lies unpacked")
    assert len(convert.plan(tmp_path, "train", {})) == 1


def test_an_archive_in_capitals_is_read_alike(tmp_path: Path, in_capitals: Callable[[Path], None]) -> None:
    zipped(tmp_path, (f"MPII/{MAT}".upper(), packed_annotations(tmp_path)))
    in_capitals(tmp_path)
    (item,) = convert.plan(tmp_path, "train", {})
    assert len(list(convert.convert(item))) == 1


def test_a_name_that_leads_out_of_the_archive_leads_nowhere(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    zipped(raw, (f"../../{MAT}", packed_annotations(raw)))
    before = sorted(tmp_path.rglob("*"))
    assert len(convert.plan(raw, "train", {})) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_archives_of_annotations_that_are_damaged_or_too_large_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = packed_annotations(tmp_path)
    path = zipped(tmp_path, ("README.md", b""))
    assert "holds no mpii_human_pose_v1_u12_1.mat; download mpii_human_pose_v1_u12_2.zip again" in plan_error(tmp_path)
    whole = zipped(tmp_path, (MAT, content)).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "is damaged or cut short (BadZipFile" in plan_error(tmp_path)
    spoiled = bytearray(whole)
    spoiled[len(whole) // 2] ^= 0xFF
    path.write_bytes(spoiled)
    assert "is damaged" in plan_error(tmp_path)
    path.write_bytes(whole)
    monkeypatch.setattr(annotations, "_MAT_BYTES", 10)
    assert f"claims {len(content)} bytes, more than the 10 it may have" in plan_error(tmp_path)
    monkeypatch.setattr(annotations, "_ZIP_BYTES", 10)
    assert "is larger than 256 MiB" in plan_error(tmp_path)
    zipped(tmp_path, (MAT, b"not a mat file"))
    monkeypatch.undo()
    assert str(path) in plan_error(tmp_path)
    assert "download it again" in plan_error(tmp_path)


def test_coco_annotations_are_named_and_not_read(tmp_path: Path) -> None:
    write_jpg(tmp_path / "images", "000000001.jpg")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").write_text('{"images": [], "annotations": []}')
    assert "train.json: has COCO's structure (Moon et al.), which is not read; put mpii_human_pose_v1_u12_2.zip" in (
        plan_error(tmp_path)
    )
    assert any("COCO's structure" in line for line in convert.describe(tmp_path))


def test_another_folder_is_refused_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    assert "found holiday" in plan_error(tmp_path)
    assert "found nothing" in plan_error(tmp_path / "holiday")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    one_image(tmp_path)
    (tmp_path / "images").mkdir()
    assert "holds no .jpg images" in plan_error(tmp_path)


def test_the_annotation_file_may_lie_in_the_root_and_the_tree_one_folder_down(tmp_path: Path) -> None:
    one_image(tmp_path / "mpii")
    (tmp_path / "mpii" / MAT).rename(tmp_path / "mpii" / "mpii_human_pose_v1_u12_1.mat")
    write_jpg(tmp_path / "mpii" / "images", "000000001.jpg")
    assert len(convert.plan(tmp_path / "mpii", "train", {})) == 1
    assert len(convert.plan(tmp_path, "train", {})) == 1


@pytest.mark.parametrize("content", [b"", b"not a mat file at all", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_an_annotation_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    one_image(tmp_path)
    write_jpg(tmp_path / "images", "000000001.jpg")
    (tmp_path / MAT).write_bytes(content)
    assert "is damaged" in plan_error(tmp_path) or "is not MPII" in plan_error(tmp_path)


def test_a_mat_file_of_something_else_is_refused(tmp_path: Path) -> None:
    write_jpg(tmp_path / "images", "000000001.jpg")
    (tmp_path / MAT).parent.mkdir()
    scipy.io.savemat(tmp_path / MAT, {"other": np.ones(3)})
    assert "expected a struct RELEASE" in plan_error(tmp_path)
    write_release(tmp_path / MAT, [image_entry("000000001.jpg", one(scale=1.0))], [1, 0, 1])
    assert "annolist has 1 images, img_train 3" in plan_error(tmp_path)
    write_release(tmp_path / MAT, [image_entry("000000001.jpg", one(scale=1.0))], [0])
    assert "annotates no training images" in plan_error(tmp_path)


def test_an_image_that_is_annotated_twice_is_refused(tmp_path: Path) -> None:
    write_jpg(tmp_path / "images", "000000001.jpg")
    person = one(annopoints=points(standing(101, 121)))
    write_release(tmp_path / MAT, [image_entry("000000001.jpg", person), image_entry("000000001.jpg", person)], [1, 1])
    assert "annotates the image 000000001 more than once" in plan_error(tmp_path)


def test_damaged_images_and_odd_names_are_skipped_with_a_reason(tmp_path: Path) -> None:
    one_image(tmp_path)
    write_jpg(tmp_path / "images", "000000001.jpg")
    path = tmp_path / "images" / "000000001.jpg"
    whole = path.read_bytes()

    def reason() -> str:
        (result,) = convert.convert(convert.plan(tmp_path, "train", {})[0])
        assert isinstance(result, Skipped)
        return result.reason

    path.write_bytes(b"\xff\xd8 nothing of an image")
    assert "cannot be decoded" in reason()
    path.write_bytes(b"")
    assert "cannot be decoded" in reason()
    path.write_bytes(whole)
    one_image(tmp_path, name="../images/000000001.jpg")
    assert "expected a .jpg file name" in reason()


def test_an_image_that_claims_to_be_huge_is_not_decoded(tmp_path: Path) -> None:
    one_image(tmp_path)
    write_jpg(tmp_path / "images", "000000001.jpg")
    path = tmp_path / "images" / "000000001.jpg"
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = b"\x90\x00\x90\x00"
    path.write_bytes(bytes(data))
    (result,) = convert.convert(convert.plan(tmp_path, "train", {})[0])
    assert isinstance(result, Skipped)
    assert "claims 36864 x 36864 pixels" in result.reason


def test_a_changed_annotation_file_is_read_again(tmp_path: Path) -> None:
    one_image(tmp_path)
    write_jpg(tmp_path / "images", "000000001.jpg")
    (first,) = convert.convert(convert.plan(tmp_path, "train", {})[0])
    write_release(tmp_path / MAT, [image_entry("000000001.jpg", one(annopoints=points(standing(151, 121))), 3.0)], [1])
    (second,) = convert.convert(convert.plan(tmp_path, "train", {})[0])
    assert isinstance(first, Sample)
    assert isinstance(second, Sample)
    assert (first.sequence, second.sequence) == ("000000001", "video_0003")
