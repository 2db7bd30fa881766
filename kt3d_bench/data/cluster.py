"""Convert shards on a Dask cluster.

One task is one shard, as with local processes. Raw data and shards lie in folders that every worker sees under the same
path; workers write there and report a few numbers. The cluster itself is never started, stopped or configured here.
"""

from __future__ import annotations

import asyncio
import os
import platform
import queue
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from kt3d_bench.data.dispatch import Died
from kt3d_bench.data.plan import ShardTask
from kt3d_bench.data.work import CONTINUE, Done, in_worker
from kt3d_bench.errors import ArtefactError, Kt3dError, UsageError
from kt3d_bench.files import installed_versions
from kt3d_bench.progress import Reporter

CONNECT_S = 5.0
WORKERS_S = 20.0
"""Time to wait for the first worker."""
LONELY_S = 60.0
"""Time that the cluster may be without any worker while shards are waiting."""
_POLL_S = 2.0
_DECIDE_BYTES = ("kt3d-bench", "numpy", "opencv-python-headless", "simplejpeg")


@contextmanager
def cluster_crew(address: str, raw: Path, lease: Path, report: Reporter) -> Iterator[ClusterCrew]:
    """Connect to the workers of the scheduler at ``address``, which must all see ``raw`` and the folder of ``lease``,
    and have the same versions installed as this process.

    Raises, within seconds, ``UsageError`` when distributed is not installed, the address is invalid, or the workers do
    not fit, and ``ArtefactError`` when nothing answers or there is no worker.
    """
    try:
        import distributed
    except ImportError as error:
        what, hint = "a cluster needs the library distributed", 'install it: pip install "kt3d-bench[cluster]"'
        raise UsageError(f"{what}, which is not installed", where="--cluster", hint=hint) from error
    address = _answering(address)
    client = None
    try:
        try:
            client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
            client.wait_for_workers(1, timeout=WORKERS_S)
        except (OSError, TimeoutError) as error:
            what = "cannot be reached" if client is None else f"has had no worker for {WORKERS_S:g} s"
            raise ArtefactError(f"the cluster {what}", where=address, hint="start it, then try again") from error
        workers = _check_workers(client, address, raw, lease)
        report.note(f"{workers} worker{'s' if workers > 1 else ''} of the cluster at {address} convert")
        yield ClusterCrew(client, address, lease)
    finally:
        if client is not None:
            with suppress(OSError, TimeoutError):
                client.close(timeout=CONNECT_S)


def _answering(address: str) -> str:
    """Return the full address once a Dask scheduler has answered there."""
    from distributed.comm.addressing import normalize_address, parse_host_port
    from distributed.comm.core import connect
    from distributed.core import send_recv

    hint = "give the address that dask scheduler printed, such as tcp://10.0.0.1:8786"

    async def ask() -> Any:
        async with asyncio.timeout(2 * CONNECT_S):
            comm = await connect(address, timeout=CONNECT_S)
            try:
                return await send_recv(comm, op="identity", close=True)
            finally:
                comm.abort()

    try:
        address = normalize_address(address)
        parse_host_port(address.partition("://")[2])
        identity = asyncio.run(ask())
    except ValueError as error:
        raise UsageError(
            f"'{address}' is not the address of a scheduler ({error})", where="--cluster", hint=hint
        ) from error
    except (OSError, TimeoutError) as error:
        raise ArtefactError("no Dask scheduler answers", where=address, hint=hint) from error
    if not isinstance(identity, Mapping) or identity.get("type") != "Scheduler":
        raise UsageError("this is not a Dask scheduler", where=address, hint=hint)
    return address


def facts(raw: Path, lease: Path) -> dict[str, Any]:
    """Return a worker's versions and whether it sees the folders. Runs on the worker."""
    deadline = time.monotonic() + 3.0
    while not (sees := lease.exists()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return {
        "versions": versions(),
        "folders": {str(raw): raw.exists(), str(lease.parent): sees and os.access(lease.parent, os.W_OK)},
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that determine the bytes of shards."""
    return {**installed_versions(_DECIDE_BYTES), "python": ".".join(platform.python_version_tuple()[:2])}


def _check_workers(client: Any, address: str, raw: Path, lease: Path) -> int:
    own = versions()
    answers: Mapping[str, Any] = client.run(facts, raw, lease, on_error="return")
    for worker, answer in sorted(answers.items()):
        if isinstance(answer, BaseException):
            what = f"the worker cannot run kt3d_bench ({type(answer).__name__}: {answer})"
            raise UsageError(what, where=worker, hint="install the same kt3d-bench on every worker")
        has = answer["versions"]
        other = [
            f"{name} {has.get(name, 'absent')} instead of {one}" for name, one in own.items() if has.get(name) != one
        ]
        if other:
            hint = "install the same versions on every worker, so that shards do not depend on the worker"
            raise UsageError(f"the worker has {', '.join(other)}", where=worker, hint=hint)
        for folder, seen in answer["folders"].items():
            if not seen:
                what = f"the worker does not see {folder}, or may not write there"
                hint = "keep raw data and shards on a file system that all workers mount under the same path"
                raise UsageError(what, where=worker, hint=hint)
    if not answers:
        raise ArtefactError("the cluster has no worker", where=address, hint="start one, then try again")
    return len(answers)


class ClusterCrew:
    """Workers of a Dask cluster. The scheduler itself reassigns the shard of a dead worker; when more workers died than
    its ``allowed-failures``, that counts as one death here."""

    tries = 2
    gave_up = "several workers of the cluster died while converting"
    fewer = "give its workers more memory, or try without --cluster"

    def __init__(self, client: Any, address: str, lease: Path) -> None:
        self._client, self._address, self._lease = client, address, lease

    def run(self, tasks: Sequence[ShardTask]) -> Generator[Done | Died]:
        """Do what ``dispatch.Crew`` says. Raises ``ArtefactError`` when the scheduler or all workers are gone."""
        from distributed.scheduler import KilledWorker

        completed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting: dict[str, tuple[ShardTask, Any]] = {}
        try:
            for task in tasks:
                key = f"kt3d-{task.path.stem}-{uuid4().hex}"
                future = self._client.submit(in_worker, task, self._lease, key=key, pure=False)
                waiting[key] = task, future
                future.add_done_callback(completed.put)
            while waiting:
                task, future = waiting.pop(self._next(completed).key)
                if future.status == "finished":
                    result = future.result()
                    if isinstance(result, Kt3dError):
                        raise result
                    yield result
                elif future.status == "error" and isinstance(future.exception(), KilledWorker):
                    yield Died((task,))
                elif future.status == "error":
                    raise future.exception()
                else:
                    raise self._lost()
                future.release()
        finally:
            if waiting and self._client.status == "running":
                with suppress(OSError, TimeoutError):
                    self._client.cancel([future for _, future in waiting.values()], force=True)

    def _next(self, completed: queue.SimpleQueue[Any]) -> Any:
        seen = time.monotonic()
        while True:
            try:
                return completed.get(timeout=_POLL_S)
            except queue.Empty:
                if self._client.status != "running":
                    raise self._lost() from None
                if self._client.scheduler_info()["workers"]:
                    seen = time.monotonic()
                elif time.monotonic() - seen > LONELY_S:
                    what = f"the cluster has had no worker for {LONELY_S:g} s"
                    raise ArtefactError(what, where=self._address, hint=f"start some; {CONTINUE}") from None

    def _lost(self) -> ArtefactError:
        return ArtefactError("the connection to the cluster was lost", where=self._address, hint=CONTINUE)
