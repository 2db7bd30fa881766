"""A crowded folder of boards: ties, seeds, old entries, and a stranger who tries to be markup, script and address."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from kt3d_bench.leaderboard.entries import (
    Breakdown,
    Clips,
    Entry,
    Flags,
    Provenance,
    Submission,
    TrainingData,
    write_entry,
)
from kt3d_bench.leaderboard.render import render_boards
from kt3d_bench.leaderboard.samples import SAMPLES, ShownRow, ShownSample, ShownSamples, encode_samples
from kt3d_bench.metrics.benchmarks import Benchmark, Published, PublishedRow
from kt3d_bench.metrics.functional import CURVE_MM
from kt3d_bench.skeletons import H36M17

HOSTILE = (
    "</title></script><script>document.title='hurt'</script><img src=x onerror=\"document.title='hurt'\">"
    "' onmouseover='alert(1)' {{ 7 * 7 }} {% raw %} \u202egnp.exe\x1b[31m"
)
LINK = "javascript:document.title='hurt'"
BENCHMARKS = {
    "street-test": Benchmark(
        id="street-test", version=1, title="Street: test people, from one image", dataset="street", split="test",
        modality="rgb", headline=("mpjpe_mm", "pa_mpjpe_mm"), beside=("pa_mpjpe_rigid_mm", "pck_100"), root=0,
        reference="root-given", box_rule="joints", sees="the person's crop, its camera and the box", action_mean=True,
        footnotes=("A footnote.",), sample_list_digest="a" * 64,
    ),
    "room-test": Benchmark(
        id="room-test", version=1, title="Room: test people, from one depth image", dataset="room", split="test",
        modality="depth", headline=("mpjpe_mm", "pck_100"), root=None, reference="from-depth", box_rule="mask",
        foreground="central-body", sees="the person's crop (depth), its camera and the box",
        sample_list_digest="a" * 64,
    ),
}  # fmt: skip
PUBLISHED = {
    "street-test": Published(
        "street-test",
        "A paper, 2019, Table 3",
        (
            PublishedRow("Silent et al.", {"mpjpe_mm": 60.0, "pa_mpjpe_mm": None}, "weakly supervised"),
            *(
                PublishedRow(
                    f"Author {n} et al.", {"mpjpe_mm": 120.0 - 3 * n, "pa_mpjpe_mm": 90.0 - 2 * n}, kind, cite=n
                )
                for n, kind in enumerate(["fully supervised"] * 5 + ["weakly supervised"] * 3)
            ),
        ),
        ("Its alignment is not said.",),
    )
}
ACTIONS = ("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting",
           "Sitting down", "Smoking", "Waiting", "Walk dog", "Walking", "Walk together")  # fmt: skip
_CLIPS = 40
_SIZES = tuple(int(size) for size in np.random.default_rng(1).integers(3, 30, _CLIPS))
_HARD = np.random.default_rng(0).normal(1.0, 0.2, _CLIPS)
_WEIGHT = np.array([0.0, 0.55, 1.1, 1.7, 0.55, 1.1, 1.7, 0.5, 0.7, 1.0, 1.1, 0.8, 1.3, 1.9, 0.8, 1.3, 1.9])


def entry(method: str, error_mm: float, *, number: int = 0, benchmark: str = "street-test", **changes: Any) -> Entry:
    """An entry with values by clip, joint, action, subject and camera that hang together well enough to look at."""
    rng = np.random.default_rng(1000 + number)
    clips = np.round(error_mm * _HARD * rng.normal(1, 0.02, _CLIPS), 4)
    value = float(np.average(clips, weights=_SIZES))

    def fold(names: tuple[str, ...], weights: Any) -> dict[str, dict[str, float | None]]:
        return {
            name: {"mpjpe_mm": round(float(value * weight), 4)} for name, weight in zip(names, weights, strict=True)
        }

    breakdown = Breakdown(
        by_joint=fold(H36M17.joints, _WEIGHT * rng.normal(1, 0.05, 17) / _WEIGHT.mean()),
        by_action=fold(ACTIONS, rng.normal(1, 0.15, len(ACTIONS))),
        by_subject=fold(("S9", "S11"), (1.06, 0.94)),
        by_camera=fold(("54138969", "55011271", "58860488", "60457274"), rng.normal(1, 0.06, 4)),
        pck_curve=tuple(round(float(100 * (1 - np.exp(-((at / value) ** 1.6)))), 4) for at in CURVE_MM),
    )
    stages = [{"name": "synthetic", "digest": "5e" * 32, "seconds": 60.0}]
    adapts = changes.get("adapts", True)
    roles = [("pretrain", "outdoor", "official"), ("source", "clean", "generated")]
    if adapts:
        stages.append({"name": "adapt", "digest": f"{number:064x}", "seconds": 30.0})
        roles.append(("target", "street" if benchmark == "street-test" else "room", "official"))
    changes.pop("adapts", None)
    level = changes.get("supervision", "none")
    training = changes.pop("training", tuple(
        TrainingData(role=role, dataset=dataset, origin=origin, labels="" if role == "target" else "all",
                     split_digest="ab" * 32) for role, dataset, origin in roles
    ))  # fmt: skip
    facts: dict[str, Any] = {
        "sample_list_digest": "a" * 64, "labels_digest": "b" * 64, "metric_version": 1, "checkpoint_sha256": "c" * 64,
        "predictions_sha256": f"{number:064d}", "device": "NVIDIA H100 bf16", "wall_seconds": 5400.0 + number,
        "command": f"kt3d train --method {method} --supervision {level} --seed {changes.get('seed', 0)}",
        "run": {"stages": stages}, "versions": {"kt3d-bench": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        **changes.pop("provenance", {}),
    }  # fmt: skip
    whole: dict[str, Any] = {
        "benchmark": benchmark, "benchmark_version": 1, "origin": "official", "method": method, "supervision": level,
        "scores": {"mpjpe_mm": value, "pa_mpjpe_mm": 0.72 * value, "pa_mpjpe_rigid_mm": 0.76 * value,
                   "pck_100": breakdown.pck_curve[20], "action_mean_mpjpe_mm": value + 0.4},
        "intervals": {"mpjpe_mm": (0.95 * value, 1.05 * value)}, "samples": sum(_SIZES), "seed": 0,
        "settings": {"preset": "paper"}, "interval_rule": "expanded-percentile", "breakdown": breakdown,
        "clips": Clips(names_sha256="f" * 64, samples=_SIZES, means={"mpjpe_mm": tuple(clips.tolist())}),
        "provenance": Provenance(**facts),
        "flags": Flags(target_labels_seen=changes.pop("labels_seen", level), training_data=training,
                       external_data=changes.pop("external", ()), reference="root-given", box_rule="joints",
                       selection_rule=changes.pop("selection", "last")),
    }  # fmt: skip
    return Entry(**(whole | changes))


def crowd() -> tuple[Entry, ...]:
    """About thirty entries, 25 rows, on three boards."""
    found = [
        entry("transfer", 78 + seed / 2, number=seed, seed=seed) for seed in range(3)
    ] + [
        entry("transfer", 61, number=10, supervision="partial", joints=6),
        entry("transfer", 55, number=11, supervision="partial-3d", joints=12),
        entry("transfer", 46.3, number=12, supervision="full"),
        entry("transfer-source", 97.2, number=13, adapts=False),
        entry("integral", 49.6, number=14, supervision="full",
              training=(TrainingData(role="target", dataset="street", origin="official", labels="full"),)),
        entry("near-integral", 49.7, number=15, supervision="full", external=("ImageNet weights",)),
        entry("martinez", 101, number=16, adapts=False, breakdown=None),
        entry("mean-pose", 190, number=17, adapts=False),
        entry("peeking", 44, number=18, selection="oracle", supervision="full-2d"),
        entry("half-done", 50, number=19, unanswered=120, undefined={"mpjpe_mm": 120},
              degenerate={"all joints in one point": 3}),
        entry("stranger", 83, number=20, title=HOSTILE, supervision=HOSTILE, labels_seen=HOSTILE, external=(HOSTILE,),
              settings={HOSTILE: HOSTILE}, training=(), seed=None,
              provenance={"command": HOSTILE, "device": HOSTILE, "versions": {HOSTILE: HOSTILE},
                          "submission": Submission(
                  form=HOSTILE, file_sha256="d" * 64, suspicions=(HOSTILE,), link=LINK)}),
        entry("honest-stranger", 84, number=21, labels_seen="not stated", supervision="not stated", training=(),
              provenance={"command": "", "submission": Submission(
                  form="mmpose", file_sha256="d" * 64, link="https://example.org/code?a=1&b=2")}),
        entry("old-entry", 88, number=22, breakdown=None, clips=None, interval_rule="percentile"),
        entry("a-very-long-name-" + "x" * 80, 92, number=23,
              settings={"preset": "paper", "branch": "mask", "weight": 0.5}),
    ] + [
        entry(f"sweep-{weight}", 70 + weight / 3, number=30 + weight, supervision="partial-2d", joints=3,
              settings={"preset": "small", "weight": weight})
        for weight in range(8)
    ]  # fmt: skip
    generated = [one.model_copy(update={"origin": "generated", "generator_version": 2}) for one in found[:8]]
    depth = [
        entry("transfer", 25, number=50, benchmark="room-test"),
        entry("transfer", 16, number=51, benchmark="room-test", supervision="full"),
        entry("transfer-source", 60, number=52, benchmark="room-test", adapts=False),
    ]
    return (*found, *generated, *depth)


def samples(rows: Sequence[Entry]) -> ShownSamples:
    """Six samples under two rows: a pose, and the same with an error that grows; of the last there is no answer."""
    rng = np.random.default_rng(3)
    picture = base64.b64encode(simplejpeg.encode_jpeg(np.full((128, 128, 3), 90, np.uint8), colorspace="RGB")).decode()
    shown = []
    for number in range(6):
        true = rng.normal(size=(17, 3)) * 300
        off = [true + rng.normal(size=true.shape) * 20 * (number + 1 + 3 * row) for row in range(2)]
        poses: Any = [[tuple(map(float, joint.round(1))) for joint in pose] for pose in (true, *off)]
        if number == 5:
            poses[2] = [None] * 17
        shown.append(ShownSample(key=f"S9_{number} {HOSTILE[:40]}", image=picture, true_mm=poses[0],
                                 predicted_mm=(poses[1], poses[2])))  # fmt: skip
    one, other = (
        ShownRow(entry=row.file_name, predictions_sha256=str(row.provenance.predictions_sha256)) for row in rows
    )
    return ShownSamples(rows=(one, other), samples=tuple(shown))


def build(folder: Path) -> Path:
    """Write and render them; returns the index."""
    for one in crowd():
        write_entry(folder, one)
    generated = [one for one in crowd() if one.origin == "generated"]
    shown = encode_samples(samples((generated[6], generated[0])))
    (folder / generated[0].board / SAMPLES).write_bytes(shown)
    render_boards(folder, BENCHMARKS, PUBLISHED)
    return folder / "index.html"
