"""Encode one sample as bytes and decode it.

Members of a shard are ``<key>.<extension>``. All images but RGB are lossless. Labels are JSON with sorted keys; absent
values are null. Nothing is decoded automatically: WebDataset's own decoders would reduce 16-bit depth to 8 bits. Sizes
are read from the headers and bounded before any pixel is decoded, since a small file can declare a huge image.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.records import Camera, Sample

FORMAT_VERSION = 1
"""Version of shards, their indexes and their manifest; one number for all three."""
JPEG_QUALITY = 95
JPEG_SUBSAMPLING = "444"
PNG_COMPRESSION = 1
MAX_SIDE_PX = 2048
"""Larger stored images are refused before decoding; prepared crops stay below 400."""


@dataclass(frozen=True)
class Field:
    """How one field of a sample is stored."""

    name: str
    """Attribute of ``records.Sample``, or "labels" for everything that is not an image."""
    modality: str
    """Name in datasets and benchmarks: "rgb", "depth", "parts", "foreground"; "" for the labels."""
    extension: str


FIELDS: Mapping[str, Field] = {
    field.name: field
    for field in (
        Field("rgb", "rgb", "rgb.jpg"),
        Field("depth_mm", "depth", "depth.png"),
        Field("parts", "parts", "parts.png"),
        Field("foreground", "foreground", "foreground.png"),
        Field("labels", "", "sample.json"),
    )
}
IMAGES = tuple(name for name, field in FIELDS.items() if field.modality)
FIELD_OF_MODALITY: Mapping[str, str] = {field.modality: name for name, field in FIELDS.items() if field.modality}


def holds(there: Collection[str], wanted: Iterable[str]) -> bool:
    """Return whether the modalities ``wanted`` are ``there``; the foreground also follows from parts or depth."""
    return all(name in there or (name == "foreground" and ("parts" in there or "depth" in there)) for name in wanted)


def encode(sample: Sample) -> dict[str, bytes]:
    """Return extension -> bytes, in the order of ``FIELDS``. Raises ``ValueError`` for infinite labels and for images
    larger than ``MAX_SIDE_PX``."""
    if max(sample.camera.size_px) > MAX_SIDE_PX or min(sample.camera.size_px) < 1:
        raise ValueError(
            f"sample {sample.key}: a stored image of {sample.camera.size_px} px is outside 1..{MAX_SIDE_PX}"
        )
    members: dict[str, bytes] = {}
    if sample.rgb is not None:
        members[FIELDS["rgb"].extension] = encode_rgb(sample.rgb)
    for name in IMAGES:
        image = getattr(sample, name)
        if image is not None and name != "rgb":
            members[FIELDS[name].extension] = encode_png(image)
    members[FIELDS["labels"].extension] = encode_labels(sample)
    return members


def encode_rgb(rgb: npt.NDArray[np.uint8]) -> bytes:
    """Encode (H, W, 3) RGB as JPEG."""
    import simplejpeg

    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), JPEG_QUALITY, "RGB", JPEG_SUBSAMPLING))


def encode_png(image: npt.NDArray[Any]) -> bytes:
    """Encode (H, W) uint8 or uint16 as PNG, lossless.

    Rows are not filtered: on depth images and masks PNG's filters take time at both ends and save no bytes.
    """
    import cv2

    settings = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    done, data = cv2.imencode(".png", image, settings)
    if not done:
        raise ValueError(f"a {image.dtype} image of shape {image.shape} cannot be stored as PNG")
    return data.tobytes()


def encode_labels(sample: Sample) -> bytes:
    """Encode everything but the images as JSON. float32 values are written as their shortest exact decimals."""
    import orjson

    camera = sample.camera
    content = {
        "action": sample.action,
        "box_px": sample.box_px,
        "camera": {
            "distortion": camera.distortion,
            "intrinsics_px": camera.intrinsics_px,
            "position_world_mm": camera.position_world_mm,
            "rotation": camera.rotation,
            "size_px": camera.size_px,
            "tangential_factor": camera.tangential_factor,
        },
        "camera_id": sample.camera_id,
        "frame": sample.frame,
        "joints_cam_mm": sample.joints_cam_mm,
        "joints_px": sample.joints_px,
        "quality": sample.quality,
        "sequence": sample.sequence,
        "subject": sample.subject,
        "visible": sample.visible,
    }
    labels = (camera.intrinsics_px, camera.distortion, camera.position_world_mm, camera.rotation, sample.box_px,
              sample.joints_px, sample.joints_cam_mm)  # fmt: skip
    if np.isinf(np.concatenate([values.ravel() for values in labels if values is not None])).any():
        raise ValueError(f"sample {sample.key}: a label is infinite")
    return orjson.dumps(content, _contiguous, orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_SORT_KEYS)


def _contiguous(values: Any) -> Any:
    """Copy arrays that orjson cannot read in place."""
    if not isinstance(values, np.ndarray):
        raise TypeError(f"a {type(values).__name__} is not a label")
    return np.array(values, order="C", dtype=values.dtype.newbyteorder("="))


def decode(key: str, members: Mapping[str, bytes]) -> Sample:
    """Decode what ``encode`` wrote; ``members`` maps extension -> bytes. Raises ``ValueError`` for anything else."""
    try:
        labels = json.loads(members[FIELDS["labels"].extension])
        camera = labels["camera"]
        images = {
            name: decode_image(name, members[FIELDS[name].extension])
            for name in IMAGES
            if FIELDS[name].extension in members
        }
        return Sample(
            key=key,
            camera=Camera(
                np.array(camera["intrinsics_px"], np.float64),
                tuple(camera["size_px"]),
                np.array(camera["distortion"], np.float64),
                float(camera["tangential_factor"]),
                np.array(camera["rotation"], np.float64),
                np.array(camera["position_world_mm"], np.float64),
            ),
            joints_px=np.array(labels["joints_px"], np.float32),
            joints_cam_mm=None if labels["joints_cam_mm"] is None else np.array(labels["joints_cam_mm"], np.float32),
            visible=np.array(labels["visible"], np.int8),
            quality=np.array(labels["quality"], np.uint8),
            box_px=np.array(labels["box_px"], np.float32),
            subject=labels["subject"],
            action=labels["action"],
            camera_id=labels["camera_id"],
            sequence=labels["sequence"],
            frame=labels["frame"],
            **images,
        )
    except (KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
        raise ValueError(f"sample {key}: the labels are corrupt ({type(error).__name__}: {error})") from error


def decode_image(field: str, data: bytes, into: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[Any]:
    """Decode an image field by name: "rgb" (H, W, 3) uint8, "depth_mm" (H, W) uint16, "parts" or "foreground" (H, W)
    uint8. RGB is decoded in the memory of ``into`` where that has its shape.

    Raises ``ValueError`` for corrupt or oversized data."""
    return decode_rgb(data, into) if field == "rgb" else _decode_png(data, bits=16 if field == "depth_mm" else 8)


def decode_rgb(data: bytes, into: npt.NDArray[np.uint8] | None = None) -> npt.NDArray[np.uint8]:
    """Decode JPEG to (H, W, 3) RGB, see ``decode_image``. Raises ``ValueError`` for corrupt, truncated or oversized
    data."""
    import simplejpeg

    height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    _check_size(width, height)
    fits = into is not None and into.shape == (height, width, 3)
    image: npt.NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", buffer=into if fits else None)
    return image


def decode_depth(data: bytes) -> npt.NDArray[np.uint16]:
    """Decode PNG to (H, W) uint16 mm, 0 = no reading. Raises ``ValueError`` as ``decode_rgb``."""
    return _decode_png(data, bits=16)


def decode_parts(data: bytes) -> npt.NDArray[np.uint8]:
    """Decode PNG to (H, W) uint8 part ids, 0 = background. Raises ``ValueError`` as ``decode_rgb``."""
    return _decode_png(data, bits=8)


_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"


def _decode_png(data: bytes, *, bits: int) -> npt.NDArray[Any]:
    import cv2

    if not data.startswith(_PNG_START) or len(data) < 33:
        raise ValueError("the data is not a PNG image")
    if not data.endswith(_PNG_END):
        raise ValueError("the PNG image is truncated")
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    _check_size(width, height)
    if (depth, colour) != (bits, 0):
        raise ValueError(f"expected a grey PNG image of {bits} bits, found {depth} bits of colour type {colour}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError("the PNG image is corrupt")
    return image


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= MAX_SIDE_PX and 1 <= height <= MAX_SIDE_PX):
        raise ValueError(f"the image claims {width} x {height} px, more than the {MAX_SIDE_PX} px of any stored crop")
