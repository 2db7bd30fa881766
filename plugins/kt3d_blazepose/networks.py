"""The published networks, run by LiteRT on one core, and what their outputs mean.

Bazarevsky et al., BlazePose: On-device Real-time Body Pose tracking, CVPR workshops 2020; Grishchenko et al., BlazePose
GHUM Holistic, CVPR workshops 2022. The landmark network reads a square crop, RGB in 0..1, and gives 39 points, of which
33 are body landmarks (x, y, z in px of the crop, logits of visibility and presence), the same in metres relative to the
hips, a score, and mask logits. A batch of N is run as N crops: on one core a larger batch gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from kt3d_bench import UsageError
from kt3d_bench.skeletons import H36M17, JointMapping
from kt3d_bench.weight_files import read_weights_file

FloatArray = npt.NDArray[np.float32]
INPUT_PX = 256
NUM_POINTS = 39
LANDMARKS = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index", "left_thumb",
    "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "left_heel",
    "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
_SHOULDERS, _HIPS = ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip")
_SIDES = [f"{side}_{part}" for side in ("left", "right") for part in ("knee", "ankle", "elbow", "wrist")]
JOINTS = JointMapping.of(
    LANDMARKS,
    exact={name: name for name in (*_SIDES, *_SHOULDERS, *_HIPS)},
    approximate={"nose": "nose", "hip": _HIPS, "thorax": _SHOULDERS, "spine": (*_HIPS, *_SHOULDERS)},
)
"""Its landmarks -> the 17 joints. There is no top of the head: ``with_head`` extrapolates it."""
HEAD_OVER_EARS = 0.54
"""Crown above ears over ears above shoulders: (1 - 0.936) / (0.936 - 0.818) of the stature (Drillis and Contini 1966,
the eyes' height for the ears')."""
_HEAD, _THORAX = H36M17.index("head"), H36M17.index("thorax")
_EARS = [LANDMARKS.index("left_ear"), LANDMARKS.index("right_ear")]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """What the landmark network saw in N crops."""

    points_px: FloatArray
    """(N, 33, 2) px of the crop."""
    points_root_mm: FloatArray
    """(N, 33, 3) mm relative to the middle of the hips; x right, y down, z away from the camera."""
    visible: FloatArray
    """(N, 33) probability that a landmark is in the image and not hidden."""
    person: npt.NDArray[np.bool_]
    """(N, 256, 256) pixels of the crop that more likely than not show the person."""


class Network:
    """One of the published networks. Raises ``UsageError`` without the package ai-edge-litert, ``ArtefactError``
    without the weights."""

    def __init__(self, name: str) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            hint = "pip install 'kt3d-bench[zero-shot]'"
            raise UsageError("the package ai-edge-litert is not installed", where="blazepose", hint=hint) from error
        self._interpreter: Any = Interpreter(model_content=read_weights_file("blazepose", name), num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [one["index"] for one in self._interpreter.get_output_details()]

    def __call__(self, image: FloatArray) -> list[FloatArray]:
        """Run one image (H, W, 3) of the network's size; return every output, without the batch axis."""
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(image[None], np.float32))
        self._interpreter.invoke()
        return [np.array(self._interpreter.get_tensor(index)[0]) for index in self._outputs]


def landmarks(network: Network, crops: FloatArray) -> Landmarks:
    """Find the person in (N, 256, 256, 3) RGB crops in 0..1."""
    outputs = [np.stack(one) for one in zip(*map(network, crops), strict=True)] if len(crops) else _NOTHING
    points, _, mask, _, world = outputs
    seen = points.reshape(-1, NUM_POINTS, 5)[:, : len(LANDMARKS)]
    placed = world.reshape(-1, NUM_POINTS, 3)[:, : len(LANDMARKS)]
    return Landmarks(
        points_px=seen[..., :2],
        points_root_mm=placed * np.float32(1000.0),
        visible=expit(seen[..., 3:]).min(-1),
        person=np.asarray(mask[..., 0] > 0),
    )


def with_head(points: FloatArray) -> FloatArray:
    """(N, 33, D) landmarks -> (N, 17, D) joints; the head lies on the line from the shoulders through the ears."""
    joints = JOINTS.apply(points)
    ears = points[:, _EARS].mean(1)
    joints[:, _HEAD] = ears + HEAD_OVER_EARS * (ears - joints[:, _THORAX])
    return joints.astype(np.float32)


def confidence(visible: FloatArray) -> FloatArray:
    """(N, 33) -> (N, 17): of a joint that is made of several landmarks, their mean; NaN of the head."""
    joints = JOINTS.apply(visible[..., None])[..., 0]
    joints[:, _HEAD] = np.nan
    return joints.astype(np.float32)


_NOTHING = [np.zeros((0, *shape), np.float32) for shape in ((195,), (1,), (256, 256, 1), (64, 64, 39), (117,))]
