"""The same run in one process and in two: started by ourselves, by torchrun and as srun would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_workplace import Workplace

from kt3d_bench import cores
from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.run_folder import final_checkpoint, read_run
from kt3d_bench.training import checkpoint, ranks

SCRIPT = Path(__file__).with_name("training_ddp_script.py")
ALONE = [sys.executable]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def begin(command: list[str], *arguments: str, **environment: str) -> subprocess.Popen[str]:
    if "torch.distributed.run" in command:
        command = [*command, "--master-port", str(free_port())]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    return subprocess.Popen(
        [*command, str(SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **environment},
    )


def end(*children: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What each process said of itself, the main one first."""
    said: list[dict[str, Any]] = []
    try:
        for child in children:
            out, noise = child.communicate(timeout=100)
            assert child.returncode == 0, noise[-3000:]
            said += [json.loads(line) for line in out.splitlines()]
    finally:
        for child in children:
            child.kill()
    return sorted(said, key=lambda line: not line["main"])


def model(workplace: Workplace, name: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(final_checkpoint(workplace.root / "runs" / name))["model"]
    return found


def assert_near(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], atol: float) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=atol, msg=lambda text, n=name: f"{n}: {text}")


def predictions(workplace: Workplace, name: str) -> tuple[list[str], np.ndarray]:
    with np.load(workplace.root / "runs" / name / "predictions" / "dots-target-rgb.npz", allow_pickle=False) as found:
        return [str(key) for key in found["keys"]], found["joints_cam_mm"]


@pytest.fixture
def prepared(workplace: Workplace) -> Workplace:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    return workplace


@pytest.mark.slow
def test_two_processes_do_what_one_does_whoever_starts_them(prepared: Workplace, tmp_path: Path) -> None:
    """Gradients to 1e-6, weights after five steps of Adam (whose first steps are signs) to 1e-5; five test samples, of
    which one process gets three and the other two, once each; one process alone writes."""
    given = (str(prepared.root), str(tmp_path / "plugins"))
    (one,) = end(begin(ALONE, *given, "1", "full", "one"))
    assert one["wrote"] == ["stage", "stage", "final.pt"]
    writes = {"main": True, "world": "2", "wrote": one["wrote"]}
    reads = {"main": False, "world": "2", "wrote": []}
    assert end(begin(ALONE, *given, "2", "full", "two")) == [writes, reads]
    for path in (prepared.root / "stages").iterdir():
        path.unlink()
    assert end(begin(TORCHRUN, *given, "1", "full", "torchrun")) == [writes, reads]
    keys, joints = predictions(prepared, "one")
    assert keys == [f"test_{number:03d}" for number in range(5)]
    for name in ("two", "torchrun"):
        assert read_run(prepared.root / "runs" / name)["processes"] == 2
        assert_near(model(prepared, "one"), model(prepared, name), 1e-5)
        for stage in ("first", "second"):
            for rank in "01":
                alone, shared = (torch.load(prepared.root / f"{one_of}-{stage}-{at}.pt", weights_only=True)
                                 for one_of, at in (("one", "0"), (name, rank)))  # fmt: skip
                assert any(gradient.abs().max() > 1e-3 for gradient in alone.values())
                assert_near({key: shared[key] for key in alone}, alone, 1e-6)
        again, moved = predictions(prepared, name)
        assert again == keys
        np.testing.assert_allclose(moved, joints, atol=0.05)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(prepared: Workplace, tmp_path: Path) -> None:
    """Interrupted in its second stage by SIGINT: the first stage is not trained again, the order of samples goes on."""
    given = (str(prepared.root), str(tmp_path / "plugins"))
    end(begin(ALONE, *given, "1", "full", "whole"))
    for path in (prepared.root / "stages").iterdir():
        path.unlink()
    said = end(begin(ALONE, *given, "2", "full", "part", "stop"))
    assert [line["wrote"][-1:] for line in said] == [["interrupted"], ["interrupted"]]
    end(begin(ALONE, *given, "1", "full", "part", "resume"))
    assert_near(model(prepared, "whole"), model(prepared, "part"), 1e-5)
    first, second = read_run(prepared.root / "runs" / "part")["stages"]
    assert (first["worlds"], first["reused"]) == ([2], True)
    assert (second["worlds"], second["steps"]) == ([2, 1], 5)


