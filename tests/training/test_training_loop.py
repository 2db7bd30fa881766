from __future__ import annotations

import json
import resource
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import pytest
import torch
from lightning_fabric import Fabric
from training_toys import CONTEXT, FakeFeed, MemoryMethod, Notes, ToyConfig, ToyMethod

from kt3d_bench.errors import ArtefactError, Kt3dError, PluginError
from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.method import Method
from kt3d_bench.training import checkpoint
from kt3d_bench.training.loop import StageOutcome, run_stages
from kt3d_bench.training.stages import StageStore, code_digests, source_digest
from kt3d_bench.training.steps import LoopOptions


def built(method: type[Method] = ToyMethod, seed: int = 0, **settings: Any) -> Method:
    torch.manual_seed(seed)
    return method(ToyConfig(**settings), CONTEXT)


def trained(
    folder: Path,
    method: Method,
    *,
    store: Path | None = None,
    options: LoopOptions | None = None,
    report: Notes | None = None,
    resume: bool = False,
    feeds: dict[str, FakeFeed] | None = None,
) -> tuple[StageOutcome, ...]:
    folder.mkdir(exist_ok=True, parents=True)
    fabric = Fabric(accelerator="cpu", devices=1)
    feeds = feeds or {"source": FakeFeed("source"), "target": FakeFeed("target", labelled=False)}
    stages = StageStore(store or folder / "stages")
    return run_stages(fabric, method, feeds, folder, stages, options or LoopOptions(), report or Notes(), resume=resume)


def states_equal(a: Method, b: Method) -> bool:
    ours, theirs = a.state_dict(), b.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    methods = [built(), built(), built()]
    for number, (method, seed) in enumerate(zip(methods, (3, 3, 4), strict=True)):
        trained(tmp_path / str(number), method, options=LoopOptions(seed=seed))
    assert states_equal(methods[0], methods[1])
    assert not states_equal(methods[0], methods[2])


def test_a_stage_trains_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    method = built()
    start = {name: value.clone() for name, value in method.state_dict().items()}
    folder = tmp_path / "run"
    trained(folder, method)
    after_first = checkpoint.load(next(p for p in (folder / "stages").glob("*.pt") if "first" in stage_of(p)))["state"]
    final = method.state_dict()
    assert set(after_first) == {name for name in start if name.startswith("body.")}
    for name, value in after_first.items():
        assert torch.equal(final[name], value), f"the second stage changed {name}"
    assert not torch.equal(start["body.0.weight"], final["body.0.weight"])
    assert not torch.equal(start["body.1.running_mean"], final["body.1.running_mean"])
    assert not torch.equal(start["head.weight"], final["head.weight"])


def stage_of(path: Path) -> str:
    return str(checkpoint.load(path)["stage"])


def test_a_method_that_wakes_a_frozen_batch_norm_is_caught(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="'second' of ToyMethod: changed the frozen submodule 'body'"):
        trained(tmp_path, built(disturb=True))


@pytest.mark.parametrize("stop", [("first", 2), ("second", 5)])
def test_an_interrupted_run_goes_on_bit_for_bit(tmp_path: Path, stop: tuple[str, int]) -> None:
    whole, cut = built(), built()
    trained(tmp_path / "whole", whole)
    with pytest.raises(InterruptedRunError, match=f"stage '{stop[0]}' after {stop[1]} of 6.*--resume"):
        trained(tmp_path / "cut", cut, report=Notes(stop[1], stop[0]))
    cut = built()
    report = Notes()
    trained(tmp_path / "cut", cut, report=report, resume=True)
    assert states_equal(whole, cut)
    assert (stop[0], stop[1]) not in report.steps
    lines = [json.loads(line) for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        (stage, step) for stage in ("first", "second") for step in range(1, 7)
    ]
    assert not list((tmp_path / "cut" / "checkpoints").glob("step-*"))


def test_a_request_during_the_last_step_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match="stopped after the last stage; nothing is lost"):
        trained(tmp_path, built(), report=Notes(6, "second"))
    assert [outcome.reused for outcome in trained(tmp_path, built(), resume=True)] == [True, True]


