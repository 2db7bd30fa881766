from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

CARD = """
name: fake
title: Fake
what: Numbers.
modalities: [rgb, depth, parts]
homepage: https://example.org
how_to_obtain: [Write it.]
download_size: 1 kB
licence: Do as you like.
redistribution: Allowed.
citation: "@misc{fake}"
joints:
{joints}
num_parts: 5
box_rule: joints
protocol: All lines.
"""


@pytest.fixture
def card_folder(tmp_path: Path) -> Path:
    """A dataset plugin's folder with a good card."""
    from kt3d_bench.skeletons import H36M17

    folder = tmp_path / "plugin"
    folder.mkdir()
    rows = "\n".join(f"  - {{joint: {name}, quality: exact}}" for name in H36M17.joints)
    (folder / "card.yaml").write_text(CARD.replace("{joints}", rows))
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Raw data of the fake dataset: three training files, one test file."""
    folder = tmp_path / "raw"
    for split, files in {"train": {"a": 5, "b": 4, "c": 3}, "test": {"d": 4}}.items():
        (folder / split).mkdir(parents=True)
        for number, (name, lines) in enumerate(files.items()):
            text = "\n".join(str(100 * number + line) for line in range(lines))
            (folder / split / f"{name}.txt").write_text(text + "\n")
    return folder
