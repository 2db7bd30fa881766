"""A stored crop, given as files, is predicted as by the benchmark: RGB, depth, and networks that others trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import kt3d_blazepose
import numpy as np
import numpy.typing as npt
import pytest
import yaml
from kt3d_blazepose import networks
from PIL import Image

import kt3d_bench as kt
from kt3d_bench import MethodPlugin
from kt3d_bench.data.prepare import prepare
from kt3d_bench.pictures.cameras import Calibration
from kt3d_bench.plugins import registry
from kt3d_bench.records import Camera, Sample
from kt3d_bench.run_folder import final_checkpoint
from kt3d_bench.testing import tiny_dataset, tiny_plugin, write_tiny_raw
from kt3d_bench.training.predict import load_method
from kt3d_bench.weight_files import weights


def through_files(run: Any, sample: Sample, folder: Path) -> npt.NDArray[Any]:
    """Predict the stored crop of a sample as a user would: a PNG, a file of boxes and one with the crop's camera. RGB
    images get the hip's true depth."""
    camera, image = sample.camera, sample.rgb if sample.rgb is not None else sample.depth_mm
    assert image is not None
    assert sample.joints_cam_mm is not None
    middle, half = (np.array(camera.size_px) - 1) / 2, max(camera.size_px) / 1.5 / 2
    (folder / "box.json").write_text(json.dumps([[*(middle - half), *(middle + half)]]))
    (folder / "camera.yaml").write_text(yaml.safe_dump(as_written(camera)))
    Image.fromarray(image).save(folder / "crop.png")
    root_mm = float(sample.joints_cam_mm[0, 2]) if sample.rgb is not None else None
    options: dict[str, Any] = {"boxes": folder / "box.json", "camera": folder / "camera.yaml", "device": "cpu"}
    found = run.predict_images(folder / "crop.png", root_depth_mm=root_mm, **options)
    joints: npt.NDArray[Any] = found[0]
    return joints


def as_written(camera: Camera) -> dict[str, Any]:
    distortion: Any = tuple(camera.distortion.tolist())
    pixels = *camera.focal_px, *camera.center_px
    written = asdict(Calibration(*pixels, distortion, camera.tangential_factor, *camera.size_px))
    return {**written, "distortion": list(distortion)}


def prepared(root: Path) -> None:
    raw = write_tiny_raw(root / "raw", registry.dataset("crops"))
    prepare(registry.dataset("crops"), raw=raw, out=root / "data" / "shards" / "crops", workers=1)


@pytest.mark.parametrize(("modality", "reference"), [("rgb", "root-given"), ("depth", "from-depth")])
def test_a_trained_network_gives_the_same(tmp_path: Path, modality: str, reference: str) -> None:
    dataset = tiny_dataset(tmp_path / "plugin", "crops", modalities=(modality,), modality=modality, reference=reference)
    method = MethodPlugin("net", "", "kt3d_integral_pose.method:IntegralPose", defaults={"target": "crops"})
    with registry.lent({"crops": tiny_plugin([dataset], [method])}, alone=True):
        prepared(tmp_path)
        settings: dict[str, Any] = {"steps": 2, "pretrain_2d": False}
        run = kt.train(
            "net", supervision="full", preset="tiny", settings=settings, device="cpu", data=tmp_path / "data"
        )
        test = kt.load("crops", "test", data=tmp_path / "data")
        expected = run.predict(test)
        joints = kt.load("crops", "train", data=tmp_path / "data").joints_cam_mm
        lengths = load_method(final_checkpoint(run.folder))[1]["bone_lengths_mm"]
        assert lengths[2] == pytest.approx(np.linalg.norm(joints[:, 3] - joints[:, 2], axis=-1).mean(), rel=1e-5)
        for number in range(2):
            found = through_files(run, test[number], tmp_path)
            seen = np.isfinite(found).all(axis=-1)
            assert seen.sum() >= 10
            np.testing.assert_allclose(found[seen], expected[number][seen], atol=1e-3)


class Seeing:
    """In the place of the landmark network: 33 points, in px and in metres, each drawn to a part of what is bright."""

    def __call__(self, image: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        cells = np.asarray(image, np.float32).reshape(16, 16, 16, 16, 3).mean((1, 3)).ravel()
        drawn = np.random.default_rng(0).normal(size=(networks.NUM_POINTS * 5, cells.size)).astype(np.float32)
        points = 128 + (drawn @ (cells - cells.mean())).reshape(-1, 5)
        others = [np.zeros(shape, np.float32) for shape in ((1,), (256, 256, 1), (64, 64, 39))]
        return [points.ravel(), *others, (points[:, 2:] / 300).ravel()]


@pytest.fixture
def blazepose(tmp_path: Path) -> Iterator[tuple[Any, kt.Dataset, Any]]:
    """Return a run of ``blazepose`` on tiny RGB data, its test samples, and what the benchmark's path gives."""
    dataset = tiny_dataset(tmp_path / "plugin", "crops", modalities=("rgb",))
    with registry.lent({"crops": tiny_plugin([dataset]), "blazepose": kt3d_blazepose}):
        prepared(tmp_path)
        run = kt.train("blazepose", target="crops", preset="tiny", device="cpu", data=tmp_path / "data")
        test = kt.load("crops", "test", data=tmp_path / "data")
        yield run, test, run.predict(test)


@pytest.fixture(params=["published", "stand-in"])
def _network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "stand-in":
        monkeypatch.setattr("kt3d_blazepose.method.Network", lambda _: Seeing())
        return
    pytest.importorskip("ai_edge_litert")
    with registry.lent({"blazepose": kt3d_blazepose}):
        if not weights("blazepose")[0].present:
            pytest.skip("the weights are not here: kt3d weights")


@pytest.mark.usefixtures("_network")
def test_blazepose_gives_the_same_to_the_last_bit(blazepose: tuple[Any, kt.Dataset, Any], tmp_path: Path) -> None:
    run, test, expected = blazepose
    assert np.ptp(expected.joints_cam_mm, axis=0).max() > 1, "other images must give other poses"
    for number in range(len(test)):
        truth, found = expected[number], through_files(run, test[number], tmp_path)
        seen = np.isfinite(found).all(axis=-1)
        assert seen.sum() >= 3
        np.testing.assert_array_equal(found[seen], truth[seen])
