"""What is measured: one record for each row of the table, by the file that measures it.

To add a row, add its record here and give its figures to the fixture ``figures`` (conftest.py) in a test of that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

RUNS = 5
"""Runs of every row; the table shows their median and their worst."""


@dataclass(frozen=True)
class Row:
    """One row: a number that one run of its test gives."""

    name: str
    """As in result files; never changed while its meaning stays."""
    what: str
    """What is measured, and against what: Markdown."""
    unit: str
    """A unit, or what the number is a ratio of."""
    better: Literal["lower", "higher"]
    target: float | None = None
    """What the worst run has to reach."""
    limit: str = ""
    """What the number cannot pass, or what it would be without our work: words."""

    def worst(self, values: tuple[float, ...]) -> float:
        return max(values) if self.better == "lower" else min(values)

    def reached(self, value: float) -> bool:
        if self.target is None:
            return True
        return value <= self.target if self.better == "lower" else value >= self.target


_NETWORKS = {
    "integral-pose-rgb": "`integral-pose`, RGB",
    "integral-pose-depth": "`integral-pose`, depth images",
    "martinez-rgb": "`martinez` with its 2D network",
    "simcc-3d-rgb": "`simcc-3d`",
    "volumetric-rgb": "`volumetric`",
    "zhou-rgb": "`zhou`",
    "a2j-depth": "`a2j`",
    "v2v-depth": "`v2v`",
    "ddp-depth": "`ddp`",
    "shafaei-depth": "`shafaei`",
    "dann-depth": "`dann`",
    "knowledge-transfer-rgb": "`knowledge-transfer`, RGB",
    "knowledge-transfer-depth": "`knowledge-transfer`, depth images",
    "source-only-rgb": "`source-only`, corrected by masks",
}
_COMMANDS = (
    ("score", "`kt3d score` of a finished run, whole command", 0.6, "Python's start, its modules and reading"),
    ("build", "`kt3d leaderboard build` with 100 entries on one board", 2.0, "rendering"),
    ("report", "`kt3d report` of a small run", 3.0, "as `kt3d score`, and packing plotly.js"),
    ("estimate", "`kt3d estimate` of `knowledge-transfer`, preset `paper`", 4.0, "`import torch`"),
)
_VOLUMES = ("plain-float32", "plain-bfloat16", "channels-last-float32", "channels-last-bfloat16")

ROWS: Mapping[str, tuple[Row, ...]] = {
    "test_bench_loading.py": (
        Row("load-jpeg", "stored crops into whole batches, 2 threads, against the bare decoding of the same bytes by 2 "
            "processes: JPEG", "of its rate", "higher", 0.95, "1"),
        Row("load-depth", "the same: 16-bit depth PNG", "of its rate", "higher", 0.95, "1"),
        Row("load-files", "augmented 256 px batches, 2 workers, warp on the CPU, against reading files of 1000 x 1000 "
            "as mmpose and Integral Pose do", "x", "higher", 4.5, "decoding a crop of 320 px"),
        Row("load-memory-64", "augmented batches of 64 px from memory against decoding again, warp on the CPU",
            "of the time", "lower", 0.15, "the warp alone"),
        Row("load-memory-256", "the same, 256 px", "of the time", "lower", 0.40, "the warp alone"),
        Row("load-growth", "growth of memory over samples loaded", "MB per million", "lower", 100.0, "0"),
    ),
    "test_bench_data.py": (
        Row("index-reads", "random reads through the side index against the WebDataset iterator", "x", "higher"),
    ),
    "test_bench_h36m.py": (
        Row("prepare-h36m", "preparing Human3.6M's videos, every 5th frame, against bare decoding, cutting and "
            "encoding", "of the rate", "higher", 0.92, "1"),
        Row("prepare-h36m-beside", "the same beside another process, against alone", "of the processor time", "lower",
            None, "1"),
        Row("prepare-h36m-memory", "memory of the same, five times the frames", "MB more", "lower", 40.0, "0"),
    ),
    "test_bench_itop.py": (
        Row("prepare-itop", "preparing ITOP against a bare loop of HDF5 slices and PNG encoding, our settings",
            "of the rate", "higher", 0.85, "1"),
        Row("prepare-itop-opencv", "the same, against OpenCV's settings", "of the rate", "higher"),
        Row("prepare-itop-memory", "memory of a worker that prepares ITOP", "MB", "lower", 1074.0),
    ),
    "test_bench_checks.py": (
        Row("checks-1", "checks that labels belong to their images, clips of one frame", "of `prepare`'s time",
            "lower", 0.05, "0"),
        Row("checks-60", "the same, clips of 60 frames", "of `prepare`'s time", "lower", 0.05, "0"),
    ),
    "test_bench_nn.py": (
        Row("soft-argmax", "soft-argmax of 4 x 17 x 64^3, forward and backward, against the materialised softmax",
            "of its time", "lower", 0.5, "one read forward, one read and one write backward"),
        Row("soft-argmax-share", "soft-argmax in a step of the `tiny` network", "of the step", "lower", 0.3),
        Row("bf16-tiny", "a step of the `tiny` network in bf16, on a CPU that computes it, against single precision",
            "of the time", "lower", 0.9),
    ),
    "test_bench_adapting.py": (
        Row("adapt-rgb", "adapt step of `knowledge-transfer` over the supervised step, ResNet-50, RGB", "x", "lower",
            2.3, "the supervised step and the teacher's two passes"),
        Row("adapt-depth", "the same, depth images", "x", "lower", 2.3, "as above"),
    ),
    "test_bench_synth.py": (
        Row("render-128", "rendering a generated person of 128 px without colours, one core, against torch's "
            "operations", "x", "higher", 5.0),
        Row("render-128-rate", "the same", "per s", "higher"),
        Row("shade-256", "depth, parts and RGB of 256 px, one core, against torch's and NumPy's operations", "x",
            "higher", 5.0),
        Row("shade-256-rate", "the same", "per s", "higher"),
        Row("postures", "drawing postures, against joint by joint", "x", "higher", 3.0),
        Row("stream-rate", "samples of UBC3V's stream, crops up to 320 px, one core", "per s", "higher"),
    ),
    "test_bench_metrics.py": (
        Row("score-543k", "MPJPE + PA-MPJPE + PCK of 543,344 poses (all of Human3.6M's test set, 4 cameras), one core",
            "s", "lower", 0.5, "reading the poses once: 0.03 s"),
        Row("score-543k-cores", "the same, all cores of the machine, against one", "of the time", "lower", None,
            "one over the number of cores"),
        Row("score-loop", "PA-MPJPE against a loop over poses with NumPy's SVD", "x", "higher", 40.0),
        Row("score-board", "8,695 samples with all folds and intervals, as `kt3d score` measures them", "s", "lower"),
    ),
    "test_bench_startup.py": (
        Row("help", "`kt3d --help`, processor time", "s", "lower", 0.15, "Python with click: 0.1 s"),
        Row("list", "`kt3d list`, processor time", "s", "lower", 0.3, "as above"),
    ),
    "test_bench_commands.py": tuple(
        row
        for name, what, target, limit in _COMMANDS
        for row in (
            Row(f"command-{name}", what, "s", "lower", target, limit),
            Row(f"command-{name}-processor", "the same, processor time", "s", "lower"),
            Row(f"command-{name}-click", "the same, against Python that imports click", "x", "lower"),
        )
    ),
    "test_bench_video.py": (
        Row("video-detect", "`kt3d predict blazepose --smooth` on a 1080p video with one person, one core, with "
            "overlays, boxes detected in every frame", "frames per s", "higher"),
        Row("video-given", "the same, boxes given in a file", "frames per s", "higher"),
        Row("video-memory", "resident memory of the same, at most", "MB", "lower"),
    ),
    "test_bench_zero_shot.py": (
        Row("blazepose-crops", "`blazepose` (full) on 256 px crops, one core", "images per s", "higher"),
        Row("blazepose-detector", "its detector on 1280 x 720 pictures, one core", "images per s", "higher"),
        *(
            Row(f"{engine}-{name}-{size}", f"{what}, size {size}, one image, one core: {engine}", "images per s",
                "higher")
            for size in ("tiny", "paper")
            for name, what in _NETWORKS.items()
            for engine in ("torch", "onnxruntime")
        ),
    ),
    "gpu.py": (
        Row("gpu-copy", "copying on the device, read and written", "GB/s", "higher"),
        Row("gpu-matmul", "product of two bf16 matrices, 8192 x 8192", "TFLOP/s", "higher"),
        *(
            row
            for volume in _VOLUMES
            for row in (
                Row(f"gpu-soft-argmax-{volume}", f"soft-argmax forward and backward, {volume}, against moving its "
                    "bytes", "of the time", "lower", 1.3, "1"),
                Row(f"gpu-soft-argmax-{volume}-softmax", "the same, against softmax and sums", "x", "higher"),
                Row(f"gpu-soft-argmax-{volume}-memory", "the same, memory at most", "of softmax's", "lower", 0.5),
            )
        ),
        Row("gpu-render", "rendering generated people of 256 px on the device", "images per s", "higher"),
        Row("gpu-render-core", "the same on one core of the CPU", "images per s", "higher"),
        *(
            row
            for batch in ("small", "large")
            for row in (
                Row(f"gpu-train-{batch}", "step of `integral-pose` `paper`, batch "
                    f"{32 if batch == 'small' else 128}, against plain torch with TF32", "x", "higher", 2.5),
                Row(f"gpu-train-{batch}-float32", "the same, against plain torch without TF32", "x", "higher"),
                Row(f"gpu-train-{batch}-rate", "the same", "images per s", "higher"),
                Row(f"gpu-train-{batch}-flops", "the same", "TFLOP/s", "higher"),
            )
        ),
        Row("gpu-adapt", "adapt step of `knowledge-transfer` over the supervised step", "x", "lower", 2.3),
        Row("gpu-load", "stored crops, warp on the device, against files of 1000 x 1000 warped on the CPU", "x",
            "higher", 8.0),
        Row("gpu-load-rate", "the same", "images per s", "higher"),
        Row("gpu-precision", "MPJPE with bf16 less MPJPE without, five seeds, each on its own", "mm", "lower"),
    ),
}  # fmt: skip
BY_NAME: Mapping[str, Row] = {row.name: row for rows in ROWS.values() for row in rows}
