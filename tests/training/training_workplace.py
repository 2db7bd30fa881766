"""A data root with datasets of dots, and configs of a toy method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import training_dataset as dots

from kt3d_bench import plugins
from kt3d_bench.shards.prepare import prepare
from kt3d_bench.training.run import RunConfig


@dataclass(frozen=True)
class Workplace:
    root: Path

    def prepare(self, dataset: str, *, at: Path | None = None, **raw: Any) -> Path:
        """Write and prepare raw data of a dataset; returns the shards' folder."""
        source = (at or self.root) / "raw" / dataset
        dots.write_raw(source, **{"train": 12, "test": 5, **raw})
        out = (at or self.root) / "shards" / dataset
        prepare(plugins.dataset(dataset), raw=source, out=out, workers=1)
        return out

    def config(self, **changes: Any) -> RunConfig:
        base: dict[str, Any] = {"method": "toy", "preset": "tiny", "device": "cpu", "data_root": self.root,
                                "settings": {"steps": 4}}  # fmt: skip
        return RunConfig(**{**base, **changes})
