"""Readers of what users have and pass on: pictures, videos, cameras, boxes, packs, weights, predicted poses, detections
beside shards; and the commands that read them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import cv2
import numpy as np
from campaign_inputs import (
    bytes_changed,
    chunks_changed,
    gzip_changed,
    json_changed,
    npy_changed,
    tar_changed,
    yaml_changed,
    zip_changed,
)
from fuzz import Target, command
from PIL import Image

from kt3d_bench import packs, weight_files
from kt3d_bench.data import detections
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.files import file_sha256
from kt3d_bench.metrics import converting
from kt3d_bench.pictures import boxes, cameras, inputs, output
from kt3d_bench.pictures.formats import write_as
from kt3d_bench.plugins.hookspecs import WeightFile
from kt3d_bench.skeletons import NUM_JOINTS

NPZ = zip_changed(npy_changed)
SIDE_PX = 48
KEPT = b"weights of somebody" * 40
SHARDS = "kt3d-data/shards/ubc3v"


def colours() -> np.ndarray:
    """(H, W, 3) uint8."""
    return np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 3), np.uint8)


def depth_png() -> bytes:
    """A person's worth of near readings before a far wall, in mm."""
    depth = np.full((SIDE_PX, SIDE_PX), 4000, np.uint16)
    depth[8:40, 18:30] = 2500
    return bytes(cv2.imencode(".png", depth)[1])


def saved(form: str, **how: Any) -> bytes:
    """One photograph in a form of Pillow's."""
    buffer = io.BytesIO()
    Image.fromarray(colours()).save(buffer, form, **how)
    return buffer.getvalue()


def photographed() -> bytes:
    """A JPEG with an orientation and a focal length."""
    about = Image.Exif()
    about[0x0112] = 6
    about.get_ifd(0x8769)[0xA405] = 28
    return saved("JPEG", exif=about)


def filmed(path: Path, container: str, codec: str) -> bytes:
    """Two frames."""
    with av.open(str(path), "w", format=container) as opened:
        stream: Any = opened.add_stream(codec, rate=10)
        stream.width = stream.height = SIDE_PX
        stream.pix_fmt = "yuv420p"
        for _ in range(2):
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(colours(), "rgb24")))
        opened.mux(stream.encode())
    return path.read_bytes()


def predicted(folder: Path) -> output.Record:
    """Write what ``kt3d predict RUN PICTURE`` writes, of one person in two frames of a video."""
    record = output.Record({"written_by": "kt3d", "boxes": "given"}, [output.InputRecord("a.mp4", "video", (64, 48))])
    rng = np.random.default_rng(0)
    for frame in range(2):
        record.keys.append(f"a.mp4/{frame}/0")
        record.joints_cam_mm.append(rng.normal((0, 0, 3000), 300, (NUM_JOINTS, 3)).astype(np.float32))
        record.rows.append({
            "input": 0, "frame": frame, "time_s": frame / 10, "person": 0, "box_px": [1.0, 2.0, 30.0, 40.0],
            "depth_from": "lengths", "joints_px": rng.uniform(0, 48, (NUM_JOINTS, 2)),
            "joints_root_mm": rng.normal(0, 300, (NUM_JOINTS, 3)),
        })  # fmt: skip
    output.write_record(folder, record)
    return record


def _image(name: str, modality: str) -> Callable[[Path], Any]:
    return lambda folder: inputs.read_picture(folder / name, name, modality)


def _video(name: str) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        container = inputs.video_container(folder / name)
        if container is not None:
            inputs.frame_count(folder / name, container)
            for _ in inputs.video_frames(folder / name, name, container):
                pass

    return read


def _boxes(folder: Path) -> None:
    rule = boxes.from_file(folder / "boxes.yaml")
    for name, frame in (("a.png", None), ("b.mp4", 3)):
        rule(inputs.Picture(name, colours(), frame))


def _pack(folder: Path) -> None:
    with patch.dict("os.environ", KT3D_CACHE=str(folder / "cache")):
        packs.unpacked(folder / "p.kt3d")