def test_the_code_of_schedules_and_of_the_contract_is_part_of_a_stage(tmp_path: Path) -> None:
    method = built()
    assert {"kt3d_bench.optimisation", "kt3d_bench.method"} <= code_digests(method, method.stages()[0]).keys()


def test_periodic_checkpoints_are_kept_to_two_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    options = LoopOptions(checkpoint_steps=1)
    with pytest.raises(InterruptedRunError):
        trained(tmp_path / "cut", built(), options=options, report=Notes(4, "first"))
    files = sorted((tmp_path / "cut" / "checkpoints").glob("step-*.pt"))
    assert [path.name for path in files] == ["step-first-000000003.pt", "step-first-000000004.pt"]
    flip(files[-1])
    report, cut, whole = Notes(), built(), built()
    trained(tmp_path / "cut", cut, options=options, report=report, resume=True)
    assert "corrupt" in report.notes[0]
    assert report.steps[0] == ("first", 4)
    trained(tmp_path / "whole", whole)
    assert states_equal(whole, cut)


class KilledError(Exception):
    """Stands for a process that is gone."""


class Killer(Notes):
    def advance(self, done: int, **shown: Any) -> None:
        if (self.stage, done) == ("second", 5):
            raise KilledError
        super().advance(done, **shown)


def test_a_killed_run_goes_on_from_its_last_periodic_checkpoint(tmp_path: Path) -> None:
    options = LoopOptions(checkpoint_steps=3)
    with pytest.raises(KilledError):
        trained(tmp_path / "cut", built(), options=options, report=Killer())
    report, cut, whole = Notes(), built(), built()
    trained(tmp_path / "cut", cut, options=options, report=report, resume=True)
    assert report.steps == [("second", 4), ("second", 5), ("second", 6)]
    trained(tmp_path / "whole", whole)
    assert states_equal(whole, cut)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.pt"
    checkpoint.save(path, {"x": torch.ones(3)})

    def full(content: object, stream: IO[bytes]) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ArtefactError, match=r"cannot be written .No space left on device"):
        checkpoint.save(path, {"x": torch.zeros(3)})
    assert checkpoint.load(path)["x"].sum() == 3
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pt", "a.pt.sha256"]


