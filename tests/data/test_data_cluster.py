"""``prepare --cluster`` on a loopback Dask cluster: the bytes of the local run, whoever dies."""

from __future__ import annotations

import _thread
import builtins
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from data_fake_dataset import Recorder, plugin

from kt3d_bench.data import cluster
from kt3d_bench.data.manifest import Manifest
from kt3d_bench.data.prepare import PrepareInterruptedError, prepare
from kt3d_bench.errors import ArtefactError, PluginError, RawDataError, UsageError
from kt3d_bench.plugins.hookspecs import DatasetPlugin

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

TINY = 6
"""Samples per shard: each training file becomes a shard of its own."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two worker processes, which a nanny replaces when they die; two deaths make a task hopeless."""
    settings = {"distributed.scheduler.allowed-failures": 1, "distributed.comm.timeouts.connect": "20s"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=":0",
            silence_logs=50,
            memory_limit=None,
        ) as loopback,
    ):
        yield loopback.scheduler_address


@pytest.fixture
def fake(card_folder: Path) -> DatasetPlugin:
    return plugin(card_folder)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "shards" / "fake"


def run(fake: DatasetPlugin, raw: Path, out: Path, **changes: Any) -> Manifest:
    return prepare(fake, raw=raw, out=out, **{"workers": 1, "samples_per_shard": TINY, **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def add(raw: Path, name: str, *lines: str) -> None:
    (raw / "train" / f"{name}.txt").write_text("\n".join(lines) + "\n")


def test_the_bytes_are_those_of_the_local_run_also_where_a_worker_is_killed_midway(
    fake: DatasetPlugin, raw: Path, out: Path, tmp_path: Path, address: str
) -> None:
    mark = tmp_path / "mark"
    add(raw, "b", "1", f"die-once {mark}", "2")
    mark.touch()
    run(fake, raw, tmp_path / "local")
    mark.unlink()
    notes = Recorder()
    run(fake, raw, out, cluster=address, report=notes)
    assert mark.exists()
    assert content(out) == content(tmp_path / "local")
    assert notes.total == 4
    assert notes.calls[-1] == (4, 14, 0)
    assert [call[0] for call in notes.calls] == sorted(call[0] for call in notes.calls)
    assert notes.notes == [f"2 workers of the cluster at {address} convert"]


def test_an_item_that_keeps_killing_workers_is_named_and_the_others_are_finished(
    fake: DatasetPlugin, raw: Path, out: Path, address: str
) -> None:
    add(raw, "b", "1", "die")
    with pytest.raises(RawDataError, match="several workers of the cluster died while converting train/b; a raw"):
        run(fake, raw, out, cluster=address)
    finished = {path.name for path in out.glob("*.index.npz")}
    assert finished == {"train-000000.index.npz", "train-000002.index.npz", "test-000000.index.npz"}
    assert not [path.name for path in out.iterdir() if path.name.endswith(".tmp") or path.name.startswith(".")]
    add(raw, "b", "1", "2")
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    run(fake, raw, out, cluster=address)
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept, "finished shards were made again"


def test_an_error_comes_home(fake: DatasetPlugin, raw: Path, out: Path, address: str) -> None:
    add(raw, "b", "1", "full")
    with pytest.raises(ArtefactError, match=r"train-000001.tar: the disk is full"):
        run(fake, raw, out, cluster=address)
    add(raw, "b", "1", "bug")
    with pytest.raises(
        PluginError, match=r"item train/b, after sample train_b_000 \(frame 1\): the converter"
    ) as caught:
        run(fake, raw, out, cluster=address)
    assert 'raise ZeroDivisionError("division by zero")' in caught.value.__notes__[0]


def test_ctrl_c_cancels_what_waits_and_leaves_the_cluster_to_its_owner(
    fake: DatasetPlugin, raw: Path, out: Path, tmp_path: Path, address: str
) -> None:
    """One worker is stuck in a shard, goes on later, and must not publish it: nobody waits for it any longer. The
    scheduler may have put another shard behind it, which then never begins: two or three of four end."""
    add(raw, "a", f"wait {tmp_path / 'go'}", "1")

    class Impatient(Recorder):
        def advance(self, done: int, **counts: Any) -> None:
            if done == 2:
                patience.start()
            if done == 3:
                patience.cancel()
                raise KeyboardInterrupt

    patience = threading.Timer(3, _thread.interrupt_main)
    try:
        with pytest.raises(PrepareInterruptedError, match="finished shards are kept"):
            run(fake, raw, out, cluster=address, report=Impatient())
    finally:
        patience.cancel()
    before = {path.name for path in out.iterdir()}
    ended = {name for name in before if name.endswith(".npz")}
    assert len(ended) >= 2
    assert ended <= {"train-000001.index.npz", "train-000002.index.npz", "test-000000.index.npz"}
    (tmp_path / "go").touch()
    with distributed.Client(address, set_as_default=False) as client:
        deadline = time.monotonic() + 20
        while any(client.run(busy).values()) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(client.scheduler_info()["workers"]) == 2
    assert {path.name for path in out.iterdir()} == before
    assert run(fake, raw, out, cluster=address).splits["train"].samples == 8


def busy(dask_worker: Any) -> bool:
    return bool(dask_worker.active_threads)


def test_a_worker_that_does_not_see_the_folders_is_named(
    fake: DatasetPlugin, raw: Path, out: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's working directory, by a path that means another place to every process."""
    monkeypatch.chdir(raw.parent)
    own = Path("/proc/self/cwd")
    with pytest.raises(UsageError, match="the worker does not see /proc/self/cwd/raw, or may not write there; keep"):
        run(fake, own / "raw", out, cluster=address)
    with pytest.raises(UsageError, match="the worker does not see /proc/self/cwd/shards, or"):
        run(fake, raw, own / "shards", cluster=address)


def test_workers_of_other_versions_are_refused(
    fake: DatasetPlugin, raw: Path, out: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "versions", lambda: {"python": "3.11", "numpy": "1.0"})
    with pytest.raises(UsageError, match=r"the worker has .*numpy [\d.]+ instead of 1.0; install the same versions"):
        run(fake, raw, out, cluster=address)


def test_an_address_where_no_scheduler_answers_is_a_sentence_within_seconds(
    fake: DatasetPlugin, raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 1.0)
    for wrong in ("nowhere", "nonsense://127.0.0.1:80", "tcp://127.0.0.1"):
        with pytest.raises(UsageError, match="is not the address of a scheduler"):
            run(fake, raw, out, cluster=wrong)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        for listening in (False, True):
            if listening:
                deaf.listen()
            started = time.monotonic()
            with pytest.raises(ArtefactError, match="no Dask scheduler answers; give the address that dask scheduler"):
                run(fake, raw, out, cluster=f"tcp://127.0.0.1:{deaf.getsockname()[1]}")
            assert time.monotonic() - started < 6


def test_a_scheduler_without_workers_is_a_sentence(
    fake: DatasetPlugin, raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "WORKERS_S", 1.0)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=":0", silence_logs=50
        ) as empty,
        pytest.raises(ArtefactError, match="the cluster has had no worker for 1 s; start it"),
    ):
        run(fake, raw, out, cluster=empty.scheduler_address)


def test_a_scheduler_that_goes_away_ends_the_wait(fake: DatasetPlugin, raw: Path, out: Path, tmp_path: Path) -> None:
    add(raw, "a", f"wait {tmp_path / 'never'}", "1")
    alone = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=":0",
        silence_logs=50,
    )  # fmt: skip

    class Closing(Recorder):
        def start(self, task: str, total: int, *, done: int = 0) -> None:
            threading.Timer(0.5, alone.sync, [alone.scheduler.close]).start()

    with pytest.raises(ArtefactError, match="the connection to the cluster was lost; finished shards are kept"):
        run(fake, raw, out, cluster=alone.scheduler_address, report=Closing())
    (tmp_path / "never").touch()
    with suppress(TimeoutError):
        alone.close(timeout=1)
    alone.status = distributed.Status.closed  # Without its scheduler it never gets there, and would warn of that later


def test_without_the_library_the_extra_is_named(
    fake: DatasetPlugin, raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "distributed":
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r'install it: pip install "kt3d-bench\[cluster\]"'):
        run(fake, raw, out, cluster="127.0.0.1:8786")
    assert list(out.iterdir()) == []
