"""Pictures of samples: which limb has which colour and lies where, on the caller's axes and in files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d import proj3d

import kt3d_bench as kt
from kt3d_bench.drawing import LEFT, PREDICTED, RIGHT, comparison
from kt3d_bench.skeletons import H36M17

LEFT_RGB, RIGHT_RGB = (0x1F, 0x77, 0xB4), (0xD6, 0x27, 0x28)
HIP = np.array([0.0, 0.0, 2000.0])


def standing() -> np.ndarray:
    """(17, 3) mm of somebody 2 m away who faces the camera: left limbs at larger x than right ones."""
    joints = np.tile(HIP, (17, 1))
    joints[:, 1] = np.linspace(-800, 800, 17)
    for right, left in H36M17.mirror_pairs:
        joints[right, 0], joints[left, 0] = -400, 400
        joints[left, 1] = joints[right, 1]
    return joints


def sample(joints: np.ndarray | None = None, *, image: str = "rgb") -> kt.Sample:
    """A sample of 200 x 200 px whose camera maps 10 mm at 2 m to 1 px, and the point (0, 0) to (100, 100)."""
    joints = standing() if joints is None else joints
    images = {"rgb": np.full((200, 200, 3), 255, np.uint8), "depth_mm": np.full((200, 200), 0, np.uint16)}
    return kt.Sample(
        key="a", camera=kt.Camera.pinhole((200, 200), (100, 100), (200, 200)),
        joints_px=joints[:, :2] / joints[:, 2:] * 200 + 100, joints_cam_mm=joints, visible=np.full(17, -1),
        quality=np.full(17, 3), box_px=np.array([0, 0, 200, 200]), subject="", action="", camera_id="", sequence="",
        frame=0, **({image: images[image]} if image else {}),
    )  # fmt: skip


def drawn(axes: Any, colour: str) -> np.ndarray:
    """(K, 2 or 3) ends of the bones that have this colour, without the gaps between them."""
    lines = [line for line in axes.lines if line.get_color() == colour]
    found = [np.array(line.get_data_3d() if hasattr(line, "get_data_3d") else line.get_data()).T for line in lines]
    points = np.concatenate([*found, np.empty((0, 3 if axes.name == "3d" else 2))])
    return points[np.isfinite(points).all(axis=1)]


def coloured(path: Path, rgb: tuple[int, int, int], below: float = 0.0) -> np.ndarray:
    """Columns of the pixels of a colour, in that part of the picture's rows."""
    picture = cv2.imread(str(path)).astype(int)
    picture = picture[int(below * len(picture)) :]
    return np.nonzero(np.abs(picture - rgb[::-1]).sum(-1) < 12)[1]


@pytest.mark.parametrize("image", ["rgb", "depth_mm", ""])
def test_plot_draws_truth_and_prediction_over_the_image(image: str) -> None:
    """10 mm at 2 m are 1 px: left limbs lie 40 px to the right of the centre, and a pose 100 mm further right 10 px
    more."""
    axes = Figure().subplots()
    assert kt.plot(sample(image=image), standing() + np.array([100, 0, 0]), ax=axes) is axes
    assert drawn(axes, LEFT)[:, 0].max() == drawn(axes, LEFT)[0, 0] == 140
    assert drawn(axes, RIGHT)[:, 0].min() == 60
    assert drawn(axes, PREDICTED[0])[:, 0].max() == pytest.approx(150)
    assert drawn(axes, PREDICTED[1])[:, 0].min() == pytest.approx(70)
    assert len(axes.images) == bool(image)
    assert axes.get_xlim() == (-0.5, 199.5)
    assert axes.get_ylim() == (199.5, -0.5), "rows count downwards"
    assert [text.get_text() for text in axes.legend().texts] == ["true", "predicted"]
    assert {line.get_linestyle() for line in axes.lines if line.get_color() == LEFT} == {"-"}
    assert {line.get_linestyle() for line in axes.lines if line.get_color() == PREDICTED[0]} == {"--"}


