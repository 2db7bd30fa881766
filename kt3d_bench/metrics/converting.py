"""Predictions as other programs write them into a file of our own form; pickles are left to lines that run nothing.

``PROGRAMS`` write, as their code stands: mmpose's DumpResults a pickled list with one dictionary per image;
VideoPose3D's ``--viz-export`` one ``.npy`` (T, 17, 3) per recording and camera, and in the layout of its data a pickled
``positions_3d``; MotionBERT's ``evaluate`` returns clips (C, T, 17, 3) in the order of its data file; PosePile's
``predict`` an ``.npz`` whose image paths are pickled bytes.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from kt3d_bench.errors import ArtefactError, UsageError, did_you_mean
from kt3d_bench.files import PickledObjectsError, read_npy
from kt3d_bench.metrics.evaluate import find_answers
from kt3d_bench.metrics.forms import PlainFormError, needs_plain_form, read_prediction_file, videopose3d
from kt3d_bench.metrics.predictions import PredictionFile, Predictions, write_predictions

PROGRAMS: Mapping[str, str] = {
    "mmpose": "mmpose-json",
    "videopose3d": "videopose3d-npz",
    "motionbert": "motionbert-npz",
    "posepile": "posepile-npz",
}
"""Program -> the plain form of its predictions."""
_RECORDING = re.compile(r"S(\d{1,2})[ _/](.+?)[ _.](\d{8}|[0-3])", re.IGNORECASE)
_MOST_BYTES = 1 << 30
_SAFE = """\
import json, pickle, sys
import numpy as np

class Skipped:  # stands for every object that is neither an array nor plain data; nothing of the file is run
    def __new__(cls, *given, **named): return object.__new__(cls)
    def __init__(self, *given, **named): pass
    def __setstate__(self, state): pass
    def __setitem__(self, key, value): pass
    def append(self, item): pass
    def extend(self, items): pass

class Plain(pickle.Unpickler):
    def find_class(self, module, name):
        array = module.startswith("numpy.") and name in ("_reconstruct", "_frombuffer", "scalar")
        known = (module, name) in [("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"),
                                   ("_codecs", "encode")]
        return super().find_class(module, name) if array or known else Skipped

