"""A run can be repeated from its run.yaml; its errors name the samples, the memory or the disk."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import namedtuple
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from training_toys import CONTEXT, Notes, ToyConfig, ToyMethod
from training_workplace import Workplace

import kt3d_bench as kt
from kt3d_bench.cli import main
from kt3d_bench.errors import ArtefactError, Kt3dError, UsageError
from kt3d_bench.method import Stage
from kt3d_bench.run_folder import final_checkpoint, read_run
from kt3d_bench.training import bounds, checkpoint, environment
from kt3d_bench.training.train import train


@pytest.fixture
def first(workplace: Workplace) -> Path:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    return train(workplace.config(seed=3, name="mine", clip_norm=0.5))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = checkpoint.load(final_checkpoint(folder))["model"]
    return model


def test_run_yaml_alone_repeats_a_run(workplace: Workplace, first: Path, tmp_path: Path) -> None:
    alone = tmp_path / "somewhere.yaml"
    shutil.copy(first / "run.yaml", alone)
    shutil.rmtree(workplace.root / "stages")
    notes = Notes()
    again = kt.train_again(alone, data=workplace.root, report=notes)
    assert again.name == "toy-dots-target-none-tiny-s3"
    assert [stage["reused"] for stage in again.document["stages"]] == [False, False]
    for name, tensor in weights(first).items():
        assert torch.equal(weights(again.folder)[name], tensor)
    assert not [note for note in notes.notes if note.startswith("Unlike")]


def test_the_command_repeats_a_run_by_name(workplace: Workplace, first: Path) -> None:
    runner = CliRunner(env={"KT3D_DATA": str(workplace.root)})
    done = runner.invoke(main, ["train", "--again", first.name, "--no-predict", "--name", "second"])
    assert done.exit_code == 0, done.output
    assert read_run(workplace.root / "runs" / "second")["config"]["clip_norm"] == 0.5
    both = runner.invoke(main, ["train", "--again", first.name, "--seed", "1"])
    assert both.exit_code == 2
    assert "--seed stands beside --again, which repeats a run as it was; leave one out" in both.output
    neither = runner.invoke(main, ["train"])
    assert neither.exit_code == 2
    assert "no method is named; name one with --method" in neither.output


def test_what_differs_from_the_earlier_run_is_reported(workplace: Workplace, first: Path, tmp_path: Path) -> None:
    document = yaml.safe_load((first / "run.yaml").read_text())
    document["versions"]["torch"] = "1.0"
    document["precision"] = "16-mixed"
    document["method_config"]["width"] = 99
    document["shards"]["target"]["split_digest"] = "0"
    document["code"]["kt3d_bench"] = "abc"
    document["init"], document["processes"] = {"sha256": "0"}, 4
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
    notes = Notes()
    kt.train_again(tmp_path / "run.yaml", data=workplace.root, report=notes)
    found = [note.removeprefix("Unlike the earlier run: ") for note in notes.notes if note.startswith("Unlike")]
    assert found[0] == "the width was 99 and is 2 now"
    assert found[1] == f"the version of torch was 1.0 and is {version('torch')} now"
    assert found[2].startswith("the code of kt3d_bench was abc and is ")
    assert found[3:] == [
        "the weights it starts from are other ones now",
        "the processes were 4 and are 1 now",
        "the precision was 16-mixed and is 32-true now",
        "the target's samples are other ones than 12 of dots-target then",
    ]


def test_every_installed_package_stands_beside_the_run(first: Path) -> None:
    lines = (first / environment.FILE).read_text().splitlines()
    assert lines[0].startswith("# Python 3.")
    assert f"torch=={version('torch')}" in lines
    assert f"numpy=={version('numpy')}" in lines


def test_the_state_of_a_working_tree_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "some_code"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.code_states(["some_code", "json"]) == {}
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    head = subprocess.run(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    commit = head.stdout.strip()
    assert environment.code_states(["some_code"]) == {"some_code": commit}
    (package / "__init__.py").write_text("changed = True")
    assert environment.code_states(["some_code"]) == {"some_code": f"{commit}, modified"}


def test_a_deterministic_run_gives_the_same_weights_and_its_own_digest(workplace: Workplace, first: Path) -> None:
    exact = train(workplace.config(seed=3, clip_norm=0.5, deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    for name, tensor in weights(first).items():
        assert torch.equal(weights(exact)[name], tensor)
    digests = [{stage["digest"] for stage in read_run(folder)["stages"]} for folder in (first, exact)]
    assert not digests[0] & digests[1]


STAGE = ToyMethod(ToyConfig(), CONTEXT).stages()[0]


@pytest.mark.parametrize(("error", "settings", "kind", "message"), [
    (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), {"batch_size": STAGE.batch_size}, Kt3dError,
     f"stage 'first': ran out of memory on cpu; lower it: --set batch_size={STAGE.batch_size // 2} "
     rf"\(it is {STAGE.batch_size}\)"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), {"input_px": 64},
     Kt3dError, rf"ran out of memory on cpu; lower --set input_px \(it is 64\): a batch has {STAGE.batch_size} "),
    (MemoryError(), {}, Kt3dError, "choose a smaller preset"),
    (RuntimeError("put_cuda_kernel does not have a deterministic implementation, but you set"), {}, UsageError,
     "put_cuda_kernel cannot be repeated exactly on cpu; leave out --deterministic"),
    (RuntimeError("mat1 and mat2 shapes"), {}, RuntimeError, "^mat1 and mat2 shapes$"),
])  # fmt: skip
def test_errors_that_a_setting_mends_name_it(
    error: Exception, settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message), bounds.explained(STAGE, settings, torch.device("cpu")):
        raise error


def test_memory_that_really_runs_out_is_a_sentence() -> None:
    with pytest.raises(Kt3dError, match="ran out of memory"), bounds.explained(STAGE, {}, torch.device("cpu")):
        torch.empty(1 << 60, dtype=torch.uint8)


def test_a_disk_that_cannot_hold_a_run_is_refused_before_it_begins(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 10**6))
    with pytest.raises(ArtefactError, match=r"checkpoints need 0\.07 GB and 0\.00 GB are free; free"):
        train(workplace.config())
    assert not list((workplace.root / "runs").glob("*/run.yaml"))


def test_what_a_run_needs_is_at_least_what_it_writes() -> None:
    """A linear layer of 1,000 x 1,000 and nothing else: 4 MB of weights, 8 MB of Adam's moments, three checkpoints."""

    class One(ToyMethod):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.net = torch.nn.Linear(1000, 1000, bias=False)

    stage = Stage(name="one", roles={"target": ()}, trains=("net",), recipe={}, steps=1)
    assert bounds.needed_bytes(One(), (stage,)) == 3 * 12_000_000 + 4_000_000 + 4_000_000 + (64 << 20)


def test_a_loss_that_is_not_finite_names_its_samples(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    config = workplace.config(settings={"steps": 4, "poison_step": 2})
    with pytest.raises(Kt3dError, match=r"nan at step 2, of the samples source: \S+, \S+, \S+.*not-finite\.json") as it:
        train(config)
    facts = json.loads((Path(it.value.where or "") / "not-finite.json").read_text())
    assert (facts["stage"], facts["step"], facts["loss"], facts["value"]) == ("first", 2, "energy", "nan")
    known = set(kt.load("dots-source", "train", data=workplace.root).keys)
    assert set(facts["samples"]["source"]) <= known
