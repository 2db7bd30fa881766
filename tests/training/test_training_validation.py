"""The validation curve: it measures what it says, and whether it is on changes nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_toys import Notes
from training_workplace import Workplace

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import UsageError
from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.loading.clips import middle
from kt3d_bench.loading.loader import Loader
from kt3d_bench.method import Estimate, Method, Stage
from kt3d_bench.run_folder import final_checkpoint, read_run
from kt3d_bench.supervision import grant
from kt3d_bench.testing import tiny_batch
from kt3d_bench.training import checkpoint
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.feeds import Place, RoleData
from kt3d_bench.training.sources import domain
from kt3d_bench.training.train import train
from kt3d_bench.training.validation import PLAIN, VIEWS, View, figures

MIRROR = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
"""Left for right in Human3.6M's order: legs are 1 to 6, arms 11 to 16."""
STAGE = Stage("first", {"source": ("rgb",)}, (), {}, steps=1, batch_size=4)


@pytest.fixture
def prepared(workplace: Workplace) -> Workplace:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    return workplace


def logged(folder: Path) -> tuple[list[Any], list[Any]]:
    """The ordinary lines without what a clock decides, and those of the validation curve."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    plain = [{key: line[key] for key in line if key not in ("rate", "elapsed_s")} for line in lines]
    return [line for line in plain if "losses" in line], [line for line in plain if "validation" in line]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(final_checkpoint(folder))["model"]
    return found


@pytest.mark.parametrize("method", ["toy", "duel"])
def test_a_run_is_the_same_with_and_without_it(prepared: Workplace, method: str) -> None:
    """Dropout, batch norm, noise, several optimisers and averaged weights included; and it resumes."""

    def alone(name: str, every: int | None) -> RunConfig:
        """A run that shares no stage with the others."""
        shards = {role: prepared.root / "shards" / f"dots-{role}" for role in ("source", "target")}
        root = prepared.root / name
        return prepared.config(method=method, name=name, data_root=root, shards=shards, validate_every=every)

    plain, seen = train(alone("plain", None)), train(alone("seen", 2))
    with pytest.raises(InterruptedRunError):
        train(alone("cut", 2), Notes(3, "second"))
    cut = train(alone("cut", 2), resume=True)
    assert logged(plain)[1] == []
    assert logged(seen) == logged(cut)
    assert logged(seen)[0] == logged(plain)[0]
    for folder in (seen, cut):
        assert all(torch.equal(value, weights(folder)[name]) for name, value in weights(plain).items())
    lines = [(line["stage"], line["step"]) for line in logged(seen)[1]]
    assert lines == [(stage, step) for stage in ("first", "second") for step in (0, 2, 4)]
    first, second = (line["validation"].keys() for line in logged(seen)[1][::3])
    assert set(first) == {"seen source mpjpe_mm", "seen source agreement_depth_mm"}
    assert set(second) == {"seen target agreement_depth_mm"}, "without supervision no label of the target is read"


def test_labels_of_the_target_do_not_reach_it(prepared: Workplace, tmp_path: Path) -> None:
    other = {"target": prepared.prepare("dots-target", at=tmp_path / "corrupt", corrupt=True)}
    found = [train(prepared.config(validate_every=2, name=name, shards=shards)) for name, shards in
             (("right", {}), ("wrong", other))]  # fmt: skip
    curves = [[line for line in logged(folder)[1] if line["stage"] == "second"] for folder in found]
    assert len(curves[0]) == 3
    assert curves[0] == curves[1]


def test_what_is_held_out_is_validated_on_and_not_trained_on(prepared: Workplace) -> None:
    folder = train(prepared.config(validate_every=4, hold_out=0.25))
    shards = ShardSet.open(prepared.root / "shards" / "dots-source", "train")
    recorded = read_run(folder)["shards"]["source"]
    held = round(len(shards) / 4)
    assert (recorded["samples"], recorded["held_out"]) == (len(shards) - held, held)
    assert "unseen source mpjpe_mm" in logged(folder)[1][0]["validation"]
    whole = RoleData(domain("dots-source"), shards)
    data = replace(whole, held_out=held)
    assert data.digest != whole.digest
    opened = data.open(STAGE, "source", 32, 0, Place())
    trained = {key for number in range(3 * len(shards)) for key in opened.keys(number)}
    opened.close()
    assert trained == set(shards.keys[:-held].tolist())
    unseen = torch.cat([batch.joints_cam_mm for batch in data.fixed(STAGE, "source", 32, "cpu", (PLAIN,), 4)[0]])
    assert torch.equal(unseen, torch.from_numpy(shards.labels.joints_cam_mm[-held:]).float()[: len(unseen)])


def test_every_stage_of_the_real_method_is_measured_through_the_real_loader(prepared: Workplace) -> None:
    steps = {f"{name}_steps": 1 for name in ("prior", "pretrain", "synthetic", "adapt")}
    settings = {"input_px": 32, "batch_size": 4, "bridge": "none", "weight_domain": 0.05, **steps}
    folder = train(prepared.config(method="transfer", settings=settings, validate_every=1))
    measured: dict[str, list[str]] = {}
    for line in logged(folder)[1]:
        assert all(np.isfinite(value) for value in line["validation"].values())
        measured[line["stage"]] = sorted(line["validation"])
    agreement, errors = ("agreement_depth_mm", "agreement_px"), ("error_px", "mpjpe_mm")
    both = (*agreement, *errors)
    assert measured == {
        "prior": [f"seen source {name}" for name in errors],
        "pretrain-2d": [f"seen pretrain {name}" for name in both],
        "synthetic": [f"seen source {name}" for name in both],
        "adapt": [
            f"seen {role} {name}" for role, names in (("pretrain", both), ("target", agreement)) for name in names
        ],
    }


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_no_more_than_half_can_be_held_out(workplace: Workplace, share: float) -> None:
    with pytest.raises(UsageError, match=r"hold_out is .*: expected from 0 to 0\.5"):
        train(workplace.config(hold_out=share))


@pytest.mark.parametrize("view", [PLAIN, *VIEWS, View(flip=True, angle_rad=1.1)])
def test_a_view_is_undone_exactly(prepared: Workplace, view: View) -> None:
    """Truth in the view, as the loader's own geometry places it, is the truth in the plain image again."""
    shards = ShardSet.open(prepared.root / "shards" / "dots-source", "train")
    data = RoleData(domain("dots-source"), shards)
    plain, seen = map(torch_labels, data.fixed(STAGE, "source", 32, "cpu", (PLAIN, view), len(shards)))
    back = view.back(Estimate(seen[0], seen[1][..., 2], seen[1]), 32)
    torch.testing.assert_close(back.joints_px, plain[0], rtol=0, atol=1e-3, equal_nan=True)
    torch.testing.assert_close(back.joints_root_mm, plain[1], rtol=0, atol=1e-2, equal_nan=True)
    torch.testing.assert_close(back.z_root_mm, plain[1][..., 2], rtol=0, atol=1e-2, equal_nan=True)