def test_a_checkpoint_that_the_system_cuts_short_is_a_sentence(tmp_path: Path) -> None:
    """torch hides the system's error behind one of its own when the file cannot be finished."""
    path = tmp_path / "a.pt"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(ArtefactError, match=r"cannot be written .File too large"):
            checkpoint.save(path, {"x": torch.zeros(100_000), "y": torch.zeros(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RuntimeError, match="of torch's own"):
        checkpoint.save(path, {"x": Unsaveable()})


class Unsaveable:
    def __reduce__(self) -> str:
        raise RuntimeError("of torch's own")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_all_checkpoints_damaged_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        trained(tmp_path, built(), report=Notes(1, "first"))
    for path in (tmp_path / "checkpoints").glob("step-*.pt"):
        flip(path)
    with pytest.raises(ArtefactError, match="corrupt"):
        trained(tmp_path, built(), resume=True)


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        trained(tmp_path, built(), report=Notes(1, "first"))
    with pytest.raises(ArtefactError, match="other data, settings"):
        trained(tmp_path, built(learning_rate=0.5), resume=True)


def test_stages_are_shared_between_runs_and_leave_the_same_weights(tmp_path: Path) -> None:
    one, two, other = built(), built(), built(kind="plain")
    feeds = {"source": FakeFeed("source"), "target": FakeFeed("target", labelled=False)}
    outcomes = trained(tmp_path / "one", one, store=tmp_path / "stages")
    assert [outcome.reused for outcome in outcomes] == [False, False]
    report = Notes()
    again = trained(tmp_path / "two", two, store=tmp_path / "stages", feeds=feeds, report=report)
    assert [outcome.reused for outcome in again] == [True, True]
    assert feeds["source"].opened == []
    assert "'first' was trained before" in report.notes[0]
    assert states_equal(one, two)
    assert [o.reused for o in trained(tmp_path / "o", other, store=tmp_path / "stages")] == [False, False]


def test_what_decides_a_stage_decides_its_digest(tmp_path: Path) -> None:
    def digests(method: Method, options: LoopOptions, source: str = "source", target: str = "t") -> list[str]:
        feeds = {"source": FakeFeed(source), "target": FakeFeed(target)}
        return [outcome.digest for outcome in trained(tmp_path, method, options=options, feeds=feeds)]

    base = digests(built(), LoopOptions())
    assert digests(built(), LoopOptions()) == base
    variants = [
        digests(built(), LoopOptions(seed=1)),
        digests(built(), LoopOptions(steps_scale=0.5)),
        digests(built(), LoopOptions(clip_norm=1.0)),
        digests(built(), LoopOptions(facts={"precision": "x"})),
        digests(built(), LoopOptions(), source="other"),
        digests(built(seed=1), LoopOptions()),
        digests(built(learning_rate=0.02), LoopOptions()),
    ]
    for changed in variants:
        assert changed[0] != base[0]
        assert changed[1] != base[1], "a stage depends on the stages it builds on"
    only_target = digests(built(), LoopOptions(), target="other")
    assert only_target[0] == base[0]
    assert only_target[1] != base[1]
    limited = digests(built(), LoopOptions(time_scale=1.0))
    assert limited[0] != base[0], "the first stage has a budget"


def test_a_damaged_stored_stage_is_refused_by_name(tmp_path: Path) -> None:
    outcomes = trained(tmp_path, built())
    flip(tmp_path / "stages" / f"{outcomes[0].digest}.pt")
    with pytest.raises(ArtefactError, match=outcomes[0].digest):
        trained(tmp_path, built())


def test_a_loss_that_is_not_finite_stops_with_stage_step_and_name(tmp_path: Path) -> None:
    with pytest.raises(Kt3dError, match="loss 'energy' of stage 'first' is nan at step 3"):
        trained(tmp_path, built(poison_step=3))
    assert not list((tmp_path / "stages").glob("*.pt"))


def test_a_time_limit_ends_a_stage_early_but_takes_a_step(tmp_path: Path) -> None:
    outcomes = trained(tmp_path, built(), options=LoopOptions(time_scale=0.0))
    assert [outcome.steps for outcome in outcomes] == [1, 6]


def test_the_learning_rate_follows_the_milestones(tmp_path: Path) -> None:
    trained(tmp_path, built(steps=14))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines if line["stage"] == "first"]
    assert rates == pytest.approx([0.01] * 9 + [0.001] * 3 + [0.0001] * 2)


def test_a_stage_without_parameters_gathers_statistics(tmp_path: Path) -> None:
    method = built(MemoryMethod)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    outcomes = trained(tmp_path, method)
    assert outcomes[0].steps == 3
    total = method.state_dict()["memory.total"]
    assert total.tolist() == pytest.approx([1.5] * 3, abs=0.2)
    assert all(torch.equal(before[name], value) for name, value in method.state_dict().items() if "memory" not in name)


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    free, clipped = built(), built()
    trained(tmp_path / "free", free)
    trained(tmp_path / "clipped", clipped, options=LoopOptions(clip_norm=1e-9))
    start = built().state_dict()["body.0.weight"]

    def moved(method: Method) -> float:
        return float((method.state_dict()["body.0.weight"] - start).norm())

    assert moved(clipped) < 0.5 * moved(free)


def test_changed_source_changes_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "training_some_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("a = 1")
    monkeypatch.syspath_prepend(tmp_path)
    before = source_digest("training_some_package")
    (package / "inner.py").write_text("a = 2")
    source_digest.cache_clear()
    assert source_digest("training_some_package") != before
    stage = built().stages()[0]
    assert set(code_digests(built(), stage)) > {"kt3d_bench.nn", "training_toys"}
    assert "training_toys" not in code_digests(built(), replace(stage, code="kt3d_bench.nn"))
