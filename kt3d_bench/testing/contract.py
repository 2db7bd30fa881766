"""Checking a plugin, a method or a dataset against the contract, rule by rule."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import DatasetPlugin, MethodPlugin, MetricPlugin
from kt3d_bench.testing.datasets import check_dataset
from kt3d_bench.testing.findings import Checklist, Finding, require
from kt3d_bench.testing.metrics import check_metric

HEAVY = ("torch", "webdataset", "scipy", "cv2", "h5py", "av", "matplotlib", "joblib")
_IMPORT_S = 120.0
Subject = DatasetPlugin | MethodPlugin | MetricPlugin


def check_plugin(
    name: str,
    *,
    raw: Path | None = None,
    keep: Path | None = None,
    say: Callable[[Finding], None] = lambda finding: None,
) -> tuple[Finding, ...]:
    """Check a plugin (everything it offers), a method, a dataset or a metric against the contract; return the findings.

    Methods train a few steps on tiny data. A dataset's converter runs on what its generator writes, or on an excerpt of
    ``raw``: the first work items of each split in the author's own raw folder, which is only read. Each finding goes
    to ``say`` as it is made. Files go into ``keep``, which must be empty or new, or into a temporary folder. Raises
    ``UsageError`` for an unknown name, a ``keep`` that is not empty, and a ``raw`` that is missing or given for
    something else than one dataset; ``PluginError`` when the installed plugins cannot be registered.
    """
    plugin, subjects = _subjects(name)
    if raw is not None:
        if [type(one) for one in subjects] != [DatasetPlugin]:
            raise UsageError(f"--raw is for one dataset, and '{name}' is not one", hint="name a dataset")
        if not raw.is_dir():
            raise UsageError("is not a folder", where=raw, hint="give the folder of the raw data")
    module = registry.registered()[plugin]
    file = Path(module.__file__ or ".")
    package = file.parent if hasattr(module, "__path__") else file
    found: list[Finding] = []
    with _folder(keep) as folder:
        checks = Checklist(f"plugin {plugin}", package, say)
        checks.check(
            f"importing {module.__name__} imports nothing heavy ({', '.join(HEAVY[:5])}, ...)",
            lambda: _imports_nothing_heavy(module),
        )
        found += checks.findings
        for subject in subjects:
            kind = _kind(subject)
            checks = Checklist(f"{kind} {subject.name}", package, say)
            own = folder / f"{kind}-{subject.name}"
            own.mkdir()
            if isinstance(subject, MetricPlugin):
                check_metric(subject, checks)
            elif isinstance(subject, DatasetPlugin):
                check_dataset(subject, checks, own, raw)
            else:
                from kt3d_bench.testing.methods import check_method

                check_method(subject, checks, own)
            found += checks.findings
    return tuple(found)


def require_contract(name: str, *, raw: Path | None = None) -> None:
    """Raise ``AssertionError`` with one sentence for each rule of the contract that a plugin breaks; for its tests.

    Parameters and other errors are those of ``check_plugin``.
    """
    broken = [finding.sentence for finding in check_plugin(name, raw=raw) if not finding.holds]
    if broken:
        raise AssertionError("\n".join(broken))


def _kind(subject: Subject) -> str:
    return {DatasetPlugin: "dataset", MethodPlugin: "method", MetricPlugin: "metric"}[type(subject)]


def _subjects(name: str) -> tuple[str, list[Subject]]:
    """The plugin that a name stands for, and what of it is to be checked."""
    modules = registry.registered()
    offered: dict[str, dict[str, Any]] = {
        "method": registry.methods(), "dataset": registry.datasets(), "metric": registry.metrics()
    }  # fmt: skip
    for kind, known in offered.items():
        if name in known and name not in modules:
            owner = registry.owner_of(kind, name)
            assert owner is not None
            return owner, [known[name]]
    if name not in modules:
        raise UsageError(
            f"no plugin, method, dataset or metric is called '{name}'",
            hint=f"{did_you_mean(name, [*modules, *chain(*offered.values())])} Is it installed: pip install -e FOLDER?",
        )
    own = [
        one
        for kind in ("dataset", "method", "metric")
        for one in offered[kind].values()
        if registry.owner_of(kind, one.name) == name
    ]
    return name, own


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="kt3d-check-") as folder:
            yield Path(folder)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UsageError("is not an empty folder", where=keep, hint="choose another --keep, or empty it")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.absolute()


def _imports_nothing_heavy(module: Any) -> None:
    """Import the plugin's top module in a new interpreter and see what it loads."""
    script = (
        f"import sys, kt3d_bench\nbefore = set(sys.modules)\nimport {module.__name__}\n"
        f"print(' '.join(name for name in {HEAVY!r} if name in set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=_IMPORT_S,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
        check=False,
    )
    failed = (done.stderr.strip().splitlines() or ["no message"])[-1]
    require(not done.returncode, f"it failed: {failed}", "fix the import")
    require(
        not done.stdout.strip(),
        f"it imports {', '.join(done.stdout.split())}, which makes every kt3d command slow",
        f"import that inside the functions, or in another module than {module.__name__}",
    )
