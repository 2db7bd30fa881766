"""How other programs name this dataset's images, turned into sample keys.

=========================  ====================================================================================
PosePile                   ``.../S9/Images/Directions 1.54138969/frame_000064.jpg``, frames from 0
mmpose                     ``.../S9_Directions_1.54138969_000065.jpg``, images from 1
Integral Pose (and ports)  ``.../s_09_act_02_subact_02_ca_01_000065.jpg``, images from 1
VideoPose3D                ``S9/Directions 1/0/000064``: camera 0..3 in the order of ``CAMERAS``, or its number;
                           frames from 0
=========================  ====================================================================================
"""

from __future__ import annotations

import re

from kt3d_h36m.samples import video_name
from kt3d_h36m.sequences import CAMERAS, Recording, find_recording, recordings

_NAMED = (
    (re.compile(r"S(\d+)/(?:Images|Videos)/([A-Za-z]+(?:[ _]\d)?)\.(\d{8})/frame_(\d{6})\.\w+$"), 0),
    (re.compile(r"S(\d+)_([A-Za-z]+(?:[ _]\d)?)\.(\d{8})_(\d{6})\.\w+$"), 1),
    (re.compile(r"^S(\d+)/([A-Za-z]+(?:[ _]\d)?)/(\d{8}|[0-3])/(\d{6})$"), 0),
)
_NUMBERED = re.compile(r"s_(\d\d)_act_(\d\d)_subact_(\d\d)_ca_(\d\d)_(\d{6})\.\w+$")


def sample_key(name: str) -> str | None:
    """The sample key that an image name means; ``None`` when it is none of the known ways or names no recording."""
    for pattern, first in _NAMED:
        if found := pattern.search(name):
            subject, recording, camera, image = found.groups()
            return _key(find_recording(int(subject), recording), camera, int(image) - first)
    if found := _NUMBERED.search(name):
        subject, action, subaction, camera, image = map(int, found.groups())
        wanted = (subject, action, subaction)
        same = (one for one in recordings() if (one.subject, one.action, one.subaction) == wanted)
        return _key(next(same, None), str(camera - 1), image - 1)
    return None


def _key(recording: Recording | None, camera: str, frame: int) -> str | None:
    camera_id = CAMERAS[int(camera)] if camera in ("0", "1", "2", "3") else camera
    if recording is None or camera_id not in CAMERAS or frame < 0:
        return None
    return f"{video_name(recording, camera_id)}_{frame:06d}"
