from __future__ import annotations

import cv2
import numpy as np
import pytest
from h36m_handmade import CAMERA_IDS, S1_CAMERA_1, brown_without_doubling, looking_at_origin, metadata_xml, w0_numbers
from kt3d_h36m.metadata import read_cameras, read_frame_counts, rotation_world_to_cam
from scipy.spatial.transform import Rotation

from kt3d_bench.errors import RawDataError
from kt3d_bench.geometry.cameras import project, world_to_cam


@pytest.fixture
def xml(tmp_path):
    path = tmp_path / "metadata.xml"

    def write(text: str | None = None, **changes):
        path.write_text(metadata_xml(**changes) if text is None else text)
        return path

    return write


def test_documented_values_of_s1_camera_1(xml):
    camera = read_cameras(xml())[1, "54138969"]
    np.testing.assert_allclose(camera.position_world_mm, (1841.107, 4955.285, 1563.445))
    np.testing.assert_allclose(camera.focal_px, (1145.049, 1143.781))
    np.testing.assert_allclose(camera.center_px, (512.542, 515.451))
    np.testing.assert_allclose(camera.distortion, (-0.207099, 0.247775, -0.001424, -0.000976, -0.003075))
    assert camera.tangential_factor == 1.0
    assert camera.size_px == (1000, 1002)


def test_all_subjects_and_cameras_in_their_places(xml):
    cameras = read_cameras(xml())
    assert set(cameras) == {(s, c) for s in range(1, 12) for c in CAMERA_IDS}
    for subject in range(1, 12):
        assert cameras[subject, CAMERA_IDS[2]].position_world_mm[0] == pytest.approx(-1846.8 + subject - 1)
    assert [cameras[5, c].focal_px[0] for c in CAMERA_IDS] == pytest.approx([1145.049 + i for i in range(4)])
    np.testing.assert_allclose(
        cameras[9, CAMERA_IDS[3]].rotation, looking_at_origin((-1794.8, -3722.7, 1574.9)), atol=1e-9
    )


def test_rotation_is_rx_ry_rz():
    angles = (-1.5, 0.03, 2.6)
    np.testing.assert_allclose(
        rotation_world_to_cam(angles), Rotation.from_euler("XYZ", angles).as_matrix(), atol=1e-12
    )


def test_rotation_is_the_inverse_of_the_published_quaternion(xml):
    """VideoPose3D lists camera -> world quaternions, scalar first; this is subject 1, camera 54138969. Written as the
    Euler angles that give it, it must come back, and the camera must look at the room, upright."""
    quaternion = [0.1407056450843811, -0.1500701755285263, -0.755240797996521, 0.6223280429840088]
    to_world = Rotation.from_quat(quaternion, scalar_first=True)
    numbers = w0_numbers()
    numbers[:3] = to_world.inv().as_euler("XYZ")
    camera = read_cameras(xml(w0=numbers))[1, "54138969"]
    np.testing.assert_allclose(camera.rotation.T, to_world.as_matrix(), atol=1e-7)
    hip, above = project(camera, world_to_cam(camera, np.array([[0.0, 0.0, 930.0], [0.0, 0.0, 1600.0]])))
    assert np.abs(hip - camera.center_px).max() < 150
    assert above[1] < hip[1] - 100
    assert abs(above[0] - hip[0]) < 20


def test_projection_is_the_releases_and_not_opencvs(xml):
    camera = read_cameras(xml())[1, "54138969"]
    world = np.array([0.0, 0.0, 950.0]) + np.random.default_rng(1).uniform(-900, 900, (200, 3))
    cam = world_to_cam(camera, world)
    found = project(camera, cam)
    np.testing.assert_allclose(found, brown_without_doubling(cam, 1.0, 0), atol=1e-9)
    matrix = np.vstack([camera.intrinsics_px, [0, 0, 1]])
    opencv = cv2.projectPoints(cam, np.zeros(3), np.zeros(3), matrix, camera.distortion)[0][:, 0]
    difference = np.abs(opencv - found).max()
    assert 0.01 < difference < 0.5
    plain = cv2.projectPoints(cam, np.zeros(3), np.zeros(3), matrix, np.zeros(5))[0][:, 0]
    assert 0.5 < np.abs(plain - found).max() < 5, "on the published frames, leaving distortion out costs 1.2 to 2.4 px"


