"""A workplace: two datasets of dots, a toy method, and an empty data root."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import training_dataset as dots
from training_workplace import Workplace

from kt3d_bench import MethodPlugin, plugins


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    roles = {"target": "dots-target", "source": "dots-source"}
    toys: list[MethodPlugin] = [
        MethodPlugin("toy", "A toy", "training_toys:ToyMethod", defaults=roles),
        MethodPlugin("picky", "Full only", "training_toys:ToyMethod", supervision=("full",), defaults=roles),
    ]
    offered = dots.module(
        "dots",
        [dots.dataset(tmp_path / "plugins" / name, name) for name in roles.values()],
        toys,
    )
    import kt3d_floor
    import kt3d_integral_pose
    import kt3d_knowledge_transfer

    found = plugins.manager(
        {"dots": offered, "floor": kt3d_floor, "ip": kt3d_integral_pose, "kt": kt3d_knowledge_transfer}
    )
    monkeypatch.setattr(plugins, "_default", lambda: found)
    return Workplace(tmp_path / "data")
