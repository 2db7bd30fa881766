"""What pictures are predicted with: methods without stages, and detectors of people."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from pictures_toys import DOTS

from kt3d_bench.errors import PluginError, UsageError
from kt3d_bench.plugins import registry
from kt3d_bench.testing import tiny_plugin
from kt3d_bench.training.predict import untrained_method


def test_a_method_without_stages_is_built_by_its_name(dots: None) -> None:
    method = untrained_method("dots", "rgb")
    assert method.context.target_modality == "rgb"
    assert method.input_px == 128


def test_a_method_that_must_be_trained_is_refused() -> None:
    with pytest.raises(UsageError, match="'integral-pose' must be trained before it predicts; train it: kt3d train"):
        untrained_method("integral-pose", "rgb")
    with pytest.raises(UsageError, match="there is no method 'integral-pos'; did you mean 'integral-pose'"):
        untrained_method("integral-pos", "rgb")


def test_the_detector_is_the_methods_own_or_the_first() -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[4:8, 10:16] = 200
    with registry.lent({"toys": tiny_plugin(methods=[DOTS])}, alone=True):
        for preferred in ("dots", "integral-pose", ""):
            name, detector = registry.person_detector(preferred)
            assert (name, detector(picture).tolist()) == ("dots", [[10, 4, 15, 7]])


def test_without_a_detector_boxes_are_asked_for() -> None:
    undetecting = dataclasses.replace(DOTS, detector="")
    with (
        registry.lent({"toys": tiny_plugin(methods=[undetecting])}, alone=True),
        pytest.raises(UsageError, match="no installed method finds people in pictures; give the people's boxes"),
    ):
        registry.person_detector()


def test_a_detector_that_is_not_there_is_the_plugins_error() -> None:
    wrong = dataclasses.replace(DOTS, detector="pictures_toys")
    with (
        pytest.raises(PluginError, match=r"detector is 'pictures_toys' .*expected 'module:function'"),
        registry.lent({"toys": tiny_plugin(methods=[wrong])}),
    ):
        registry.methods()
