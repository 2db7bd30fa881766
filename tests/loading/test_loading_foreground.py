"""The modality "foreground": stored, or the silhouette of parts or depth where it is not; moved with the image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from kt3d_bench.data.format import holds
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import UsageError
from kt3d_bench.loading.augment import Augmentation
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.loading.dataset import Dataset
from kt3d_bench.loading.loader import Loader
from kt3d_bench.testing import tiny_sample, tiny_shards


def drawn(number: int) -> np.ndarray:
    """Return an image whose right half is the person, with a notch that tells up from down."""
    mask = np.zeros((48, 40), np.uint8)
    mask[:, 20:] = 255
    mask[:10, 30:] = 0
    return mask


@pytest.fixture
def stored(tmp_path: Path) -> ShardSet:
    samples = [
        tiny_sample(f"tiny_{number}", number, modalities=("rgb",), foreground=drawn(number)) for number in range(4)
    ]
    return tiny_shards(tmp_path / "stored", samples)


def first(shards: ShardSet, *modalities: str, **options: object) -> UnlabelledBatch:
    loader = Loader(shards, modalities, batch_size=4, input_px=32, **options)  # type: ignore[arg-type]
    try:
        return next(iter(loader))
    finally:
        loader.close()


def test_a_stored_foreground_is_read_back_and_comes_as_zeros_and_ones(stored: ShardSet) -> None:
    assert stored.modalities == ("rgb", "foreground")
    np.testing.assert_array_equal(stored.sample(1).foreground, drawn(1))
    batch = first(stored, "foreground", labelled=False)
    mask = batch.images["foreground"]
    assert mask.shape == (4, 1, 32, 32)
    assert mask.dtype == torch.float32
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert mask[:, 0, 16, 24].eq(1).all()
    assert mask[:, 0, 16, 4].eq(0).all()
    view = Dataset(stored).torch(32)
    torch.testing.assert_close(view[1]["foreground"], mask[1])


@pytest.mark.parametrize("origin", ["parts", "depth"])
def test_without_a_stored_one_it_is_where_parts_or_depth_show_somebody(tmp_path: Path, origin: str) -> None:
    shards = tiny_shards(tmp_path / origin, [tiny_sample(f"t_{n}", n, modalities=(origin,)) for n in range(4)])
    shards.require(["foreground"])
    batch = first(shards, "foreground", origin)
    shown = batch.images[origin].reshape(4, 32, 32) > 0
    torch.testing.assert_close(batch.images["foreground"][:, 0] > 0, shown)
    alone = first(shards, "foreground")
    torch.testing.assert_close(alone.images["foreground"], batch.images["foreground"])
    torch.testing.assert_close(Dataset(shards).torch(32, modalities=("foreground",))[2]["foreground"] > 0, shown[2:3])


def test_it_moves_as_parts_do_under_augmentation(tmp_path: Path) -> None:
    samples = [
        tiny_sample(f"t_{n}", n, modalities=("parts",), parts=drawn(n) // 255, foreground=drawn(n)) for n in range(4)
    ]
    shards = tiny_shards(tmp_path / "both", samples, part_mirror=(0, 1, 2))
    batch = first(shards, "parts", "foreground", augmentation=Augmentation(), shuffle=True, seed=3)
    torch.testing.assert_close(batch.images["foreground"][:, 0] > 0, batch.images["parts"] > 0)


def test_photographs_alone_have_none(tmp_path: Path) -> None:
    shards = tiny_shards(tmp_path / "rgb", [tiny_sample("t_0", 0, modalities=("rgb",))])
    with pytest.raises(UsageError, match="holds no 'foreground' images"):
        shards.require(["foreground"])
    assert not holds(("rgb",), ["foreground"])
    assert holds(("rgb", "depth"), ["foreground", "rgb"])
    assert not holds(("depth",), ["parts"])
