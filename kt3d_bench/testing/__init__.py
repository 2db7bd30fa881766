"""For the tests of a plugin: the plugin contract, and samples, shards and batches that are tiny.

from kt3d_bench.testing import require_contract, tiny_batch

def test_contract():
    require_contract("my-method")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kt3d_bench.testing.contract import check_plugin, require_contract
from kt3d_bench.testing.findings import Finding
from kt3d_bench.testing.tiny import (
    tiny_card,
    tiny_dataset,
    tiny_plugin,
    tiny_sample,
    tiny_shards,
    write_tiny_raw,
)

if TYPE_CHECKING:
    from kt3d_bench.testing.batches import tiny_batch, tiny_people, unlabelled

__all__ = [
    "Finding",
    "check_plugin",
    "require_contract",
    "tiny_batch",
    "tiny_card",
    "tiny_dataset",
    "tiny_people",
    "tiny_plugin",
    "tiny_sample",
    "tiny_shards",
    "unlabelled",
    "write_tiny_raw",
]


def __getattr__(name: str) -> object:
    """Import what needs torch when it is first used."""
    if name in ("tiny_batch", "tiny_people", "unlabelled"):
        from kt3d_bench.testing import batches

        return getattr(batches, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
