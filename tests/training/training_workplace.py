"""A data root with datasets of dots, and configs of a toy method."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from kt3d_bench import MethodPlugin
from kt3d_bench.data.prepare import prepare
from kt3d_bench.plugins import registry
from kt3d_bench.testing import tiny_dataset, tiny_plugin, write_tiny_raw
from kt3d_bench.training.config import RunConfig


@dataclass(frozen=True)
class Workplace:
    root: Path

    def prepare(self, dataset: str, *, at: Path | None = None, **raw: Any) -> Path:
        """Write and prepare raw data of a dataset; returns the shards' folder."""
        source = (at or self.root) / "raw" / dataset
        write_tiny_raw(source, registry.dataset(dataset), **raw)
        out = (at or self.root) / "shards" / dataset
        prepare(registry.dataset(dataset), raw=source, out=out, workers=1, check=not raw.get("corrupt"))
        return out

    def config(self, **changes: Any) -> RunConfig:
        base: dict[str, Any] = {"method": "toy", "preset": "tiny", "device": "cpu", "data_root": self.root,
                                "settings": {"steps": 4}}  # fmt: skip
        return RunConfig(**{**base, **changes})


def offer(folder: Path) -> ModuleType:
    """A plugin module with two datasets, whose cards go below ``folder``, and toy methods that use them."""
    roles = {"target": "dots-target", "source": "dots-source"}
    methods = [
        MethodPlugin("toy", "A toy", "training_toys:ToyMethod", defaults=roles),
        MethodPlugin("plain", "Without batch norm", "training_toys:PlainMethod", defaults=roles),
        MethodPlugin("clips", "Clips in time", "training_toys:ClipMethod", defaults=roles),
        MethodPlugin("duel", "Two optimisers", "training_toys:DuelMethod", defaults=roles),
        MethodPlugin("stageless", "Nothing to train", "training_toys:StagelessMethod", defaults=roles),
        MethodPlugin("picky", "Full only", "training_toys:ToyMethod", supervision=("full",), defaults=roles),
        MethodPlugin("baseline", "", "kt3d_integral_pose.method:IntegralPose", defaults={"target": "dots-target"}),
        MethodPlugin(
            "transfer",
            "",
            "kt3d_knowledge_transfer.method:KnowledgeTransfer",
            defaults={**roles, "pretrain": "dots-source"},
        ),
        MethodPlugin("mean", "", "kt3d_floor.mean_pose:MeanPose", defaults=roles),
    ]
    datasets = [
        tiny_dataset(folder / name, name, benchmark=f"{name}-rgb", generate="training_generator")
        for name in roles.values()
    ]
    return tiny_plugin(datasets, methods)
