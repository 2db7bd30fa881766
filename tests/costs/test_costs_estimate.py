"""What a run will cost: work and memory as counted by other means, and no rate out of thin air."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from kt3d_bench.cli import main
from kt3d_bench.costs import count
from kt3d_bench.costs.count import ADAM_BYTES, Undrawn, count_step, made_up_batches
from kt3d_bench.costs.estimate import Estimate, estimate, read_table
from kt3d_bench.errors import UsageError
from kt3d_bench.loading.batches import LabelledBatch, UnlabelledBatch
from kt3d_bench.method import Method, MethodContext, Progress, Stage, StepResult
from kt3d_bench.plugins import registry
from kt3d_bench.supervision import grant
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.resolve import resolve
from kt3d_bench.training.stages import freeze_all_but
from kt3d_bench.training.train import build_method

SIZES = {"target": 312188, "source": 1000000, "pretrain": 25925}


def estimated(tmp_path: Path, **options: Any) -> Estimate:
    run = {"supervision": "full", "preset": "tiny", "device": "cpu", "data": tmp_path, "samples": SIZES}
    return estimate("integral-pose", **{**run, **options})


class OneConvolution(Method):
    """A 3 x 3 convolution from 3 to 5 channels, and a frozen one beside it."""

    Config, PRESETS = object, {}

    def __init__(self) -> None:
        super().__init__(None, MethodContext("rgb", 0, "full", False))
        self.net = nn.Conv2d(3, 5, 3, padding=1, bias=False)
        self.idle = nn.Conv2d(3, 2, 1, bias=False)

    @property
    def input_px(self) -> int:
        return 16

    def stages(self) -> tuple[Stage, ...]:
        return (Stage("only", {"target": ("rgb",)}, ("net",), {}, steps=3, batch_size=2),)

    def step(self, stage: Stage, batches: Any, progress: Progress) -> StepResult:
        return StepResult({"loss": self.net(batches["target"].images["rgb"]).square().mean()})

    predict = None  # type: ignore[assignment]


def test_work_and_bytes_are_those_counted_by_hand() -> None:
    method = OneConvolution()
    (stage,) = method.stages()
    counted = count_step(method, stage, made_up_batches(stage, 2, 16, 0, grant("full")), bf16=False)
    once = 2 * 2 * 16 * 16 * 5 * 3 * 9
    assert counted.flop == 2 * once, "forward, and backward to the weights; nobody wants the image's gradient"
    assert counted.fixed_bytes == 4 * (135 + 6) + ADAM_BYTES * 135
    assert counted.gradient_bytes == 4 * 135
    assert counted.activation_bytes == 4 * 2 * 16 * 16 * (3 + 3 * 5), (
        "the image; the output, and two gradients as large"
    )
    assert counted.memory_bytes(10) == counted.fixed_bytes + 5 * counted.activation_bytes


def test_activations_are_what_the_allocator_sees_at_the_peak() -> None:
    """The profiler adds up every allocation of one real step of the baseline's network."""
    from kt3d_integral_pose.method import IntegralPose

    context = MethodContext("rgb", 0, "full", False)
    settings = IntegralPose.Config(**IntegralPose.PRESETS["tiny"])
    method = build_method(IntegralPose, settings, context, 0)
    stage = method.stages()[-1]
    batches = made_up_batches(stage, 8, method.input_px, 0, grant("full"))
    counted = count_step(method, stage, batches, bf16=False)
    freeze_all_but(method, stage)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        losses = method.step(stage, batches, Progress(0, 0.0)).losses
        torch.stack([loss.reshape(()) for loss in losses.values()]).sum().backward()
    held = peak = 0
    for event in sorted(trace.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    assert 0.75 * peak < counted.activation_bytes + counted.gradient_bytes < 1.25 * peak


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", sorted(name for name, one in registry.methods().items() if "tiny" in one.presets))
def test_what_is_not_computed_counts_as_if_it_were(name: str, bf16: bool, tmp_path: Path) -> None:
    """The same bytes, and torch's own counter of work, with weights that are drawn and convolutions that are made."""
    config = RunConfig(method=name, preset="tiny", supervision=registry.method(name).supervision[-1],
                       data_root=tmp_path)  # fmt: skip
    planned = resolve(config, planning=True)
    given = planned.method, planned.method_config, planned.planned_context(), 0
    real = build_method(*given)
    with Undrawn():
        undrawn = build_method(*given)
    for stage in real.stages():
        batches = made_up_batches(stage, 2, real.input_px, real.context.num_parts, planned.grant)
        found = count_step(undrawn, stage, batches, bf16=bf16)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(count, "_UNCOMPUTED", {})
            work = FlopCounterMode(display=False)
            with work:
                computed = count_step(real, stage, batches, bf16=bf16)
        assert found == computed
        assert found.flop == work.get_total_flops()


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_convolution_that_is_not_computed_has_torchs_shapes(transposed: bool, dimensions: int) -> None:
    """Sides, strides, padding, dilation and groups that all differ, forward and backward."""
    numbers = ([3, 2, 1], [2, 1, 0], [1, 2, 3], [1, 0, 0] if transposed else [0, 0, 0])
    stride, padding, dilation, more = (one[:dimensions] for one in numbers)
    given = torch.ones(2, 6, *[13, 11, 9][:dimensions]), torch.ones(6, 3, *[3, 2, 2][:dimensions])
    how = stride, padding, dilation, transposed, more, 2
    forward, backward = torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default
    true = forward(*given, None, *how)
    found = count._UNCOMPUTED[forward](*given, None, *how)
    assert found.shape == true.shape
    back = true, *given, [true.shape[1]], *how, [False, True, True]
    for one, other in zip(count._UNCOMPUTED[backward](*back), backward(*back), strict=True):
        assert (one is None) == (other is None)
        assert one is None or one.shape == other.shape


def test_a_convolution_that_is_not_computed_takes_one_number_for_all_dimensions() -> None:
    given = torch.ones(2, 4, 9, 8), torch.ones(5, 4, 3, 2), None
    forward = torch.ops.aten.convolution.default
    for transposed, channels in ((False, 4), (True, 5)):
        how = [2], [1], [2], transposed, [1 if transposed else 0], 1
        image = torch.ones(2, channels, 9, 8)
        assert count._UNCOMPUTED[forward](image, *given[1:], *how).shape == forward(image, *given[1:], *how).shape


def test_weights_that_are_not_drawn_may_have_any_layout_and_none_at_all() -> None:
    with Undrawn(), torch.no_grad():
        part = nn.init.normal_(torch.empty(4, 6)[:, :3])
        turned = torch.empty(4, 6).t().normal_()
        empty = torch.empty(0, 3, dtype=torch.float64).uniform_()
    for drawn, shape in ((part, (4, 3)), (turned, (6, 4))):
        assert drawn.shape == shape
        torch.testing.assert_close(drawn.flatten(), torch.linspace(-0.01, 0.01, drawn.numel()))
    assert (empty.shape, empty.dtype) == ((0, 3), torch.float64)


@pytest.mark.parametrize("method", ["integral-pose", "volumetric"])
def test_counting_loads_neither_torchs_compiler_nor_symbolic_shapes(method: str, tmp_path: Path) -> None:
    script = (
        "import sys, kt3d_bench as kt\n"
        f"kt.estimate({method!r}, preset='tiny', device='cpu', data={str(tmp_path)!r}, samples={SIZES!r}, "
        "supervision='full', images_per_second=1.0)\n"
        "print([name for name in ('torch._dynamo', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_made_up_batches_hold_what_a_stage_asks_for() -> None:
    roles: dict[str, tuple[str, ...]] = {"source": (), "target": ()}
    clips = Stage("lift", roles, (), {}, steps=1, clip=(9, 5), clip_roles=("target",), detections={"target": "x"})
    made = made_up_batches(clips, 3, 32, 0, grant("none"))
    assert (made["source"].size, made["target"].size) == (3, 27)
    assert made["source"].detections_px is None
    assert made["target"].detections_px is not None
    assert made["target"].detections_px.shape == (27, 17, 2)
    groups = Stage("views", {"target": ("rgb",)}, (), {}, steps=1, views=2, asks=("keys", "extrinsics"))
    target = made_up_batches(groups, 3, 32, 0, grant("none"))["target"]
    assert target.keys is not None
    assert target.poses is not None
    assert len(target.keys) == len(target.poses.rotation) == target.size == 6


def test_made_up_batches_hide_what_the_loader_hides() -> None:
    roles = {"target": ("rgb",), "pretrain": ("rgb",), "source": ("depth", "parts")}
    stage = Stage("s", roles, (), {}, steps=1)
    hidden = made_up_batches(stage, 3, 32, 5, grant("none"))
    assert type(hidden["target"]) is UnlabelledBatch
    assert hidden["source"].images["parts"].max() < 5
    assert hidden["source"].images["depth"].shape == (3, 1, 32, 32)
    pretrain = hidden["pretrain"]
    assert isinstance(pretrain, LabelledBatch)
    assert pretrain.mask_2d.all()
    assert not pretrain.mask_3d.any()
    partial = made_up_batches(stage, 3, 32, 5, grant("partial-2d", 6))["target"]
    assert isinstance(partial, LabelledBatch)
    assert partial.mask_2d.sum() == 18
    assert torch.isfinite(partial.joints_px).all(-1).sum() == 18


def test_images_are_counted_of_the_role_that_comes_first() -> None:
    """Clips of the target alone, where single images of the source come first; and groups of cameras."""
    method = OneConvolution()
    (stage,) = method.stages()
    roles: dict[str, tuple[str, ...]] = {"source": (), "target": ("rgb",)}
    clips = replace(stage, roles=roles, clip=(9, 1), clip_roles=("target",))
    for changed, each in ((clips, 9), (replace(clips, clip_roles=()), 9), (replace(stage, views=4), 4)):
        counted = count_step(method, changed, made_up_batches(changed, 2, 16, 0, grant("full")), bf16=False)
        assert counted.images == 2
        assert counted.flop == each * 2 * 2 * 2 * 16 * 16 * 5 * 3 * 9


def test_a_method_whose_clips_are_the_targets_alone_has_an_estimate(tmp_path: Path) -> None:
    found = estimate("videopose", preset="tiny", device="cpu", data=tmp_path, samples=SIZES, images_per_second=10.0)
    assert found.stages[-1].step.images == 2
    assert all(hours > 0 for hours in found.hours)


def test_hours_follow_from_steps_work_and_rate(tmp_path: Path) -> None:
    found = estimated(tmp_path, settings={"steps": "1000"}, images_per_second=50.0)
    longest = max(found.stages, key=lambda cost: cost.flop)
    at = found.stages.index(longest)
    assert found.hours[at] == pytest.approx(longest.steps * longest.batch_size / 50 / 3600)
    assert sum(found.hours) == pytest.approx(sum(c.flop for c in found.stages) / longest.flop * found.hours[at])
    four = estimated(tmp_path, settings={"steps": "1000"}, devices=2, num_nodes=2, images_per_second=50.0)
    assert four.total_hours == pytest.approx(found.total_hours / 4)
    assert four.memory_bytes < found.memory_bytes
    assert any("on 4 devices that share the work evenly" in line for line in four.lines())
    cpu = estimated(tmp_path, settings={"steps": "1000"}, hardware="cpu-2-cores-busy")
    rate = read_table().hardware["cpu-2-cores-busy"].gflop_per_s
    assert rate is not None
    assert cpu.total_hours == pytest.approx(sum(cost.flop for cost in cpu.stages) / (rate * 1e9) / 3600)
    assert (cpu.bf16, found.bf16) == (False, True)


def test_measuring_times_this_machine(tmp_path: Path) -> None:
    found = estimated(tmp_path, settings={"steps": "10"}, measure=True)
    assert all(0 < hours < 1 for hours in found.hours)
    assert "timed on this machine" in found.basis


def test_the_paper_preset_is_counted_without_a_gpu(tmp_path: Path) -> None:
    """8.36 GMAC forward, as measured elsewhere; three times that with the backward pass; two operations each. Beside
    each target image there is one with 2D labels."""
    found = estimated(tmp_path, preset="paper", images_per_second=1000.0)
    supervised = found.stages[-1]
    assert supervised.steps == round(140 * 312188 / 32)
    assert supervised.step.flop / supervised.step.images == pytest.approx(2 * 6 * 8.36e9, rel=0.02)


def test_no_rate_is_invented(tmp_path: Path) -> None:
    table = read_table()
    unknown = [row.name for row in table.hardware.values() if row.gflop_per_s is None]
    for name in unknown:
        with pytest.raises(UsageError, match=f"the rate of '{name}' has not been measured yet"):
            table.measured(name)
    with pytest.raises(UsageError, match="there is no hardware 'cpu-2-cores-bus'; did you mean 'cpu-2-cores-busy'"):
        table.measured("cpu-2-cores-bus")
    for given in ({}, {"measure": True, "images_per_second": 3.0}):
        with pytest.raises(UsageError, match="hours need exactly one basis; give one of --hardware NAME"):
            estimated(tmp_path, **given)
    with pytest.raises(UsageError, match="there is no method 'nothere'"):
        estimate("nothere", data=tmp_path)
    with pytest.raises(UsageError, match="stepz"):
        estimated(tmp_path, settings={"stepz": "3"})
    with pytest.raises(UsageError, match="--images-per-second is 0; give a number above 0"):
        estimated(tmp_path, images_per_second=0.0)
    with pytest.raises(UsageError, match=r"the number of training samples of the \w+ is not known.*--samples \w+=N"):
        estimated(tmp_path, samples=None, images_per_second=5.0)


def test_shards_that_are_here_are_counted(workplace: Any) -> None:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    found: Estimate = estimate(
        "toy", preset="tiny", device="cpu", settings={"steps": 4}, data=workplace.root, images_per_second=10.0
    )
    tars = sum(path.stat().st_size for path in (workplace.root / "shards" / "dots-target").glob("train-*.tar"))
    assert found.disk["target"] == (12, tars, True)
    assert [cost.samples for cost in found.stages] == [12, 12]


def test_the_command_says_it_in_words_and_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KT3D_DATA", str(tmp_path))
    words = ["estimate", "--method", "integral-pose", "--supervision", "full", "--preset", "tiny"]
    sizes = ["--samples", "target=312,188", "--samples", "pretrain=25925"]
    said = CliRunner().invoke(main, [*words, *sizes, "--hardware", "cpu-2-cores-busy"])
    assert said.exit_code == 0, said.output
    assert "Stage supervised: 600 steps of 32 images (312,188 samples per epoch)" in said.output
    assert "Disk for the target's training shards: 10.1 GB (312,188 samples, from the sizes of stand-in" in said.output
    said = CliRunner().invoke(main, [*words, *sizes, "--images-per-second", "100", "--json"])
    assert json.loads(said.output)["stages"][-1]["steps"] == 600
    said = CliRunner().invoke(main, [*words, "--samples", "target=many", "--hardware", "h200"])
    assert said.exit_code == 2
    assert "--samples needs ROLE=N, found 'target=many'" in said.output
    said = CliRunner().invoke(main, [*words, *sizes, "--hardware", "h200"])
    assert said.exit_code == 2
    assert "not been measured yet" in said.output


def test_a_clip_costs_its_frames() -> None:
    stage = Stage("s", {"source": ("rgb",)}, (), {}, steps=1, clip=(3, 1))
    made = made_up_batches(stage, 2, 16, 0, grant("full"))["source"]
    assert made.size == made.images["rgb"].shape[0] == 6
