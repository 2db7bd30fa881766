"""Masks and pseudo-labels of others: in the place of what was prepared, declared, and without a way for true labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from kt3d_knowledge_transfer.model import Model
from training_toys import CONTEXT, SOMEBODY, StagelessMethod
from training_workplace import Workplace

import kt3d_bench as kt
from kt3d_bench.data.detections import (
    Maker,
    masks_path,
    with_masks,
    write_detections,
    write_masks,
)
from kt3d_bench.data.format import encode_png
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import npz_bytes
from kt3d_bench.leaderboard.publish import _facts_of_run, _held_out
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.loading.loader import Loader
from kt3d_bench.method import Estimate
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.run_folder import final_checkpoint, read_run
from kt3d_bench.supervision import grant
from kt3d_bench.training import checkpoint
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.external import Aid, external_data, predicted_samples, training_target
from kt3d_bench.training.feeds import RoleData
from kt3d_bench.training.predict import predict
from kt3d_bench.training.sources import domain
from kt3d_bench.training.train import train


@pytest.fixture
def target(workplace: Workplace) -> ShardSet:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    return ShardSet.open(workplace.root / "shards" / "dots-target", "train")


def store(shards: ShardSet, name: str = "others", maker: Maker = SOMEBODY) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Store joints at (i, 2i) px, every third not sure, and masks of the left half; return joints and confidences."""
    number = np.arange(17.0)
    joints = np.broadcast_to(np.stack([number, 2 * number], -1), (len(shards), 17, 2))
    confidence = np.broadcast_to(np.where(number % 3 == 0, 0.2, 0.9), (len(shards), 17))
    write_detections(shards, name, joints, confidence, maker)
    write_masks(shards, name, [left_half(*size) for size in shards.labels.size_px.tolist()], maker)
    return joints, confidence


