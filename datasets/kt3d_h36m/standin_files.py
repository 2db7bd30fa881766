"""Writers of the official files, pose CDFs and videos, with the same bytes on every run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

_CDF_REAL4 = 44
_RATE_HZ = 50


def write_pose_cdf(path: Path, points: npt.NDArray[np.float64]) -> None:
    """Write (n, 32, 2|3) as variable ``Pose`` (1, n, 64|96), float32, uncompressed: compression stores the time."""
    from cdflib.cdfwrite import CDF

    path.parent.mkdir(parents=True, exist_ok=True)
    values = points.reshape(len(points), -1).astype(np.float32)
    variable = {
        "Variable": "Pose",
        "Data_Type": _CDF_REAL4,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(values.shape),
        "Compress": 0,
    }
    with CDF(path, cdf_spec={"Majority": "row_major"}) as cdf:
        cdf.write_var(variable, var_data=values[None])


def write_video(path: Path, images: Iterable[npt.NDArray[np.uint8]]) -> None:
    """Write (H, W, 3) RGB images of one even size as MPEG-4 at 50 frames per second."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mpeg4", rate=_RATE_HZ, options={"qmin": "2", "qmax": "3", "flags": "+bitexact"})
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 40_000_000
        stream.codec_context.thread_count = 1
        started = False
        for image in images:
            if not started:
                stream.height, stream.width = image.shape[:2]
                started = True
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