def torch_labels(batches: list[UnlabelledBatch]) -> tuple[torch.Tensor, torch.Tensor]:
    labelled = [batch for batch in batches if isinstance(batch, LabelledBatch)]
    return torch.cat([one.joints_px for one in labelled]), torch.cat([one.joints_root_mm for one in labelled])


class Answers(Method):
    """Says what it is told of batches in the order in which it is asked."""

    def __init__(self, *said: Estimate | None) -> None:
        torch.nn.Module.__init__(self)
        self.said = list(said)

    @property
    def input_px(self) -> int:
        return 64

    def stages(self) -> tuple[Stage, ...]:
        return ()

    def step(self, *_: Any) -> Any:
        raise NotImplementedError

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        raise NotImplementedError

    def validate(self, stage: Stage, batch: UnlabelledBatch) -> Estimate | None:
        return self.said.pop(0)


def in_view(view: View, joints_px: torch.Tensor) -> torch.Tensor:
    """Inverse of ``View.back`` by homogeneous coordinates in NumPy, centre (31.5, 31.5)."""
    c, s, m = np.cos(view.angle_rad), np.sin(view.angle_rad), -1.0 if view.flip else 1.0
    to = np.array([[1, 0, 31.5], [0, 1, 31.5], [0, 0, 1]])
    matrix = to @ [[c, -s, 0], [s, c, 0], [0, 0, 1]] @ np.diag([m, 1, 1]) @ np.linalg.inv(to)
    points = np.concatenate([joints_px.numpy(), np.ones((*joints_px.shape[:2], 1))], -1) @ matrix.T
    return torch.from_numpy(points[..., :2][:, MIRROR if view.flip else list(range(17))]).float()


