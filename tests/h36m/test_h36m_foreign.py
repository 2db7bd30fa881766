"""Layouts that are not read are named, with what to use instead; nothing of theirs is opened as a pickle."""

from __future__ import annotations

import numpy as np
import pytest
from kt3d_h36m.convert import describe, plan

from kt3d_bench.errors import RawDataError

OFFICIAL = "use the official download, or images and JSON of Moon et al., beside metadata.xml"


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [
        ("data_2d_h36m_gt.npz", "image points of VideoPose3D", "use its data_3d_h36m.npz"),
        ("human36m-multiview-labels-GTbboxes.npy", "pickled Python objects", "annot.h5"),
        ("annotation_body3d/cameras.pkl", "pickled Python objects", OFFICIAL),
        ("annotation_body3d/fps50/h36m_train.npz", "MMPose's layout, which is not read", OFFICIAL),
        ("annot/s_01_act_02_subact_01_ca_01/matlab_meta.txt", "Integral Human Pose, which are not read", OFFICIAL),
        ("h36m/images.tar.gzaa", "one of several parts of packed images", r"cat images\.tar\.gz\* \| tar -xz"),
    ],
)
def test_they_are_named_with_what_to_do(tmp_path, name, words, hint):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"never opened")
    with pytest.raises(RawDataError, match=f"{words}.*{hint}") as caught:
        plan(tmp_path, "test", {})
    assert str(path) in caught.value.message
    lines = describe(tmp_path)
    assert lines[0].startswith("No Human3.6M was found here")
    assert "vision.imar.ro" in lines[0]
    assert lines[1:] == [f"Not read: {caught.value.message}"]


def test_an_empty_folder_is_nothing(tmp_path):
    assert len(describe(tmp_path)) == 1
    with pytest.raises(RawDataError, match=r"holds no Human3\.6M"):
        plan(tmp_path, "test", {})
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    assert len(describe(tmp_path)) == 1
