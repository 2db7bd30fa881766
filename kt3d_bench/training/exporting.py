"""Take a trained network elsewhere: an ONNX file or a ``torch.export`` program, from images to poses in one graph.

Inputs are the images that the method reads, as ``loading.batches.UnlabelledBatch`` describes them (``rgb`` (B, 3, S, S)
float32 0..1, ``depth`` (B, 1, S, S) mm with ``surface_mm`` (B,)), and the input's camera, ``intrinsics_px`` (B, 2, 3),
of a method that reads it (``Method.reads_cameras``). A method that lifts stored 2D joints has ``detections_px``
(B, J, 2), px of the input, instead of images. For a method of clips all of these are per frame: (B, T, ...). Outputs
are the fields of ``method.Estimate``. The graph holds normalisation, networks and decoding; B is free. An ONNX file is
run after it was written, and refused where it differs from torch.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from kt3d_bench.data.folders import with_target_found
from kt3d_bench.errors import Kt3dError, PluginError, UsageError
from kt3d_bench.files import default_data_root, write_whole
from kt3d_bench.progress import Reporter
from kt3d_bench.run_folder import final_checkpoint, found_run, read_run
from kt3d_bench.skeletons import NUM_JOINTS
from kt3d_bench.training.external import predicted_samples
from kt3d_bench.training.joints import joints_for
from kt3d_bench.training.portable import facts
from kt3d_bench.training.predict import choose_benchmark, data_roots, load_method, test_shards

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from kt3d_bench.method import Method

Arrays = Mapping[str, npt.NDArray[Any]]
MOST_MM = 0.05
"""How far ONNX's answers may be from torch's, in float32."""
_CHECKED = 8
_BODY_MM = 2000.0
"""Height of what fills an input, for the size of a pixel in mm."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    files: tuple[Path, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    deviation_mm: float | None
    """Largest difference between ONNX and torch; ``None`` where no ONNX file was written."""
    samples: int
    """Test samples that were compared; 0 = random images, where no shards are here."""


def export(
    run: Path | str | None = None,
    *,
    onnx: Path | None = None,
    program: Path | None = None,
    data: Path | str | None = None,
    shards: Path | str | None = None,
) -> Exported:
    """Write a finished run as ``onnx`` (an ONNX file) or ``program`` (``torch.export``, .pt2), or both.

    ``run`` as in ``load_run``; ``shards``: test shards for the comparison, by default where the run found its target.
    Raises ``UsageError`` where nothing is asked for, the packages of the extra ``export`` are missing, or the method
    has no network; ``PluginError`` for a method that cannot be traced; ``Kt3dError`` where
    ONNX's answers differ.
    """
    import torch

    from kt3d_bench.training.graph import Graph

    if onnx is None and program is None:
        raise UsageError("no file to write is named", hint="name one: --onnx FILE or --torch FILE")
    if onnx is not None:
        _require_onnx()
    folder = found_run(run, Path(data or default_data_root()))
    document = read_run(folder)
    method, about = load_method(final_checkpoint(folder))
    if not any(True for _ in method.parameters()):
        raise UsageError(f"method '{about['method']}' has no network to export", where=folder)
    method.eval()
    given, count = _samples(method, document, folder, shards)
    with torch.no_grad():
        graph = Graph(method, tuple(given)).eval()
        expected = {name: one.numpy() for name, one in graph.answer(*given.values()).items()}
        if all(np.isnan(value).all() for value in expected.values()):
            raise PluginError(
                "predicts nothing without a camera",
                where=f"method '{about['method']}'",
                hint="set reads_cameras = True in its class, so that the graph has the input intrinsics_px",
            )
        traced = _traced(graph, given, about["method"])
        told = {name: json.dumps(value) for name, value in facts(document, method.input_px).items()}
        files, deviation = [], None
        if program is not None:
            buffer = io.BytesIO()
            torch.export.save(traced, buffer, extra_files=told)
            write_whole(program, buffer.getvalue())
            files.append(program)
        if onnx is not None:
            content = _onnx_bytes(traced, tuple(given), tuple(expected), told)
            deviation = largest_mm(run_onnx(content, given), expected, method.input_px)
            if not deviation <= MOST_MM:
                what = f"ONNX's answers differ from torch's by {deviation:.3f} mm; nothing was written"
                raise Kt3dError(what, where=onnx, hint="export with another version of torch or onnxruntime")
            write_whole(onnx, content)
            files.append(onnx)
    return Exported(tuple(files), tuple(given), tuple(expected), deviation, count)


