"""ITOP's converter against the bare work: HDF5 slices read and the same crops encoded as PNG, both in one run.

``KT3D_BENCH_ITOP_FRAMES`` sets the number of frames; the official training files have 39 795 (9.2 GB here).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import h5py
import kt3d_itop
import numpy as np
import numpy.typing as npt
import pytest
from conftest import FiveRuns

from kt3d_bench.data.prepare import prepare

FRAMES = int(os.environ.get("KT3D_BENCH_ITOP_FRAMES", "1500"))
VALID_SHARE = 0.45
SLAB_ROWS = 64
PICTURES = 97
LEAST_SHARE = 0.8
"""Of the bare rate; labels, tar headers, digests, flushing to disk and the geometry of crops make the rest."""
MOST_MEMORY = 1 << 30
(PLUGIN,) = kt3d_itop.kt3d_datasets()
BODY_M = np.array(
    [
        [0.0, 0.55, 2.9], [0.0, 0.3, 3.0], [-0.18, 0.28, 3.0], [0.18, 0.28, 3.0], [-0.3, 0.05, 3.0],
        [0.3, 0.05, 3.0], [-0.35, -0.2, 2.9], [0.35, -0.2, 2.9], [0.0, 0.0, 3.0], [-0.12, -0.25, 3.0],
        [0.12, -0.25, 3.0], [-0.12, -0.7, 3.0], [0.12, -0.7, 3.0], [-0.12, -1.1, 3.1], [0.12, -1.1, 3.1],
    ]
)  # fmt: skip


def pictures(rng: np.random.Generator) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.int8]]:
    """A figure of discs before a wall, with the noise of a sensor: 10 mm at 3 m, holes of a few pixels."""
    rows, columns = np.mgrid[:240, :320]
    depth, parts = np.full((240, 320), 3.9), np.full((240, 320), -1, np.int8)
    for joint, (x, y, z) in enumerate(BODY_M):
        disc = (columns - 160 - x / z / 0.0035) ** 2 + (rows - 120 + y / z / 0.0035) ** 2 < 18**2
        depth[disc], parts[disc] = z - 0.1, joint
    noisy = depth + rng.normal(0, 0.01, (PICTURES, 240, 320)) * (depth / 3) ** 2
    noisy[rng.random(noisy.shape) < 0.01] = 0
    return noisy.astype(np.float16), np.repeat(parts[None], PICTURES, axis=0)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("itop")
    rng = np.random.default_rng(0)
    depth, parts = pictures(rng)
    ids = np.array([f"{number // 2500:02d}_{number % 2500:05d}" for number in range(FRAMES)], "S8")
    valid = np.repeat(rng.random(-(-FRAMES // 20)) < VALID_SHARE, 20)[:FRAMES].astype(np.uint8)
    joints = (BODY_M + rng.normal(0, 0.01, (FRAMES, 1, 3))).astype(np.float16)
    with (
        h5py.File(folder / "ITOP_side_train_depth_map.h5", "w") as images,
        h5py.File(folder / "ITOP_side_train_labels.h5", "w") as labels,
    ):
        data = images.create_dataset("data", (FRAMES, 240, 320), np.float16)
        segmentation = labels.create_dataset("segmentation", (FRAMES, 240, 320), np.int8)
        for first in range(0, FRAMES, PICTURES):
            count = min(PICTURES, FRAMES - first)
            data[first : first + count] = np.roll(depth, first, axis=0)[:count]
            segmentation[first : first + count] = parts[:count]
        images["id"] = labels["id"] = ids
        labels["is_valid"] = valid
        labels["visible_joints"] = np.ones((FRAMES, 15), np.int16)
        labels["image_coordinates"] = np.zeros((FRAMES, 15, 2), np.int16)
        labels["real_world_coordinates"] = joints
    yield folder
    shutil.rmtree(folder)


PLAIN = [cv2.IMWRITE_PNG_COMPRESSION, 1]
"""What one writes: the level alone, so that OpenCV's filters stay."""
OURS = [*PLAIN, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def bare(raw: Path, settings: list[int]) -> tuple[int, int]:
    """Read slices, encode crops of the same size at the same places; how many, and how many bytes."""
    count = size = 0
    with (
        h5py.File(raw / "ITOP_side_train_depth_map.h5", "r") as images,
        h5py.File(raw / "ITOP_side_train_labels.h5", "r") as labels,
    ):
        valid = labels["is_valid"][:]
        for first in range(0, len(valid), SLAB_ROWS):
            chosen = np.flatnonzero(valid[first : first + SLAB_ROWS])
            if not len(chosen):
                continue
            rows = slice(first + int(chosen[0]), first + int(chosen[-1]) + 1)
            depth, parts = images["data"][rows], labels["segmentation"][rows]
            for row in chosen - chosen[0]:
                for image in (depth[row].view(np.uint16)[:, 40:280], parts[row].view(np.uint8)[:, 40:280]):
                    done, data = cv2.imencode(".png", image, settings)
                    assert done
                    size += len(data)
                count += 1
    return count, size


def test_prepare_against_the_bare_work(raw: Path, tmp_path: Path, figures: FiveRuns) -> None:
    cv2.setNumThreads(1)
    out = tmp_path / "out"
    count, _ = bare(raw, OURS)

    def convert() -> None:
        shutil.rmtree(out, ignore_errors=True)
        manifest = prepare(PLUGIN, raw=raw, out=out, splits=["front-train"], workers=1)
        assert manifest.splits["front-train"].samples == count

    def shares() -> dict[str, float]:
        opencv, same, ours = (processor_s(act) for act in (lambda: bare(raw, PLAIN), lambda: bare(raw, OURS), convert))
        return {"prepare-itop": same / ours, "prepare-itop-opencv": opencv / ours}

    convert()
    assert statistics.median(figures(shares)["prepare-itop-opencv"]) > LEAST_SHARE


def processor_s(act: Callable[[], object]) -> float:
    start = time.process_time()
    act()
    return time.process_time() - start


MEASURE = """
import resource, sys, kt3d_itop
from pathlib import Path
from kt3d_bench.data.prepare import prepare
if __name__ == "__main__":
    (plugin,) = kt3d_itop.kt3d_datasets()
    prepare(plugin, raw=Path(sys.argv[1]), out=Path(sys.argv[2]), splits=["front-train"], workers=2)
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(own, children)
"""


def test_memory_of_workers(raw: Path, tmp_path: Path, figures: FiveRuns) -> None:
    """The largest resident set of the process that plans and of any worker, in a program of its own."""
    script = tmp_path / "measure.py"
    script.write_text(MEASURE)

    def peak() -> dict[str, float]:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        command = [sys.executable, str(script), str(raw), str(tmp_path / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        own, worker = (int(text) * resource_unit() for text in done.stdout.split())
        assert max(own, worker) < MOST_MEMORY
        return {"prepare-itop-memory": worker / 1e6}

    figures(peak)


def resource_unit() -> int:
    """``ru_maxrss`` counts kilobytes, on macOS bytes."""
    return 1 if sys.platform == "darwin" else 1024
