"""Detections beside shards: in px of the stored crops, of these shards alone, read by a lifter in px of its input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from kt3d_floor.martinez import Martinez
from training_toys import CONTEXT, SOMEBODY, StagelessMethod
from training_workplace import Workplace

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.data.detections import detections_path, read_detections, write_detections
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, PluginError, UsageError
from kt3d_bench.files import npz_bytes
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Estimate
from kt3d_bench.plugins import registry
from kt3d_bench.run_folder import read_run
from kt3d_bench.testing import tiny_batch, unlabelled
from kt3d_bench.training.train import train


@pytest.fixture
def shards(workplace: Workplace) -> ShardSet:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    return ShardSet.open(workplace.root / "shards" / "dots-target", "test")


@pytest.fixture
def _centred(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method finds every joint in the middle of its input of 8 px, half sure."""

    def predict(self: Any, batch: UnlabelledBatch) -> Estimate:
        shape = batch.size, 17
        return Estimate(joints_px=torch.full((*shape, 2), 3.5), confidence=torch.full(shape, 0.5))

    monkeypatch.setattr(StagelessMethod, "predict", predict)


@pytest.mark.usefixtures("_centred")
def test_joints_are_stored_in_px_of_the_stored_crop(shards: ShardSet) -> None:
    """The middle of the input is the middle of the stored square."""
    (path,) = kt.detect(shards.folder, "stageless", splits=["test"], device="cpu")
    assert path == shards.folder / "detections" / "stageless" / "test.npz"
    joints, confidence, maker = read_detections(shards, "stageless")
    assert maker.method == "stageless"
    middle = (np.asarray(shards.labels.size_px) - 1) / 2
    np.testing.assert_allclose(joints, np.broadcast_to(middle[:, None], joints.shape), atol=1e-3)
    assert (confidence == 0.5).all()


@pytest.mark.usefixtures("_centred")
def test_a_lifter_reads_them_in_px_of_its_input(shards: ShardSet, workplace: Workplace, tmp_path: Path) -> None:
    asked: list[Any] = []
    kt.detect(shards.folder, "stageless", splits=["test"], device="cpu")
    roles = {"target": "dots-target", "source": "dots-source", "pretrain": "dots-source"}
    lifter = kt.MethodPlugin("lifter", "", "kt3d_floor.martinez:Martinez", defaults=roles)
    from kt3d_bench.testing import tiny_plugin

    with registry.lent({"lifter": tiny_plugin(methods=[lifter])}):
        settings = {"detections": "stageless", "input_px": 64, "lift_steps": 2, "width": 8}
        with pytest.raises(ArtefactError, match="there are no detections 'nope' of split 'test'; make them: kt3d det"):
            train(workplace.config(method="lifter", settings={**settings, "detections": "nope"}))
        assert not list((workplace.root / "runs").glob("*"))
        run = train(workplace.config(method="lifter", settings=settings))
        document = read_run(run)
        assert [stage["name"] for stage in document["stages"]] == ["lift"]
        assert document["external_data"] == ["2D detections by stageless"]
        original = Martinez._joints_px

        def seen(self: Martinez, batch: UnlabelledBatch) -> torch.Tensor:
            asked.append((original(self, batch), dict(batch.images)))
            return asked[-1][0]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Martinez, "_joints_px", seen)
            kt.load_run(run).predict(kt.load("dots-target", "test", data=workplace.root))
    for found, images in asked:
        np.testing.assert_allclose(found, 31.5, atol=1e-3)
        assert not images


def test_a_lifter_without_detections_is_told() -> None:
    method = Martinez(Martinez.Config(detections="x", width=8), CONTEXT)
    with pytest.raises(UsageError, match="lifts stored detections, and there are none; predict shards that have them"):
        method.predict(unlabelled(tiny_batch(2)))
    (lift,) = method.stages()
    assert method.validate(lift, unlabelled(tiny_batch(2))) is None
    with pytest.raises(UsageError, match="stored detections are lifted without labels of the target alone"):
        Martinez(Martinez.Config(detections="x"), replace(CONTEXT, supervision="full-3d"))


def test_detections_that_are_absent_corrupt_or_of_other_shards_are_refused(shards: ShardSet) -> None:
    with pytest.raises(ArtefactError, match=r"there are no detections 'x' of split 'test'; make them: kt3d detect"):
        read_detections(shards, "x")
    count = len(shards.keys)
    path = write_detections(shards, "x", np.zeros((count, 17, 2)), np.zeros((count, 16)), SOMEBODY)
    with pytest.raises(ArtefactError, match=r"holds keys, .* of shapes"):
        read_detections(shards, "x")
    for wrong in (np.full((count, 17, 2), "1"), np.zeros((count, 17, 2), int)):
        path.write_bytes(npz_bytes({"keys": shards.keys, "joints_px": wrong, "confidence": np.zeros((count, 17))}))
        with pytest.raises(ArtefactError, match=r"holds keys, .* of shapes"):
            read_detections(shards, "x")
    with pytest.raises(UsageError, match=r"'\.\./x' cannot be a name of detections"):
        detections_path(shards, "../x")
    train_split = ShardSet.open(shards.folder, "train")
    other = len(train_split.keys)
    written = write_detections(train_split, "x", np.zeros((other, 17, 2)), np.zeros((other, 17)), SOMEBODY)
    path.write_bytes(written.read_bytes())
    with pytest.raises(ArtefactError, match="these are detections of other shards"):
        read_detections(shards, "x")


def test_what_cannot_detect_is_told(shards: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PluginError, match="does not say where joints are in the image"):
        kt.detect(shards.folder, "stageless", splits=["test"], device="cpu")
    with pytest.raises(UsageError, match="there is no split 'tset'; choose from test, train"):
        kt.detect(shards.folder, "stageless", splits=["tset"])
    with pytest.raises(UsageError, match="there is no run 'nothing'"):
        kt.detect(shards.folder, "nothing")
    monkeypatch.setattr(StagelessMethod, "detections", "x")
    with pytest.raises(UsageError, match="the method reads stored detections, and detecting takes single images"):
        kt.detect(shards.folder, "stageless", splits=["test"], device="cpu")


@pytest.mark.usefixtures("_centred")
def test_the_command_names_the_files(shards: ShardSet) -> None:
    done = CliRunner().invoke(main, ["detect", str(shards.folder), "--with", "stageless", "--split", "test"])
    assert f"Detections: {shards.folder}/detections/stageless/test.npz" in done.output
