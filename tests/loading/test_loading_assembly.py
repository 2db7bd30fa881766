"""The two places where a batch may be warped agree: OpenCV per image on the CPU, torch per batch on any device."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from kt3d_bench.geometry.reference import surface_reference_mm
from kt3d_bench.loading.assembly import WarpedHere, WarpedThere, assembly
from kt3d_bench.loading.augment import Augmentation, place
from kt3d_bench.loading.images import Decoded, resized, shrunk_sizes

COUNT = 6


def _decoded(rng: np.random.Generator, width: int, height: int) -> Decoded:
    soft = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return Decoded(
        {
            "rgb": cv2.resize(soft, (width, height), interpolation=cv2.INTER_CUBIC),
            "depth": rng.integers(0, 1 << 16, (height, width)).astype(np.uint16),
            "parts": rng.integers(0, 44, (height, width)).astype(np.uint8),
        },
        float(rng.uniform(2000, 4000)),
    )


@pytest.mark.parametrize("input_px", [64, 256])
def test_both_places_give_the_same_images(input_px: int) -> None:
    """RGB to half a grey level (OpenCV rounds), depth beyond 32,767 mm and part ids exactly but for pixels between two
    readings; images of unequal sizes, turned, mirrored and shifted partly out of sight."""
    rng = np.random.default_rng(input_px)
    sizes = rng.integers(90, 321, (COUNT, 2))
    samples = [_decoded(rng, int(width), int(height)) for width, height in sizes]
    draws = Augmentation(shift=0.3).draw(0, np.zeros(COUNT, np.int64), np.arange(COUNT))
    affine = place(draws, np.concatenate([np.zeros((COUNT, 2)), sizes * 0.7], axis=1), input_px).affine_px
    names = ("rgb", "depth", "parts")
    here = WarpedHere(names, affine, np.ones((COUNT, 3)), input_px)
    there = WarpedThere(names, affine, np.ones((COUNT, 3)), input_px, sizes, torch.device("cpu"))
    for row in reversed(range(COUNT)):
        here.take(row, samples[row])
        there.take(row, samples[row])
    first, second = here.images(), there.images()
    assert {name: image.shape for name, image in first.items()} == {
        name: (COUNT, 3 if name == "rgb" else 1, input_px, input_px) for name in names
    }
    assert float((first["rgb"] - second["rgb"]).abs().max()) < 0.52 / 255
    assert float(first["rgb"].std()) > 20 / 255
    assert (first["rgb"] == 0).any()
    for name in ("depth", "parts"):
        assert float((first[name] != second[name]).float().mean()) < 1e-4
    assert float(first["depth"].max()) > 40_000
    np.testing.assert_array_equal(here.surfaces_mm, [sample.surface_mm for sample in samples])
    np.testing.assert_array_equal(there.surfaces_mm, here.surfaces_mm)


@pytest.mark.parametrize("way", ["opencv", "torch"])
@pytest.mark.parametrize("input_px", [24, 64])
def test_no_depth_reading_and_no_part_is_invented(way: str, input_px: int) -> None:
    """Two surfaces and two parts in stripes, shrunk, turned and warped: an interpolated value would be a third one."""
    stripes = np.indices((230, 190)).sum(0) // 3 % 2
    stored = {
        "depth": np.where(stripes, 2000, 4001).astype(np.uint16),
        "parts": np.where(stripes, 7, 40).astype(np.uint8),
    }
    sizes = shrunk_sizes(np.array([[190, 230]]), 1.25, input_px)
    size = (int(sizes[0, 0]), int(sizes[0, 1]))
    small = {name: resized(name, image, size) for name, image in stored.items()}
    assert small["depth"].shape == (size[1], size[0])
    draws = Augmentation().draw(3, np.zeros(1, np.int64), np.arange(1))
    affine = place(draws, np.array([[0, 0, *size]]), input_px).affine_px
    device = torch.device("cpu")
    warped = (
        WarpedHere(("depth", "parts"), affine, np.ones((1, 3)), input_px)
        if way == "opencv"
        else WarpedThere(("depth", "parts"), affine, np.ones((1, 3)), input_px, sizes, device)
    )
    warped.take(0, Decoded(small, 2000.0))
    images = warped.images()
    assert set(np.unique(small["depth"])) == {2000, 4001}
    assert set(images["depth"].unique().tolist()) == {0.0, 2000.0, 4001.0}
    assert set(images["parts"].unique().tolist()) == {0.0, 7.0, 40.0}


def test_a_cpu_warps_in_its_threads_and_other_devices_there() -> None:
    affine, sizes = np.zeros((1, 2, 3)), np.ones((1, 2), np.int64)
    colour = np.ones((1, 3))
    assert isinstance(assembly(("rgb",), affine, colour, 32, sizes, torch.device("cpu")), WarpedHere)
    assert isinstance(assembly(("rgb",), affine, colour, 32, sizes, torch.device("meta")), WarpedThere)


def test_the_surface_reference_is_the_median_of_the_largest_component() -> None:
    """Against labels and medians by the book, on speckled images small and large, with even and odd areas."""
    rng = np.random.default_rng(3)
    for shape, filled in (((37, 41), 0.4), ((320, 320), 0.35), ((400, 400), 0.38), ((5, 4), 1.0), ((1, 1), 1.0)):
        depth = np.where(rng.uniform(size=shape) < filled, rng.integers(1, 1 << 16, shape), 0).astype(np.uint16)
        _, labels, statistics, _ = cv2.connectedComponentsWithStats((depth > 0).astype(np.uint8), connectivity=8)
        largest = 1 + int(np.argmax(statistics[1:, cv2.CC_STAT_AREA]))
        assert surface_reference_mm(depth) == np.median(depth[labels == largest])
    assert np.isnan(surface_reference_mm(np.zeros((8, 8), np.uint16)))


def test_gains_and_memory_that_is_used_again_change_no_value() -> None:
    """Warped here, a channel is OpenCV's warp of it times the gain, clipped, to the bit, whatever was decoded before;
    decoded in the place of another device, an image is what it would be in memory of its own."""
    rng = np.random.default_rng(8)
    images = [rng.integers(0, 256, (side, side, 3), np.uint8) for side in (60, 80, 40)]
    affine = np.tile([[0.9, 0.1, -3], [-0.1, 1.1, 2]], (3, 1, 1))
    colour = rng.uniform(0.8, 1.3, (3, 3))
    sizes = np.array([image.shape[1::-1] for image in images])
    here, there, plain = (
        assembly(("rgb",), affine, colour, 32, sizes, torch.device("cpu")),
        WarpedThere(("rgb",), affine, colour, 32, sizes, torch.device("cpu")),
        WarpedThere(("rgb",), affine, colour, 32, sizes, torch.device("cpu")),
    )
    for row, image in enumerate(images):
        for taker in (here, there):
            room = taker.room(row, image.shape)
            room[:] = image
            taker.take(row, Decoded({"rgb": room}, float("nan")))
        plain.take(row, Decoded({"rgb": image}, float("nan")))
    torch.testing.assert_close(there.images()["rgb"], plain.images()["rgb"], rtol=0, atol=0)
    for row, image in enumerate(images):
        warped = [cv2.warpAffine(image[..., c], affine[row], (32, 32), flags=cv2.INTER_LINEAR) for c in range(3)]
        gains = (colour[row] / 255).astype(np.float32)
        expected = [np.clip(one.astype(np.float32) * gain, 0, 1) for one, gain in zip(warped, gains, strict=True)]
        np.testing.assert_array_equal(here.images()["rgb"][row].numpy(), expected)
    assert float(here.images()["rgb"].max()) == 1.0
