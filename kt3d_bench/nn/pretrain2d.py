"""The stage that teaches an RGB network 2D joints before anything else, shared by every method that wants one.

A method that uses it holds an ``IntegralNet(3, ...)`` under the attribute ``rgb_net``. The stage's recipe is given by
the network's sizes, so that two methods of the same options train it once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.method import Stage, StepResult
from kt3d_bench.nn.images import rgb_input
from kt3d_bench.nn.integral import IntegralNet, IntegralOutput, pose_loss, to_voxels
from kt3d_bench.skeletons import H36M17

STAGE_NAME = "pretrain-2d"
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "small": {"input_px": 128, "epochs": 0.0, "pretrain_steps": 8000},
    "laptop": {"input_px": 64, "backbone": "tiny", "epochs": 0.0, "pretrain_steps": 6000, "learning_rate": 2e-3},
    "tiny": {"input_px": 64, "backbone": "tiny", "epochs": 0.0, "pretrain_steps": 600, "learning_rate": 2e-3},
}
"""Preset -> what the methods that share this stage must agree on, in fields of their configs."""
PRECISIONS: Mapping[str, str] = {"laptop": "bf16-mixed", "tiny": "bf16-mixed"}
"""Preset -> precision on a CPU that computes it (``Method.PRECISIONS``), to agree on as well."""


def pretrain_2d_stage(
    *,
    backbone: str,
    input_px: int,
    side: int,
    marginal_weight: float,
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 32,
    **optimisation: Any,
) -> Stage:
    """The stage: role "pretrain" with RGB images, trains ``rgb_net``. Give exactly one of ``steps`` and ``epochs``.
    ``optimisation``: ``optimiser``, ``schedule`` and ``average`` of ``Stage``."""
    return Stage(
        STAGE_NAME,
        roles={"pretrain": ("rgb",)},
        trains=("rgb_net",),
        recipe={
            "backbone": backbone,
            "input_px": input_px,
            "side": side,
            "marginal_weight": marginal_weight,
            "loss": "smooth-l1 on x, y, threshold a 64th; midpoints for joints that no image of a batch has",
        },
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        step_s=0.1,
        **optimisation,
        code="kt3d_bench.nn",
    )


def pretrain_2d_step(net: IntegralNet, batch: LabelledBatch, *, marginal_weight: float) -> StepResult:
    """``pose_loss`` on x and y of the joints that are annotated. Logs the mean 2D error in px. Depths are not trained.

    Joints that the dataset lacks are drawn to ``midpoints``: left alone they would stay wherever the initial weights
    put them, and whatever lifts the pose would be given a face beside the body.
    """
    images = batch.images["rgb"]
    output = net(rgb_input(images), with_marginals=marginal_weight > 0)
    loss = pose_loss_2d(output, batch, marginal_weight=marginal_weight)
    with torch.no_grad():
        target = places(batch, images.shape[-1], net.side)
        errors = (output.voxels[..., :2] - target).norm(dim=-1)[batch.mask_2d] * (images.shape[-1] / net.side)
    return StepResult({"2d": loss}, {"error_2d_px": float(errors.mean())} if len(errors) else {})


def pose_loss_2d(output: IntegralOutput, batch: LabelledBatch, *, marginal_weight: float) -> Tensor:
    """``pose_loss`` on x and y of what a network says of a batch's RGB images, joints that no image of the batch has
    completed by ``midpoints``."""
    place, known = midpoints(places(batch, batch.images["rgb"].shape[-1], output.side), batch.mask_2d)
    return pose_loss(output, place, known[..., None].expand_as(place), marginal_weight=marginal_weight)


def places(batch: LabelledBatch, input_px: int, side: int) -> Tensor:
    """(B, J, 2) voxels of the 2D labels, NaN where hidden."""
    return to_voxels(batch.joints_px, torch.zeros_like(batch.joints_px[..., 0]), input_px, side)[..., :2]


def midpoints(joints: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(B, J, 2) joints and their (B, J) mask, completed: a joint that no sample of the batch has lies halfway between
    its parent and the mean of its children, where a sample has these. End joints stay absent."""
    joints, mask = joints.clone(), mask.clone()
    for joint, parent in enumerate(H36M17.parents):
        children = [child for child, other in enumerate(H36M17.parents) if other == joint]
        if parent < 0 or not children or bool(mask[:, joint].any()):
            continue
        joints[:, joint] = (joints[:, parent] + joints[:, children].mean(1)) / 2
        mask[:, joint] = mask[:, parent] & mask[:, children].all(1)
    return joints, mask
