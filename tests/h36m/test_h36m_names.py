"""Other programs' image names, written out by hand, mean the samples they should."""

from __future__ import annotations

import pytest
from kt3d_h36m.recordings import image_names, sample_key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("h36m/S9/Images/Directions 1.54138969/frame_000064.jpg", "s09_act02_sub1_54138969_000064"),
        ("h36m/S9/Images/Directions.60457274/frame_000000.jpg", "s09_act02_sub2_60457274_000000"),
        ("S9/Images/SittingDown 1.55011271/frame_000128.jpg", "s09_act10_sub2_55011271_000128"),
        ("S9/S9_Directions_1.54138969/S9_Directions_1.54138969_000001.jpg", "s09_act02_sub1_54138969_000000"),
        ("S11_WalkTogether.58860488_000065.jpg", "s11_act16_sub2_58860488_000064"),
        ("images/s_11_act_16_subact_02_ca_03/s_11_act_16_subact_02_ca_03_000065.jpg", "s11_act16_sub2_58860488_000064"),
        ("S9/Directions 1/0/000064", "s09_act02_sub1_54138969_000064"),
        ("S11/Greeting 2/55011271/000000", "s11_act05_sub1_55011271_000000"),
        ("S9_Directions_1.54138969_000000.jpg", None),
        ("S9/Images/Dancing.54138969/frame_000000.jpg", None),
        ("S9/Images/Directions 1.11111111/frame_000000.jpg", None),
        ("s_09_act_99_subact_01_ca_01_000001.jpg", None),
        ("s_09_act_02_subact_01_ca_09_000001.jpg", None),
        ("photo.jpg", None),
    ],
)
def test_names(name: str, key: str | None) -> None:
    assert sample_key(name) == key


@pytest.mark.parametrize("key", ["s09_act02_sub1_54138969_000064", "s11_act16_sub2_58860488_000000"])
def test_every_name_of_a_sample_means_it(key: str) -> None:
    assert {sample_key(name) for name in image_names(key)} == {key}