def _weights(name: str) -> Callable[[Path], None]:
    """Take the weights that a method names out of a file."""
    wanted = WeightFile("kept.bin", len(KEPT), hashlib.sha256(KEPT).hexdigest(), "pip download them")

    def read(folder: Path) -> None:
        kept = weight_files.KeptWeights("somebody", wanted, folder / "kept/kept.bin", False)
        with patch.object(weight_files, "weights", lambda method=None: [kept]):
            weight_files.add_weights("somebody", folder / name)

    return read


def _archives() -> tuple[bytes, bytes]:
    """The weights in a wheel, and in a tar."""
    wheel, tar = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("somebody/kept.bin", KEPT)
        archive.writestr("somebody/__init__.py", b"")
    with tarfile.open(fileobj=tar, mode="w") as opened:
        info = tarfile.TarInfo("somebody/kept.bin")
        info.size = len(KEPT)
        opened.addfile(info, io.BytesIO(KEPT))
    return wheel.getvalue(), tar.getvalue()


def of_users(folder: Path) -> list[Target]:
    """Everything that needs no prepared shards."""
    predicted(folder)
    (folder / "final.pt").write_bytes(KEPT)
    weights = folder / "final.pt"
    packs.write_pack(folder / "p.kt3d", {"method": "a"}, b"config: {method: a}\n", weights, file_sha256(weights))
    wheel, tar = _archives()
    depth, poses = io.BytesIO(), io.BytesIO()
    np.save(depth, np.full((SIDE_PX, SIDE_PX), 2500, np.float32))
    np.save(poses, np.zeros((3, NUM_JOINTS, 3), np.float32))
    recording = "S9_Directions 1_0.npy"
    camera = b"fx: 600.0\nfy: 601.0\ncx: 23.5\ncy: 23.5\ndistortion: [0.1, 0, 0, 0, 0]\nwidth: 48\nheight: 48\n"
    people = {"a.png": [[1, 2, 30, 40]], "b.mp4": {"0": [[1, 2, 30, 40]], "2": [[3, 2, 30, 40], [0, 0, 20, 20]]}}
    document = (folder / "predictions.json").read_bytes()
    photographs = {
        "jpg": photographed(), "webp": saved("WEBP"), "gif": saved("GIF"), "bmp": saved("BMP"),
        "tiff": saved("TIFF", compression="tiff_deflate"), "ppm": saved("PPM"),
    }  # fmt: skip
    videos = {"mp4": ("mp4", "mpeg4"), "mkv": ("matroska", "mpeg4"), "avi": ("avi", "mpeg4"),
              "ts": ("mpegts", "mpeg2video")}  # fmt: skip
    return [
        *(Target(f"picture {kind}", f"a.{kind}", (data,), bytes_changed, _image(f"a.{kind}", "rgb"))
          for kind, data in photographs.items()),
        Target("picture png", "a.png", (saved("PNG"),), chunks_changed, _image("a.png", "rgb")),
        Target("picture depth", "d.png", (depth_png(),), chunks_changed, _image("d.png", "depth")),
        Target("picture array", "d.npy", (depth.getvalue(),), npy_changed, _image("d.npy", "depth")),
        *(Target(f"picture video {kind}", f"v.{kind}", (filmed(folder / f"v.{kind}", *how),), bytes_changed,
                 _video(f"v.{kind}"), share=0.5) for kind, how in videos.items()),
        Target("camera file", "c.yaml", (camera,), yaml_changed, lambda at: cameras.read_calibration(at / "c.yaml")),
        Target("boxes file", "boxes.yaml", (json.dumps(people).encode(),), json_changed, _boxes),
        Target("boxes file yaml", "boxes.yaml", (b"a.png:\n- [1, 2, 30, 40]\nb.mp4:\n  0: [[1, 2, 30, 40]]\n",),
               yaml_changed, _boxes),
        Target("pack", "p.kt3d", ((folder / "p.kt3d").read_bytes(),), zip_changed(_member_changed), _pack),
        Target("weights add wheel", "w.whl", (wheel,), zip_changed(bytes_changed), _weights("w.whl")),
        Target("weights add tgz", "w.tgz", (gzip.compress(tar, 1),), gzip_changed(tar_changed), _weights("w.tgz")),
        Target("weights add file", "kept.bin", (KEPT,), bytes_changed, _weights("kept.bin")),
        Target("convert recording", recording, (poses.getvalue(),), npy_changed,
               lambda at: converting._recorded(at / recording)),
        *(Target(f"convert --to {form}", "predictions.json", (document,), json_changed, _written(form))
          for form in ("coco", "bvh")),
    ]  # fmt: skip


