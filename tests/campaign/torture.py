"""Torture: commands are killed, starved and run beside themselves, and nothing is lost or passes for whole that is not.

    python tests/campaign/torture.py --seconds 600 [--journal FILE] [--only KIND] [--command NAME] [--most NUMBER]
        [--once]

goes through a fixed list of trials in a mixed order, and continues it where the journal ends. After each trial the same
command is given again and must leave the bytes of a run that nothing disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from campaign_faults import Fault
from campaign_world import COMMANDS, Command, Outcome, World, program, run, start

KILLS = {"prepare": 200, "train": 50}
"""Kills of a command; 20 of each other one."""
PAIRS = {"train": 50}
"""Simultaneous starts; 10 of each other command."""
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
ERRORS = {"open": ("EIO", "EACCES", "EMFILE"), "rename": ("EIO", "EACCES", "EXDEV"), "write": ("EIO",),
          "mkdir": ("EACCES",), "fsync": ("EIO",), "unlink": ("EIO",), "truncate": ("EIO",)}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One thing that is done to one command."""

    kind: str
    command: str
    number: int = 0
    fault: str = ""
    site: str = ""
    """Where it writes: changes of one site are alike but for digits in the file's name."""

    @property
    def name(self) -> str:
        return f"{self.kind} {self.command} {self.fault} {self.number}"


def sites(changes: tuple[str, ...]) -> dict[int, str]:
    """Return number -> site of the changes that differ in kind: the first and the last of each site."""
    alike: dict[str, list[int]] = {}
    for number, change in enumerate(changes):
        operation, _, path = change.partition(" ")
        where = "runs" if "/runs/" in path else path.split("/")[1] if "/" in path else ""
        alike.setdefault(f"{operation} {where} {re.sub(r'[0-9a-f]*[0-9]', '', Path(path).name)}", []).append(number)
    return {number: site for site, numbers in alike.items() for number in (numbers[0], numbers[-1])}


def plan(changes: dict[str, tuple[str, ...]]) -> list[Trial]:
    """Return all trials, in a mixed order that is always the same. ``changes``: those of each undisturbed command."""
    trials: list[Trial] = []
    for name, done in changes.items():
        chosen = sites(done)
        at_writes = [Trial("kill", name, at, fault, chosen[at]) for at in chosen for fault in ("kill", "half")]
        trials += at_writes
        trials += [Trial("kill", name, number, "timed") for number in range(KILLS.get(name, 20))]
        for at, site in chosen.items():
            faults = [f"once:{one}" for one in ERRORS[site.partition(" ")[0]]]
            trials += [Trial("fault", name, at, one, site) for one in (*faults, "full")]
        trials += [Trial("fault", name, 0, "short"), Trial("limit", name, 0, "clock")]
        trials += [Trial("limit", name, 0, one) for one in LIMITS]
        trials += [Trial("pair", name, number) for number in range(PAIRS.get(name, 10))]
    random.Random(17).shuffle(trials)
    return trials


def tried(world: World, trial: Trial) -> list[str]:
    """Do one trial; return what went wrong."""
    command = COMMANDS[trial.command]
    with world.home(command) as home:
        return _KINDS[trial.kind](world, command, home, trial)


def _judged(world: World, command: Command, home: Path, done: Outcome, killed: bool = False) -> list[str]:
    wrong = [f"survives: {one}" for one in done.survivors]
    if not killed and not done.said:
        wrong.append(f"exit {done.code}: {done.text[-3000:]}")
    wrong += [f"partial: {one}" for one in world.partial(command, home)]
    return wrong + world.finish(command, home)


def _kill(world: World, command: Command, home: Path, trial: Trial) -> list[str]:
    if trial.fault != "timed":
        return _judged(world, command, home, run(command.words, home, Fault(trial.fault, trial.number)), killed=True)
    chance = random.Random(trial.name)
    words = tuple("2" if command.name == "prepare" and chance.random() < 0.3 and one == "1" else one
                  for one in command.words)  # fmt: skip
    after_s = chance.random() * world.undisturbed[command.name].seconds * (3 if words != command.words else 1)
    done = start(words, home).wait(after_s, number := chance.choice(SIGNALS))
    # A negative code: the signal came before the command's handlers.
    return _judged(world, command, home, done, killed=number == signal.SIGKILL or "Interrupted" in done.text
                   or done.code < 0 or done.code in (1, 75))  # fmt: skip


def _fault(world: World, command: Command, home: Path, trial: Trial) -> list[str]:
    done = run(command.words, home, Fault(trial.fault, trial.number))
    if trial.fault == "short" and done.code:
        return [done.text]
    return _judged(world, command, home, done)


