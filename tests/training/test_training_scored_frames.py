"""Test splits that hold more frames than a benchmark scores: the others are neighbours in time, and nothing else.

The image of the n-th stored sample is as bright as ``10 n``, so a method can answer with the samples that it saw.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import ClipMethod, Notes, StagelessMethod, ToyMethod
from training_workplace import Workplace, offer

import kt3d_bench as kt
from kt3d_bench.data.detections import read_detections
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import OWN, Estimate
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.testing import tiny_plugin, tiny_sample, tiny_shards
from kt3d_bench.training.predict import predict
from kt3d_bench.training.train import train

ID = "dots-target-rgb"
STORED = [("a", "c", 59), ("a", "c", 64), ("a", "c", 69), ("a", "d", 64), ("a", "d", 69), ("b", "c", 0), ("b", "c", 5),
          ("b", "c", 127), ("b", "c", 128), ("c", "c", 64), ("c", "c", 74)]  # fmt: skip
"""Sequence, camera and frame. Those that count: numbers 1, 3, 5, 8 and 9."""
SCORED = [1, 3, 5, 8, 9]
SEEN = [[0, 1, 2], [3, 3, 4], [5, 5, 6], [8, 8, 8], [9, 9, 9]]
"""Their clips of three frames, every fifth: no frame of another sequence or camera, and none that is 1 or 10 away."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    """The benchmark of dots-target scores every 64th frame."""
    module = offer(tmp_path / "plugins")
    with (tmp_path / "plugins" / "dots-target" / "benchmarks.yaml").open("a") as file:
        file.write("  frames_every: 64\n")
    with registry.lent({"dots": module}, alone=True):
        found = Workplace(tmp_path / "data")
        found.prepare("dots-source")
        found.prepare("dots-target", test=1)
        yield found


def stored(folder: Path, numbers: list[int]) -> ShardSet:
    samples = [
        tiny_sample(f"{sequence}_{camera}_{frame:06d}", number, rgb=np.full((48, 40, 3), 10 * number, np.uint8),
                    sequence=sequence, camera_id=camera, frame=frame)
        for number, (sequence, camera, frame) in enumerate(STORED) if number in numbers
    ]  # fmt: skip
    return tiny_shards(folder, samples, split="test", dataset="dots-target")


@pytest.fixture
def dense(tmp_path: Path) -> ShardSet:
    return stored(tmp_path / "dense", list(range(len(STORED))))


@pytest.fixture
def sparse(tmp_path: Path) -> ShardSet:
    """What the benchmark scores alone."""
    return stored(tmp_path / "sparse", SCORED)


def brightness(batch: UnlabelledBatch) -> torch.Tensor:
    """(B T,) number of the sample that each image shows."""
    return (batch.images["rgb"][:, 0, 4, 4] * 25.5).round()


class Teller(ClipMethod):
    """Answers with the numbers of the samples in its clip, as x of joints 1 to 3."""

    @property
    def clip(self) -> tuple[int, int]:
        return (3, 5)

    def told(self, batch: UnlabelledBatch) -> torch.Tensor:
        return brightness(batch)

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        joints = torch.zeros(batch.size // 3, 17, 3)
        joints[:, 1:4, 0] = self.told(batch).unflatten(0, (-1, 3))
        return Estimate(joints_root_mm=joints)


class OwnTeller(Teller):
    """Finds the numbers in images first."""

    looked: int = 0

    @property
    def detections(self) -> str:
        return OWN

    def find_joints(self, batch: UnlabelledBatch) -> torch.Tensor:
        type(self).looked += batch.size
        return brightness(batch)[:, None, None].expand(-1, 17, 2)

    def told(self, batch: UnlabelledBatch) -> torch.Tensor:
        assert not batch.images
        assert batch.detections_px is not None
        return batch.detections_px[:, 0, 0]


class StoredTeller(OwnTeller):
    """Reads the numbers that another method found and stored."""

    @property
    def detections(self) -> str:
        return "stageless"

    def told(self, batch: UnlabelledBatch) -> torch.Tensor:
        assert batch.detections_px is not None
        return batch.detections_px[:, 0, 0]


def offered(kind: type[ToyMethod]) -> AbstractContextManager[None]:
    """Offer a class of this file as the method "teller"."""
    roles = {"target": "dots-target", "source": "dots-source"}
    return registry.lent(
        {"teller": tiny_plugin(methods=[kt.MethodPlugin("teller", "", f"{__name__}:{kind.__name__}", defaults=roles)])}
    )


def detected(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store the number of every sample as its joints."""

    def found(self: Any, batch: UnlabelledBatch) -> Estimate:
        return Estimate(joints_px=brightness(batch)[:, None, None].expand(-1, 17, 2))

    monkeypatch.setattr(StagelessMethod, "predict", found)
    kt.detect(shards, "stageless", device="cpu")


