"""Optimisers, schedules, averaged weights and turns, against torch used by hand and numbers worked out on paper."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from training_toys import CONTEXT, FakeFeed, Notes, ToyConfig, ToyMethod
from training_workplace import Workplace

from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Method, Optimiser, Progress, Schedule, Stage, StepResult
from kt3d_bench.training.acceleration import Acceleration
from kt3d_bench.training.loop import StageOutcome, run_stages
from kt3d_bench.training.optimisers import build
from kt3d_bench.training.stages import StageStore, stage_digest
from kt3d_bench.training.steps import LoopOptions
from kt3d_bench.training.train import train

STAGE = Stage("one", {"source": ("rgb",)}, ("net",), {}, steps=12, batch_size=4)


class OneStage(ToyMethod):
    """A network with all kinds of parameters, trained by the stage that the test gives."""

    stage = STAGE
    seen: list[tuple[int, str, int]]

    def __init__(self, config: ToyConfig, context: Any) -> None:
        super().__init__(config, context)
        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
        self.other = nn.Linear(1, 1)
        self.history: list[dict[str, Tensor]] = []

    def stages(self) -> tuple[Stage, ...]:
        return (self.stage,)

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        value: Tensor = self.net(batches["source"].images["rgb"])
        return StepResult({"loss": (value - 1).square().mean()})

    def after_step(self, stage: Stage, progress: Progress) -> None:
        self.history.append({name: value.clone() for name, value in self.net.state_dict().items()})


def built(stage: Stage, kind: type[OneStage] = OneStage) -> Any:
    torch.manual_seed(0)
    method = kind(ToyConfig(), CONTEXT)
    method.stage = stage
    return method


def trained(
    method: Method, folder: Path, *, report: Notes | None = None, resume: bool = False, **options: Any
) -> tuple[StageOutcome, ...]:
    folder.mkdir(exist_ok=True)
    feeds = {"source": FakeFeed("source"), "target": FakeFeed("target", labelled=False)}
    fabric = Fabric(accelerator="cpu", devices=1, precision=options.pop("precision", "32-true"))
    store = StageStore(folder / "stages")
    return run_stages(fabric, method, feeds, folder, store, LoopOptions(**options), report or Notes(), resume=resume)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Schedule(), {0: 1, 0.5: 1, 9 / 14: 0.1, 0.8: 0.1, 12 / 14: 0.01, 1: 0.01}),
        (Schedule("steps", milestones=(0.5,)), {0.49: 1, 0.5: 0.1, 1: 0.1}),
        (Schedule("constant"), {0: 1, 0.7: 1, 1: 1}),
        (Schedule("cosine", end=0.1), {0: 1, 0.5: 0.55, 2 / 3: 0.325, 1: 0.1}),
        (Schedule("exponential", end=0.01), {0: 1, 0.5: 0.1, 0.75: 10**-1.5, 1: 0.01}),
        (Schedule("exponential", hold=0.75, end=0.01), {0: 1, 0.75: 1, 0.875: 0.1, 1: 0.01}),
        (Schedule("cosine", hold=0.5, end=0.5), {0.5: 1, 0.75: 0.75, 1: 0.5}),
        (Schedule("constant", warm_up=0.1), {0: 0, 0.025: 0.25, 0.1: 1, 1: 1}),
        (Schedule("exponential", end=0.25, warm_up=0.5), {0.25: 0.5 * 2**-0.5, 0.5: 0.5, 1: 0.25}),
    ],
)
def test_a_schedule_has_the_factors_worked_out_by_hand(schedule: Schedule, expected: dict[float, float]) -> None:
    assert {at: schedule.factor(at) for at in expected} == pytest.approx(expected, abs=1e-12)


def test_training_follows_the_schedule(tmp_path: Path) -> None:
    schedule = Schedule("exponential", hold=0.5, end=0.01)
    trained(built(replace(STAGE, optimiser=Optimiser(learning_rate=0.2), schedule=schedule, steps=4)), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines] == pytest.approx([0.2, 0.2, 0.2, 0.02])


@pytest.mark.parametrize(
    ("asked", "by_hand"),
    [
        (
            Optimiser("adam", learning_rate=0.01, betas=(0.8, 0.9)),
            lambda own: torch.optim.Adam(own, lr=0.01, betas=(0.8, 0.9)),
        ),
        (
            Optimiser("adamw", learning_rate=0.01, weight_decay=0.3, no_decay=()),
            lambda own: torch.optim.AdamW(own, lr=0.01, weight_decay=0.3),
        ),
        (
            Optimiser("sgd", learning_rate=0.1, momentum=0.9, weight_decay=0.1, no_decay=()),
            lambda own: torch.optim.SGD(own, lr=0.1, momentum=0.9, weight_decay=0.1),
        ),
        (
            Optimiser("rmsprop", learning_rate=0.01, momentum=0.5),
            lambda own: torch.optim.RMSprop(own, lr=0.01, momentum=0.5),
        ),
    ],
)
def test_each_optimiser_moves_weights_as_torch_does(
    tmp_path: Path, asked: Optimiser, by_hand: Callable[[list[nn.Parameter]], torch.optim.Optimizer]
) -> None:
    method = built(replace(STAGE, optimiser=asked, schedule=Schedule("constant"), steps=5))
    mine = built(STAGE)
    trained(method, tmp_path)
    optimiser = by_hand(list(mine.net.parameters()))
    from kt3d_bench.training.feeds import Place
    from kt3d_bench.training.steps import derived_seed

    source = FakeFeed("source").open(STAGE, "source", 8, derived_seed(0, "one", "source") & 0x7FFFFFFF, Place())
    mine.train()
    for step, batch in zip(range(5), source, strict=False):
        optimiser.zero_grad()
        mine.step(STAGE, {"source": batch}, Progress(step, step / 5)).losses["loss"].backward()
        optimiser.step()
    for name, value in mine.net.state_dict().items():
        torch.testing.assert_close(method.net.state_dict()[name], value, rtol=0, atol=1e-7)


def test_decay_spares_biases_norms_and_named_parameters_and_factors_scale_rates() -> None:
    method = built(STAGE)
    asked = Optimiser("sgd", learning_rate=0.5, weight_decay=0.1, factors={"net": 0.5, "net.2": 0.0})

    def moved(optimiser: Optimiser) -> dict[str, float]:
        """How far each parameter goes in one step without gradient, as a share of itself."""
        before = {name: value.clone() for name, value in method.net.named_parameters()}
        for value in method.net.parameters():
            value.data.fill_(1.0)
            value.grad = torch.zeros_like(value)
        method.other.requires_grad_(False)
        method.body.requires_grad_(False)
        method.head.requires_grad_(False)
        (made,) = build(method, replace(STAGE, optimiser=optimiser), Acceleration()).values()
        for group in made.param_groups:
            group["lr"] *= group["factor"]
        made.step()
        found = {name: 1 - float(value.detach().mean()) for name, value in method.net.named_parameters()}
        for name, value in method.net.named_parameters():
            value.data.copy_(before[name])
        return found

    nothing = {"0.bias": 0, "1.weight": 0, "1.bias": 0, "2.bias": 0}
    assert moved(asked) == pytest.approx({"0.weight": 0.5 * 0.5 * 0.1, "2.weight": 0, **nothing}, abs=1e-6)
    plain = replace(asked, factors={})
    assert moved(plain) == pytest.approx({"0.weight": 0.05, "2.weight": 0.05, **nothing}, abs=1e-6)
    named = replace(plain, no_decay=("net.0", "norm"))
    assert moved(named) == pytest.approx(
        {"0.weight": 0, "0.bias": 0, "1.weight": 0, "1.bias": 0, "2.weight": 0.05, "2.bias": 0.05}, abs=1e-6
    )


def test_gradients_are_clipped_by_stage_unless_the_run_says_so(tmp_path: Path) -> None:
    def distance(clip_norm: float | None, run: float | None) -> float:
        asked = Optimiser("sgd", learning_rate=1.0, clip_norm=clip_norm)
        method, start = built(replace(STAGE, optimiser=asked, steps=1)), built(STAGE)
        trained(method, tmp_path / f"{clip_norm}-{run}", clip_norm=run)
        pairs = zip(method.net.parameters(), start.net.parameters(), strict=True)
        return math.sqrt(sum(float((one - two).detach().square().sum()) for one, two in pairs))

    assert distance(1e-3, None) == pytest.approx(1e-3, rel=1e-3)
    assert distance(1e-3, 1e-4) == pytest.approx(1e-4, rel=1e-2)
    assert distance(None, None) > 0.01


def test_the_average_is_what_a_stage_leaves(tmp_path: Path) -> None:
    """a_0 = w_0, a_(t+1) = d a_t + (1 - d) w_(t+1) with d = min(0.4, (1 + t) / (10 + t)), worked out from the weights
    of every step; counts of batches are not averaged."""
    plain, averaged = built(STAGE), built(replace(STAGE, average=0.4))
    start = {name: value.clone() for name, value in plain.net.state_dict().items()}
    trained(plain, tmp_path / "plain")
    trained(averaged, tmp_path / "averaged")
    expected = {name: value.double() for name, value in start.items()}
    for step, weights in enumerate(plain.history):
        decay = min(0.4, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * value.double() for name, value in weights.items()}
    left = averaged.net.state_dict()
    assert int(left["1.num_batches_tracked"]) == 12
    for name, value in expected.items():
        if name != "1.num_batches_tracked":
            torch.testing.assert_close(left[name].double(), value, rtol=0, atol=1e-6)
            assert not torch.equal(left[name], plain.net.state_dict()[name])
    again = built(replace(STAGE, average=0.4))
    assert trained(again, tmp_path / "averaged")[0].reused
    assert all(torch.equal(value, left[name]) for name, value in again.net.state_dict().items())


class Players(OneStage):
    """``critic`` wants the product of the two up, ``maker`` wants it down: x y with y kept near 1."""

    def __init__(self, config: ToyConfig, context: Any) -> None:
        super().__init__(config, context)
        self.maker, self.critic = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        for player in (self.maker, self.critic):
            nn.init.ones_(player.weight)
        self.turns: list[str] = []

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        self.turns.append(progress.turn)
        value = self.maker.weight.sum() * self.critic.weight.sum()
        noise = 0.0 * torch.rand(())
        loss = value if progress.turn == "maker" else -value
        return StepResult({"game": loss + noise}, {f"value_{progress.turn}": float(value.detach())})

    def after_step(self, stage: Stage, progress: Progress) -> None:
        self.turns.append("end")


GAME = replace(
    STAGE,
    trains=("maker", "critic"),
    optimiser={
        "maker": Optimiser("sgd", learning_rate=0.1, trains=("maker",)),
        "critic": Optimiser("sgd", learning_rate=0.2, trains=("critic",)),
    },
    schedule=Schedule("constant"),
)


def test_two_players_take_turns_and_move_their_own_weights(tmp_path: Path) -> None:
    """By hand: x <- x - 0.1 y, then y <- y + 0.2 x with the new x."""
    method = built(GAME, Players)
    trained(method, tmp_path)
    x, y = 1.0, 1.0
    for _ in range(12):
        x -= 0.1 * y
        y += 0.2 * x
    assert float(method.maker.weight.detach()) == pytest.approx(x, abs=1e-6)
    assert float(method.critic.weight.detach()) == pytest.approx(y, abs=1e-6)
    assert method.turns == ["maker", "critic", "end"] * 12
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert line["losses"] == pytest.approx({"maker/game": 1.0, "critic/game": -0.9})
    assert line["logs"] == pytest.approx({"value_maker": 1.0, "value_critic": 0.9})


@pytest.mark.parametrize(("stage", "kind"), [(replace(STAGE, average=0.9), OneStage), (GAME, Players)])
def test_averages_and_several_optimisers_resume_to_the_bit(tmp_path: Path, stage: Stage, kind: type[OneStage]) -> None:
    whole, cut = built(stage, kind), built(stage, kind)
    trained(whole, tmp_path / "whole")
    with pytest.raises(InterruptedRunError, match="after 7 of 12"):
        trained(cut, tmp_path / "cut", report=Notes(7, "one"))
    cut = built(stage, kind)
    trained(cut, tmp_path / "cut", resume=True)
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in cut.state_dict().items())


def test_bf16_on_a_cpu_repeats_and_resumes_to_the_bit_and_is_near_single_precision(tmp_path: Path) -> None:
    plain, whole, cut = (built(STAGE) for _ in range(3))
    trained(plain, tmp_path / "plain")
    trained(whole, tmp_path / "whole", precision="bf16-mixed")
    with pytest.raises(InterruptedRunError):
        trained(cut, tmp_path / "cut", report=Notes(5, "one"), precision="bf16-mixed")
    cut = built(STAGE)
    trained(cut, tmp_path / "cut", resume=True, precision="bf16-mixed")
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, cut.net.state_dict()[name])
        torch.testing.assert_close(value, plain.net.state_dict()[name], rtol=0.05, atol=0.02)
    assert not torch.equal(whole.net[0].weight, plain.net[0].weight)
    assert whole.net[0].weight.dtype == torch.float32


def test_what_decides_the_weights_is_in_the_digest_and_nothing_else() -> None:
    def digest(**changes: Any) -> str:
        return stage_digest(replace(STAGE, **changes), {})

    different = [
        {},
        {"optimiser": Optimiser("adamw")},
        {"optimiser": Optimiser(learning_rate=2e-3)},
        {"optimiser": Optimiser(weight_decay=0.1)},
        {"optimiser": Optimiser(weight_decay=0.1, no_decay=())},
        {"optimiser": Optimiser(betas=(0.5, 0.9))},
        {"optimiser": Optimiser(factors={"net.0": 0.1})},
        {"optimiser": Optimiser(clip_norm=1.0)},
        {"optimiser": {"a": Optimiser(trains=("net",))}},
        {"optimiser": {"b": Optimiser(trains=("net",))}},
        {"schedule": Schedule("cosine")},
        {"schedule": Schedule("cosine", hold=0.5)},
        {"schedule": Schedule("cosine", end=0.5)},
        {"schedule": Schedule(warm_up=0.1)},
        {"schedule": Schedule(milestones=(0.5,))},
        {"clip": (3, 1)},
        {"clip": (3, 2)},
        {"average": 0.9},
        {"average": 0.99},
    ]
    assert len({digest(**one) for one in different}) == len(different)
    same: list[dict[str, Any]] = [
        {"optimiser": Optimiser(momentum=0.9)},
        {"optimiser": Optimiser(no_decay=())},
        {"schedule": Schedule(hold=0.5, end=0.5)},
    ]
    assert {digest(**one) for one in same} == {digest()}
    assert digest(schedule=Schedule("constant", end=0.5)) == digest(schedule=Schedule("constant"))


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (
            replace(STAGE, optimiser=Optimiser(factors={"nut": 0.1})),
            "names 'nut', with which no name .* as net.0.weight",
        ),
        (replace(STAGE, optimiser=Optimiser(no_decay=("body",))), "names 'body', with which no name"),
        (replace(STAGE, optimiser=Optimiser(trains=("net",))), "its only optimiser names what it trains"),
        (replace(STAGE, optimiser={"a": Optimiser()}), "several optimisers need names, and each of them submodules"),
        (
            replace(STAGE, optimiser={"a": Optimiser(trains=("net",)), "b": Optimiser(trains=("net",))}),
            "submodules that no other trains",
        ),
        (replace(STAGE, optimiser={"a": Optimiser(trains=("other",))}), "trains 'other', which the stage does not"),
    ],
)
def test_optimisers_that_contradict_the_stage_are_refused(tmp_path: Path, stage: Stage, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        trained(built(stage), tmp_path)


class Bare(Players):
    """The critic has no parameters, or says nothing in its turn."""

    def __init__(self, config: ToyConfig, context: Any) -> None:
        super().__init__(config, context)
        self.empty = nn.Identity()

    def step(self, stage: Stage, batches: Mapping[str, UnlabelledBatch], progress: Progress) -> StepResult:
        found = super().step(stage, batches, progress)
        return found if progress.turn == "maker" else StepResult({})


def test_a_player_without_parameters_or_losses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="'one' of Bare: returned no loss in the turn of 'critic'"):
        trained(built(GAME, Bare), tmp_path / "a")
    players = {"maker": Optimiser(trains=("maker",)), "critic": Optimiser(trains=("empty",))}
    with pytest.raises(PluginError, match="the optimiser 'critic' has no parameters to train"):
        trained(built(replace(GAME, trains=("maker", "empty"), optimiser=players), Bare), tmp_path / "b")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schedule": Schedule("cosine", end=0.0)}, "end is 0.0 .float.: expected above 0, at most 1"),
        ({"schedule": Schedule("linear")}, "kind is 'linear' .str.: expected 'steps', 'constant'"),  # type: ignore[arg-type]
        ({"schedule": Schedule(warm_up=1.0)}, "warm_up is 1.0 .float.: expected from 0 to below 1"),
        ({"optimiser": Optimiser(weight_decay=-1)}, "weight_decay is -1 .int.: expected at least 0"),
        ({"optimiser": Optimiser("lion")}, "kind is 'lion' .str.: expected 'adam', 'adamw'"),  # type: ignore[arg-type]
        ({"average": 1.0}, "average is 1.0: expected from 0 to below 1"),
        ({"batch_size": 0}, "batch_size is 0: expected at least 1"),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    usual = ToyMethod.stages
    monkeypatch.setattr(ToyMethod, "stages", lambda self: tuple(replace(one, **changes) for one in usual(self)))
    with pytest.raises(UsageError, match=f"stage 'first' of 'toy': {said}"):
        train(workplace.config())
