"""VideoPose: stages for each level, the losses of a step by hand, predictions, refusals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import kt3d_videopose
import pytest
import torch
from kt3d_videopose import clips, losses
from kt3d_videopose.method import VideoPose
from torch import Tensor

from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import OWN, MethodContext, Progress
from kt3d_bench.nn.images import rgb_input
from kt3d_bench.nn.integral import from_voxels
from kt3d_bench.testing import tiny_batch, unlabelled
from kt3d_bench.training.stages import stage_digest

FRAMES = 9


def build(level: str = "none", modality: str = "rgb", **settings: Any) -> VideoPose:
    torch.manual_seed(0)
    small = {"width": 8, "input_px": 32, "noise": 0.0, "dropout": 0.0, "detections": "stored", "warm_up": 0.5}
    config = VideoPose.Config(**{**VideoPose.PRESETS["tiny"], **small, **settings})
    return VideoPose(config, MethodContext(modality, 0, level, True))


def film(count: int, seed: int, **changes: Any) -> LabelledBatch:
    """Clips whose stored detections are a little beside the joints."""
    batch = tiny_batch(count * FRAMES, (), input_px=32, seed=seed, **changes)
    whole = tiny_batch(count * FRAMES, (), input_px=32, seed=seed)
    return replace(batch, detections_px=whole.joints_px + 0.5)


def lift(method: VideoPose, batches: dict[str, UnlabelledBatch], fraction: float = 0.9) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return dict(method.step(method.stages()[-1], batches, Progress(0, fraction)).losses)


@pytest.mark.parametrize(
    ("level", "own", "names", "roles"),
    [
        ("none", False, ["lift"], ["source", "target"]),
        ("none", True, ["pretrain-2d", "lift"], ["source", "target"]),
        ("partial", True, ["pretrain-2d", "tune-2d", "lift"], ["source", "target"]),
        ("full-3d", False, ["lift"], ["target"]),
    ],
)
def test_the_stages_of_each_level(level: str, own: bool, names: list[str], roles: list[str]) -> None:
    method = build(level, detections="" if own else "stored")
    stages = method.stages()
    assert [stage.name for stage in stages] == names
    last = stages[-1]
    assert list(last.roles) == roles
    assert (last.clip, last.clip_roles) == ((9, 5), ("target",))
    assert last.detections == {"target": OWN if own else "stored"}
    assert last.trains == (("lifter",) if level == "full-3d" else ("lifter", "trajectory"))
    assert method.reads == (("rgb",) if own else ())
    assert method.clip == (9, 5)


def test_the_mirrored_look_at_images_decides_the_stage_where_its_own_joints_are_lifted() -> None:
    """Stored joints do not depend on it; the prediction does, which is no part of the stage."""

    def digest(**settings: Any) -> str:
        return stage_digest(build(**settings).stages()[-1], {})

    assert digest(detections="", flip_test=False) != digest(detections="", flip_test=True)
    for changes in ({}, {"detections": "", "unlabelled": False}):
        assert digest(flip_test=False, **changes) == digest(flip_test=True, **changes)


def test_without_unlabelled_clips_the_source_alone_teaches() -> None:
    method = build(unlabelled=False)
    (stage,) = method.stages()
    assert (list(stage.roles), stage.clip, dict(stage.detections)) == (["source"], None, {})
    assert set(lift(method, {"source": tiny_batch(5, ())})) == {"pose"}
    recorded = build(unlabelled=False, source_motion="recorded").stages()[0]
    assert (recorded.clip, recorded.clip_roles) == ((9, 5), ("source",))


def test_unlabelled_clips_are_projected_back_and_their_bones_measured() -> None:
    """By hand; which clips are mirrored is drawn after the source's clips."""
    method = build().eval()
    source, target = tiny_batch(6, ()), unlabelled(film(4, 3))
    target = replace(target, detections_px=film(4, 3).detections_px)
    found = lift(method, {"source": source, "target": target})
    assert set(found) == {"pose", "trajectory", "projection", "bones"}
    seen = clips.screen(cast(Tensor, target.detections_px), target.cameras).view(4, 9, 17, 2)
    both = [(method._poses(one), method.trajectory(one.flatten(2)), one[:, 4]) for one in (seen, clips.mirrored(seen))]
    torch.manual_seed(1)
    drawn, truth, hips = method._source_clips(source)
    chosen = torch.rand(4) < 0.5
    pose, hip, middle = (
        torch.where(chosen.view(-1, *(1,) * (one.ndim - 1)), other, one) for one, other in zip(*both, strict=True)
    )
    answer = method._poses(drawn)
    torch.testing.assert_close(found["projection"], losses.projection_loss(pose, hip, middle))
    torch.testing.assert_close(found["bones"], losses.bone_loss(answer, pose))
    torch.testing.assert_close(found["pose"], (answer - truth).norm(dim=-1).mean())
    depth = method.trajectory(drawn.flatten(2)) - hips
    torch.testing.assert_close(found["trajectory"], (depth.norm(dim=-1) / hips[:, 2]).mean())
    before = lift(method, {"source": source, "target": target}, fraction=0.4)
    assert before["projection"].item() == before["bones"].item() == 0.0


def test_the_source_is_seen_by_virtual_cameras_in_metres() -> None:
    """Bones keep their lengths, and the middle frame is where the 2D joints are."""
    method, source = build(), tiny_batch(5, ())
    drawn, truth, hips = method._source_clips(source)
    assert drawn.shape == (5, 9, 17, 2)
    torch.testing.assert_close(drawn[:, 4], clips.projected(truth + hips[:, None]))
    limits = VideoPose.PRESETS["tiny"]["stride"] * clips.WALK_M
    assert (hips[:, 2] > 3.5 - limits).all()
    assert (hips[:, 2] < 6.5 + limits).all()
    assert float(truth[:, 0].abs().max()) == 0.0


