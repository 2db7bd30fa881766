"""Joints that a 2D dataset lacks get a place by rule, and only those."""

import pytest
import torch

from kt3d_bench.method import MethodContext
from kt3d_bench.nn.integral import IntegralOutput
from kt3d_bench.nn.pretrain2d import PRESETS, STAGE_NAME, midpoints, places, pose_loss_2d
from kt3d_bench.plugins import registry
from kt3d_bench.skeletons import H36M17
from kt3d_bench.testing import tiny_batch

SPINE, NOSE, ELBOW = (H36M17.index(name) for name in ("spine", "nose", "left_elbow"))


def test_joints_that_no_sample_has_lie_halfway() -> None:
    joints = torch.randn(3, 17, 2)
    joints[:, [SPINE, NOSE]] = float("nan")
    mask = joints.isfinite().all(-1)
    completed, known = midpoints(joints, mask)
    assert torch.allclose(completed[:, NOSE], (joints[:, H36M17.index("thorax")] + joints[:, H36M17.index("head")]) / 2)
    assert torch.allclose(completed[:, SPINE], (joints[:, H36M17.index("hip")] + joints[:, H36M17.index("thorax")]) / 2)
    assert known.all()
    assert torch.equal(completed[mask], joints[mask])


def test_joints_that_some_sample_has_are_left_alone() -> None:
    joints, mask = torch.randn(3, 17, 2), torch.ones(3, 17, dtype=torch.bool)
    mask[:2, ELBOW] = False
    completed, known = midpoints(joints, mask)
    assert torch.equal(known, mask)
    assert torch.equal(completed, joints)


def test_a_midpoint_needs_its_neighbours() -> None:
    joints, mask = torch.randn(2, 17, 2), torch.ones(2, 17, dtype=torch.bool)
    mask[:, NOSE] = False
    mask[0, H36M17.index("head")] = False
    _, known = midpoints(joints, mask)
    assert known[:, NOSE].tolist() == [False, True]


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_methods_of_one_preset_share_the_2d_stage_and_its_precision(preset: str) -> None:
    stages, precisions = [], set()
    for name in ("martinez", "integral-pose", "source-only", "knowledge-transfer"):
        kind = registry.load(registry.method(name).load)
        with torch.device("meta"):
            method = kind(kind.Config(**kind.PRESETS[preset]), MethodContext("rgb", 44, "none", True))
        stages += [stage for stage in method.stages() if stage.name == STAGE_NAME]
        precisions.add(kind.PRECISIONS.get(preset))
    assert len(stages) == 4
    assert all(stage == stages[0] for stage in stages)
    assert len(precisions) == 1


def test_places_are_taught_and_depths_are_not() -> None:
    """Smooth L1 by hand: a voxel of 16 is 4 of 64, which counts 3.5, here for x of one joint of two people."""
    known = torch.ones(2, 17, dtype=torch.bool)
    known[1, ELBOW] = False
    batch = tiny_batch(2, mask_2d=known, mask_3d=torch.zeros(17, dtype=torch.bool))
    said = torch.cat([places(batch, 64, 16).nan_to_num(5.0), torch.full((2, 17, 1), 5.0)], -1)
    said[0, ELBOW, 0] += 1.0
    said[1, ELBOW] += 1.0
    said.requires_grad_()
    loss = pose_loss_2d(IntegralOutput(said, torch.zeros(2, 4), torch.zeros(2), 16), batch, marginal_weight=0.0)
    assert float(loss.detach()) == pytest.approx(3.5 / (17 * 2 + 16 * 2)), "the other person's elbow is not known"
    loss.backward()
    assert said.grad.nonzero().tolist() == [[0, ELBOW, 0]]
