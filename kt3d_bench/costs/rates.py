"""The table of measured rates, ``rates.yaml``: what, how fast, on which hardware, how it was measured.

A row without a number was never measured, and nothing is estimated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from kt3d_bench.errors import UsageError, did_you_mean

TABLE = Path(__file__).with_name("rates.yaml")


@dataclass(frozen=True)
class Hardware:
    """One device as it was measured."""

    name: str
    kind: str
    """"cpu" or "cuda"."""
    what: str
    gflop_per_s: float | None
    """Of training steps as we write them: convolutions and matrix products, forward and backward, counted by
    ``torch.utils.flop_counter``, over the time of the whole step; ``None`` = not measured yet."""
    memory_gb: float | None
    how: str


@dataclass(frozen=True)
class Table:
    """``rates.yaml``."""

    hardware: Mapping[str, Hardware]
    crop_bytes: Mapping[str, float]
    """Modality -> bytes of a stored crop, tar header and labels' share included."""
    crop_bytes_how: str


def read_table(path: Path = TABLE) -> Table:
    """The table as it lies in the package."""
    content = yaml.safe_load(path.read_text())
    rows = {name: Hardware(name=name, **row) for name, row in content["hardware"].items()}
    return Table(rows, dict(content["crop_bytes"]["rows"]), content["crop_bytes"]["how"])


def measured(name: str, table: Table) -> Hardware:
    """A row that holds a rate. Raises ``UsageError`` for an unknown name and for one that was never measured."""
    if name not in table.hardware:
        raise UsageError(f"there is no hardware '{name}'", where="--hardware", hint=did_you_mean(name, table.hardware))
    row = table.hardware[name]
    if row.gflop_per_s is None:
        known = ", ".join(other.name for other in table.hardware.values() if other.gflop_per_s is not None)
        raise UsageError(
            f"the rate of '{name}' is not measured yet, and is not invented here",
            where="--hardware",
            hint=f"give --images-per-second N, or run kt3d estimate --measure on such a machine (measured: {known})",
        )
    return row