def _pair(world: World, command: Command, home: Path, trial: Trial) -> list[str]:
    words = command.words
    if command.name == "train" and trial.number % 2:
        words = words[: words.index("--name")]
    second = [start(words, home), start(words, home)]
    done = [one.wait() for one in second]
    wrong = [f"exit {one.code}: {one.text[-3000:]}" for one in done if not one.said]
    codes = sorted(one.code for one in done)
    refused = [one.text for one in done if one.code]
    unnamed = any("another" not in one and "exists" not in one for one in refused)
    if codes[0] != 0 or unnamed or (refused and command.name == "reproduce"):
        wrong.append(f"exits {codes}: {refused}")
    wrong += [f"survives: {one}" for each in done for one in each.survivors]
    if words == command.words:
        return wrong + world.finish(command, home)
    runs = sorted(path.name for path in (home / "kt3d-data/runs").iterdir())
    return wrong + ([] if len(runs) == 2 and codes == [0, 0] else [f"runs {runs}, exits {codes}"])


def _address_space() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1_500_000_000, 1_500_000_000))


def _descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))


def _nothing() -> None:
    pass


_MOUNT = ("unshare", "-m", "sh", "-c")
LIMITS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "1.5 GB of address space": (_address_space, ()),
    "20 descriptors": (_descriptors, ()),
    "no /dev/shm": (_nothing, (*_MOUNT, 'umount -l /dev/shm; chmod 0 /dev/shm 2>/dev/null; exec "$@"', "sh")),
    "read-only": (
        _nothing,
        (*_MOUNT, 'mount --bind . . && mount -o remount,ro,bind . && cd "$PWD" && exec "$@"', "sh"),
    ),
    "no permission": (_nothing, ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")),
}
"""Name -> what is done in the process before it starts, and the program that starts it. The last three need root."""


def _limit(world: World, command: Command, home: Path, trial: Trial) -> list[str]:
    if trial.fault == "clock":
        for path in home.rglob("*"):
            os.utime(path, (random.Random(str(path)).uniform(0, 4e9),) * 2)
        return _judged(world, command, home, run(command.words, home, jumping=True))
    prepared, before = LIMITS[trial.fault]
    if before and (os.geteuid() or shutil.which(before[0]) is None):
        return []
    home.chmod(0o755)
    home.parent.chmod(0o755)
    done = program(command.words, home, prepared, before)
    refused = trial.fault in ("read-only", "no permission") and done.code == 0 and command.name != "build"
    return [*(["it was not refused"] if refused else []), *_judged(world, command, home, done)]


_KINDS = {"kill": _kill, "fault": _fault, "limit": _limit, "pair": _pair}


def campaign(
    world: World, seconds: float, journal: Path, only: str = "", most: int = 1 << 30, once: bool = False
) -> list[dict[str, object]]:
    """Do the trials that the journal does not know, for so long, at most ``most`` of each kind and command, and
    ``once`` at each site of a command; return the whole journal."""
    deadline = time.monotonic() + seconds
    known = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    done = {one["trial"] for one in known}
    counts = Counter((one["kind"], one["command"]) for one in known)
    planned = plan({name: done.changes for name, done in world.undisturbed.items()})
    tried_at = {(one.kind, one.command, one.site) for one in planned if one.name in done and one.site}
    for trial in planned:
        at = (trial.kind, trial.command, trial.site)
        if trial.name in done or only not in trial.name or counts[at[:2]] >= most or (once and at in tried_at):
            continue
        if time.monotonic() > deadline:
            break
        wrong = tried(world, trial)
        counts[at[:2]] += 1
        tried_at |= {at} if trial.site else set()
        known.append({"trial": trial.name, "kind": trial.kind, "command": trial.command, "wrong": wrong})
        with journal.open("a") as file:
            file.write(json.dumps(known[-1]) + "\n")
        for one in wrong:
            print(f"{trial.name}: {one}", file=sys.stderr, flush=True)
    return known


def table(known: list[dict[str, object]]) -> str:
    """Return the counts as a Markdown table."""
    total = Counter((one["kind"], one["command"]) for one in known)
    failed = Counter((one["kind"], one["command"]) for one in known if one["wrong"])
    kinds = sorted({str(kind) for kind, _ in total})
    rows = [f"| {name} | " + " | ".join(f"{total[kind, name]} / {failed[kind, name]}" for kind in kinds) + " |"
            for name in COMMANDS]  # fmt: skip
    return "\n".join(
        ["trials / failures", "", f"| command | {' | '.join(kinds)} |", "| --- " * (len(kinds) + 1) + "|", *rows]
    )


def _main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=600)
    options.add_argument("--journal", type=Path)
    options.add_argument("--world", type=Path, help="folder to keep the tiny world in")
    options.add_argument("--only", default="", help="text in the names of the trials wanted")
    options.add_argument("--command", action="append", choices=COMMANDS, help="try this one only; may be repeated")
    options.add_argument("--most", type=int, default=1 << 30, help="trials of each kind and command")
    options.add_argument("--once", action="store_true", help="one trial at each site of a command, not every fault")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="kt3d-torture-") as folder:
        Path(folder).chmod(0o755)
        journal = given.journal or Path(folder, "journal.jsonl")
        world = (given.world or Path(folder)).absolute()
        tried_ones = World(world, given.command or tuple(COMMANDS))
        known = campaign(tried_ones, given.seconds, journal.absolute(), given.only, given.most, given.once)
    print(table(known))
    sys.exit(any(one["wrong"] for one in known))


if __name__ == "__main__":
    _main()
