"""Find people's joints and silhouettes in the images of shards, and keep them beside these for other methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.detections import Maker, detections_path, write_detections, write_masks
from kt3d_bench.data.format import encode_png
from kt3d_bench.data.manifest import read_manifest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.data.remote import local_folder
from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.files import default_data_root
from kt3d_bench.plugins import registry
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import declared, final_checkpoint, found_run, labels_seen, read_run
from kt3d_bench.training.external import predicted_samples
from kt3d_bench.training.joints import looks
from kt3d_bench.training.predict import load_method, require_single_images, untrained_method
from kt3d_bench.training.resolve import device_name
from kt3d_bench.training.sources import fetch

if TYPE_CHECKING:
    from kt3d_bench.method import Method

FloatArray = npt.NDArray[np.float64]


def detect(
    shards: Path | str,
    by: Path | str,
    *,
    splits: Sequence[str] | None = None,
    data: Path | str | None = None,
    device: str = "auto",
    report: Reporter | None = None,
) -> list[Path]:
    """Store the 2D joints that a run, or a method without stages, finds in the images of ``shards``, and the person's
    silhouette where it says which pixels show one; return the files.

    ``by``: as in ``load_run``, or the name of such a method; it names the detections. ``splits``: all by default. No
    label is read, and a run looks at the masks that it was trained with. Raises ``UsageError`` for an unknown run or
    method, images it does not read and unknown splits; ``PluginError`` where it does not say where joints are in the
    image; ``ArtefactError`` for missing masks and corrupt files.
    """
    folder, report = local_folder(shards), report or Reporter()
    known = read_manifest(folder).splits
    for split in splits or ():
        if split not in known:
            raise UsageError(f"there is no split '{split}'", where=folder, hint=f"choose from {', '.join(known)}")
    method, maker, run = _detector(by, Path(data or default_data_root()))
    require_single_images(method, "detecting")
    method.to(device_name(device)).eval()
    name = maker.run or maker.method
    opened = [ShardSet.open(folder, split) for split in splits or sorted(known)]
    if run is not None:
        opened = [predicted_samples(samples, run, read_run(run), method) for samples in opened]
    for samples in opened:
        samples.require(method.reads)
        detections_path(samples, name)
        fetch(samples, report)
    written: list[Path] = []
    for samples in opened:
        joints_px, confidence, masks = _found(method, samples, device_name(device), report)
        written.append(write_detections(samples, name, joints_px, confidence, maker))
        written += [write_masks(samples, name, masks, maker)] if masks else []
    return written


def _detector(by: Path | str, data_root: Path) -> tuple[Method, Maker, Path | None]:
    """Return who detects, what detections say of it, and the folder of a run."""
    is_run = Path(by).exists() or (data_root / "runs" / str(by)).is_dir()
    if not is_run and str(by) in registry.methods():
        external = registry.methods()[str(by)].external_data
        return untrained_method(str(by), "rgb"), Maker(str(by), saw={}, external_data=external), None
    folder = found_run(by, data_root)
    method, about = load_method(final_checkpoint(folder))
    run = read_run(folder)
    masks = run["config"].get("masks", "") if "foreground" in method.reads else ""
    maker = Maker(about["method"], labels_seen(run, folder), declared(run), run=folder.name, masks=masks)
    return method, maker, folder


def _found(
    method: Method, samples: ShardSet, device: str, report: Reporter
) -> tuple[FloatArray, FloatArray, list[bytes]]:
    """Return (N, 17, 2) px of the stored crops, (N, 17) confidences, and N masks as PNG or none."""
    import torch

    joints, confidence = np.empty((len(samples.keys), 17, 2)), np.ones((len(samples.keys), 17))
    masks: list[bytes] = []
    with torch.no_grad():
        for look in looks(samples, method.reads, method.input_px, device, report):
            rows, estimate = look.rows, method.predict(look.batch)
            if estimate.joints_px is None:
                raise PluginError("does not say where joints are in the image (joints_px)", where="Estimate")
            joints[rows] = look.in_crops(estimate.joints_px)
            if estimate.confidence is not None:
                confidence[rows] = estimate.confidence.nan_to_num(0.0).cpu().numpy()
            if estimate.foreground is not None:
                shown, sizes = estimate.foreground.cpu().numpy(), samples.labels.size_px[rows]
                places = zip(shown, look.scale[:, 0, 0], look.offset[:, 0], sizes, strict=True)
                masks += [_in_crop(*one) for one in places]
    return joints, confidence, masks


def _in_crop(shown: npt.NDArray[np.bool_], scale: float, offset: FloatArray, size_px: npt.NDArray[np.int32]) -> bytes:
    """(S, S) pixels of the input -> the PNG of a mask of the stored crop of ``size_px``, whose px times ``scale`` plus
    ``offset`` (2,) are those of the input; nobody is seen beyond the input."""
    import cv2

    affine = np.array([[scale, 0.0, offset[0]], [0.0, scale, offset[1]]])
    size = int(size_px[0]), int(size_px[1])
    return encode_png(
        cv2.warpAffine(shown * np.uint8(255), affine, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    )
