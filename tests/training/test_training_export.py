"""Exported runs: the same answers as the run's own, whatever the batch, and what a user elsewhere must know."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from training_networks import ELSEWHERE, NETWORKS, WITHOUT, graph_of
from training_workplace import Workplace, offer

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.errors import Kt3dError, PluginError, UsageError
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Estimate, Method
from kt3d_bench.plugins import registry
from kt3d_bench.run_folder import final_checkpoint
from kt3d_bench.testing import tiny_batch, unlabelled
from kt3d_bench.training import exporting
from kt3d_bench.training.graph import Graph
from kt3d_bench.training.portable import facts
from kt3d_bench.training.predict import load_method
from kt3d_bench.training.train import train

pytest.importorskip("onnxscript")
onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
SMALL = {"input_px": 32, "backbone": "tiny", "pretrain_2d": False, "steps": 1, "batch_size": 2}


class Written:
    def __init__(self, root: Path) -> None:
        work = Workplace(root / "data")
        for dataset in ("dots-target", "dots-source"):
            work.prepare(dataset)
        config = work.config(method="baseline", supervision="full", settings=SMALL)
        self.run, self.onnx, self.program = train(config), root / "run.onnx", root / "run.pt2"
        self.done = kt.export(self.run, onnx=self.onnx, program=self.program)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    root = tmp_path_factory.mktemp("export")
    with registry.lent({"dots": offer(root / "plugins")}, alone=True):
        yield Written(root)


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(count))


@pytest.fixture(scope="module")
def method(written: Written) -> Method:
    from kt3d_bench.run_folder import final_checkpoint
    from kt3d_bench.training.predict import load_method

    return load_method(final_checkpoint(written.run))[0].eval()


def expected(method: Method, rgb: torch.Tensor) -> Estimate:
    batch = unlabelled(tiny_batch(len(rgb), input_px=32))
    with torch.no_grad():
        return method.predict(UnlabelledBatch({"rgb": rgb}, batch.cameras, batch.surface_mm))


def test_it_was_compared_with_torch_on_test_samples(written: Written) -> None:
    assert written.done.deviation_mm is not None
    assert written.done.deviation_mm < 0.05
    assert written.done.samples > 0
    assert (written.done.inputs, written.done.outputs) == (("rgb",), ("joints_px", "z_root_mm"))


@pytest.mark.parametrize("count", [1, 5])
def test_any_batch_gives_the_answers_of_the_run(written: Written, method: Method, count: int) -> None:
    rgb = images(count)
    truth = expected(method, rgb)
    found = onnxruntime.InferenceSession(written.onnx).run(None, {"rgb": rgb.numpy()})
    with torch.no_grad():
        traced = torch.export.load(written.program).module()(rgb)
    for one in (found, [value.numpy() for value in traced]):
        np.testing.assert_allclose(one[0], truth.joints_px, atol=1e-3)
        np.testing.assert_allclose(one[1], truth.z_root_mm, atol=2e-2)


def test_the_file_says_what_it_holds_and_uses_standard_operators(written: Written) -> None:
    model = onnx.load(written.onnx)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} == {""}
    told = {one.key: json.loads(one.value) for one in model.metadata_props}
    assert told["joints"][10] == "head"
    assert (told["input_px"], told["method"], told["supervision"]) == (32, "baseline", "full")
    data = {"role": "target", "dataset": "dots-target", "origin": "official", "licence": "Do as you like."}
    assert told["data"] == [data]
    assert "mm" in told["units"]


def test_the_example_gives_the_same_with_opencv_alone(written: Written, method: Method, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), picture[..., ::-1])
    script = Path(__file__).parents[2] / "examples" / "onnx_pose.py"
    half = 16 / 1.25
    box = [str(15.5 - half), str(15.5 - half), str(15.5 + half), str(15.5 + half)]
    words = [sys.executable, str(script), str(written.onnx), "32", str(tmp_path / "p.png"), *box]
    lines = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()
    truth = expected(method, torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)
    assert truth.joints_px is not None
    assert truth.z_root_mm is not None
    printed = np.array([[float(line.split()[place]) for place in (0, 1, 3)] for line in lines])
    np.testing.assert_allclose(printed[:, :2], truth.joints_px[0], atol=0.1)
    np.testing.assert_allclose(printed[:, 2], truth.z_root_mm[0], atol=0.2)


def test_the_example_reduces_a_large_photograph_as_predict_does(written: Written, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "p.png"), picture)
    box = [60, 20, 300, 280]
    (tmp_path / "box.json").write_text(json.dumps([box]))
    kt.load_run(written.run).predict_images(
        tmp_path / "p.png", boxes=tmp_path / "box.json", root_depth_mm=4000, out=tmp_path / "out", device="cpu"
    )
    (pose,) = json.loads((tmp_path / "out" / "predictions.json").read_text())["poses"]
    script = Path(__file__).parents[2] / "examples" / "onnx_pose.py"
    words = [sys.executable, str(script), str(written.onnx), "32", str(tmp_path / "p.png"), *map(str, box)]
    lines = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout.splitlines()
    printed = np.array([[float(one) for one in line.split()[:2]] for line in lines])
    known = [joint is not None for joint in pose["joints_px"]]
    assert sum(known) > 10
    expected = [joint for joint in pose["joints_px"] if joint]
    np.testing.assert_allclose(printed[known], expected, atol=2)


def test_an_answer_that_differs_is_not_written(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_traced", "_onnx_bytes"):
        monkeypatch.setattr(exporting, name, lambda *_: b"")
    zeros = {"joints_px": np.zeros((5, 17, 2)), "z_root_mm": np.full((5, 17), 9e9)}
    monkeypatch.setattr(exporting, "run_onnx", lambda *_: zeros)
    path = written.onnx.with_name("other.onnx")
    with pytest.raises(Kt3dError, match=r"ONNX's answers differ from torch's by .* mm; nothing was written"):
        kt.export(written.run, onnx=path)
    assert not path.exists()


def test_differences_are_in_mm_of_a_person_of_two_metres() -> None:
    one = {"joints_px": np.zeros((1, 17, 2)), "z_root_mm": np.full((1, 17), np.nan)}
    other = {"joints_px": np.full((1, 17, 2), 0.5), "z_root_mm": np.full((1, 17), np.nan)}
    assert exporting.largest_mm(one, other, 250) == pytest.approx(4.0)
    assert np.isnan(exporting.largest_mm(one, {**one, "z_root_mm": np.zeros((1, 17))}, 250))


def test_the_command_says_what_was_written(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    done = exporting.Exported((Path("a.onnx"),), ("rgb",), ("joints_px",), 0.01234, 0)
    monkeypatch.setitem(kt.__dict__, "export", lambda *_, **__: done)
    text = CliRunner().invoke(main, ["export", "--onnx", "a.onnx"]).output
    assert text == (
        "Written: a.onnx (inputs rgb; outputs joints_px)\n"
        "ONNX and torch agree to 0.0123 mm on random images, as no test shards are here.\n"
    )


def test_what_cannot_be_exported_is_refused(written: Written, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file to write is named; name one: --onnx FILE or --torch FILE"):
        kt.export(written.run)
    monkeypatch.setattr(Graph, "forward", lambda self, rgb: self.answer(rgb[: int(rgb.sum())]))
    with pytest.raises(PluginError, match="method 'baseline': its prediction cannot be traced"):
        kt.export(written.run, program=tmp_path / "x.pt2")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"the package onnx is not installed; pip install 'kt3d-bench\[export\]'"):
        kt.export(written.run, onnx=tmp_path / "x.onnx")


def test_a_method_without_a_network_is_refused(written: Written) -> None:
    work = Workplace(written.run.parents[1])
    run = train(work.config(method="mean", settings={}))
    with pytest.raises(UsageError, match="method 'mean' has no network to export"):
        kt.export(run, program=Path("x.pt2"))


def test_clips_are_exported_from_images_to_poses(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that looks at all frames of a clip: its graph takes (B, T, 3, S, S) test clips and agrees with torch."""
    kind = registry.load(registry.method("baseline").load)
    single = kind.predict

    def steady(self: Method, batch: UnlabelledBatch) -> Estimate:
        each = single(self, batch)
        assert each.joints_px is not None
        return Estimate(
            joints_px=each.joints_px.view(-1, 3, 17, 2).mean(1), z_root_mm=each.z_root_mm.view(-1, 3, 17)[:, 1]
        )

    monkeypatch.setattr(kind, "predict", steady)
    monkeypatch.setattr(kind, "clip", (3, 1))
    done = kt.export(written.run, onnx=written.onnx.with_name("clips.onnx"))
    assert done.inputs == ("rgb",)
    assert done.samples > 0
    content = done.files[0].read_bytes()
    side = load_method(final_checkpoint(written.run))[0].input_px
    found = exporting.run_onnx(content, {"rgb": np.zeros((2, 3, 3, side, side), np.float32)})
    assert found["joints_px"].shape == (2, 17, 2)


