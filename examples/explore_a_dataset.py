# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Explore a dataset
#
# Look at shards before training on them: who is in them, where people are in the image, how large they are, and whether
# the skeletons lie on the people. Open this file in Jupyter with jupytext, or run it with Python.
#
# It reads `kt3d-data/shards/h36m`. Without the real dataset, make a stand-in of generated people first:
# `kt3d generate h36m --out kt3d-data/raw/h36m` and `kt3d prepare h36m`.

# %%
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np

import kt3d_bench as kt
from kt3d_bench.skeletons import H36M17

test = kt.load("h36m", "test")
print(len(test), "samples")
print("subjects", Counter(test.labels.subject))
print("actions", Counter(test.labels.action).most_common(5))

# %% [markdown]
# ## One sample
#
# Images are read when a sample is asked for. The skeleton is the projection of the 3D joints by that image's camera.

# %%
sample = test[0]
print(sample.key, sample.rgb.shape, sample.camera.size_px)
kt.plot(sample)

# %% [markdown]
# ## How far away, and how large
#
# Labels are arrays over all samples, so no image is read here. The hip is joint 0; lengths are mm.

# %%
joints_mm = test.joints_cam_mm
hip_m = joints_mm[:, 0, 2] / 1000
bones_mm = {
    f"{H36M17.joints[parent]} - {H36M17.joints[joint]}": np.linalg.norm(
        joints_mm[:, joint] - joints_mm[:, parent], axis=1
    )
    for joint, parent in enumerate(H36M17.parents)
    if parent >= 0
}
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.hist(hip_m, bins=20)
left.set(xlabel="hip's distance, m", ylabel="samples")
right.barh(list(bones_mm), [lengths.mean() for lengths in bones_mm.values()])
right.set(xlabel="mean bone length, mm")
fig.tight_layout()

# %% [markdown]
# ## One person, one action
#
# `select` returns a view without copying. A body is rigid: the bones of one subject should not change their length.

# %%
subject = test.labels.subject[0]
one = test.select(subject=subject)
thigh_mm = np.linalg.norm(one.joints_cam_mm[:, 2] - one.joints_cam_mm[:, 1], axis=1)
print(f"{subject}: {len(one)} samples, right thigh {thigh_mm.mean():.1f} mm, spread {np.ptp(thigh_mm):.2f} mm")

# %% [markdown]
# ## Is anything wrong?
#
# `kt.validate` checks files, labels, bodies and images, as `kt3d validate` does.

# %%
found = kt.validate("kt3d-data/shards/h36m")
print("sound:", found.sound)
