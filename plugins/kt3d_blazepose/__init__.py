"""BlazePose GHUM: 3D poses from RGB by networks that Google trained and published. Nothing is trained here."""

from __future__ import annotations

from collections.abc import Sequence

from kt3d_bench import MethodPlugin, WeightFile, hookimpl

_WHEEL = "pip download --no-deps --only-binary :all: mediapipe==0.10.21"
_NPM = "npm pack @mediapipe/pose@0.5.1675469404"
_LICENCE = "Apache-2.0"


@hookimpl
def kt3d_methods() -> Sequence[MethodPlugin]:
    return (
        MethodPlugin(
            name="blazepose",
            summary="Google's BlazePose GHUM networks as published, without any training (RGB)",
            load="kt3d_blazepose.method:BlazePose",
            presets=("paper", "small", "laptop", "tiny"),
            supervision=("none",),
            defaults={"target": "h36m"},
            settings_rule="published",
            detector="kt3d_blazepose.detector:Detector",
            weights=(
                WeightFile(
                    "pose_landmark_full.tflite",
                    6440512,
                    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
                    _WHEEL,
                    _LICENCE,
                ),
                WeightFile(
                    "pose_detection.tflite",
                    2959046,
                    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
                    _WHEEL,
                    _LICENCE,
                ),
                WeightFile(
                    "pose_landmark_lite.tflite",
                    2819824,
                    "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
                    _NPM,
                    _LICENCE,
                ),
                WeightFile(
                    "pose_landmark_heavy.tflite",
                    27709200,
                    "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
                    _NPM,
                    _LICENCE,
                ),
            ),
            external_data=(
                "BlazePose GHUM networks, trained by Google on data of its own (hip, spine and thorax are means of "
                "their joints, the head is extrapolated)",
            ),
        ),
    )
