"""``fidelity``: one word chooses the paper's losses, generator and anchor; what is set by name wins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from kt3d_knowledge_transfer.adapting import _cycle_signs
from kt3d_knowledge_transfer.config import AS_PUBLISHED, BUNDLES, PRESETS, Config
from kt3d_knowledge_transfer.method import KnowledgeTransfer
from kt3d_knowledge_transfer.signs import pose_error_mm

from kt3d_bench.errors import UsageError
from kt3d_bench.method import Progress
from kt3d_bench.nn.integral import to_voxels
from kt3d_bench.nn.layers import reverse_gradient
from kt3d_bench.training.settings import build_config


def chosen(preset: str = "tiny", **settings: Any) -> Config:
    config: Config = build_config(Config, PRESETS, preset, settings, KnowledgeTransfer.BUNDLES)
    return config


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_as_published_overrules_every_preset_and_nothing_else(preset: str) -> None:
    ours, published = dataclasses.asdict(chosen(preset)), dataclasses.asdict(chosen(preset, fidelity="as-published"))
    changed = {name for name in ours if ours[name] != published[name]}
    assert {name: published[name] for name in AS_PUBLISHED} == dict(AS_PUBLISHED)
    assert changed <= {*AS_PUBLISHED, "fidelity"}
    assert {"generator", "generator_schedule", "reconstruction", "teacher", "fidelity"} <= changed
    assert (published["generator"], published["reconstruction"], published["teacher"]) == ("dcgan", "si-log", "none")


def test_ours_is_the_default_and_changes_nothing() -> None:
    assert chosen() == chosen(fidelity="ours")
    assert dict(BUNDLES["fidelity"]["ours"]) == {}


@pytest.mark.parametrize("name", sorted(AS_PUBLISHED))
def test_each_departure_can_be_taken_alone_whatever_the_order(name: str) -> None:
    kept = "mse" if name == "reconstruction" else getattr(chosen(), name)  # part-depth masks have no cross-entropy
    first, second = chosen(fidelity="as-published", **{name: kept}), chosen(**{name: kept}, fidelity="as-published")
    assert first == second
    assert getattr(first, name) == kept
    assert all(getattr(first, other) == value for other, value in AS_PUBLISHED.items() if other != name)


def test_text_from_the_command_line_does_the_same() -> None:
    assert chosen(fidelity="as-published", marginal_weight="0.25").marginal_weight == 0.25
    assert chosen(fidelity="as-published").marginal_weight == 0.0


def test_another_word_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'fidelity' is 'as-publishd': did you mean 'as-published'"):
        chosen(fidelity="as-publishd")


def test_the_reversal_is_the_identity_forward_and_minus_one_backward() -> None:
    features = torch.randn(3, 5, requires_grad=True)
    weight = torch.randn(3, 5)
    same = reverse_gradient(features)
    assert torch.equal(same, features)
    (same * weight).sum().backward()
    assert torch.equal(features.grad, -weight)


@pytest.mark.parametrize("fidelity", ["ours", "as-published"])
def test_the_domain_loss_is_off_for_the_first_5000_steps(build: Callable[..., Any], batch: Any, fidelity: str) -> None:
    paper = chosen("paper", fidelity=fidelity)
    assert paper.adversarial_delay_steps == 5000
    bundle = {**BUNDLES["fidelity"][fidelity], "weight_domain": 0.05}
    method = build("rgb", **bundle, adversarial_delay_steps=paper.adversarial_delay_steps).eval()
    for stage in method.stages():
        if "adapt" not in stage.name and "synthetic" not in stage.name:
            continue
        method.start_stage(stage)
        given = {role: batch(*images, labelled=role != "target") for role, images in stage.roles.items()}
        before, after = (method.step(stage, given, Progress(step, 0.1)) for step in (4999, 5000))
        assert "adversarial" not in before.losses
        assert float(after.losses["adversarial"]) > 0


def test_the_domain_accuracy_is_logged_against_chance(build: Callable[..., Any], train: Any) -> None:
    method = build("rgb", weight_domain=0.05)
    for name in ("synthetic", "adapt"):
        logs = train(method, name, step=9).logs
        assert logs["domain_over_chance"] == pytest.approx(logs["domain_accuracy"] - 0.5)


@pytest.mark.parametrize("schedule", ["separate", "joint"])
def test_what_the_cycle_can_carry_is_shown_once_and_changes_nothing(
    build: Callable[..., Any], batch: Any, schedule: str
) -> None:
    method = build("rgb", bridge="generated", weight_domain=0.05, generator_schedule=schedule)
    stage = next(stage for stage in method.stages() if stage.name == "adapt")
    method.start_stage(stage)
    method.eval()
    given = {role: batch(*images, labelled=role != "target") for role, images in stage.roles.items()}
    before = {name: value.clone() for name, value in method.state_dict().items()}
    drawn = torch.get_rng_state()
    logs = _cycle_signs(method, given["source"])
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    assert 0 <= logs["foreground_right"] <= 1
    assert set(logs) <= set(method.step(stage, given, Progress(0, 0.0)).logs)
    method.start_stage(stage)
    assert not set(logs) & set(method.step(stage, given, Progress(9, 0.1)).logs)


def test_pose_errors_are_millimetres(batch: Any) -> None:
    source = batch("parts")
    voxels = to_voxels(source.joints_px, source.joints_root_mm[..., 2], 32, 8)
    assert pose_error_mm(voxels, source, 32, 8) == pytest.approx(0, abs=0.01)
    deeper = voxels.clone()
    deeper[:, 3:, 2] += 0.8
    assert pose_error_mm(deeper, source, 32, 8) == pytest.approx(0.8 * 2000 / 8 * 14 / 17, rel=1e-4)
    aside = voxels.clone()
    aside[:, 3:, 0] += 0.5
    assert pose_error_mm(aside, source, 32, 8) == pytest.approx(0.5 * 4 * 4000 / 30 * 14 / 17, rel=1e-4)
