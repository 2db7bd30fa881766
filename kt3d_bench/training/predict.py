"""``predict``: a finished run's final checkpoint over a benchmark's test images, as a prediction file.

How an ``Estimate`` becomes camera millimetres, with the hip's depth Z either given (reference ``root-given``: the true
depth of joint 0) or the method's own (``from-depth``: ``root_z_mm``; no label is read then):

* ``joints_px`` with ``z_root_mm``: each joint is unprojected through the crop's camera at depth Z + its own depth;
* ``joints_root_mm``: the pose is placed with its hip at depth Z on the ray through ``joints_px`` of joint 0 if given,
  else through the centre of the network's input, which is the centre of the person's box.
"""

from __future__ import annotations

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
from kt3d_bench.training import run as runs
from kt3d_bench.training.sources import (
    fetch,
)

if TYPE_CHECKING:
    from kt3d_bench.data.reader import ShardSet
    from kt3d_bench.loading.batches import UnlabelledBatch
    from kt3d_bench.method import Estimate, Method
    from kt3d_bench.metrics.benchmarks import Benchmark

FloatArray = npt.NDArray[np.float64]
BATCH_SIZE = 64


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
    """Predict a benchmark's test samples with a run's final checkpoint; returns
    ``<folder>/predictions/<benchmark>.npz``.

    ``benchmark`` defaults to the one of the run's target; ``shards`` (a folder or a URL) to the target's folder, or the
    data root's for another dataset. Several processes (``devices`` on each of ``nodes``, or as a launcher started them)
    predict a part each; every sample is predicted once, and the first process writes. Raises ``UsageError`` for an
    unknown benchmark or one of another modality, ``ArtefactError`` for missing shards and missing or damaged
    checkpoints.
    """
    from kt3d_bench.data.reader import ShardSet
    from kt3d_bench.loading.loader import Loader
    from kt3d_bench.metrics.predictions import write_predictions

    report = report or Reporter()
    document = with_target_found(read_run(folder), *_data_roots(folder))
    method, about = load_method(final_checkpoint(folder))
    chosen = choose_benchmark(document, benchmark)
    if method.context.target_modality != chosen.modality:
        raise UsageError(
            f"benchmark '{chosen.id}' gives {chosen.modality} images, the run reads {method.context.target_modality}",
            where=folder,
            hint="predict a benchmark of its own modality",
        )
    test = ShardSet.open(_test_shards(document, chosen, shards, folder), chosen.split)
    kind = runs.device_kind(device)
    count = ranks.processes(devices, nodes)
    fabric = ranks.start(count, kind, device, "32-true") if count.world > 1 else None
    place = str(fabric.device) if fabric is not None else device if ":" in device else kind
    rank = fabric.global_rank if fabric is not None else 0
    report = report if rank == 0 else Reporter()
    fetch(test, report)
    method.to(place).eval()
    loader = Loader(
        test,
        method.reads,
        batch_size=batch_size,
        input_px=method.input_px,
        labelled=False,
        shuffle=False,
        device=place,
        rank=rank,
        world=count.world,
        limit=limit,
    )
    try:
        indices, joints = _pass(method, loader, test, chosen, report)
    finally:
        loader.close()
    if fabric is not None:
        indices, joints = ranks.gather_rows(fabric, indices, joints, loader.samples)
    target = folder / "predictions" / f"{chosen.id}.npz"
    meta = {
        "benchmark": chosen.id,
        "benchmark_version": chosen.version,
        "run": folder.name,
        "method": about["method"],
        "checkpoint_sha256": document.get("checkpoint_sha256"),
        "sample_list_digest": test.sample_list_digest,
        "shards_digest": test.digest,
        "origin": test.origin,
        "reference": chosen.reference,
        "reads": list(method.reads),
    }
    if rank == 0:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(target, [str(key) for key in test.keys[indices]], joints, meta=meta)
    if fabric is not None:
        fabric.barrier()
    return target