@pytest.mark.parametrize("kind", [Teller, OwnTeller, StoredTeller])
def test_clips_read_exactly_their_neighbours_and_only_scored_frames_are_answered(
    kind: type[Teller], place: Workplace, dense: ShardSet, sparse: ShardSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (place.root / "shards" / "dots-target", dense.folder, sparse.folder):
        detected(folder, monkeypatch)
    assert len(read_detections(dense, "stageless")[0]) == len(STORED)
    notes = {"dense": Notes(), "sparse": Notes()}
    with offered(kind):
        run = train(place.config(method="teller", supervision="none"))
        for shards, clips in ((dense, SEEN), (sparse, [[number] * 3 for number in SCORED])):
            OwnTeller.looked = 0
            path = predict(run, shards=shards.folder, device="cpu", batch_size=2, report=notes[shards.folder.name])
            found = read_predictions(path)
            assert list(found.keys) == [str(dense.keys[number]) for number in SCORED]
            told = (found.joints_cam_mm - found.joints_cam_mm[:, :1])[:, 1:4, 0]
            np.testing.assert_allclose(told, clips, atol=0.01)
            assert kind is not OwnTeller or kind.looked == len({number for clip in clips for number in clip})
    assert notes["dense"].notes == []
    (note,) = notes["sparse"].notes
    assert note.startswith(
        "no sample of split 'test' has a neighbour for clips of (3, 5): each clip repeats its middle"
    )
    assert "kt3d list dots-target names the options that prepare more frames" in note


def test_single_images_have_the_same_answers_and_scores_to_the_bit(
    place: Workplace, dense: ShardSet, sparse: ShardSet, tmp_path: Path
) -> None:
    run = train(place.config(supervision="none"))
    found, entries = {}, []
    for shards in (dense, sparse):
        path = predict(run, shards=shards.folder, device="cpu", batch_size=2)
        found[shards.folder.name] = read_predictions(path)
        for test in (dense, sparse):
            boards = tmp_path / f"{shards.folder.name}-{test.folder.name}"
            entries.append(kt.score(path, name="toy", shards=test.folder, data=tmp_path, leaderboards=boards).entry)
    keys = [str(dense.keys[number]) for number in SCORED]
    assert list(found["dense"].keys) == list(found["sparse"].keys) == keys
    assert found["dense"].joints_cam_mm.tobytes() == found["sparse"].joints_cam_mm.tobytes()
    digest = hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()
    for answer in found.values():
        assert answer.meta["sample_list_digest"] == digest
    for entry in entries:
        assert entry.samples == 5
        assert (entry.scores, entry.intervals, entry.clips) == (
            entries[0].scores, entries[0].intervals, entries[0].clips
        )  # fmt: skip
        assert entry.provenance.sample_list_digest == digest
        assert entry.provenance.labels_digest == sparse.labels_digest


def test_the_row_names_the_shards_that_were_predicted(place: Workplace, dense: ShardSet, tmp_path: Path) -> None:
    """It is measured on those of its target, which hold the scored frames alone."""
    run, target = train(place.config(supervision="none")), place.root / "shards" / "dots-target"
    shutil.rmtree(target)
    own = stored(target, SCORED)
    predict(run, shards=dense.folder, device="cpu")
    entry = kt.score(run, data=place.root, leaderboards=tmp_path / "boards").entry
    assert (entry.samples, entry.provenance.sample_list_digest) == (5, own.sample_list_digest)
    assert entry.provenance.test_manifest_digest == dense.digest != own.digest


def test_what_is_stored_is_loaded_and_what_counts_is_measured(place: Workplace, dense: ShardSet) -> None:
    data = kt.load("dots-target", "test", shards=dense.folder)
    counted = data[kt.benchmarks()[ID].scored(data.labels.frame)]
    assert (len(data), list(counted.labels.frame)) == (len(STORED), [64, 64, 0, 128, 64])
    off = data.joints_cam_mm + np.linspace(0, 100, len(STORED))[:, None, None] * np.eye(17)[1][:, None] * [1, 0, 0]
    found = kt.evaluate(ID, data.keys[SCORED], off[SCORED].astype(np.float32), shards=dense.folder)
    assert found.overall["mpjpe_mm"] == pytest.approx(np.mean([10 * number for number in SCORED]) / 17, abs=1e-3)
    with pytest.raises(ArtefactError, match=r"6 predictions are of no test sample \(a_c_000059, a_c_000069, a_d_00"):
        kt.evaluate(ID, data.keys, off.astype(np.float32), shards=dense.folder)
    with pytest.raises(ArtefactError, match=r"1 of 5 test samples have no prediction \(c_c_000064\)"):
        kt.evaluate(ID, data.keys[SCORED[:4]], off[SCORED[:4]].astype(np.float32), shards=dense.folder)


def test_shards_without_a_scored_frame_are_refused(place: Workplace, tmp_path: Path) -> None:
    shards = stored(tmp_path / "none", [0, 2, 4])
    message = f"dots-target/test: none of the 3 frames is one that benchmark '{ID}' scores: multiples of 64; prepare"
    with pytest.raises(ArtefactError, match=message):
        kt.evaluate(ID, shards.keys, shards.labels.joints_cam_mm, shards=shards.folder)
    run = train(place.config(supervision="none"))
    with pytest.raises(ArtefactError, match=message):
        predict(run, shards=shards.folder, device="cpu")