def test_recorded_clips_are_the_sources_own() -> None:
    method = build(source_motion="recorded")
    source = tiny_batch(4 * FRAMES, ())
    drawn, truth, hips = method._source_clips(source)
    joints = source.joints_cam_mm.view(4, 9, 17, 3) / 1000
    for clip, pose, hip, own in zip(drawn, truth, hips, joints, strict=True):
        assert any(
            torch.allclose(clip, clips.projected(one)) and torch.allclose(pose + hip, one[4])
            for one in (own, clips.mirrored(own))
        )


def test_granted_joints_of_the_target_teach_and_hidden_ones_do_not() -> None:
    mask = torch.zeros(17, dtype=torch.bool)
    mask[[0, 4, 7]] = True
    method = build("partial")
    source = tiny_batch(3, ())
    found = lift(method, {"source": source, "target": film(3, 5, mask_3d=mask, mask_2d=mask)})
    assert {"target", "projection", "bones"} <= set(found)
    torch.stack(list(found.values())).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in method.lifter.parameters())
    nothing = lift(build("partial"), {"source": source, "target": film(3, 5, mask_3d=mask & False, mask_2d=mask)})
    assert float(nothing["target"]) == 0.0
    assert float(found["target"]) > 0.1


def test_with_all_labels_the_loss_is_the_mean_distance() -> None:
    method = build("full").eval()
    target = film(3, 5)
    seen = clips.screen(cast(Tensor, target.detections_px), target.cameras).view(3, 9, 17, 2)
    truth = (target.joints_root_mm / 1000)[4::9]
    found = lift(method, {"target": target})
    assert set(found) == {"target"}
    torch.manual_seed(1)
    chosen = (torch.rand(3) < 0.5).tolist()
    errors = [
        (method._poses(clips.mirrored(one) if flip else one) - (clips.mirrored(pose) if flip else pose)).norm(dim=-1)
        for one, pose, flip in zip(seen.split(1), truth.split(1), chosen, strict=True)
    ]
    torch.testing.assert_close(found["target"], torch.cat(errors).mean())


@pytest.mark.parametrize("answer", ["pose", "depth"])
def test_predictions_are_of_the_middle_frames(answer: str) -> None:
    method = build(answer=answer).eval()
    batch = film(3, 2)
    seen = clips.screen(cast(Tensor, batch.detections_px), batch.cameras).view(3, 9, 17, 2)
    with torch.no_grad():
        estimate = method.predict(replace(unlabelled(batch), detections_px=batch.detections_px))
        straight, back = method._poses(seen), clips.mirrored(method._poses(clips.mirrored(seen)))
    pose_mm = 500 * (straight + back)
    assert estimate.joints_px is not None
    assert torch.equal(estimate.joints_px, cast(Tensor, batch.detections_px)[4::9])
    found = estimate.joints_root_mm if answer == "pose" else estimate.z_root_mm
    assert found is not None
    torch.testing.assert_close(found, pose_mm if answer == "pose" else pose_mm[..., 2], rtol=1e-4, atol=1e-2)
    assert (estimate.joints_root_mm is None) == (answer == "depth")


def test_its_own_joints_are_those_of_its_2d_network() -> None:
    method = build(detections="", flip_test=False).eval()
    batch = tiny_batch(2, ("rgb",), input_px=32)
    with torch.no_grad():
        expected, _ = from_voxels(method.rgb_net(rgb_input(batch.images["rgb"])).voxels, 32, 8)
        torch.testing.assert_close(method.find_joints(batch), expected)
        flipped = build(detections="").eval().find_joints(batch)
    assert not torch.allclose(flipped, expected)


def test_its_validation_curve_is_of_what_each_stage_trains() -> None:
    method = build("partial", detections="").eval()
    pretrain, tune, last = method.stages()
    batch, clip = tiny_batch(2, ("rgb",), input_px=32), film(2, 3)
    with torch.no_grad():
        for stage in (pretrain, tune):
            found = method.validate(stage, batch)
            assert found is not None
            assert torch.equal(cast(Tensor, found.joints_px), method.find_joints(batch))
        lifted = method.validate(last, clip)
        assert lifted is not None
        assert torch.equal(cast(Tensor, lifted.z_root_mm), cast(Tensor, method.predict(clip).z_root_mm))
        assert method.validate(replace(last, clip=None), tiny_batch(2, ())) is None


def test_what_cannot_be_lifted_is_told() -> None:
    with pytest.raises(UsageError, match="lifts 2D detections, and there are none; predict shards that have them"):
        build().predict(unlabelled(tiny_batch(9, ())))
    with pytest.raises(UsageError, match="videopose needs RGB targets"):
        build(modality="depth")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"levels": 7}, "levels lies in 1..6"),
        ({"warm_up": 1.0}, "warm_up lie in 0..1"),
        ({"input_px": 36}, "multiple of 8"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**settings)


def test_the_paper_preset_is_the_published_network() -> None:
    [plugin] = kt3d_videopose.kt3d_methods()
    assert set(plugin.presets) == set(VideoPose.PRESETS)
    method = VideoPose(
        VideoPose.Config(**VideoPose.PRESETS["paper"], detections="x"), MethodContext("rgb", 0, "full", True)
    )
    assert method.clip == (243, 1)
    assert sum(one.numel() for one in method.lifter.parameters()) == 16_952_371
    (stage,) = method.stages()
    assert (stage.epochs, stage.batch_size, stage.optimiser.learning_rate) == (80.0, 1024, 1e-3)  # type: ignore[union-attr]
    assert stage.schedule.factor(1 / 80) == pytest.approx(0.95)
