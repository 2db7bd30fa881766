"""Predict with a finished run's final checkpoint: a benchmark's test images into a prediction file, or any samples.

An ``Estimate`` becomes camera millimetres with the hip's depth Z, which is either given (reference ``root-given``: the
true depth of joint 0) or estimated by the method (``from-depth``: ``root_z_mm``; no label is read then):

* ``joints_px`` with ``z_root_mm``: each joint is unprojected through the crop's camera at depth Z + its own depth;
* ``joints_root_mm``: the pose is placed with its hip at depth Z on the ray through ``joints_px`` of joint 0 if given,
  else through the centre of the network's input, which is the centre of the person's box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.folders import has_shards, shards_folder, with_target_found
from kt3d_bench.data.remote import local_folder
from kt3d_bench.errors import ArtefactError, PluginError, UsageError
from kt3d_bench.files import default_data_root
from kt3d_bench.geometry.cameras import unproject_arrays
from kt3d_bench.plugins import registry
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import final_checkpoint, read_run
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_bench.training import ranks
from kt3d_bench.training.external import predicted_samples
from kt3d_bench.training.joints import BATCH_SIZE, joints_for
from kt3d_bench.training.resolve import device_kind, device_name
from kt3d_bench.training.sources import fetch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from kt3d_bench.data.reader import ShardSet
    from kt3d_bench.loading.batches import UnlabelledBatch
    from kt3d_bench.method import Estimate, Method
    from kt3d_bench.metrics.benchmarks import Benchmark
    from kt3d_bench.metrics.predictions import Predictions

FloatArray = npt.NDArray[np.float64]


def predict(
    folder: Path,
    benchmark: str | None = None,
    *,
    shards: Path | str | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    batch_size: int = BATCH_SIZE,
    limit: int | None = None,
    report: Reporter | None = None,
) -> Path:
    """Predict the samples that a benchmark scores; return the file, ``<folder>/predictions/<benchmark>.npz``. Clips
    take their other frames from all that are stored of the split.

    ``benchmark`` defaults to the one of the run's target; ``shards`` (a folder or a URL) to the target's folder, or the
    data root's for another dataset. Several processes (``devices`` on each of ``nodes``, or as a launcher started them)
    predict a part each; every sample is predicted once, and the first process writes. Raises ``UsageError`` for an
    unknown benchmark, one of another modality and shards of another test; ``ArtefactError`` for missing shards and
    missing or corrupt checkpoints.
    """
    from kt3d_bench.data.manifest import read_manifest
    from kt3d_bench.data.reader import ShardSet
    from kt3d_bench.metrics.predictions import write_predictions
    from kt3d_bench.metrics.truth import require_test

    document = with_target_found(read_run(folder), *data_roots(folder))
    method, about = load_method(final_checkpoint(folder))
    chosen = choose_benchmark(document, benchmark)
    if method.context.target_modality != chosen.modality:
        raise UsageError(
            f"benchmark '{chosen.id}' gives {chosen.modality} images, the run reads {method.context.target_modality}",
            where=folder,
            hint="predict a benchmark of the run's own modality",
        )
    place = test_shards(document, chosen, shards, folder)
    manifest = read_manifest(place)
    require_test(chosen, manifest.dataset, chosen.split, manifest.box_rule, manifest.foreground)
    test = predicted_samples(ShardSet.open(place, chosen.split), folder, document, method)
    scored = chosen.scored(test.labels.frame)
    with _started(device, devices, nodes, report) as workers:
        title = f"predict {chosen.id}"
        indices, joints = _pass(method, test, chosen.reference, title, workers, batch_size, limit, scored)
        target = folder / "predictions" / f"{chosen.id}.npz"
        if workers.rank == 0:
            named = {"benchmark": chosen.id, "benchmark_version": chosen.version}
            meta = {**named, **_meta(folder, document, about, test.take(scored), method, chosen.reference)}
            write_predictions(target, [str(key) for key in test.keys[indices]], joints, meta=meta)
    return target


def predict_samples(
    folder: Path,
    samples: ShardSet,
    *,
    reference: str | None = None,
    device: str = "auto",
    devices: int = 1,
    nodes: int = 1,
    batch_size: int = BATCH_SIZE,
    report: Reporter | None = None,
) -> Predictions:
    """Predict any samples with a run's final checkpoint; write nothing. See ``runs.Run.predict``."""
    from kt3d_bench.metrics.predictions import Predictions

    document = read_run(folder)
    method, about = load_method(final_checkpoint(folder))
    samples = predicted_samples(samples, folder, document, method)
    samples.require(method.reads)
    reference = reference or _usual_reference(samples, method.context.target_modality)
    with _started(device, devices, nodes, report) as workers:
        indices, joints = _pass(method, samples, reference, f"predict {samples.split}", workers, batch_size, None)
    meta = _meta(folder, document, about, samples, method, reference)
    return Predictions(np.array(samples.keys[indices], np.str_), joints, meta)


