"""Images made in batches on a device against the ones that stand-ins are made of, one by one."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from kt3d_bench.records import Camera
from kt3d_bench.synth import (
    Figures,
    pose,
    render,
    sample_background,
    sample_bodies,
    sample_clip,
    sample_style,
    shade,
)
from kt3d_bench.synth.batch import render_people
from kt3d_bench.synth.render import _dense_rays, _first_hits, _in_cameras

SIDE = 96
ROTATION = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
ACTIVITIES = ("stand", "walk", "sit", "reach", "crouch", "kick")


def _camera(distortion: float = 0.0) -> Camera:
    middle = (SIDE - 1) / 2
    return Camera(
        np.array([[2.0 * SIDE, 0, middle], [0, 2.0 * SIDE, middle]]),
        (SIDE, SIDE),
        np.array([distortion, 0, 0, 0, 0]),
        1.0,
        ROTATION,
        np.array([4200.0, 0.0, 950.0]),
    )


def _figures() -> Figures:
    rng = np.random.default_rng(0)
    return Figures.concatenate([pose(sample_bodies(rng, 1), sample_clip(rng, name, 1, 50)) for name in ACTIVITIES])


def test_a_batch_is_what_shading_one_by_one_gives() -> None:
    figures, cameras = _figures(), [_camera()] * len(ACTIVITIES)
    rng = np.random.default_rng(2)
    styles = [sample_style(rng) for _ in ACTIVITIES]
    backgrounds = np.stack([sample_background(rng, (SIDE, SIDE), "room") for _ in ACTIVITIES])
    found = render_people(figures, cameras, styles, torch.from_numpy(backgrounds))
    for index, image in enumerate(render(figures, cameras)):
        np.testing.assert_allclose(found.depth_mm[index], image.depth_mm, rtol=0, atol=0.01)
        np.testing.assert_array_equal(found.part[index], image.part)
        one = shade(image, styles[index], backgrounds[index])
        apart = np.abs(found.rgb[index].numpy().astype(int) - one)
        assert (apart.max(axis=-1) > 1).mean() < 2e-3
        assert np.abs(one.astype(int) - backgrounds[index])[image.part > 0].mean() > 5


def test_noise_has_each_styles_strength_and_comes_from_the_generator() -> None:
    figures, cameras = _figures().take([0]), [_camera()]
    style = sample_style(np.random.default_rng(0))
    grey = torch.full((1, SIDE, SIDE, 3), 128, dtype=torch.uint8)

    def drawn(seed: int) -> torch.Tensor:
        return render_people(figures, cameras, [style], grey, noise=torch.Generator().manual_seed(seed)).rgb

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    assert float(drawn(1)[0, :4].float().std()) == pytest.approx(style.noise, rel=0.1)


def test_what_does_not_fit_together_is_refused() -> None:
    style = sample_style(np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 styles"):
        render_people(
            _figures().take([0]), [_camera()], [style, style], torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
        )
    with pytest.raises(ValueError, match="backgrounds"):
        render_people(_figures().take([0]), [_camera()], [style], torch.zeros(1, 8, 8, 3, dtype=torch.uint8))


@pytest.mark.parametrize("distortion", [0.0, -0.2])
def test_the_gpu_kernel_finds_the_same_cones(distortion: float) -> None:
    """On a GPU, or in Triton's interpreter."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        os.environ["TRITON_INTERPRET"] = "1"
    pytest.importorskip("triton", reason="Triton is not installed (it comes with CUDA builds of torch)")
    from kt3d_bench.synth.dense_triton import first_hits

    figures, cameras = _figures().take([0, 1]), [_camera(distortion)] * 2
    posed = _in_cameras(figures, cameras)
    cones = torch.from_numpy(np.concatenate([posed.cones.reshape(2, -1, 6), posed.radii], axis=2)).float().to(device)
    x, y = _dense_rays(cameras, device)
    (depth, share, cone), (own_depth, own_share, own_cone) = _first_hits(x, y, cones), first_hits(x, y, cones)
    same = cone == own_cone
    assert float((~same).float().mean()) < 1e-3
    assert float(((depth > 0) == (own_depth > 0)).float().mean()) > 0.9999
    torch.testing.assert_close(own_depth[same], depth[same], rtol=0, atol=0.02)
    seen = same & (cone >= 0)
    torch.testing.assert_close(own_share[seen], share[seen], rtol=0, atol=1e-3)
