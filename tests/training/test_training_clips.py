"""A method that sees clips: training, validation, prediction, on a film of dots."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import CONTEXT, SIDE, SOMEBODY, ClipMethod, Notes, ToyMethod
from training_workplace import Workplace

import kt3d_bench as kt
from kt3d_bench.data.detections import write_detections
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.loading.clips import clip_frames
from kt3d_bench.loading.loader import Loader
from kt3d_bench.method import OWN, Estimate, Stage
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.run_folder import final_checkpoint, read_run
from kt3d_bench.testing import tiny_batch, tiny_plugin
from kt3d_bench.training import checkpoint
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.feeds import RoleData
from kt3d_bench.training.predict import load_method, predict
from kt3d_bench.training.stages import check_stages, stage_digest
from kt3d_bench.training.train import train
from kt3d_bench.training.validation import SAMPLES


@pytest.fixture
def film(workplace: Workplace) -> Workplace:
    """The samples of a split are the frames of one sequence."""
    for name in ("dots-source", "dots-target"):
        workplace.prepare(name)
    return workplace


def test_it_trains_on_clips_and_predicts_the_middle_frames(film: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The predictions are those of single images, their features averaged over each clip."""
    asked: list[int] = []

    def counted(self: RoleData, *arguments: Any, **_: Any) -> Any:
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
    write_detections(shards, "own", shards.labels.joints_px.astype(np.float64), np.ones((len(shards), 17)), SOMEBODY)
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


class LiftedClips(ClipMethod):
    """Finds every joint at its image's mean brightness, and lifts what it is given."""

    @property
    def detections(self) -> str:
        return OWN

    def stages(self) -> tuple[Stage, ...]:
        first, second = super().stages()
        own = replace(second, roles={"target": ()}, detections={"target": OWN}, asks=("keys",), augment=False)
        return replace(first, clip=None), own

    def features(self, batch: UnlabelledBatch) -> torch.Tensor:
        if "rgb" in batch.images:
            return super(ClipMethod, self).features(batch)
        assert batch.detections_px is not None
        return batch.detections_px.unflatten(0, (-1, 3)).mean((1, 2))[:, :1].expand(-1, self.config.width)

    def find_joints(self, batch: UnlabelledBatch) -> torch.Tensor:
        assert not self.training
        return batch.images["rgb"].mean((1, 2, 3))[:, None, None].expand(-1, 17, 2) * SIDE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip": (3, 1), "clip_roles": ("targt",)}, "has clips or detections of 'targt', did you mean 'target'"),
        ({"detections": {"source": "x"}}, "has clips or detections of 'source'"),
        ({"asks": ("key",)}, "asks for 'key', did you mean 'keys'"),
        ({"clip": (3, 1), "views": 2}, "has clips and views at once; choose one of them"),
    ],
)
def test_stages_that_ask_for_impossible_things_are_refused(changes: dict[str, Any], message: str) -> None:
    stage = Stage("lift", {"target": ()}, (), {}, steps=1, **changes)
    with pytest.raises(PluginError, match=message):
        check_stages(build_toy(), (stage,))
    with pytest.raises(PluginError, match=r"ToyMethod: has no find_joints\(\); define it, or name detections"):
        build_toy().find_joints(tiny_batch(1))


def test_what_a_stage_asks_for_is_part_of_its_digest_only_where_it_asks() -> None:
    plain = Stage("lift", {"target": ()}, (), {}, steps=1)
    asking: list[dict[str, Any]] = [{}, {"views": 2}, {"asks": ("keys",)}, {"detections": {"target": "x"}},
                                    {"clip_roles": ("target",)}]  # fmt: skip
    assert len({stage_digest(replace(plain, **changes), {}) for changes in asking}) == 5
    own = {"store": 1, "name": "lift", "roles": {"target": []}, "trains": [], "recipe": {}, "batch_size": 32,
           "optimisers": [["", plain.optimisers[""].facts()]], "schedule": plain.schedule.facts(), "average": None,
           "augment": True}  # fmt: skip
    assert stage_digest(plain, {}) == hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def build_toy() -> ToyMethod:
    return ToyMethod(ToyMethod.Config(), CONTEXT)


class StoredClips(LiftedClips):
    """Lifts stored joints, before cameras whose places it knows."""

    def stages(self) -> tuple[Stage, ...]:
        first, second = super().stages()
        return first, replace(second, detections={"target": "x"}, asks=("extrinsics",))


def test_detections_teach_only_where_they_pass_on_no_hidden_label(film: Workplace) -> None:
    """Stored ones decide the stage's digest; those of a run that saw more labels are refused; cameras are told."""
    shards = ShardSet.open(film.root / "shards" / "dots-target", "train")
    with offered(StoredClips):
        digests = set()
        for shift in (0.0, 1.0):
            write_detections(shards, "x", shards.labels.joints_px + shift, np.ones((len(shards), 17)), SOMEBODY)
            run = read_run(train(film.config(method="lifted", supervision="none")))
            assert run["external_data"] == ["2D detections by x", "places of the target's cameras"]
            digests.add(run["stages"][-1]["digest"])
        assert len(digests) == 2
        knowing = replace(SOMEBODY, saw={"dots-target": {"joints_2d": [0]}})
        write_detections(shards, "x", shards.labels.joints_px, np.ones((len(shards), 17)), knowing)
        with pytest.raises(UsageError, match=r"the detections 'x' come from a run that saw labels of dots-target"):
            train(film.config(method="lifted", supervision="none"))
        write_detections(shards, "x", shards.labels.joints_px, np.ones((len(shards), 17)), SOMEBODY)
        with pytest.raises(UsageError, match="asks where the target's cameras stand, and pseudo-labels do not say so"):
            train(film.config(method="lifted", supervision="none", pseudo_labels="x"))


