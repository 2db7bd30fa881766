"""Inputs that nobody can use, all in one command: one sentence for each, and the good one among them is predicted."""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pictures_toys import dot_picture
from PIL import Image
from test_pictures_inputs import write_video

import kt3d_bench as kt
from kt3d_bench import MethodPlugin
from kt3d_bench.cli import main
from kt3d_bench.data.prepare import prepare
from kt3d_bench.plugins import registry
from kt3d_bench.testing import tiny_dataset, tiny_plugin, write_tiny_raw


def claims(width: int, height: int) -> bytes:
    """Return a PNG of 1 kB whose header claims a size."""

    def chunk(body: bytes) -> bytes:
        return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT" + zlib.compress(bytes(1000)))


def truncated_jpeg() -> bytes:
    data = io.BytesIO()
    Image.fromarray(dot_picture()).save(data, "jpeg")
    return data.getvalue()[:-400]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "truncated.jpg": (truncated_jpeg(), "is damaged or cut short"),
    "bomb.png": (claims(200_000, 200_000), "is too large"),
    "empty.mp4": (b"", "is empty"),
    "drawing.jpg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no picture and no video of a known kind"),
    "megapixels.png": (claims(10_000, 10_000), "has 10000 x 10000 pixels, and at most 64 million are read"),
}


@pytest.fixture
def given(dots: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of bad pictures with one that is good, and make it the current one."""
    monkeypatch.chdir(tmp_path)
    for name, (content, _) in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "loop.png").symlink_to("loop.png")
    write_video(tmp_path / "nothing.mp4", [])
    Image.fromarray(dot_picture()).save(tmp_path / "good.png")
    Image.fromarray(dot_picture()).save(tmp_path / "boxed.png")
    return tmp_path


def run(*words: str) -> tuple[int, list[str]]:
    done = CliRunner().invoke(main, ["predict", "dots", *words])
    return done.exit_code, done.output.splitlines()


def test_each_is_told_in_one_sentence_and_the_good_one_is_predicted(given: Path) -> None:
    told = {name: words for name, (_, words) in HOSTILE.items()} | {"loop.png": "is missing", "nothing.mp4": "holds no"}
    boxes = {"good.png": [[20, 20, 220, 180]], "boxed.png": [[0, 0, 1e9, 1e9]]}
    (given / "boxes.json").write_text(json.dumps(boxes))
    told["boxed.png"] = "the box (0, 0, 1e+09, 1e+09) cannot be one of a picture of 240 x 200 px"
    code, lines = run(*told, "good.png", "--boxes", "boxes.json", "--out", "out")
    assert code == 0, lines
    for name, words in told.items():
        [line] = [line for line in lines if name in line and line.endswith("; skipped")]
        assert words in line
    assert "Poses: 1, in out/predictions.json and predictions.npz; overlays beside them" in lines
    document = json.loads((given / "out" / "predictions.json").read_text())
    assert [one["name"] for one in document["inputs"] if one["people"]] == ["good.png"]
    assert {one["name"] for one in document["inputs"] if "error" in one} == set(told)


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ({"fx": 500.0, "fy": 500.0}, "the field 'cx' is missing; the field 'cy' is missing"),
        ({"fx": None, "fy": 500.0, "cx": 1, "cy": 1}, "fx is None"),
        ([500, 500], "expected"),
    ],
)
def test_a_camera_without_fields_stops_the_command_before_it_reads_a_picture(
    given: Path, camera: Any, words: str
) -> None:
    (given / "camera.json").write_text(json.dumps(camera))
    code, lines = run("good.png", "--camera", "camera.json", "--out", "out")
    [line] = [line for line in lines if line.startswith("Error")]
    assert code > 0
    assert words in line
    assert "give --camera fx,fy,cx,cy or a YAML or JSON file" in line
    assert not (given / "out").exists()


def test_depth_that_is_no_depth(tmp_path: Path) -> None:
    """NaN, negative readings and metres, beside an image with some of them that is predicted."""
    dataset = tiny_dataset(
        tmp_path / "plugin", "crops", modalities=("depth",), modality="depth", reference="from-depth"
    )
    method = MethodPlugin("net", "", "kt3d_integral_pose.method:IntegralPose", defaults={"target": "crops"})
    with registry.lent({"crops": tiny_plugin([dataset], [method])}, alone=True):
        raw = write_tiny_raw(tmp_path / "raw", registry.dataset("crops"))
        prepare(registry.dataset("crops"), raw=raw, out=tmp_path / "data" / "shards" / "crops", workers=1)
        settings: dict[str, Any] = {"steps": 1, "pretrain_2d": False}
        trained = kt.train(
            "net", supervision="full", preset="tiny", settings=settings, device="cpu", data=tmp_path / "data"
        )
        depth = kt.load("crops", "test", data=tmp_path / "data")[0].depth_mm
        assert depth is not None
        spoilt = depth.astype(np.float32)
        spoilt[0, :2] = np.nan, -5.0
        images = {
            "good": spoilt,
            "nan": np.full_like(spoilt, np.nan),
            "negative": -depth.astype(np.float32),
            "metres": depth / 1000,
        }
        for name, image in images.items():
            np.save(tmp_path / f"{name}.npy", image)
        paths = [tmp_path / f"{name}.npy" for name in images]
        found = trained.predict_images(paths, boxes="whole", out=tmp_path / "out", device="cpu")
    assert found.keys.tolist() == ["good.npy/0"]
    told = found.meta["skipped"]
    assert list(told) == ["nan.npy", "negative.npy", "metres.npy"]
    assert "holds no positive depth reading" in told["nan.npy"]
    assert "holds no positive depth reading" in told["negative.npy"]
    assert "its depths look like metres" in told["metres.npy"]
    document = json.loads((tmp_path / "out" / "predictions.json").read_text())
    notes = document["inputs"][0]["notes"]
    assert "1 depth readings are not finite and count as none" in notes
    assert "1 depth readings are negative and count as none" in notes
