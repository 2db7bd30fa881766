"""Fuzzing: damaged and malicious files go through every reader, and through the commands that read files.

    python tests/campaign/fuzz.py --seconds 600 [--only TARGET] [--start SEED] [--keep FOLDER] [--world FOLDER]

An input fails when anything but the project's own errors is raised, when it takes longer than 5 s of processor time
(30 s where a bounded child process reads), or when the process grows by more than 1 GiB. A failing input is kept.
Inputs depend on the seed alone. With atheris installed, ``--atheris TARGET`` lets coverage choose the bytes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import campaign_inputs as inputs
from campaign_inputs import Mutator
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.errors import Kt3dError

TESTS = Path(__file__).resolve().parents[1]
SLOW_S, SLOW_CHILD_S, STUCK_S = 5.0, 30.0, 120.0
MOST_GROWTH = 1 << 30
BATCH = 200


@dataclass(frozen=True)
class Target:
    """Something that reads a file: valid contents of it, how they are damaged, and the reader."""

    name: str
    file: str
    """Its name in the folder that ``read`` is given."""
    valid: tuple[bytes, ...]
    mutate: Mutator
    read: Callable[[Path], Any]
    beside: Path | None = None
    """Folder of what else must be there."""
    child: bool = False
    """Whether a bounded child process reads it."""
    share: float = 1.0
    """Of the inputs, relative to other targets."""


class _SlowError(BaseException):
    pass


def _late(number: int, frame: Any) -> None:
    raise _SlowError


def _peak() -> int:
    """Return the most bytes that this process and its children held at once since ``_forget_peak``."""
    total = 0
    for status in [Path("/proc/self/status"), *_children()]:
        with contextlib.suppress(OSError):
            line = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
            total += int(line.split()[1]) << 10
    return total


def _children() -> list[Path]:
    with contextlib.suppress(OSError):
        return [
            Path(f"/proc/{one}/status") for one in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        ]
    return []


def _forget_peak() -> None:
    for status in [Path("/proc/self/status"), *_children()]:
        with contextlib.suppress(OSError):
            status.with_name("clear_refs").write_text("5")


def put(target: Target, data: bytes, folder: Path) -> Path:
    """Write an input where its reader looks for it."""
    path = folder / target.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    if path.suffix == ".pt":
        path.with_name(path.name + ".sha256").write_text(f"{hashlib.sha256(data).hexdigest()}  {path.name}\n")
    return path


def outcome(target: Target, data: bytes, folder: Path) -> str:
    """Let a target read an input; return "" or the kind of failure."""
    put(target, data, folder)
    _forget_peak()
    before, begun = _peak(), time.monotonic()
    timer, number = (signal.ITIMER_REAL, signal.SIGALRM) if target.child else (signal.ITIMER_PROF, signal.SIGPROF)
    signal.signal(number, _late)
    signal.setitimer(timer, SLOW_CHILD_S if target.child else SLOW_S)
    found = ""
    try:
        target.read(folder)
    except Kt3dError:
        pass
    except _SlowError:
        found = f"slow after {time.monotonic() - begun:.0f} s: {_place()}"
    except BaseException as error:
        found = f"{type(error).__name__} at {_place()}"
    finally:
        signal.setitimer(timer, 0)
    growth = _peak() - before
    return found or (f"grew by {growth >> 20} MiB" if growth > MOST_GROWTH else "")


def _place() -> str:
    """Return the innermost line of the project in the traceback that is being handled."""
    frames = traceback.extract_tb(sys.exc_info()[2])
    own = [one for one in frames if "kt3d" in one.filename and "campaign" not in one.filename]
    return " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in (own or frames)[:-3:-1])


def command(*words: str) -> Callable[[Path], None]:
    """Return a reader that runs a command in the folder. Raises what escapes the command, and an output that could
    steer a terminal."""

    def read(folder: Path) -> None:
        with contextlib.chdir(folder):
            done = CliRunner(env={"KT3D_DATA": "kt3d-data"}).invoke(main, list(words))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        odd = [one for one in done.output if not one.isprintable() and one not in "\n\t"]
        if odd:
            raise ValueError(f"prints {odd[:3]}")
        if done.exit_code and "Error: " not in done.output and done.exit_code != 1:
            raise ValueError(f"exit code {done.exit_code}")

    return read


def generate(target: Target, seed: int) -> bytes:
    """Return the input number ``seed`` of a target; the first ones are the valid files themselves."""
    if seed < len(target.valid):
        return target.valid[seed]
    chance = random.Random(f"{target.name} {seed}")
    data = target.mutate(chance, chance.choice(target.valid))
    return inputs.bytes_changed(chance, data) if chance.random() < 0.1 else data


def batch(target: Target, seeds: Sequence[int], folder: Path) -> Iterator[tuple[int, str]]:
    """Let a child process read inputs; yield (seed, failure). A child that dies or hangs is a failure of its input."""
    left = list(seeds)
    while left:
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            os.close(ours)
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff's own lines
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                for seed in left:
                    try:
                        found = outcome(target, generate(target, seed), folder)
                    except Exception as error:  # of the mutator
                        found = f"campaign: {type(error).__name__}: {error}"
                    os.write(theirs, json.dumps([seed, found]).encode() + b"\n")
            os._exit(0)
        os.close(theirs)
        done = 0
        with os.fdopen(ours, "rb") as pipe:
            for line in _lines(pipe, STUCK_S):
                done += 1
                yield tuple(json.loads(line))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if done < len(left):
            yield left[done], f"ended the process ({status})"
            done += 1
        left = left[done:]


def _lines(pipe: Any, patience_s: float) -> Iterator[bytes]:
    """Yield lines until the pipe is closed or nothing comes for so long."""
    import select

    rest = b""
    while select.select([pipe], [], [], patience_s)[0] and (content := os.read(pipe.fileno(), 1 << 16)):
        *lines, rest = (rest + content).split(b"\n")
        yield from lines


def targets(folder: Path, *, line: bool = True) -> list[Target]:
    """Return all targets; their valid files are made in ``folder``."""
    sys.path += [str(TESTS / name) for name in ("h36m", "itop", "mpii", "synth", "ubc3v")]
    from campaign_targets import made

    return made(folder, line)


def campaign(
    wanted: Sequence[Target], seconds: float, keep: Path, *, start: int = 0, most: int = 1 << 60
) -> tuple[Counter[str], dict[str, list[str]]]:
    """Fuzz until the time is over or each target had ``most`` inputs; return inputs per target and failures by kind."""
    deadline, counts, failures, at = time.monotonic() + seconds, Counter[str](), dict[str, list[str]](), start
    while time.monotonic() < deadline and at < start + most:
        for target in wanted:
            size = max(1, round(min(BATCH, start + most - at) * target.share))
            with tempfile.TemporaryDirectory(prefix="kt3d-fuzz-") as place:
                folder = Path(place)
                if target.beside is not None:
                    shutil.copytree(target.beside, folder, dirs_exist_ok=True)
                first = at // BATCH * size if target.share != 1 else at
                for seed, found in batch(target, range(first, first + size), folder):
                    counts[target.name] += 1
                    if found:
                        _keep(target, seed, found, keep, failures)
            if time.monotonic() > deadline:
                break
        at += BATCH
    return counts, failures


def _keep(target: Target, seed: int, found: str, keep: Path, failures: dict[str, list[str]]) -> None:
    kind = f"{target.name}: {found}"
    if kind not in failures:
        keep.mkdir(parents=True, exist_ok=True)
        name = f"{target.name}-{seed}-{Path(target.file).name}"
        with contextlib.suppress(Exception):
            (keep / name).write_bytes(generate(target, seed))
        print(f"{kind} ({name})", file=sys.stderr, flush=True)
    failures.setdefault(kind, []).append(str(seed))


def _with_atheris(target: Target) -> None:
    import atheris  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory(prefix="kt3d-fuzz-") as place:

        def once(data: bytes) -> None:
            if found := outcome(target, data, Path(place)):
                raise RuntimeError(found)

        atheris.instrument_all()
        atheris.Setup(sys.argv[:1], once)
        atheris.Fuzz()


def _main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--only", default="", help="text in the names of the targets wanted")
    options.add_argument("--start", type=int, default=0, help="first seed")
    options.add_argument("--most", type=int, default=1 << 60, help="inputs per target")
    options.add_argument("--keep", type=Path, default=Path("fuzz-failures"))
    options.add_argument("--world", type=Path, help="folder to keep the valid files in")
    options.add_argument("--atheris", default="", metavar="TARGET")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="kt3d-fuzz-") as folder:
        known = targets((given.world or Path(folder)).absolute())
        if given.atheris:
            _with_atheris(next(one for one in known if one.name == given.atheris))
        wanted = [one for one in known if given.only in one.name]
        counts, failures = campaign(wanted, given.seconds, given.keep.absolute(), start=given.start, most=given.most)
    for name, number in sorted(counts.items()):
        print(f"{number:8d} {name}")
    print(f"{counts.total():8d} inputs, {sum(map(len, failures.values()))} failures of {len(failures)} kinds")
    for kind, seeds in failures.items():
        print(f"{len(seeds):6d} x {kind} (seeds {', '.join(seeds[:5])})")
    sys.exit(bool(failures))


if __name__ == "__main__":
    _main()