def offered(kind: type[ToyMethod]) -> AbstractContextManager[None]:
    """Offer a class of this file as the method "lifted"."""
    roles, names = {"target": "dots-target", "source": "dots-source"}, ("paper", "small", "tiny")
    plugin = kt.MethodPlugin("lifted", "", f"{__name__}:{kind.__name__}", presets=names, defaults=roles)
    return registry.lent({"lifted": tiny_plugin(methods=[plugin])})


def test_a_methods_own_joints_are_found_once_in_every_image(film: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training and prediction get them without images; each image was looked at once for each of the two."""
    looked: list[int] = []
    given: list[UnlabelledBatch] = []
    find, step = LiftedClips.find_joints, LiftedClips.step

    def counted(self: LiftedClips, batch: UnlabelledBatch) -> torch.Tensor:
        looked.append(batch.size)
        return find(self, batch)

    def seen(self: LiftedClips, stage: Stage, batches: Any, progress: Any) -> Any:
        given.append(batches[next(iter(stage.roles))])
        return step(self, stage, batches, progress)

    monkeypatch.setattr(LiftedClips, "find_joints", counted)
    monkeypatch.setattr(LiftedClips, "step", seen)
    with offered(LiftedClips):
        run = train(film.config(method="lifted", supervision="none"))
        shards = {name: ShardSet.open(film.root / "shards" / "dots-target", name) for name in ("train", "test")}
        assert sum(looked) == len(shards["train"])
        predict(run, device="cpu")
    assert sum(looked) == len(shards["train"]) + len(shards["test"])
    last = given[-1]
    assert last.detections_px is not None
    assert not last.images
    (single,) = Loader(shards["train"], ("rgb",), batch_size=len(shards["train"]), input_px=SIDE, labelled=False)
    brightness = dict(zip(shards["train"].keys, single.images["rgb"].mean((1, 2, 3)).tolist(), strict=True))
    assert last.keys is not None
    assert len(last.keys) == last.size == 12
    expected = torch.tensor([brightness[key] for key in last.keys]) * SIDE
    torch.testing.assert_close(last.detections_px, expected[:, None, None].expand(-1, 17, 2), rtol=0, atol=1e-3)


def test_the_validation_curve_sees_what_the_stage_sees(film: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single images of one role and clips of another one's joints, which are found once for all views."""
    looked: list[int] = []
    find, fixed = LiftedClips.find_joints, RoleData.fixed
    shown: list[UnlabelledBatch] = []

    def counted(self: LiftedClips, batch: UnlabelledBatch) -> torch.Tensor:
        looked.append(batch.size)
        return find(self, batch)

    def seen(self: RoleData, *arguments: Any, **options: Any) -> Any:
        found = fixed(self, *arguments, **options)
        shown.append(found[0][0])
        return found

    monkeypatch.setattr(LiftedClips, "find_joints", counted)
    monkeypatch.setattr(RoleData, "fixed", seen)
    notes = Notes()
    with offered(LiftedClips):
        run = train(film.config(method="lifted", supervision="none", validate_every=2), notes)
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    curves = [(line["stage"], line["step"], set(line["validation"])) for line in lines if "validation" in line]
    assert curves == [("second", step, {"seen target agreement_depth_mm"}) for step in (0, 2, 4)]
    assert [note for note in notes.notes if "curve" in note] == [
        "stage 'first': the validation curve says nothing of source, where the method has nothing that can be measured"
    ]
    samples = len(ShardSet.open(film.root / "shards" / "dots-target", "train"))
    assert sum(looked) == 2 * samples
    clips = shown[-1]
    assert clips.detections_px is not None
    assert bool(clips.detections_px.isfinite().all())
    assert (clips.size, clips.keys is None, len(clips.images)) == (12, False, 0)


def test_looking_for_joints_is_shown_and_can_be_stopped(film: Workplace) -> None:
    """Interrupted and resumed, the run ends with the weights of one that was not, though they share no stage."""
    shards = {role: film.root / "shards" / f"dots-{role}" for role in ("source", "target")}

    def config(name: str) -> RunConfig:
        root = film.root / name
        return film.config(method="lifted", supervision="none", name=name, data_root=root, shards=shards)

    with offered(LiftedClips):
        whole = train(config("whole"), notes := Notes())
        assert ("detect train", 1) in notes.steps
        with pytest.raises(
            InterruptedRunError, match=r"stopped while joints were looked for, for stage 'second'.*--re"
        ):
            train(config("cut"), Notes(1, "detect train"))
        cut = train(config("cut"), resume=True)
    weights = [checkpoint.load(final_checkpoint(run))["model"] for run in (whole, cut)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
