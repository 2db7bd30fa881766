"""Finding what a name stands for, and rehearsing all of it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import DatasetPlugin, MethodPlugin
from kt3d_bench.rehearsal.datasets import check_dataset
from kt3d_bench.rehearsal.log import BrokenError, Finding, Log

HEAVY = ("torch", "webdataset", "scipy", "cv2", "h5py", "av", "matplotlib", "joblib")
_LOOK_S = 120.0


def rehearse(
    name: str, *, keep: Path | None = None, say: Callable[[Finding], None] = lambda finding: None
) -> tuple[Finding, ...]:
    """Check a plugin (everything it offers), a method or a dataset against the contract, on generated data.

    Findings come in the order of checking, and go to ``say`` as they are made. Files lie in ``keep``, which must be
    empty or new, or in a temporary folder that goes afterwards. Raises ``UsageError`` for an unknown name or a ``keep``
    that holds something, and ``PluginError`` when the installed plugins cannot even be registered.
    """
    plugin, subjects = _subjects(name)
    module = registry.registered()[plugin]
    file = Path(module.__file__ or ".")
    package = file.parent if hasattr(module, "__path__") else file
    found: list[Finding] = []
    with _workplace(keep) as folder:
        log = Log(f"plugin {plugin}", package, say)
        log.attempt(
            f"importing {module.__name__} imports nothing heavy ({', '.join(HEAVY[:5])}, ...)", lambda: _light(module)
        )
        found += log.findings
        for subject in subjects:
            kind = "dataset" if isinstance(subject, DatasetPlugin) else "method"
            log = Log(f"{kind} {subject.name}", package, say)
            place = folder / f"{kind}-{subject.name}"
            place.mkdir()
            if isinstance(subject, DatasetPlugin):
                check_dataset(subject, log, place)
            else:
                from kt3d_bench.rehearsal.methods import check_method

                check_method(subject, log, place)
            found += log.findings
    return tuple(found)


def _subjects(name: str) -> tuple[str, list[DatasetPlugin | MethodPlugin]]:
    """The plugin that a name stands for, and what of it is to be checked."""
    datasets, methods, modules = registry.datasets(), registry.methods(), registry.registered()
    for kind, known in (("method", methods), ("dataset", datasets)):
        if name in known and name not in modules:
            owner = registry.owner_of(kind, name)
            assert owner is not None
            return owner, [known[name]]
    if name not in modules:
        raise UsageError(
            f"no plugin, method or dataset is called '{name}'",
            hint=f"{did_you_mean(name, [*modules, *methods, *datasets])} Is it installed: pip install -e FOLDER?",
        )
    offered: list[DatasetPlugin | MethodPlugin] = [
        *(record for record in datasets.values() if registry.owner_of("dataset", record.name) == name),
        *(record for record in methods.values() if registry.owner_of("method", record.name) == name),
    ]
    return name, offered


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="kt3d-check-") as folder:
            yield Path(folder)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UsageError("is not an empty folder", where=keep, hint="choose another --keep, or empty it")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.absolute()


def _light(module: Any) -> None:
    """Import the plugin's top module in a fresh interpreter and see what came with it."""
    importlib.import_module(module.__name__)
    script = (
        f"import sys, kt3d_bench\nbefore = set(sys.modules)\nimport {module.__name__}\n"
        f"print(' '.join(name for name in {HEAVY!r} if name in set(sys.modules) - before))"
    )
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=_LOOK_S,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    if done.returncode:
        raise BrokenError(f"it failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}", "repair the import")
    if done.stdout.strip():
        raise BrokenError(
            f"it imports {', '.join(done.stdout.split())}, which makes every kt3d command slow",
            f"import that inside the functions, or in another module than {module.__name__}",
        )