def left_half(width: int, height: int) -> bytes:
    mask = np.zeros((height, width), np.uint8)
    mask[:, : width // 2] = 255
    return encode_png(mask)


def test_a_mask_is_stored_in_px_of_the_crop(target: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The method sees the person in the left half of its input of 8 px, which shows the middle 1.25 / 1.5 of a crop."""

    def predict(self: Any, batch: UnlabelledBatch) -> Estimate:
        left = (torch.arange(8) < 4).expand(batch.size, 8, 8)
        return Estimate(joints_px=torch.zeros(batch.size, 17, 2), foreground=left)

    monkeypatch.setattr(StagelessMethod, "predict", predict)
    found = kt.detect(target.folder, "stageless", splits=["train"], device="cpu")
    assert found == [target.folder / "detections" / "stageless" / name for name in ("train.npz", "train.masks.npz")]
    masked, maker = with_masks(target, "stageless")
    assert maker.method == "stageless"
    for number in range(3):
        mask = masked.image(number, "foreground")
        height, width = mask.shape
        assert (width, height) == tuple(target.labels.size_px[number])
        side = max(width, height) * 1.25 / 1.5
        x, y = (np.arange(size) - (size - 1) / 2 for size in (width, height))
        expected = (x < 0) & (x > -side / 2) & (np.abs(y) < side / 2)[:, None]
        assert (expected != (mask > 0)).mean() < 0.1, "but for pixels on the edges"
        assert expected[height // 2, width // 2 - 2]
        assert mask[height // 2, width // 2 - 2] == 255


def test_masks_take_the_place_of_the_foreground(target: ShardSet) -> None:
    store(target)
    masked, _ = with_masks(target.take(np.arange(len(target))[::-1]), "others")
    assert masked.modalities == (*target.modalities, *({"foreground"} - set(target.modalities)))
    with pytest.raises(ArtefactError, match=r"there are no masks 'nope' of split 'train'; make them: kt3d detect"):
        with_masks(target, "nope")
    loader = Loader(masked, ("foreground",), batch_size=4, input_px=32, labelled=False, augmentation=None)
    (batch, *_) = list(loader)
    loader.close()
    shown = batch.images["foreground"][:, 0]
    assert (shown[:, :, :15] == 1).all()
    assert (shown[:, :, 17:] == 0).all()


def test_masks_that_cannot_be_are_told(target: ShardSet) -> None:
    store(target)
    path = masks_path(target, "others")
    arrays = dict(np.load(path))
    wrongs: list[dict[str, Any]] = [
        {"ends": arrays["ends"][::-1]},
        {"ends": arrays["ends"][:-1]},
        {"ends": arrays["ends"].astype(float)},
        {"png": arrays["png"][:-1]},
        {"png": arrays["png"].astype(int)},
    ]
    for wrong in wrongs:
        path.write_bytes(npz_bytes({**arrays, **wrong}))
        with pytest.raises(ArtefactError, match="holds keys, meta, png, ends, and no masks; make them: kt3d detect"):
            with_masks(target, "others")
    write_masks(target, "others", [left_half(5, 4)] * len(target), SOMEBODY)
    with pytest.raises(ArtefactError, match=r"train\.masks\.npz: sample .*: foreground is 5 x 4 px, not .*kt3d detect"):
        with_masks(target, "others")[0].image(0, "foreground")
    write_masks(target, "others", [b"no PNG"] * len(target), SOMEBODY)
    with pytest.raises(ArtefactError, match=r"train\.masks\.npz: sample .*: foreground cannot be decoded"):
        with_masks(target, "others")[0].image(0, "foreground")
    test = ShardSet.open(target.folder, "test")
    store(test)
    path.write_bytes(masks_path(test, "others").read_bytes())
    with pytest.raises(ArtefactError, match="these are detections of other shards"):
        with_masks(target, "others")


def test_pseudo_labels_leave_no_true_label(target: ShardSet) -> None:
    """What the loader can reach holds the stored joints and nothing of the truth; 3D labels stay hidden."""
    joints, confidence = store(target)
    config = RunConfig("any", pseudo_labels="others")
    shards, granted, _ = training_target(target, config, grant("none"))
    labels = shards.labels
    np.testing.assert_array_equal(np.isfinite(labels.joints_px).all(-1), confidence >= 0.5)
    np.testing.assert_allclose(labels.joints_px[confidence >= 0.5], joints[confidence >= 0.5])
    assert np.isnan(labels.joints_cam_mm).all()
    assert np.isnan(labels.box_px).all()
    assert np.isnan(labels.position_world_mm).all()
    assert (labels.rotation == np.eye(3)).all()
    assert (labels.visible == -1).all()
    loader = Loader(shards, (), batch_size=4, input_px=64, grant=granted)
    (batch, *_) = list(loader)
    loader.close()
    assert isinstance(batch, LabelledBatch)
    assert not batch.mask_3d.any()
    assert batch.joints_cam_mm.isnan().all()
    np.testing.assert_array_equal(batch.mask_2d, confidence[:4] >= 0.5)


def test_the_digest_follows_what_is_read_and_is_as_before_without(target: ShardSet) -> None:
    store(target)

    def digest(**options: str) -> str:
        return RoleData(
            domain("dots-target"), *training_target(target, RunConfig("any", **options), grant("none"))[:2]
        ).digest

    plain, masked, labelled = digest(), digest(masks="others"), digest(pseudo_labels="others")
    assert plain == RoleData(domain("dots-target"), target, grant("none")).digest
    assert len({plain, masked, labelled, digest(masks="others", pseudo_labels="others")}) == 4
    store(target, maker=replace(SOMEBODY, run="more"))
    assert digest() == plain
    assert digest(masks="others") != masked
    assert digest(pseudo_labels="others") != labelled


def test_a_run_learns_from_pseudo_labels_and_declares_them(target: ShardSet, workplace: Workplace) -> None:
    store(target)
    run = train(workplace.config(method="baseline", settings=SMALL, pseudo_labels="others"))
    document = read_run(run)
    assert document["config"]["supervision"] == "none"
    assert document["context"]["supervision"] == "full-2d"
    assert document["target_labels"] == {"joints_2d": [], "joints_3d": []}
    assert document["external_data"] == ["2D pseudo-labels by others"]
    facts = _facts_of_run(document)
    assert (facts["supervision"], facts["target_labels_seen"]) == ("none", "none")
    assert facts["settings"]["pseudo_labels"] == "others"
    assert facts["training_data"][-1].labels == ""


def test_true_labels_change_nothing_and_pseudo_labels_something(target: ShardSet, workplace: Workplace) -> None:
    """The same images with nonsense for labels, and the same stored joints, give the same weights."""
    nonsense = workplace.prepare("dots-target", at=workplace.root / "nonsense", corrupt=True)
    other = ShardSet.open(nonsense, "train")
    for name, shards in (("others", target), ("others", other), ("shifted", target)):
        joints, confidence = store(shards)
        write_detections(shards, name, joints + (name == "shifted"), confidence, SOMEBODY)
    runs = [
        train(workplace.config(method="baseline", settings=SMALL, pseudo_labels=name, shards={"target": folder}))
        for name, folder in (("others", target.folder), ("others", other.folder), ("shifted", target.folder))
    ]
    first, same, moved = (checkpoint.load(final_checkpoint(run))["model"] for run in runs)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], moved[name]) for name in first)


def test_the_mask_network_of_the_transfer_reads_the_masks(
    target: ShardSet, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(target)
    store(ShardSet.open(target.folder, "test"))
    seen: list[torch.Tensor] = []
    original = Model.bridged

    def watched(self: Model, batch: UnlabelledBatch, voxels: torch.Tensor) -> torch.Tensor:
        seen.append(batch.images["foreground"][:, 0])
        return original(self, batch, voxels)

    monkeypatch.setattr(Model, "bridged", watched)
    steps = dict.fromkeys((f"{one}_steps" for one in ("synthetic", "pretrain", "prior", "bridge", "adapt")), 1)
    settings = {**steps, "input_px": 32, "batch_size": 2, "prior_width": 8, "depth_at_test": "mask", "flip_test": False}
    run = train(workplace.config(method="transfer", settings=settings, masks="others"))
    trained = len(seen)
    predictions = read_predictions(predict(run, device="cpu"))
    assert predictions.meta["masks"] == "others"
    assert len(seen) > trained > 0
    for shown in seen[trained:]:
        assert (shown[:, :, :15] == 1).all()
        assert (shown[:, :, 17:] == 0).all()


def test_what_others_say_is_declared_once(target: ShardSet) -> None:
    assert _held_out({"masks": "a", "pseudo_labels": "", "hold_out": 0.0}) == {"masks": "a"}
    web = replace(SOMEBODY, external_data=("web images",))
    masks, labels, other = (
        Aid("masks", "a", target, web),
        Aid("labels", "a", target, web),
        Aid("masks", "b", target, web),
    )
    assert external_data([]) == []
    assert external_data([masks, labels, masks]) == ["masks and labels by a", "web images"]
    assert external_data([other, labels]) == ["masks by b", "web images", "labels by a"]


def test_options_that_do_nothing_or_contradict_are_refused(target: ShardSet, workplace: Workplace) -> None:
    store(target)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"method": "baseline", "pseudo_labels": "others", "supervision": "full"}, "they take the place of labels"),
        ({"method": "picky", "pseudo_labels": "others"}, "method 'picky' cannot learn from 2D labels of the target"),
        ({"method": "stageless", "pseudo_labels": "others"}, "method 'stageless' does not train on the target"),
        ({"method": "baseline", "supervision": "full", "masks": "others"}, "reads no foreground of the target"),
        ({"method": "baseline", "pseudo_labels": "nope"}, "there are no detections 'nope' of split 'train'"),
    ]
    for options, words in cases:
        with pytest.raises((UsageError, ArtefactError), match=words):
            train(workplace.config(**{"settings": {}, **options}))


def test_test_samples_get_the_masks_too(target: ShardSet, workplace: Workplace) -> None:
    store(target)
    method = StagelessMethod(StagelessMethod.Config(), CONTEXT)

    def predicted(reads: tuple[str, ...], **config: str) -> ShardSet:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(StagelessMethod, "reads", reads)
            return predicted_samples(target, workplace.root, {"config": config, "saw": {}}, method)

    assert predicted(("rgb", "foreground")) is target
    assert predicted(("rgb",), masks="others") is target
    assert predicted(("rgb", "foreground"), masks="others").masks is not None
    store(target, maker=replace(SOMEBODY, saw={"dots-target": {"joints_2d": [3]}}))
    with pytest.raises(UsageError, match="the detections 'others' come from a run that saw labels of dots-target"):
        predicted(("rgb", "foreground"), masks="others")


def test_masks_of_a_large_split_can_be_read_again(target: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be unpacked grows with the split: even noise of the largest crops can be read."""
    monkeypatch.setattr("kt3d_bench.data.detections._MOST_BYTES", 1)
    noise = np.random.default_rng(0).integers(0, 2, (320, 320), np.uint8) * np.uint8(255)
    write_masks(target, "noise", [encode_png(noise)] * len(target), SOMEBODY)
    assert len(with_masks(target.take(np.arange(2)), "noise")[0].masks.png) == 2


SMALL = {"input_px": 32, "backbone": "tiny", "pretrain_2d": False, "steps": 1, "batch_size": 2}