def test_size_row_wins_and_its_absence_leaves_the_documented_rule(xml):
    assert read_cameras(xml(scale=0.2))[7, CAMERA_IDS[1]].size_px == (200, 200)
    assert read_cameras(xml(scale=0.2))[7, CAMERA_IDS[0]].size_px == (200, 200)
    by_rule = read_cameras(xml(sizes=False))
    assert by_rule[1, CAMERA_IDS[0]].size_px == (1000, 1002)
    assert by_rule[1, CAMERA_IDS[1]].size_px == (1000, 1000)
    assert by_rule[7, CAMERA_IDS[1]].size_px == (1000, 1002)


def test_frame_counts_are_a_quarter_of_the_mocap_samples(xml):
    counts = read_frame_counts(xml())
    assert counts[9, 5, 2].poses == 409 // 4
    assert counts[9, 5, 2].videos == (109, 101, 102, 103)
    assert len(counts) == 11 * 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<metadata><w0>[1 2", "not well-formed"),
        ("<metadata></metadata>", "w0 is missing"),
        ("<a>" * 101 + "</a>" * 101, "more than 100000 elements, or 100 in one another"),
        ("<a>" + "<b/>" * 100_000 + "</a>", "more than 100000 elements"),
        (f"<a>{' ' * (4 << 20)}</a>", "larger than 4 MiB"),
        ('<!DOCTYPE a [<!ENTITY b "b">]><a>&b;</a>', "declares a document type, which may define entities"),
        (metadata_xml(w0=w0_numbers()[:-1]), "w0 holds 299 numbers, expected the cameras' 300"),
        (metadata_xml(w0=[np.nan, *w0_numbers()[1:]]), "no parameters for camera 54138969 of S1"),
        (metadata_xml(w0=[*w0_numbers()[:60], *[0.0] * 6, *w0_numbers()[66:]]), "for camera 54138969 of S11"),
        (metadata_xml(w0=[*w0_numbers()[:-1], np.nan]), "no parameters for camera 60457274;"),
        (metadata_xml().replace("1145.049", "x1145"), "not a number"),
        (metadata_xml(w0=[*w0_numbers()[:264], *[-1.0] * 36]), "focal length of camera 54138969 is not positive"),
    ],
)
def test_damaged_metadata_is_refused(xml, text, message):
    path = xml(text)
    with pytest.raises(RawDataError, match=message) as caught:
        read_cameras(path)
    assert str(path) in caught.value.message
    assert "code-v1.2.zip" in caught.value.message


def test_an_image_size_of_more_digits_than_python_reads_is_no_size(xml):
    damaged = metadata_xml().replace("<mapping>", "<mapping><tr><td>" + "9" * 5000 + "</td></tr>", 1)
    assert read_cameras(xml(damaged)).keys() == read_cameras(xml()).keys()
    last = metadata_xml().replace("</mapping>", "<tr><td>" + "9" * 5000 + "</td></tr></mapping>", 1)
    assert read_cameras(xml(last))[1, CAMERA_IDS[1]].size_px == (1000, 1000)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RawDataError, match=r"absent\.xml: is missing.*code-v1\.2\.zip"):
        read_cameras(tmp_path / "absent.xml")


@pytest.mark.parametrize(
    ("cell", "message"), [("[1 2 3]", "a cell of 3 numbers, expected 5"), ("[a 2 3 4 5]", "frames of S1 are not num")]
)
def test_damaged_frames_are_refused(xml, cell, message):
    path = xml(metadata_xml().replace("[100 101 102 103 401]", cell, 1))
    with pytest.raises(RawDataError, match=message):
        read_frame_counts(path)


def test_documented_camera_is_the_one_these_tests_write():
    assert w0_numbers()[264 : 264 + 9] == pytest.approx(
        [*S1_CAMERA_1["f"], *S1_CAMERA_1["c"], *S1_CAMERA_1["k"], *S1_CAMERA_1["p"]]
    )
