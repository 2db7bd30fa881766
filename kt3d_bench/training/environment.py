"""What a run ran with: all installed packages, the state of the code, and how these differ from an earlier run's."""

from __future__ import annotations

import functools
import importlib.util
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

FILE = "environment.txt"
"""Beside ``run.yaml``: what ``pip install -r`` takes."""
_GIT_S = 10.0


def requirements(code: Mapping[str, str]) -> str:
    """Return every installed package with its version, in the form that pip reads, below the state of the code."""
    head = [f"# Python {platform.python_version()}", *(f"# {name}: {state}" for name, state in code.items())]
    return "\n".join([*head, *_installed()]) + "\n"


@functools.cache
def _installed() -> tuple[str, ...]:
    """Return the lines, read once per process: the metadata of hundreds of packages takes a tenth of a second."""
    found = {str(one.metadata["Name"]).lower(): one.version for one in distributions() if one.metadata["Name"]}
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


def code_states(packages: Iterable[str]) -> dict[str, str]:
    """Return package -> commit of its git working tree, with "modified" where tracked files of the package differ from
    it; without those that lie in no working tree."""
    found = {}
    for name in dict.fromkeys(packages):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None:
            folder, file = Path(spec.origin).parent, Path(spec.origin).name
            if _git(folder, "ls-files", "--error-unmatch", file) is not None:
                changed = _git(folder, "status", "--porcelain", "--", ".")
                found[name] = f"{_git(folder, 'rev-parse', 'HEAD')}{', modified' if changed else ''}"
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; ``None`` where it fails or is not installed."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout.strip()


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each fact of an earlier run's document that is another one now and decides the outcome."""
    titles = {"method_config": "", "acceleration": "", "versions": "version of ", "code": "code of "}
    for place, title in titles.items():
        own = _plain(now.get(place))
        for name, value in _plain(before.get(place)).items():
            if own.get(name) != value:
                yield f"the {title}{name} was {value} and is {own.get(name, 'absent')} now"
    init, was = (dict(one.get("init") or {}).get("sha256") for one in (now, before))
    if init != was:
        yield "the weights it starts from are other ones now"
    if before.get("processes") != now.get("processes"):
        yield f"the processes were {before.get('processes')} and are {now.get('processes')} now"
    if before.get("precision") != now.get("precision"):
        yield f"the precision was {before.get('precision')} and is {now.get('precision')} now"
    for role, shards in before.get("shards", {}).items():
        if now.get("shards", {}).get(role, {}).get("split_digest") != shards.get("split_digest"):
            yield f"the {role}'s samples are other ones than {shards.get('samples')} of {shards.get('dataset')} then"


def _plain(value: Any) -> dict[str, Any]:
    return {name: list(one) if isinstance(one, tuple) else one for name, one in dict(value or {}).items()}
