"""The processes of a command: how many there are, which one this is, and what they exchange.

The same command runs as one process, with ``--devices`` (it then starts the others itself), and under ``torchrun`` or
SLURM's ``srun``, which say how many processes there are.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from kt3d_bench.cores import limited
from kt3d_bench.errors import Kt3dError, PluginError, UsageError
from kt3d_bench.lifeline import tie

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(hours=2)
"""How long processes wait for one another: the first may be fetching shards or generating a stand-in."""

_Result = TypeVar("_Result")
_FIRST = "KT3D_FIRST_PROCESS"


def by_first(fabric: Fabric, work: Callable[[], _Result]) -> _Result | None:
    """Return what ``work`` gives in the first process and ``None`` in the others, which wait for it. Its ``Kt3dError``
    is raised in all of them."""
    result, failed = None, None
    if fabric.is_global_zero:
        try:
            result = work()
        except Kt3dError as error:
            failed = error
    if fabric.world_size > 1:
        failed = fabric.broadcast(failed)
    if failed is not None:
        raise failed
    return result


@dataclass(frozen=True)
class Processes:
    """How many processes a command runs as."""

    devices: int
    """On each machine."""
    nodes: int
    """Machines."""
    launcher: str = ""
    """Who started them, where it was not this program."""

    @property
    def world(self) -> int:
        return self.devices * self.nodes

    @property
    def sharing(self) -> int:
        """Among how many of them the cores that each may use are divided: srun binds each to cores of its own."""
        return 1 if self.launcher == "srun" and limited() else self.devices


def launched(environment: Mapping[str, str] = os.environ) -> Processes | None:
    """Return what ``torchrun`` or ``srun`` started; ``None`` when this process was started alone.

    A SLURM batch script that calls the program without ``srun`` starts one process, however many tasks it reserved.
    """
    try:
        if {"RANK", "GROUP_RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "WORLD_SIZE"} <= environment.keys():
            local = int(environment["LOCAL_WORLD_SIZE"])
            return Processes(local, int(environment["WORLD_SIZE"]) // local, "torchrun")
        if {"SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS"} <= environment.keys():
            tasks, nodes = int(environment["SLURM_STEP_NUM_TASKS"]), int(environment.get("SLURM_STEP_NUM_NODES", 1))
            return Processes(tasks // nodes, nodes, "srun") if tasks > 1 else None
    except (ValueError, ZeroDivisionError) as error:
        problem = f"the launcher's environment makes no sense ({error})"
        raise UsageError(problem, where="WORLD_SIZE or SLURM_*") from error
    return None


def processes(devices: int, nodes: int, environment: Mapping[str, str] = os.environ) -> Processes:
    """Return the processes that were asked for, or those that a launcher started.

    Raises ``UsageError`` for fewer than one, and where a launcher started another number than was asked for.
    """
    if devices < 1 or nodes < 1:
        raise UsageError(f"asked for {devices} devices on {nodes} machines, expected at least 1")
    found = launched(environment)
    if found is None:
        return Processes(devices, nodes)
    if (devices, nodes) not in ((1, 1), (found.devices, found.nodes)):
        raise UsageError(
            f"{found.launcher} has started {found.devices} processes on each of {found.nodes} machines, and --devices "
            f"{devices} --nodes {nodes} asks for others",
            hint="leave out --devices and --nodes: the launcher decides",
        )
    return found


def is_main_process() -> bool:
    """Return whether this process reports and writes, of however many were started."""
    known = sys.modules.get("lightning_fabric.utilities.rank_zero")
    return known is None or int(getattr(known.rank_zero_only, "rank", None) or 0) == 0


def start(count: Processes, accelerator: str, device: str, precision: str) -> Fabric:
    """Start all processes, connect them and return Fabric.

    Several processes detect unused parameters, as a stage may use only part of a network it trains. ``device`` may name
    one GPU by its index for one process; ``UsageError`` for several.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)  # Precision is in run.yaml
    _, _, index = device.partition(":")
    if index and count.world != 1:
        raise UsageError(f"--device {device} is one device, and there are {count.world} processes")
    if count.world > 1 and not count.launcher:
        _end_together()
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=[int(index)] if index else count.devices,
            num_nodes=count.nodes,
            precision=precision,  # type: ignore[arg-type]
            strategy=DDPStrategy(find_unused_parameters=True, timeout=PATIENCE) if count.world > 1 else "auto",
            plugins=None if count.launcher else [LightningEnvironment()],
        )
    except (RuntimeError, ValueError) as error:
        if not count.launcher:
            raise
        raise UsageError(f"the job does not suit several processes ({error})", where=count.launcher) from error
    fabric.launch()
    if fabric.world_size != count.world:
        raise UsageError(
            f"{fabric.world_size} processes found one another, not {count.world}",
            hint="start all of them with one torchrun or srun",
        )
    return fabric


def _end_together() -> None:
    """Tie the processes that the first one starts on its machine to it."""
    if int(os.environ.get("LOCAL_RANK", 0)) == 0:
        os.environ[_FIRST] = str(os.getpid())
    else:
        tie(int(os.environ[_FIRST]))


def gather_rows(
    fabric: Fabric, indices: npt.NDArray[np.int64], values: npt.NDArray[np.float32], total: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return in every process what all of them found: (total,) ascending indices and their values.

    ``indices`` (n,) and ``values`` (n, ...) of this process; n may differ by one between processes. Raises
    ``PluginError`` unless each of ``total`` rows was found exactly once.
    """
    most = -(-total // fabric.world_size)
    padded = np.full(most, -1, np.int64)
    padded[: len(indices)] = indices
    filled = np.zeros((most, *values.shape[1:]), np.float32)
    filled[: len(values)] = values
    all_rows = _from_all(fabric, padded).reshape(-1)
    kept = all_rows >= 0
    if kept.sum() != total or len(np.unique(all_rows[kept])) != total:
        found = f"{kept.sum()} rows were predicted by {fabric.world_size} processes"
        raise PluginError(f"{found}, expected {total} once each")
    order = np.argsort(all_rows[kept])
    gathered = _from_all(fabric, filled).reshape(-1, *values.shape[1:])
    return all_rows[kept][order], gathered[kept][order]


def _from_all(fabric: Fabric, own: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return (world, ...): an array of equal shape from every process."""
    import torch

    tensor = torch.from_numpy(own).to(fabric.device)
    found = [torch.empty_like(tensor) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(found, tensor)
    return np.stack([each.cpu().numpy() for each in found])
