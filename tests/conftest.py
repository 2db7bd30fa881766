"""What every test process starts from, whatever the shell that started it."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

# Waiting OpenMP threads sleep: on a busy machine, two that spin run many times slower than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What tests write need not survive a power cut: waiting for the disk took longer than writing. A closed descriptor is
# still an error, and programs that tests start do wait.
os.fsync = os.fstat  # type: ignore[assignment]
# A shell's background jobs inherit an ignored Ctrl-C, and so would the programs that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def in_capitals() -> Callable[[Path], None]:
    """Rename all files and folders below a folder, as some file systems and tools do."""

    def rename(root: Path) -> None:
        for path in sorted(root.rglob("*"), reverse=True):
            path.rename(path.with_name(path.name.upper()))

    return rename
