"""Programs that are killed or asked to stop: no process survives them, nothing stays in temporary folders."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from data_fake_dataset import write_card

from kt3d_bench import interrupts

GONE_S = 5.0


def living(session: int) -> list[int]:
    """Return the processes of a session that are not zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found


def named(processes: list[int]) -> list[str]:
    """Return the command lines of processes, for the message of a failed test."""
    return [Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode() for process in processes]


def until(true: Callable[[], object], limit_s: float) -> bool:
    deadline = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextmanager
def started(command: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a session of its own, with temporary files in ``folder/tmp``; none of it survives the block."""
    (folder / "tmp").mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"}
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, start_new_session=True, stdout=output, stderr=output
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def semaphores(process: int) -> list[str]:
    return [path.name for path in Path("/dev/shm").glob(f"sem.loky-{process}-*")]


TIED = """
    import sys, time
    from pathlib import Path
    from kt3d_bench import lifeline
    from kt3d_bench.rawfiles import scratch_folder
    if "thread" in sys.argv:
        lifeline._started_by_main_thread = lambda parent: False
    lifeline.tie(int(sys.argv[1]))
    with scratch_folder() as folder:
        (folder / "member").touch()
        Path("begun").touch()
        if "holds the lock" in sys.argv:
            import ctypes
            ctypes.PyDLL(None).sleep(60)
        time.sleep(60)
"""
STREAM = """
    from kt3d_bench.loading.stream import Stream, StreamLoader
    from kt3d_bench.plugins import registry
    from pathlib import Path
    loader = StreamLoader(Stream(registry.dataset("ubc3v"), 0), ("depth",), batch_size=8, input_px=32, workers=2)
    for number, _ in enumerate(loader):
        Path("begun").touch()
"""
PREPARE = """
    import sys
    sys.path.insert(0, {tests!r})
    from pathlib import Path
    from data_fake_dataset import plugin
    from kt3d_bench.data.prepare import prepare
    prepare(plugin(Path({card!r})), raw=Path("raw"), out=Path("shards"), splits=["train"], workers=2,
            samples_per_shard=1)
"""


def script(text: str, **places: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(text).format(**places)]


@pytest.mark.parametrize("how", ["", "thread", "holds the lock"])
def test_a_tied_process_ends_and_leaves_no_temporary_folder(tmp_path: Path, how: str) -> None:
    """Also one in which a library holds Python's lock, so that no other thread can run."""
    code = textwrap.dedent(TIED)
    start = f"import os, subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}, str(os.getpid()), {how!r}])"
    with started([sys.executable, "-c", start], tmp_path) as process:
        assert until((tmp_path / "begun").exists, 30), (tmp_path / "output.txt").read_text()
        assert len(list((tmp_path / "tmp").iterdir())) == 1
        process.kill()
        process.wait()
        assert until(lambda: not living(process.pid), GONE_S), named(living(process.pid))
        assert list((tmp_path / "tmp").iterdir()) == []


def test_a_process_whose_parent_is_already_gone_ends_at_once() -> None:
    code = "from kt3d_bench.lifeline import tie; tie(1 << 30); print('still here')"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


@pytest.mark.slow
def test_the_processes_of_a_stream_end_with_it(tmp_path: Path) -> None:
    with started(script(STREAM), tmp_path) as process:
        assert until((tmp_path / "begun").exists, 60), (tmp_path / "output.txt").read_text()
        assert len(living(process.pid)) >= 3
        process.kill()
        process.wait()
        assert until(lambda: not living(process.pid), GONE_S), named(living(process.pid))
        assert semaphores(process.pid) == []
        assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_the_processes_of_generate_end_with_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "kt3d_bench", "generate", "ubc3v", "--workers", "2", "--people", "16",
               "--frames", "300", "--out", "made/raw"]  # fmt: skip
    with started(command, tmp_path) as process:
        assert until(lambda: any((tmp_path / "made").glob("raw.part/**/*.png")), 60)
        process.kill()
        process.wait()
        assert until(lambda: not living(process.pid), GONE_S), named(living(process.pid))
        assert semaphores(process.pid) == []
        assert list((tmp_path / "tmp").iterdir()) == []
        begun = sorted((tmp_path / "made").rglob("*"))
        time.sleep(0.5)
        assert sorted((tmp_path / "made").rglob("*")) == begun