def test_figures_by_hand() -> None:
    batch = tiny_batch(3)
    px, z_mm = batch.joints_px, batch.joints_root_mm[..., 2]
    first = Estimate(px + torch.tensor([3.0, 4.0]), z_mm)
    shifts = (torch.tensor([0.0, 2.0]), torch.tensor([-6.0, 0.0]))
    views = [
        Estimate(in_view(view, first.joints_px + shift), torch.zeros_like(z_mm))
        for view, shift in zip(VIEWS, shifts, strict=True)
    ]
    found = figures(Answers(first, *views), STAGE, "source", [batch], [[batch], [batch]])
    assert found["error_px"] == pytest.approx(5, abs=1e-4)
    assert found["agreement_px"] == pytest.approx(4, abs=1e-3), "the mean of 2 and 6"
    assert found["agreement_depth_mm"] == pytest.approx(float(z_mm.abs().mean()), rel=1e-5)
    exact = Estimate(joints_root_mm=batch.joints_root_mm + torch.tensor([0.0, 0.0, 30.0]))
    exact.joints_root_mm[:, 0] -= torch.tensor([0.0, 0.0, 30.0])
    found = figures(Answers(exact), STAGE, "source", [replace(batch, images={})], [[batch], [batch]])
    assert found == {"mpjpe_mm": pytest.approx(30 * 16 / 17, rel=1e-4)}, "no image, no views"


def test_a_role_without_clips_is_measured_in_single_images() -> None:
    """In a stage whose other role has clips; and joints that were found are turned with the view, so only depths tell
    how far it agrees."""
    stage = replace(STAGE, clip=(3, 1), clip_roles=("target",))
    batch = tiny_batch(3)
    exact = Estimate(batch.joints_px, batch.joints_root_mm[..., 2])
    found = figures(Answers(exact), stage, "source", [replace(batch, images={})], [[batch], [batch]])
    assert found == {"error_px": 0.0, "mpjpe_mm": pytest.approx(0, abs=0.1)}
    clip, one = tiny_batch(3, ()), middle(tiny_batch(3, ()), 3)
    said = Estimate(one.joints_px + 2, one.joints_root_mm[..., 2])
    other = Estimate(one.joints_px, one.joints_root_mm[..., 2] - 10)
    clip = replace(clip, detections_px=clip.joints_px)
    found = figures(Answers(said, other, other), stage, "target", [clip], [[clip], [clip]])
    assert found.keys() == {"error_px", "mpjpe_mm", "agreement_depth_mm"}
    assert found["error_px"] == pytest.approx(8**0.5, rel=1e-5)


def test_what_is_hidden_or_not_said_is_left_out() -> None:
    granted = torch.arange(17) < 5
    batch = tiny_batch(2, mask_2d=granted, mask_3d=torch.zeros(17, dtype=torch.bool))
    said = Estimate(torch.zeros(2, 17, 2))
    found = figures(Answers(said, None, None), STAGE, "source", [batch], [[batch], [batch]])
    assert found == {"error_px": pytest.approx(float(batch.joints_px[:, :5].norm(dim=-1).mean()))}
    assert figures(Answers(None), STAGE, "source", [batch], [[batch], [batch]]) == {}


def test_a_loader_of_some_samples_draws_its_limit_from_them(prepared: Workplace) -> None:
    shards = ShardSet.open(prepared.root / "shards" / "dots-source", "train")
    chosen = np.arange(2, 8)
    loader = Loader(shards, (), batch_size=3, input_px=32, indices=chosen, limit=3, grant=grant("full", 6))
    rows = np.concatenate([rows for rows, _ in loader.ordered()])
    loader.close()
    assert len(rows) == 3
    assert set(rows) <= set(chosen)
