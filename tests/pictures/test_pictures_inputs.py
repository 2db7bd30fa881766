"""Reading what users have: every kind of file, and every kind of file that is wrong."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.pictures.inputs import (
    MOST_PIXELS,
    depth_in_mm,
    find_inputs,
    frame_count,
    read_picture,
    shown_names,
    video_container,
    video_frames,
)

COLOURS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)


def write_video(path: Path, times_s: list[float], size_px: tuple[int, int] = (32, 24), **options: Any) -> Path:
    """Write frames that get brighter, each at its own time; without any, the header alone."""
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = *size_px, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        if not times_s:
            container.start_encoding()
        for number, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(np.full((*size_px[::-1], 3), 30 * number + 20, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(1000 * time_s), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "ppm", "webp"])
def test_colours_of_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "no-ending"
    Image.fromarray(COLOURS).save(path, kind, **({"lossless": True} if kind == "webp" else {}))
    found = read_picture(path, "a", "rgb")
    np.testing.assert_array_equal(found.image, COLOURS)
    assert found.size_px == (30, 20)
    assert video_container(path) is None


def test_grey_transparent_paletted_and_16_bit_colours(tmp_path: Path) -> None:
    grey = COLOURS[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png", "a", "rgb").image, np.stack(3 * [grey], -1))
    Image.fromarray(np.dstack([COLOURS, grey])).save(tmp_path / "alpha.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "alpha.png", "a", "rgb").image, COLOURS)
    cv2.imwrite(str(tmp_path / "deep.png"), COLOURS[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_picture(tmp_path / "deep.png", "a", "rgb").image, COLOURS)
    Image.fromarray(COLOURS[:1, :1]).save(tmp_path / "one.png")
    assert read_picture(tmp_path / "one.png", "a", "rgb").image.shape == (1, 1, 3)


def test_orientation_is_followed_and_the_focal_length_read(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the 0th row is the right side: turn by 90 degrees clockwise to see it upright
    exif.get_ifd(0x8769)[0xA405] = 28
    Image.fromarray(COLOURS).save(tmp_path / "a.png", exif=exif)
    found = read_picture(tmp_path / "a.png", "a", "rgb")
    np.testing.assert_array_equal(found.image, np.rot90(COLOURS, -1))
    assert found.focal_35mm == 28


def jpeg() -> bytes:
    data = io.BytesIO()
    Image.fromarray(COLOURS.repeat(8, 0)).save(data, "jpeg")
    return data.getvalue()


def png(width: int, height: int) -> bytes:
    """Return a PNG whose header claims a size that its data do not have."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT" + zlib.compress(bytes(1000)))


def npy(array: Any) -> bytes:
    data = io.BytesIO()
    np.save(data, array)
    return data.getvalue()