def _usual_reference(samples: ShardSet, modality: str) -> str:
    """The reference on which the benchmarks on these samples agree, else what their labels allow."""
    offered = registry.benchmarks_of(samples.manifest.dataset)
    found = {one.reference for one in offered if (one.split, one.modality) == (samples.split, modality)}
    if len(found) == 1:
        return found.pop()
    return "root-given" if np.isfinite(samples.labels.joints_cam_mm[:, 0, 2]).any() else "from-depth"


def _meta(
    folder: Path,
    document: Mapping[str, Any],
    about: Mapping[str, Any],
    samples: ShardSet,
    method: Method,
    reference: str,
) -> dict[str, Any]:
    return {
        "run": folder.name,
        "method": about["method"],
        "checkpoint_sha256": document.get("checkpoint_sha256"),
        "sample_list_digest": samples.sample_list_digest,
        "shards_digest": samples.digest,
        "origin": samples.origin,
        "reference": reference,
        "reads": list(method.reads),
        **({"masks": document["config"]["masks"]} if samples.masks is not None else {}),
    }


@dataclass(frozen=True, eq=False)
class _Workers:
    """The processes that predict, and which one this is."""

    fabric: Fabric | None
    device: str
    rank: int
    world: int
    report: Reporter


@contextmanager
def _started(device: str, devices: int, nodes: int, report: Reporter | None) -> Iterator[_Workers]:
    """Start the processes; on leaving, wait for the main one."""
    count = ranks.processes(devices, nodes)
    fabric = ranks.start(count, device_kind(device), device, "32-true") if count.world > 1 else None
    if fabric is None:
        yield _Workers(None, device_name(device), 0, 1, report or Reporter())
        return
    shown = report if report is not None and fabric.is_global_zero else Reporter()
    yield _Workers(fabric, str(fabric.device), fabric.global_rank, fabric.world_size, shown)
    fabric.barrier()