@pytest.mark.parametrize(
    ("dataset", "origin", "terms"),
    [
        ("h36m", "generated", "generated by kt3d_bench; no terms of others"),
        ("gone", "official", "not known: its plugin is not installed"),
    ],
)
def test_terms_follow_the_data(dataset: str, origin: str, terms: str) -> None:
    config = {"method": "m", "preset": "tiny", "supervision": "none", "seed": 0}
    shards = {"target": {"dataset": dataset, "origin": origin}}
    assert facts({"config": config, "shards": shards}, 64)["data"][0]["licence"] == terms


LOADS = {name: plugin.load for name, plugin in registry.methods().items() if plugin.load.startswith("kt3d_")}
"""Where their classes are, asked before this module's own plugins stand alone."""


def test_every_method_of_this_repository_with_networks_is_exported_here_or_by_its_own_tests() -> None:
    assert {name for name, _, _ in NETWORKS} == set(LOADS) - WITHOUT - ELSEWHERE


@pytest.mark.slow
@pytest.mark.parametrize(("name", "modality", "settings"), NETWORKS)
def test_every_method_with_networks_gives_the_same_in_onnx(name: str, modality: str, settings: dict[str, Any]) -> None:
    graph, given = graph_of(LOADS[name], modality, settings)
    with torch.no_grad():
        truth = {key: value.numpy() for key, value in graph.answer(*given.values()).items()}
        traced = exporting._traced(graph, given, name)
        content = exporting._onnx_bytes(traced, tuple(given), tuple(truth), {})
    relative = "joints_root_mm" if name == "ddp" else "z_root_mm"
    assert set(truth) == {"joints_px", relative} | ({"root_z_mm"} if modality == "depth" else set())
    side, parts = graph.method.input_px, ({key: value[row] for key, value in truth.items()} for row in (0, 1))
    assert exporting.largest_mm(*parts, side) > 10, "the answers follow the images"
    assert exporting.largest_mm(exporting.run_onnx(content, given), truth, side) < 0.05
    assert {node.domain for node in onnx.load_from_string(content).graph.node} == {""}


def test_a_method_that_reads_cameras_is_given_them_or_refused(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the focal length instead of a pose, at the hip alone."""

    def focal(self: Method, batch: UnlabelledBatch) -> Estimate:
        half = batch.cameras.intrinsics_px[:, 0, :1] / 2 + 0 * batch.images["rgb"].mean()
        return Estimate(z_root_mm=half.expand(-1, 17), joints_px=half[..., None].expand(-1, 17, 2))

    kind = registry.load(registry.method("baseline").load)
    monkeypatch.setattr(kind, "predict", focal)
    target = written.onnx.with_name("camera.onnx")
    with pytest.raises(PluginError, match=r"predicts nothing without a camera.*reads_cameras = True"):
        kt.export(written.run, onnx=target)
    monkeypatch.setattr(kind, "reads_cameras", True)
    assert kt.export(written.run, onnx=target).inputs == ("rgb", "intrinsics_px")
    given = {"rgb": images(2).numpy(), "intrinsics_px": np.full((2, 2, 3), 90.0, np.float32)}
    assert (onnxruntime.InferenceSession(target).run(None, given)[1] == 45.0).all()