@pytest.mark.parametrize(
    ("content", "modality", "words"),
    [
        (b"", "rgb", "is empty; give JPEG"),
        (jpeg()[:-200], "rgb", "is damaged or cut short"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "rgb", "is no picture and no video of a known kind"),
        (png(9_000, 9_000), "rgb", "has 9000 x 9000 pixels, and at most 64 million are read; reduce the image"),
        (png(200_000, 200_000), "rgb", "is too large"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(50), "rgb", "is a HEIF or AVIF photograph; save it as JPEG or PNG"),
        (npy(np.ones((4, 5))), "rgb", "is an array (depth), and the method reads RGB images"),
        (jpeg(), "depth", "holds colours (mode RGB), and the method reads depth images; give one channel of 16 bits"),
        (npy(np.ones((4, 5, 3))), "depth", "is an array float64 (4, 5, 3), expected (H, W) numbers"),
        (npy(np.array([[{}]], object))[:200], "depth", "is damaged or cut short (ValueError"),
        (npy(np.full((4, 5), 2.5)), "depth", "its depths look like metres (median 2.50); say so: --depth-unit m"),
        (npy(np.full((4, 5), np.nan)), "depth", "holds no positive depth reading"),
        (npy(np.zeros((0, 5))), "depth", "has no pixels"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes, modality: str, words: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)

    def read() -> None:
        assert video_container(path) is None
        read_picture(path, "photo.jpg", modality)

    with pytest.raises(RawDataError, match=re.escape(words)) as raised:
        read()
    assert str(path) in raised.value.message
    assert "\n" not in raised.value.message


def test_a_depth_image_for_a_method_that_reads_colours(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 2000, np.uint16)).save(tmp_path / "depth.png")
    with pytest.raises(RawDataError, match=r"one channel of more than 8 bits.*name a run that reads depth"):
        read_picture(tmp_path / "depth.png", "depth.png", "rgb")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    for path, words in ((tmp_path / "no.png", "is missing"), (loop, "is missing"), (Path("/dev/null"), "is no file")):
        with pytest.raises(RawDataError, match=words):
            video_container(path)


def test_depth_readings() -> None:
    read = [[1234.4, np.nan, np.inf], [-5.0, 0.0, 70_000.0]]
    depth, notes = depth_in_mm(np.array(read), "mm")
    assert depth.tolist() == [[1234, 0, 0], [0, 0, 0]]
    assert depth.dtype == np.uint16
    assert notes == (
        "2 depth readings are not finite and count as none",
        "1 depth readings are negative and count as none",
        "1 depth readings are beyond 65 m and count as none",
    )
    assert depth_in_mm(np.array([[2.5]]), "m")[0].tolist() == [[2500]]
    with pytest.raises(UsageError, match=r"look like mm \(median 2500\); leave out --depth-unit m"):
        depth_in_mm(np.array([[2500.0]]), "m")


def test_16_bit_depth_in_png_and_npy(tmp_path: Path) -> None:
    depth = np.arange(1000, 1600, dtype=np.uint16).reshape(20, 30)
    cv2.imwrite(str(tmp_path / "a.png"), depth)
    np.save(tmp_path / "a.npy", depth.astype(np.float32)[..., None])
    for name in ("a.png", "a.npy"):
        found = read_picture(tmp_path / name, name, "depth")
        assert found.image.dtype == np.uint16
        np.testing.assert_array_equal(found.image, depth)


def test_what_is_meant_by_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b/x.png", "b/notes.txt", "a/x.PNG", "a/y.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    paths = find_inputs([tmp_path / "a", str(tmp_path / "*" / "x.*"), tmp_path / "missing.jpg"])
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == ["a/x.PNG", "a/y.mp4", "b/x.png", "missing.jpg"]
    assert shown_names([tmp_path / "b/x.png", tmp_path / "a/x.png", tmp_path / "y"]) == ["b/x.png", "a/x.png", "y"]
    (tmp_path / "empty").mkdir()
    cases: list[tuple[list[Any], str]] = [
        ([tmp_path / "empty"], "the folder holds no pictures"),
        ([str(tmp_path / "*.gif")], "no file matches"),
        ([], "no picture is given"),
    ]
    for given, words in cases:
        with pytest.raises(UsageError, match=words):
            find_inputs(given)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts"])
def test_videos_of_every_container(tmp_path: Path, ending: str) -> None:
    path = write_video(tmp_path / f"clip.{ending}", [0.0, 0.04, 0.08])
    container = video_container(path)
    assert container is not None
    frames = list(video_frames(path, "clip", container))
    assert [frame.frame for frame in frames] == [0, 1, 2]
    assert [round(float(frame.image.mean()), -1) for frame in frames] == [20, 50, 80]
    assert frame_count(path, container) >= 1


def test_frames_have_their_own_times(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.5, 0.54, 2.0]
    path = write_video(tmp_path / "clip.mp4", times)
    found = [frame.time_s for frame in video_frames(path, "clip", "mov")]
    np.testing.assert_allclose(np.array(found, float), times, atol=2e-3)
    assert frame_count(path, "mov") == 5


def no_frames(path: Path) -> None:
    write_video(path, [])


def audio_alone(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def cut_off(path: Path) -> None:
    write_video(path, [0.0, 0.1])
    path.write_bytes(path.read_bytes()[:200])


def header_alone(path: Path) -> None:
    path.write_bytes(b"\x00\x00\x00\x18ftypisom" + bytes(100))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (no_frames, "holds no (frame|video)|cannot be decoded"),
        (audio_alone, "holds no video that can be decoded here; convert it again"),
        (cut_off, "cannot be decoded after frame 0|holds no video"),
        (header_alone, "cannot be decoded after frame 0|holds no video"),
    ],
)
def test_videos_without_frames(tmp_path: Path, make: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(RawDataError, match=words):
        list(video_frames(path, "clip", "mov"))
    assert frame_count(path, "mov") >= 1


def test_large_videos_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "clip.mp4", [0.0])
    monkeypatch.setattr("kt3d_bench.pictures.inputs.MOST_PIXELS", 100)
    assert MOST_PIXELS == 64_000_000
    with pytest.raises(RawDataError, match="has 32 x 24 pixels"):
        list(video_frames(path, "clip", "mov"))
