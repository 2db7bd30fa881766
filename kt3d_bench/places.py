"""Where artefacts lie when the user does not say."""

from __future__ import annotations

import os
from pathlib import Path


def default_data_root() -> Path:
    """``$KT3D_DATA``, else ``kt3d-data`` in the working directory."""
    return Path(os.environ.get("KT3D_DATA") or "kt3d-data")