def run_onnx(content: bytes, given: Mapping[str, Any]) -> dict[str, npt.NDArray[Any]]:
    """Return the outputs of an ONNX graph by name, computed by onnxruntime on one core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {name: np.asarray(value) for name, value in given.items()})
    return dict(zip((one.name for one in session.get_outputs()), found, strict=True))


def largest_mm(one: Arrays, other: Arrays, input_px: int) -> float:
    """Return the largest difference between two sets of outputs, where a person of 2 m fills the input. Values that are
    NaN in both are equal."""
    mm_per_px = _BODY_MM / input_px
    found = [0.0]
    for name, value in one.items():
        apart = np.abs(value.astype(np.float64) - other[name]) * (mm_per_px if name == "joints_px" else 1.0)
        found.append(float(apart[~(np.isnan(value) & np.isnan(other[name]))].max(initial=0.0)))
    return float(np.max(found))


def _require_onnx() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
    if missing:
        hint = "pip install 'kt3d-bench[export]'"
        raise UsageError(f"the package {missing[0]} is not installed", where="--onnx", hint=hint)


def _samples(
    method: Method, document: dict[str, Any], folder: Path, shards: Path | str | None
) -> tuple[dict[str, Tensor], int]:
    """Inputs of the graph by name, of a few test samples, and how many; of random images where no shards are here."""
    import torch

    from kt3d_bench.data.reader import ShardSet
    from kt3d_bench.loading.loader import Loader
    from kt3d_bench.method import OWN

    side, frames = method.input_px, 1 if method.clip is None else method.clip[0]
    stored = method.detections not in ("", OWN)
    try:
        document = with_target_found(document, *data_roots(folder))
        benchmark = choose_benchmark(document, None)
        test = ShardSet.open(test_shards(document, benchmark, shards, folder), benchmark.split)
        test = predicted_samples(test, folder, document, method)
    except Kt3dError:
        if shards is not None:
            raise
        shapes = {"rgb": (3,), "depth": (1,), "foreground": (1,), "parts": ()}
        scale = {"rgb": 1.0, "depth": 3000.0, "foreground": 1.0, "parts": 0.0}
        images = {name: torch.rand(2 * frames, *shapes[name], side, side) * scale[name] for name in method.reads}
        surface, count = torch.full((2 * frames,), 1500.0), 0
        intrinsics = torch.tensor([[2.0 * side, 0.0, side / 2], [0.0, 2.0 * side, side / 2]]).repeat(2 * frames, 1, 1)
        joints_px: Tensor | None = torch.rand(2 * frames, NUM_JOINTS, 2) * side
    else:
        options: dict[str, Any] = {"batch_size": _CHECKED, "input_px": side, "labelled": False, "limit": _CHECKED}
        options["clip"] = method.clip
        if stored:
            options["detections_px"] = joints_for(method, method.detections, test, "cpu", Reporter())
        loader = Loader(test, method.reads, **options)
        try:
            rows, batch = next(iter(loader.ordered()))
        finally:
            loader.close()
        images, surface, count = {name: batch.images[name] for name in method.reads}, batch.surface_mm, len(rows)
        intrinsics, joints_px = batch.cameras.intrinsics_px, batch.detections_px
    given = {name: one.long() if name == "parts" else one.float() for name, one in images.items()}
    given |= {"surface_mm": surface} if "depth" in images else {}
    given |= {"detections_px": joints_px} if stored and joints_px is not None else {}
    given |= {"intrinsics_px": intrinsics} if method.reads_cameras else {}
    if method.clip is not None:
        given = {name: one.reshape(-1, frames, *one.shape[1:]) for name, one in given.items()}
    return given, count


def _traced(graph: torch.nn.Module, given: Mapping[str, Tensor], name: str) -> torch.export.ExportedProgram:
    import torch

    batch = torch.export.Dim("batch", min=1, max=1 << 16)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(graph, tuple(given.values()), dynamic_shapes=(tuple({0: batch} for _ in given),))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "let predict() use tensors only, and no number that depends on the batch"
        what = f"its prediction cannot be traced ({reason:.200})"
        raise PluginError(what, where=f"method '{name}'", hint=hint) from error


def _onnx_bytes(traced: Any, inputs: Sequence[str], outputs: Sequence[str], told: Mapping[str, str]) -> bytes:
    import torch

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            traced, dynamo=True, input_names=list(inputs), output_names=list(outputs), verbose=False
        )
    assert program is not None
    model = program.model_proto
    for name, value in told.items():
        model.metadata_props.add(key=name, value=value)
    content: bytes = model.SerializeToString()
    return content