def test_the_processes_of_prepare_end_with_it_and_publish_nothing_more(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1] / "data")
    (tmp_path / "plugin").mkdir()
    write_card(tmp_path / "plugin")
    (tmp_path / "raw" / "train").mkdir(parents=True)
    for name in "ab":
        (tmp_path / "raw" / "train" / f"{name}.txt").write_text(f"1\n2\nwait {tmp_path / 'go'}\n3\n")
    out = tmp_path / "shards"
    with started(script(PREPARE, tests=tests, card=str(tmp_path / "plugin")), tmp_path) as process:
        assert until(lambda: len(list(out.glob("*.tmp"))) == 2, 60), (tmp_path / "output.txt").read_text()
        process.kill()
        process.wait()
        (tmp_path / "go").touch()
        assert until(lambda: not living(process.pid), GONE_S), named(living(process.pid))
        assert not list(out.glob("*.index.npz"))


WAITING = """
    from kt3d_bench import interrupts
    interrupts.interrupt_on_signals()
    import time
    from pathlib import Path
    from kt3d_bench.cli.base import main
    @main.command()
    def wait():
        try:
            Path("begun").touch()
            exec("time.sleep(60)")
        finally:
            time.sleep(0.3)
            Path("tidy").touch()
    main(["wait"])
"""
REQUEUE = interrupts.REQUEUE


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, REQUEUE), (signal.SIGUSR1, REQUEUE), (signal.SIGHUP, 1), (signal.SIGINT, 1)],
)
def test_every_signal_takes_the_path_of_ctrl_c(tmp_path: Path, number: int, code: int) -> None:
    with started(script(WAITING), tmp_path) as process:
        assert until((tmp_path / "begun").exists, 60)
        process.send_signal(number)
        time.sleep(0.1)
        if number != signal.SIGINT:
            process.send_signal(number)
        assert process.wait(30) == code
    assert (tmp_path / "tidy").exists()
    assert (tmp_path / "output.txt").read_text() == "Interrupted; run the same command again.\n"


def test_a_program_started_by_nohup_ignores_the_closed_terminal(tmp_path: Path) -> None:
    with started(["nohup", *script(WAITING)], tmp_path) as process:
        assert until((tmp_path / "begun").exists, 60)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, REQUEUE), (signal.SIGUSR1, REQUEUE), (signal.SIGHUP, 1)])
def test_training_stops_between_two_steps_whatever_the_signal(number: int, code: int) -> None:
    """Schedulers send several signals; only a second Ctrl-C cuts the checkpoint that is being written."""
    with interrupts.graceful_stop() as stop:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), signal.SIGTERM if code == REQUEUE else number)
        assert stop.requested
        assert interrupts.exit_code() == code
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, interrupts.REQUEUE), (signal.SIGINT, 1)])
def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost(
    number: signal.Signals, code: int, tmp_path: Path
) -> None:
    """Python drops what is raised in ``__del__``."""
    program = textwrap.dedent(f"""
        import os, sys, time
        from kt3d_bench import interrupts
        interrupts.interrupt_on_signals()
        class Finalised:
            def __del__(self):
                os.kill(os.getpid(), {int(number)})
                for _ in range(1000):
                    pass
        try:
            Finalised()
            time.sleep(20)
        except KeyboardInterrupt:
            sys.exit(interrupts.exit_code())
    """)
    with started([sys.executable, "-c", program], tmp_path) as process:
        assert process.wait(10) == code
    assert (tmp_path / "output.txt").read_text() == ""
