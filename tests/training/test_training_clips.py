"""A method that sees clips: training, validation, prediction, on a film of dots."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import SIDE, ClipMethod
from training_workplace import Workplace

import kt3d_bench.testing.tiny as tiny
from kt3d_bench.data.detections import write_detections
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.loading.clips import clip_frames
from kt3d_bench.loading.loader import Loader
from kt3d_bench.method import Estimate
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.run_folder import final_checkpoint
from kt3d_bench.training.feeds import RoleData
from kt3d_bench.training.predict import load_method, predict
from kt3d_bench.training.train import train
from kt3d_bench.training.validation import SAMPLES


@pytest.fixture
def film(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """The samples of a split are the frames of one sequence."""
    still = tiny.tiny_sample

    def frame(key: str, *arguments: Any, **options: Any) -> Any:
        return still(key, *arguments, frame=int(key[-3:]), **options)

    monkeypatch.setattr(tiny, "tiny_sample", frame)
    for name in ("dots-source", "dots-target"):
        workplace.prepare(name)
    return workplace


def test_it_trains_on_clips_and_predicts_the_middle_frames(film: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictions are those of single images, their features averaged over each clip."""
    asked: list[int] = []

    def counted(self: RoleData, *arguments: Any) -> Any:
        asked.append(arguments[-1])
        return fixed(self, *arguments)

    fixed = RoleData.fixed
    monkeypatch.setattr(RoleData, "fixed", counted)
    run = train(film.config(method="clips", supervision="none", validate_every=2))
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert any("seen source mpjpe_mm" in line.get("validation", {}) for line in lines)
    assert set(asked) == {SAMPLES // 3}
    found = read_predictions(predict(run, device="cpu"))
    shards = ShardSet.open(film.root / "shards" / "dots-target", "test")
    method, _ = load_method(final_checkpoint(run))
    method.eval()
    (single,) = Loader(shards, ("rgb",), batch_size=len(shards), input_px=method.input_px, labelled=False)
    rows = clip_frames(shards.labels, np.arange(len(shards)), (3, 1))
    with torch.no_grad():
        features = method.body[0](single.images["rgb"]).mean((2, 3))[rows].mean(1)
        joints = method.head(features).view(-1, 17, 3) * 100
    relative = (joints - joints[:, :1]).numpy()
    np.testing.assert_array_equal(found.keys, shards.keys)
    got = found.joints_cam_mm - found.joints_cam_mm[:, :1]
    np.testing.assert_allclose(got, relative, atol=1e-2)
    assert np.ptp(relative, axis=0).max() > 1e-3


def test_every_frame_of_a_clip_has_its_own_detections(film: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Detections that are the stored joints lie where the loader has the labels of the same clips."""
    run = train(film.config(method="clips", supervision="none"))
    shards = ShardSet.open(film.root / "shards" / "dots-target", "test")
    write_detections(shards, "own", shards.labels.joints_px.astype(np.float64), np.ones((len(shards), 17)), {})
    seen: list[torch.Tensor] = []

    def looked(self: ClipMethod, batch: UnlabelledBatch) -> Estimate:
        assert batch.detections_px is not None
        seen.append(batch.detections_px)
        return predicted(self, batch)

    predicted = ClipMethod.predict
    monkeypatch.setattr(ClipMethod, "predict", looked)
    monkeypatch.setattr(ClipMethod, "detections", property(lambda self: "own"))
    predict(run, device="cpu")
    loader = Loader(shards, (), batch_size=len(shards), input_px=SIDE, clip=(3, 1))
    (labelled,) = loader
    assert isinstance(labelled, LabelledBatch)
    torch.testing.assert_close(torch.cat(seen), labelled.joints_px, rtol=0, atol=1e-3)
