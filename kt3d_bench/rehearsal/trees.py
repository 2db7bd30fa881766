"""Folders compared by what is in them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from kt3d_bench.rehearsal.log import BrokenError


def tree(folder: Path) -> dict[str, str]:
    """Path below ``folder`` -> SHA-256 of every file."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def require_same(first: dict[str, str], second: dict[str, str], what: str, hint: str) -> None:
    """Raises ``BrokenError`` naming the files that two trees do not share."""
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    if different:
        more = f" and {len(different) - 3} more" if len(different) > 3 else ""
        raise BrokenError(f"{what}: {', '.join(different[:3])}{more}", hint)
