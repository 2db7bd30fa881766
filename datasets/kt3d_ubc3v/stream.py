"""Training samples without files: what ``generate`` and ``prepare`` produce for inter-pose, drawn on the fly.

Character, postures, cameras, images and reading are those of the stand-in's train split, but every sample has its own
posture, seen by one camera. Sample i depends on (seed, i) alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from kt3d_bench.geometry.cameras import world_to_cam
from kt3d_bench.records import Sample, Skipped
from kt3d_bench.synth import Bodies, render, sample_bodies
from kt3d_ubc3v import cameras, generate, regions
from kt3d_ubc3v.convert import depth_of, person
from kt3d_ubc3v.groundtruth import FIELDS
from kt3d_ubc3v.recording import BONES, SIZE_PX, joint_matrices, sample_camera

VERSION = 2  # Increased with every change of the samples
EPOCH = 30_000  # Samples per epoch; the sequence itself is endless
_STREAM = 3  # Differs from the streams of the stand-in's splits, so no sample of theirs appears here
_CHARACTER = 0  # The stream of inter-pose's only character
_SITES = [BONES.index(field.removesuffix("PGX")) for _, field in FIELDS]


def samples(seed: int, index: int, count: int, device: str) -> Iterator[Sample]:
    """Yield samples ``index`` up to ``index + count``, drawn with NumPy and rendered on ``device``."""
    body = _character(seed)
    for number in range(index, index + count):
        yield _sample(seed, number, body, device)


@functools.lru_cache(maxsize=4)
def _character(seed: int) -> Bodies:
    return sample_bodies(np.random.default_rng((seed, _CHARACTER)), 1)[0]


def _sample(seed: int, number: int, body: Bodies, device: str) -> Sample:
    """Return the first drawing of this number that shows a person, which is nearly always the first."""
    attempt = 0
    while True:
        found = _drawn(f"stream_{number:09d}", np.random.default_rng((seed, _STREAM, number, attempt)), body, device)
        if isinstance(found, Sample):
            return found
        attempt += 1


def _drawn(key: str, rng: np.random.Generator, body: Bodies, device: str) -> Sample | Skipped:
    figure = generate.posture(body, rng)
    pose = sample_camera(rng)
    image = render(figure, [pose.camera()], device=device, normals=False)[0]
    from kt3d_ubc3v.painting import paint

    depth, parts = paint(image.maps, image.window_px, SIZE_PX, rng)
    camera = cameras.camera("maya", cameras.rotation(pose.rotate_deg, pose.translate_cm), pose.translate_cm)
    points_world_mm = joint_matrices(figure)[0, _SITES, 12:15] * 10.0
    depth_mm = depth_of(depth, 1.0)
    depth_mm[parts[..., 3] != 255] = 0
    return person(
        key,
        camera,
        world_to_cam(camera, points_world_mm),
        depth_mm,
        regions.read_regions(parts).ids,
        subject="inter-pose",
        camera_id="stream",
        sequence=key,
        frame=0,
    )