def load_method(path: Path) -> tuple[Method, dict[str, Any]]:
    """Rebuild a method from its final checkpoint; return it and what the checkpoint records about itself.

    Raises ``ArtefactError`` for a corrupt checkpoint and for one whose method has changed its config or networks.
    """
    from kt3d_bench.method import MethodContext
    from kt3d_bench.training import checkpoint

    content = checkpoint.load(path)
    try:
        kind = registry.load(registry.method(content["method"]).load)
        method: Method = kind(kind.Config(**content["config"]), MethodContext(**content["context"]))
        method.load_state_dict(content["model"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "install the versions it names, or train again"
        raise ArtefactError(f"does not fit the installed method ({reason})", where=path, hint=hint) from error
    return method, {name: value for name, value in content.items() if name != "model"}


def require_single_images(method: Method, doing: str) -> None:
    """Raise ``UsageError`` for a method that ``doing`` cannot give what it reads: clips, or stored detections."""
    if method.clip is not None or method.detections:
        read = "clips" if method.clip is not None else "stored detections"
        hint = "choose a run that reads single images; this one predicts prepared shards"
        raise UsageError(f"the method reads {read}, and {doing} takes single images", hint=hint)


def untrained_method(name: str, modality: str) -> Method:
    """Build a method without stages, by its name, for images of ``modality``, with the first of its presets.

    Raises ``UsageError`` for an unknown method and for one that must be trained.
    """
    from kt3d_bench.method import MethodContext
    from kt3d_bench.training.settings import build_config

    plugin = registry.method(name)
    kind = registry.load(plugin.load)
    config = build_config(kind.Config, kind.PRESETS, plugin.presets[0], {}, kind.BUNDLES)
    method: Method = kind(config, MethodContext(modality, num_parts=0, supervision="none", transfers=True))
    if method.stages():
        hint = f"train it: kt3d train --method {name}; then name the run"
        raise UsageError(f"the method '{name}' must be trained before it predicts", hint=hint)
    return method


def choose_benchmark(document: dict[str, Any], name: str | None) -> Benchmark:
    """Return the named benchmark of any dataset, or the only one of the run's target that its shards can serve."""
    from kt3d_bench.data.manifest import read_manifest

    if name is not None:
        return registry.benchmark(name)
    target = document["shards"]["target"]
    if target.get("benchmark"):
        return registry.benchmark(target["benchmark"])
    offered = registry.benchmarks_of(target["dataset"])
    if len(offered) > 1:
        present = read_manifest(Path(target["folder"])).splits
        offered = tuple(benchmark for benchmark in offered if benchmark.split in present)
    if len(offered) != 1:
        names = ", ".join(benchmark.id for benchmark in offered)
        raise UsageError(
            f"dataset '{target['dataset']}' has {len(offered)} benchmarks that fit its shards",
            where=target["folder"],
            hint=f"name one: --benchmark ID ({names})" if names else "name one: --benchmark ID",
        )
    return offered[0]


def data_roots(run: Path) -> tuple[Path, Path]:
    """Return where a run's data may be after a move: the root that holds the run, and this command's data root."""
    return run.absolute().parents[1], default_data_root()


def test_shards(document: dict[str, Any], benchmark: Benchmark, given: Path | str | None, run: Path) -> Path:
    """Return the folder of a benchmark's test shards: ``given``, else the run's target's or the data root's."""
    target = document["shards"]["target"]
    if given is not None:
        folder = local_folder(given)
    elif target["dataset"] == benchmark.dataset:
        folder = Path(target["folder"])
    else:
        roots = (Path(document["config"]["data_root"]), *data_roots(run))
        places = [shards_folder(root, benchmark.dataset) for root in roots]
        folder = next((place for place in places if has_shards(place)), places[0])
    if not has_shards(folder):
        problem = f"there are no shards of '{benchmark.dataset}'"
        raise ArtefactError(problem, where=folder, hint=f"make them: kt3d prepare {benchmark.dataset}")
    return folder


def _pass(
    method: Method,
    samples: ShardSet,
    reference: str,
    title: str,
    workers: _Workers,
    batch_size: int,
    limit: int | None,
    only: npt.NDArray[np.int64] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return (N,) indices into the samples, those of ``only``, and (N, 17, 3) predicted mm, with one batch in memory at
    a time."""
    import torch

    from kt3d_bench.loading.clips import middle
    from kt3d_bench.loading.loader import Loader
    from kt3d_bench.method import OWN

    fetch(samples, workers.report)
    method.to(workers.device).eval()
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "input_px": method.input_px,
        "labelled": False,
        "device": workers.device,
        "rank": workers.rank,
        "world": workers.world,
        "limit": limit,
        "only": only,
        "clip": method.clip,
    }
    detected = None
    if method.detections:
        needed = Loader(samples, (), **options).needed
        detected = joints_for(method, method.detections, samples, workers.device, workers.report, only=needed)
    shown_images = () if method.detections == OWN else method.reads
    loader = Loader(samples, shown_images, **options, detections_px=detected)
    if loader.repeats:
        workers.report.note(
            f"no sample of split '{samples.split}' has a neighbour for clips of {method.clip}: each clip repeats its "
            f"middle frame; kt3d list {samples.manifest.dataset} names the options that prepare more frames"
        )
    workers.report.start(title, loader.batches_per_epoch)
    indices, joints, done = [np.zeros(0, np.int64)], [np.zeros((0, NUM_JOINTS, 3), np.float32)], 0
    try:
        with torch.no_grad():
            for number, (rows, batch) in enumerate(loader.ordered(), 1):
                given = samples.labels.joints_cam_mm[rows, 0, 2] if reference == "root-given" else None
                shown = batch if method.clip is None else middle(batch, method.clip[0])
                positions = camera_positions(method.predict(batch), shown, method.input_px, given)
                indices.append(rows)
                joints.append(positions.astype(np.float32))
                done += len(rows)
                workers.report.advance(number, samples=done)
    finally:
        loader.close()
    workers.report.finish()
    found = np.concatenate(indices), np.concatenate(joints)
    return found if workers.fabric is None else ranks.gather_rows(workers.fabric, *found, loader.samples)


def camera_positions(
    estimate: Estimate, batch: UnlabelledBatch, input_px: int, root_z_mm: npt.NDArray[Any] | None
) -> FloatArray:
    """Return (B, 17, 3) mm in the camera frame; ``root_z_mm`` (B,) is the given depth of the hip, or ``None`` to use
    the estimate's own. The module's docstring has the rules.

    Raises ``PluginError`` when the estimate does not hold what is needed.
    """
    own = _array(estimate.root_z_mm)
    if root_z_mm is None and own is None:
        raise PluginError(
            "this benchmark's reference is from-depth, and the method estimates no depth of the hip (root_z_mm)",
            where="Estimate",
            hint="predict a benchmark whose reference is root-given",
        )
    depth = np.asarray(own if root_z_mm is None else root_z_mm, np.float64)
    points, offsets, relative = map(_array, (estimate.joints_px, estimate.z_root_mm, estimate.joints_root_mm))
    cameras = batch.cameras
    camera = _array(cameras.intrinsics_px), _array(cameras.distortion), cameras.tangential_factor
    if relative is not None:
        center = np.full((len(depth), 1, 2), (input_px - 1) / 2) if points is None else points[:, :1]
        return np.asarray(relative + unproject_arrays(*camera, center, depth[:, None]))
    if points is None or offsets is None:
        raise PluginError("holds neither joints_px with z_root_mm nor joints_root_mm", where="Estimate")
    return unproject_arrays(*camera, points, depth[:, None] + offsets)


def _array(tensor: Any) -> Any:
    """Return float64 on the CPU; ``None`` stays ``None``."""
    return None if tensor is None else tensor.detach().cpu().double().numpy()
