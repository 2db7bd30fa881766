"""Pose of one person in a photograph from an exported run, with NumPy and OpenCV alone.

kt3d export RUN --onnx run.onnx; python examples/onnx_pose.py run.onnx 256 photo.jpg 120 40 310 560
(side of the network's input, then x0 y0 x1 y1 of the person's box, px)
"""

import sys

import cv2
import numpy as np

onnx_file, side, photo = sys.argv[1], int(sys.argv[2]), sys.argv[3]
x0, y0, x1, y1 = map(float, sys.argv[4:])
network = cv2.dnn.readNetFromONNX(onnx_file)
scale = side / (1.25 * max(x1 - x0, y1 - y0))
offset = (side - 1) / 2 - scale * np.array([(x0 + x1) / 2, (y0 + y1) / 2])
to_input = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
rgb = cv2.cvtColor(cv2.imread(photo), cv2.COLOR_BGR2RGB)
fewer = max(1, round(1 / scale))
wide = cv2.warpAffine(rgb, fewer * to_input + [[0, 0, (fewer - 1) / 2]] * 2, (fewer * side, fewer * side))
crop = cv2.resize(wide, (side, side), interpolation=cv2.INTER_AREA)
network.setInput(np.ascontiguousarray(crop.transpose(2, 0, 1)[None] / np.float32(255)), "rgb")
joints_px, z_root_mm = network.forward(["joints_px", "z_root_mm"])
for (x, y), z in zip((joints_px[0] - offset) / scale, z_root_mm[0], strict=True):
    print(f"{x:8.1f} {y:8.1f} px {z:8.1f} mm")