pickle.load = lambda file, **options: Plain(file, **options).load()  # NumPy calls it too
"""
_LINES = {
    "mmpose": '''\
rows = pickle.load(open({file!r}, "rb"))
predictions = [{{"img_path": row.get("target_img_path") or row["img_path"],
                "keypoints": np.asarray(row["pred_instances"]["keypoints"], float).reshape(-1, 17, 3).tolist()}}
               for row in rows]
json.dump({{"unit": "m", "predictions": predictions}}, open({plain!r}, "w"))
''',
    "videopose3d": '''\
found = np.load({file!r}, allow_pickle=True)
found = found["positions_3d"] if "positions_3d" in found else found
found = found.item() if isinstance(found, np.ndarray) else found  # subject -> recording -> poses of each camera
plain = {{}}
for subject, recordings in found.items():
    for recording, cameras in recordings.items():
        for camera, poses in enumerate(cameras):
            plain[f"{{subject}}/{{recording}}/{{camera}}"] = np.asarray(poses, float)
np.savez({plain!r}, **plain)
''',
    "motionbert": '''\
# Run this in MotionBERT's folder with its data file (dt_file of the config) as the only argument.
sys.path.insert(0, ".")
from lib.utils.utils_data import split_clips
clips = np.asarray(np.load({file!r}, allow_pickle=True), float)  # results_all of evaluate(): (C, T, 17, 3)
test = pickle.load(open(sys.argv[1], "rb"))["test"]
source, factor = list(test["source"]), np.asarray(test["2.5d_factor"], float)
unscaled = ("s_09_act_05_subact_02", "s_09_act_10_subact_02", "s_09_act_13_subact_01")  # evaluate() skips these
first = {{name: place for place, name in reversed(list(enumerate(source)))}}
plain = {{str(name): np.full((count, 17, 3), np.nan) for name, count in zip(*np.unique(source, return_counts=True))}}
for clip, places in zip(clips, split_clips(source, clips.shape[1], clips.shape[1])):
    for pose, place in zip(clip, places):
        name = source[place]
        scale = factor[place] if name.startswith(unscaled) else 1.0
        plain[name][place - first[name]] = (pose - pose[0]) * scale
np.savez({plain!r}, **plain)
''',
    "posepile": '''\
found = np.load({file!r}, allow_pickle=True)
np.savez({plain!r}, image_path=found["image_path"].astype(str), coords3d_pred_world=found["coords3d_pred_world"])
''',
}  # fmt: skip


class ScriptNeededError(PlainFormError):
    """A pickled file: ``script`` makes it plain where Python and NumPy are, and runs nothing that lies in it."""

    script = ""
    plain: Path


@dataclass(frozen=True)
class Converted:
    """What was written."""

    path: Path
    predictions: Predictions
    form: str
    """The form that was read."""
    warnings: tuple[str, ...] = ()
    """What ``kt3d score`` would refuse in it, in sentences."""


Writer = Callable[[Path, Predictions], None]
WRITERS: Mapping[str, Writer] = {
    ".npz": lambda path, found: write_predictions(path, found.keys, found.joints_cam_mm, meta=found.meta)
}
"""Ending of the written file -> what writes it."""


def convert(
    file: Path | str,
    program: str | None = None,
    *,
    benchmark: str | None = None,
    out: Path | str | None = None,
    data: Path | str | None = None,
    shards: Path | str | None = None,
) -> Converted:
    """Write the predictions of another program, placed in the cameras of the test, as a file of our own form.

    ``file`` has any accepted form (``metrics.forms``), or is a ``.npy`` (T, 17, 3) or a folder of them as VideoPose3D
    exports recordings, named like ``S9_Directions 1_0.npy`` (camera 0 to 3 or its number). ``program`` is one of
    ``PROGRAMS``, ``None`` = told by content; ``benchmark``, ``data`` and ``shards`` as in ``evaluate``. ``out``
    defaults to ``<file>.kt3d.npz``. Raises what ``evaluate`` raises, ``UsageError`` for an unknown program, an ``out``
    of an unknown ending or that is ``file``, and ``ScriptNeededError`` for pickles.
    """
    path = Path(file) if Path(file).name else Path(file).absolute()
    if program is not None and program not in PROGRAMS:
        raise UsageError(f"there is no program '{program}' to convert from", hint=did_you_mean(program, PROGRAMS))
    target = Path(out) if out is not None else path.with_name(f"{path.stem}.kt3d.npz")
    if target.suffix.lower() not in WRITERS:
        raise UsageError("no such format is written", where=target, hint=f"known endings: {', '.join(WRITERS)}")
    if target.absolute() == path.absolute() or (target.exists() and path.exists() and target.samefile(path)):
        raise UsageError("would be replaced by its own conversion", where=path, hint="name another file with --out")
    try:
        read = _recorded(path) if program == "videopose3d" and _is_npy(path) else read_prediction_file(path)
    except PlainFormError as error:
        if program is None:
            hint = f"say which program wrote it: --from {', '.join(PROGRAMS)}"
            raise PlainFormError(error.what, where=path, hint=hint) from error
        raise _script_needed(error, path, program) from error
    if program is not None and read.form != PROGRAMS[program]:
        raise UsageError(f"has the form {read.form}, not that of {program}", where=path, hint="leave --from out")
    found = find_answers(benchmark, read, data=data, shards=shards)
    warnings = tuple(found.strays())
    placed = Predictions(
        found.predictions.keys, found.predictions.joints_cam_mm, {**read.meta, "benchmark": found.benchmark.id}
    )
    WRITERS[target.suffix.lower()](target, placed)
    return Converted(target, placed, read.form, warnings)


def _script_needed(error: PlainFormError, path: Path, program: str) -> ScriptNeededError:
    plain = path.with_name(path.stem + (".plain.json" if program == "mmpose" else ".plain.npz"))
    hint = f"run the printed lines with Python, then: {shlex.join(('kt3d', 'convert', str(plain), '--from', program))}"
    needed = ScriptNeededError(error.what, where=path, hint=hint)
    needed.script = _SAFE + _LINES[program].format(file=str(path), plain=str(plain))
    needed.plain = plain
    return needed


def _is_npy(path: Path) -> bool:
    return path.is_dir() or path.suffix.lower() == ".npy"


def _recorded(path: Path) -> PredictionFile:
    """Read one exported recording, or a folder of them. Raises ``ArtefactError``."""
    files = sorted(one for one in path.iterdir() if one.suffix.lower() == ".npy") if path.is_dir() else [path]
    if not files:
        raise ArtefactError("holds no .npy files", where=path, hint="name the folder of the exported recordings")
    arrays = {}
    for one in files:
        named = _RECORDING.fullmatch(one.stem)
        if named is None:
            hint = "name it like 'S9_Directions 1_0.npy': subject, recording, camera 0 to 3"
            raise ArtefactError("its name is of no recording and camera", where=one, hint=hint)
        name = f"S{named[1]}/{named[2]}/{named[3]}"
        if name in arrays:
            raise ArtefactError(f"holds {name}, as another file here does", where=one, hint="keep one of the two")
        arrays[name] = _read_npy(one)
    return videopose3d(path, arrays)


def _read_npy(path: Path) -> npt.NDArray[Any]:
    """Read (T, 17, 3) or (1, T, 17, 3) poses without loading pickles. Raises ``ArtefactError``."""
    try:
        array = read_npy(path, max_bytes=_MOST_BYTES, hint="export it again")
    except ArtefactError as error:
        if isinstance(error.__cause__, PickledObjectsError):
            raise needs_plain_form(str(error.__cause__), path) from error
        raise
    return array[0] if array.ndim == 4 and len(array) == 1 else array
