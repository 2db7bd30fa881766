"""Generated people: bodies of round cones, poses within joint limits, exact depth and parts, shaded images.

rng = numpy.random.default_rng(7)
clip = sample_clip(rng, "walk", frames=50, rate_hz=25)
figures = pose(sample_bodies(rng, 1), clip).moved(yaw_rad=1.0, offset_mm=(500, 0, 0))
images = render(figures, [camera] * len(figures))
rgb = shade(images[0], sample_style(rng), sample_background(rng, camera.size_px, "room"), rng)
"""

from kt3d_bench.synth.backgrounds import sample_background
from kt3d_bench.synth.body import LANDMARKS, PARTS, Bodies, Figures, pose, sample_bodies
from kt3d_bench.synth.motion.acclaim import read_amc
from kt3d_bench.synth.motion.bvh import read_bvh
from kt3d_bench.synth.motion.folder import Motions, read_motion, read_motions
from kt3d_bench.synth.motion.recorded import Motion
from kt3d_bench.synth.motion.retarget import clip_from_motion
from kt3d_bench.synth.poses import ACTIVITIES, sample_clip
from kt3d_bench.synth.render import RenderedFigure, render
from kt3d_bench.synth.rig import Clip
from kt3d_bench.synth.scene import Seat, draw_person, seat_under
from kt3d_bench.synth.shade import Style, sample_style, shade

__all__ = [
    "ACTIVITIES", "LANDMARKS", "PARTS", "Bodies", "Clip", "Figures", "Motion", "Motions", "RenderedFigure", "Seat",
    "Style", "clip_from_motion", "draw_person", "pose", "read_amc", "read_bvh", "read_motion", "read_motions",
    "render", "sample_background", "sample_bodies", "sample_clip", "sample_style", "seat_under", "shade",
]  # fmt: skip
