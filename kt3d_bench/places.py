"""Where artefacts lie when the user does not say."""

from __future__ import annotations

import os
from pathlib import Path


def default_data_root() -> Path:
    """``$KT3D_DATA``, else ``kt3d-data`` in the working directory."""
    return Path(os.environ.get("KT3D_DATA") or "kt3d-data")


def cache_root() -> Path:
    """Where what was fetched is kept: ``$KT3D_CACHE``, else ``cache`` in the data root."""
    return Path(os.environ.get("KT3D_CACHE") or default_data_root() / "cache")