@pytest.mark.slow
def test_several_optimisers_and_averages_agree_between_one_process_and_two(prepared: Workplace, tmp_path: Path) -> None:
    given = (str(prepared.root), str(tmp_path / "plugins"))
    end(begin(ALONE, *given, "1", "full", "duel-one"))
    for path in (prepared.root / "stages").iterdir():
        path.unlink()
    end(begin(ALONE, *given, "2", "full", "duel-part", "stop"))
    end(begin(ALONE, *given, "2", "full", "duel-part", "resume"))
    assert read_run(prepared.root / "runs" / "duel-part")["stages"][1]["worlds"] == [2]
    assert_near(model(prepared, "duel-one"), model(prepared, "duel-part"), 1e-5)


@pytest.mark.slow
def test_slurm_tasks_find_one_another(prepared: Workplace, tmp_path: Path) -> None:
    """Two tasks of a step on this machine, with the variables that srun sets."""
    given = (str(prepared.root), str(tmp_path / "plugins"), "1", "full", "srun")
    shared = {
        "SLURM_JOB_ID": "4711", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NODELIST": "127.0.0.1", "SLURM_JOB_NAME": "train", "SLURM_NODEID": "0", "SLURM_NNODES": "1",
        "SLURM_NTASKS_PER_NODE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
    }  # fmt: skip
    tasks = [begin(ALONE, *given, **shared, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in "01"]
    main, other = end(*tasks)
    assert main["wrote"]
    assert other["wrote"] == []
    assert read_run(prepared.root / "runs" / "srun")["processes"] == 2
    assert len(predictions(prepared, "srun")[0]) == 5


def test_what_launchers_say_is_believed_and_contradictions_are_refused() -> None:
    torchrun = {"RANK": "3", "GROUP_RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "8"}
    assert ranks.processes(1, 1, torchrun) == ranks.Processes(2, 4, "torchrun")
    assert ranks.processes(2, 4, torchrun).world == 8
    with pytest.raises(UsageError, match="torchrun has started 2 processes on each of 4 machines, and --devices 8"):
        ranks.processes(8, 1, torchrun)
    srun = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2"}
    assert ranks.processes(1, 1, srun) == ranks.Processes(4, 2, "srun")
    batch_script = {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8"}
    assert ranks.processes(1, 1, batch_script) == ranks.processes(1, 1, {}) == ranks.Processes(1, 1)
    assert ranks.processes(4, 2, {}) == ranks.Processes(4, 2)
    with pytest.raises(UsageError, match="the launcher's environment makes no sense"):
        ranks.processes(1, 1, {**torchrun, "LOCAL_WORLD_SIZE": "0"})
    with pytest.raises(UsageError, match="expected at least 1"):
        ranks.processes(0, 1, {})


@pytest.mark.parametrize(
    ("launcher", "own", "each"),
    [("srun", 8, 8), ("srun", 64, 16), ("torchrun", 8, 2), ("", 64, 16)],
)
def test_cores_are_divided_once_and_among_the_processes_of_one_machine(
    launcher: str, own: int, each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """srun binds each process to its own cores, unless it may use the whole machine."""
    monkeypatch.setattr(cores, "cores", lambda: own)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert own // ranks.Processes(4, 2, launcher).sharing == each


def test_rows_are_put_in_order_and_each_must_come_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes, of which the other one found what it is told."""
    found: list[int] = []

    def from_all(fabric: Any, own: np.ndarray) -> np.ndarray:
        other = np.array(found).reshape(-1, *[1] * (own.ndim - 1))
        return np.stack([own, np.broadcast_to(other, own.shape).astype(own.dtype)])

    monkeypatch.setattr(ranks, "_from_all", from_all)
    fabric: Any = SimpleNamespace(world_size=2)
    own = np.array([0, 2, 4]), np.array([0, 2, 4], np.float32)[:, None, None] * np.ones((3, 17, 3), np.float32)
    found[:] = [1, 3, -1]
    rows, values = ranks.gather_rows(fabric, *own, 5)
    assert rows.tolist() == values[:, 16, 2].tolist() == [0, 1, 2, 3, 4]
    for others in ([1, 2, -1], [1, -1, -1], [1, 3, 5]):
        found[:] = others
        with pytest.raises(PluginError, match="expected 5 once each"):
            ranks.gather_rows(fabric, *own, 5)
