from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


@pytest.fixture
def card_folder(tmp_path: Path) -> Path:
    """A dataset plugin's folder with a good card."""
    from data_fake_dataset import write_card

    folder = tmp_path / "plugin"
    folder.mkdir()
    write_card(folder)
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