def load_method(path: Path) -> tuple[Method, dict[str, Any]]:
    """Rebuild a method from its final checkpoint alone; also what the checkpoint says about itself.

    Raises ``ArtefactError`` for a damaged checkpoint and for one whose method has changed its config or networks.
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
        raise ArtefactError(
            f"does not fit the installed method ({reason})",
            where=path,
            hint="install the versions it names, or train again",
        ) from error
    return method, {name: value for name, value in content.items() if name != "model"}


def choose_benchmark(document: dict[str, Any], name: str | None) -> Benchmark:
    """The named benchmark of any dataset, or the only one of the run's target that its shards can serve."""
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


def _data_roots(run: Path) -> tuple[Path, Path]:
    """Where the data of a run may lie when it is not where it was: the root that holds the run, and this command's."""
    return run.absolute().parents[1], default_data_root()


def _test_shards(document: dict[str, Any], benchmark: Benchmark, given: Path | str | None, run: Path) -> Path:
    target = document["shards"]["target"]
    if given is not None:
        folder = local_folder(given)
    elif target["dataset"] == benchmark.dataset:
        folder = Path(target["folder"])
    else:
        roots = (Path(document["config"]["data_root"]), *_data_roots(run))
        places = [shards_folder(root, benchmark.dataset) for root in roots]
        folder = next((place for place in places if has_shards(place)), places[0])
    if not has_shards(folder):
        raise ArtefactError(
            f"there are no shards of '{benchmark.dataset}'",
            where=folder,
            hint=f"make them: kt3d prepare {benchmark.dataset}",
        )
    return folder


def _pass(
    method: Method, loader: Any, test: ShardSet, benchmark: Benchmark, report: Reporter
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """(N,) indices into the split and (N, 17, 3) predicted mm, one batch in memory at a time."""
    import torch

    total = loader.batches_per_epoch
    report.start(f"predict {benchmark.id}", total)
    indices = [np.zeros(0, np.int64)]
    joints = [np.zeros((0, NUM_JOINTS, 3), np.float32)]
    done = 0
    with torch.no_grad():
        for number, (rows, batch) in enumerate(loader.ordered(), 1):
            given = test.labels.joints_cam_mm[rows, 0, 2] if benchmark.reference == "root-given" else None
            positions = camera_positions(method.predict(batch), batch, method.input_px, given)
            indices.append(rows)
            joints.append(positions.astype(np.float32))
            done += len(rows)
            report.advance(number, samples=done)
    report.finish()
    return np.concatenate(indices), np.concatenate(joints)


def camera_positions(
    estimate: Estimate, batch: UnlabelledBatch, input_px: int, root_z_mm: npt.NDArray[Any] | None
) -> FloatArray:
    """(B, 17, 3) mm in the camera frame from an estimate; ``root_z_mm`` (B,) is the given depth of the hip, or ``None``
    to use the estimate's own. See the module's text for the rules.

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
    points, offsets, relative = (
        _array(estimate.joints_px),
        _array(estimate.z_root_mm),
        _array(estimate.joints_root_mm),
    )
    intrinsics = _array(batch.cameras.intrinsics_px)
    distortion = _array(batch.cameras.distortion)
    assert intrinsics is not None
    assert distortion is not None
    factor = batch.cameras.tangential_factor
    if relative is not None:
        center = np.full((len(depth), 1, 2), (input_px - 1) / 2) if points is None else points[:, :1]
        return relative + unproject_arrays(intrinsics, distortion, factor, center, depth[:, None])
    if points is None or offsets is None:
        raise PluginError("holds neither joints_px with z_root_mm nor joints_root_mm", where="Estimate")
    return unproject_arrays(intrinsics, distortion, factor, points, depth[:, None] + offsets)


def _array(tensor: Any) -> FloatArray | None:
    return None if tensor is None else np.asarray(tensor.detach().cpu().double().numpy(), np.float64)
