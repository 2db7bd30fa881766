"""Fields to bytes and back, and what damaged bytes do."""

from __future__ import annotations

import io
import json
import struct
import zlib

import cv2
import numpy as np
import pytest
from data_fake_dataset import sample
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kt3d_bench.data.format import FIELDS, MAX_SIDE_PX, decode, decode_depth, decode_parts, decode_rgb, encode
from kt3d_bench.records import Camera, Sample

finite32 = st.floats(-1e6, 1e6, width=32)
mm_or_absent = st.one_of(finite32, st.just(float("nan")))


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    images = draw(st.sets(st.sampled_from(["depth_mm", "parts"]), min_size=1))
    return Sample(
        key=draw(st.from_regex(r"[A-Za-z0-9_\-]{1,20}", fullmatch=True)),
        camera=Camera(
            draw(hnp.arrays(np.float64, (2, 3), elements=st.floats(-1e5, 1e5))),
            (width, height),
            draw(hnp.arrays(np.float64, (5,), elements=st.floats(-2, 2))),
            draw(st.sampled_from([1.0, 2.0])),
            position_world_mm=draw(hnp.arrays(np.float64, (3,), elements=st.floats(-1e6, 1e6))),
        ),
        joints_px=draw(hnp.arrays(np.float32, (17, 2), elements=mm_or_absent)),
        joints_cam_mm=draw(st.one_of(st.none(), hnp.arrays(np.float32, (17, 3), elements=mm_or_absent))),
        visible=draw(hnp.arrays(np.int8, (17,), elements=st.integers(-1, 1))),
        quality=draw(hnp.arrays(np.uint8, (17,), elements=st.integers(0, 3))),
        box_px=draw(hnp.arrays(np.float32, (4,), elements=finite32)),
        subject=draw(st.text(max_size=8)),
        action=draw(st.text(max_size=8)),
        camera_id=draw(st.text(max_size=8)),
        sequence=draw(st.text(max_size=8)),
        frame=draw(st.integers(-5, 10**6)),
        **{
            name: draw(hnp.arrays(dtype, (height, width)))
            for name, dtype in (("depth_mm", np.uint16), ("parts", np.uint8))
            if name in images
        },
    )


@settings(max_examples=60, deadline=None)
@given(samples())
def test_every_sample_survives_the_circle_bit_for_bit(before: Sample) -> None:
    after = decode(before.key, encode(before))
    for name in ("joints_px", "joints_cam_mm", "visible", "quality", "box_px", "depth_mm", "parts"):
        first, second = getattr(before, name), getattr(after, name)
        if first is None:
            assert second is None
        else:
            assert first.dtype == second.dtype
            np.testing.assert_array_equal(first, second)
    for name in ("subject", "action", "camera_id", "sequence", "frame", "key"):
        assert getattr(before, name) == getattr(after, name)
    for name in ("intrinsics_px", "distortion", "rotation", "position_world_mm", "size_px", "tangential_factor"):
        np.testing.assert_array_equal(getattr(before.camera, name), getattr(after.camera, name))


def test_every_16_bit_depth_survives() -> None:
    depth = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    before = sample("k", 0, images=("rgb",), size_px=(256, 256))
    data = encode(_with(before, rgb=None, depth_mm=depth))["depth.png"]
    np.testing.assert_array_equal(decode_depth(data), depth)
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED), depth)


def test_rgb_is_jpeg_quality_95_without_chroma_subsampling_in_rgb_order() -> None:
    import simplejpeg
    from matplotlib.image import imread

    ramp = np.linspace(0, 255, 64).astype(np.uint8)
    rgb = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(30)), -1).astype(np.uint8)
    before = _with(sample("k", 0, images=("rgb",), size_px=(64, 64)), rgb=rgb)
    data = encode(before)["rgb.jpg"]
    assert simplejpeg.decode_jpeg_header(data)[3] == "444"
    same_tables = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert _first_quantisation_table(data) == _first_quantisation_table(same_tables)
    ours = decode_rgb(data)
    assert np.abs(ours.astype(int) - rgb).max() <= 4
    other = imread(io.BytesIO(data), format="jpg")
    assert np.abs(ours.astype(int) - other).max() <= 2