def _member_changed(chance: Any, data: bytes) -> bytes:
    """Change the document of a member that is one."""
    return json_changed(chance, data) if data[:1] == b"{" else bytes_changed(chance, data)


def _written(form: Any) -> Callable[[Path], Any]:
    return lambda folder: write_as(folder / "predictions.json", form, out=folder / f"written.{form}")


def of_scored_run(folder: Path, home: Path) -> list[Target]:
    """What needs shards and a run: ``home`` holds both."""
    data = home / "kt3d-data"
    opened = ShardSet.open(data / "shards/ubc3v", "test")
    path = detections.detections_path(opened, "by")
    count = len(opened.keys)
    maker = detections.Maker("a", saw={}, external_data=())
    detections.write_detections(opened, "by", np.ones((count, NUM_JOINTS, 2)), np.ones((count, NUM_JOINTS)), maker)
    stored = path.read_bytes()
    shutil.rmtree(path.parents[1])
    weights = data / "runs/x/checkpoints/final.pt"
    run = (data / "runs/x/run.yaml").read_bytes()
    packs.write_pack(folder / "x.kt3d", {"method": "a"}, run, weights, file_sha256(weights))
    manifest = (data / "shards/ubc3v/manifest.json").read_bytes()
    predict = ("predict", "kt3d-data/runs/x", "d.png", "--boxes", "boxes.yaml", "--camera", "c.yaml", "--replace",
               "--device", "cpu")  # fmt: skip
    of_pack = ("predict", "x.kt3d", "d.png", "--boxes", "whole", "--replace", "--device", "cpu")
    few: dict[str, Any] = {"beside": home, "share": 0.03}

    def read_detections(at: Path) -> None:
        detections.read_detections(ShardSet.open(at / SHARDS, "test"), "by")

    picture, camera = ("d.png", depth_png()), ("c.yaml", b"fx: 60\nfy: 60\ncx: 24\ncy: 24\n")
    people = "boxes.yaml", b'{"d.png": [[10, 4, 36, 44]]}'
    return [
        Target("detections", f"{SHARDS}/detections/by/test.npz", (stored,), NPZ, read_detections, beside=home,
               share=0.3),
        Target("kt3d validate detections", f"{SHARDS}/detections/by/test.npz", (stored,), NPZ,
               command("validate", SHARDS), **few),
        Target("kt3d predict picture", *picture[:1], picture[1:], chunks_changed, _beside(predict, camera, people),
               **few),
        Target("kt3d predict boxes", people[0], people[1:], json_changed, _beside(predict, picture, camera),
               **few),
        Target("kt3d predict camera", camera[0], camera[1:], yaml_changed, _beside(predict, picture, people),
               **few),
        Target("kt3d predict pack", "x.kt3d", ((folder / "x.kt3d").read_bytes(),), zip_changed(bytes_changed),
               _beside(of_pack, picture), **few),
        Target("kt3d pack", "kt3d-data/runs/x/run.yaml", (run,), yaml_changed,
               command("pack", "x", "--out", "y.kt3d"), **few),
        Target("kt3d detect", f"{SHARDS}/manifest.json", (manifest,), json_changed,
               command("detect", SHARDS, "--with", "x", "--device", "cpu", "--split", "test"), **few),
        Target("kt3d export", "kt3d-data/runs/x/run.yaml", (run,), yaml_changed,
               command("export", "x", "--torch", "x.pt2"), beside=home, share=0.005),
        Target("kt3d convert", "given.npz", ((folder / "given.npz").read_bytes(),), NPZ,
               command("convert", "given.npz", "--benchmark", "ubc3v-hard"), **few),
        Target("kt3d convert --to bvh", "given.npz", ((folder / "given.npz").read_bytes(),), NPZ,
               command("convert", "given.npz", "--to", "bvh"), **few),
    ]  # fmt: skip


def _beside(words: tuple[str, ...], *files: tuple[str, bytes]) -> Callable[[Path], None]:
    """Return a reader that runs a command beside files that are not the input itself."""
    run = command(*words)

    def read(folder: Path) -> None:
        for name, content in files:
            (folder / name).write_bytes(content)
        run(folder)

    return read