def test_plot_turns_3d_axes_as_the_camera_sees() -> None:
    axes: Any = Figure().add_subplot(projection="3d")
    kt.plot(sample(), standing() + np.array([0, 0, 500]), ax=axes)
    assert drawn(axes, LEFT)[:, 0].max() == 400
    assert (drawn(axes, PREDICTED[1])[:, 2] == 2500).all()

    def seen(*point: float) -> np.ndarray:
        return np.array(proj3d.proj_transform(*point, axes.get_proj()))

    origin = seen(0, 0, 2000)
    assert seen(400, 0, 2000)[0] > origin[0], "x points right"
    assert seen(0, 400, 2000)[1] < origin[1], "y points down"
    axes.view_init(elev=10, azim=20)
    kt.plot(sample(), ax=axes)
    assert (axes.elev, axes.azim) == (10, 20), "a view that the caller chose stays"


def test_plot_draws_only_known_joints_and_bridges_the_others() -> None:
    joints = standing()
    joints[[left for _, left in H36M17.mirror_pairs]] = np.nan
    joints[H36M17.index("spine")] = np.nan
    axes = Figure().subplots()
    kt.plot(sample(joints), ax=axes)
    assert len(drawn(axes, LEFT)) == 0
    trunk = drawn(axes, "#444444")
    hip, thorax = (100 + joints[H36M17.index(name), 1] / 10 for name in ("hip", "thorax"))
    assert any(np.allclose(trunk[i : i + 2, 1], [thorax, hip]) for i in range(0, len(trunk), 2))


def test_plot_refuses_another_shape() -> None:
    with pytest.raises(
        kt.UsageError, match=r"joints_cam_mm has the shape \(2, 17, 3\), expected \(17, 3\).*predictions\[0\]"
    ):
        kt.plot(sample(), np.zeros((2, 17, 3)), ax=Figure().subplots())


SCRIPT = """
import sys
import matplotlib
{first}
from pathlib import Path
from tests.drawing.test_drawing import comparison, kt, sample, standing
{second}
comparison(Path(sys.argv[1]), [sample()], [("truth", standing()[None])])
print(matplotlib.rcParams._get_backend_or_none(), "matplotlib.pyplot" in sys.modules)
"""


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("", "from matplotlib.figure import Figure; kt.plot(sample(), ax=Figure().subplots())", "None False"),
        ("matplotlib.use('svg')", "kt.plot(sample())", "svg True"),
        ("matplotlib.use('svg')", "assert kt.plot(sample(image='')).name == '3d'", "svg True"),
    ],
)
def test_drawing_leaves_the_backend_alone(tmp_path: Path, first: str, second: str, expected: str) -> None:
    script = SCRIPT.format(first=first, second=second)
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "p.png"], capture_output=True, text=True, timeout=120,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    assert done.stdout.strip() == expected, done.stderr
    assert (tmp_path / "p.png").is_file()


@pytest.mark.parametrize("image", ["rgb", "depth_mm"])
def test_left_limbs_are_blue_right_limbs_red_and_each_on_its_side(tmp_path: Path, image: str) -> None:
    before = mpl.get_backend()
    path = comparison(tmp_path / "deep" / "p.png", [sample(image=image)], [("truth", standing()[None])])
    blue, red = coloured(path, LEFT_RGB), coloured(path, RIGHT_RGB)
    assert min(len(blue), len(red)) > 50
    assert red.mean() + 10 < blue.mean()
    assert mpl.get_backend() == before


def test_a_comparison_shows_depth_from_the_side(tmp_path: Path) -> None:
    """The prediction's left foot is 600 mm further away, which no image shows and the side view does."""
    kicking = standing()
    kicking[H36M17.index("left_ankle")] *= 1.3
    paths = [comparison(tmp_path / f"{name}.png", [sample()], [("", pose[None])]) for name, pose in
             (("a", standing()), ("b", kicking))]  # fmt: skip
    still, moved = (coloured(path, LEFT_RGB, below=0.65).max() for path in paths)
    assert moved > still + 20


def test_joints_that_are_not_known_are_not_drawn(tmp_path: Path) -> None:
    joints = standing()
    joints[[left for _, left in H36M17.mirror_pairs]] = np.nan
    path = comparison(tmp_path / "p.png", [sample(joints)], [("truth", joints[None])])
    assert len(coloured(path, LEFT_RGB)) == 0
    assert len(coloured(path, RIGHT_RGB)) > 50