def _first_quantisation_table(jpeg: bytes) -> bytes:
    at = jpeg.index(b"\xff\xdb")
    return jpeg[at + 5 : at + 69]


def test_labels_are_sorted_json_with_absent_values_as_null() -> None:
    text = encode(sample("k", 3))["sample.json"].decode()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert list(content) == sorted(content)
    assert list(content["camera"]) == sorted(content["camera"])
    assert content["joints_px"][3] == [None, None]
    assert content["camera"]["intrinsics_px"][0][0] == 303.0
    assert set(content["camera"]) == {
        "intrinsics_px", "size_px", "distortion", "tangential_factor", "rotation", "position_world_mm",
    }  # fmt: skip


def test_fields_have_distinct_extensions_without_a_common_first_part() -> None:
    assert [field.extension for field in FIELDS.values()] == [
        "rgb.jpg", "depth.png", "parts.png", "foreground.png", "sample.json",
    ]  # fmt: skip


def test_infinite_labels_and_huge_images_cannot_be_stored() -> None:
    before = sample("k", 0)
    joints = before.joints_px.copy()
    joints[0, 0] = np.inf
    with pytest.raises(ValueError, match="sample k: a label is infinite"):
        encode(_with(before, joints_px=joints))
    with pytest.raises(ValueError, match=rf"outside 1\.\.{MAX_SIDE_PX}"):
        encode(sample("k", 0, size_px=(MAX_SIDE_PX + 1, 1)))


def test_every_truncation_is_noticed() -> None:
    members = encode(sample("k", 0, size_px=(20, 14)))
    for extension, decoder in (("rgb.jpg", decode_rgb), ("depth.png", decode_depth), ("parts.png", decode_parts)):
        data = members[extension]
        for length in {*range(0, len(data), 7), len(data) - 1}:
            with pytest.raises(ValueError, match=r"\w"):
                decoder(data[:length])


def test_flipped_bytes_in_a_png_are_noticed_or_harmless() -> None:
    before = sample("k", 0, size_px=(20, 14))
    data = encode(before)["depth.png"]
    noticed = 0
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x10
        try:
            decoded = decode_depth(bytes(damaged))
        except ValueError:
            noticed += 1
        else:
            assert decoded.dtype == np.uint16
    assert noticed > 0.9 * len(data)


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    side = 60000
    header = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10**6))
    bomb = b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(*part) for part in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    )
    with pytest.raises(ValueError, match="claims 60000 x 60000 px"):
        decode_depth(bomb)
    jpeg = bytearray(encode(sample("k", 0))["rgb.jpg"])
    start = jpeg.index(b"\xff\xc0")
    jpeg[start + 5 : start + 9] = struct.pack(">HH", 60000, 50000)
    with pytest.raises(ValueError, match="claims 50000 x 60000 px"):
        decode_rgb(bytes(jpeg))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    ("image", "decoder"),
    [
        (np.zeros((4, 5), np.uint8), decode_depth),
        (np.zeros((4, 5), np.uint16), decode_parts),
        (np.zeros((4, 5, 3), np.uint8), decode_parts),
        (np.zeros((4, 5, 4), np.uint16), decode_depth),
    ],
)
def test_other_depths_and_colours_are_refused(image: np.ndarray, decoder: object) -> None:
    with pytest.raises(ValueError, match="expected a grey PNG image of"):
        decoder(cv2.imencode(".png", image)[1].tobytes())  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"camera": 3}', "[" * 100_000, '{"camera": {"intrinsics_px": "x"}}']
)
def test_damaged_labels_are_a_value_error(text: str) -> None:
    members = {**encode(sample("k", 0)), "sample.json": text.encode()}
    with pytest.raises(ValueError, match=r"\w"):
        decode("k", members)


def _with(before: Sample, **changes: object) -> Sample:
    import dataclasses

    return dataclasses.replace(before, **changes)
