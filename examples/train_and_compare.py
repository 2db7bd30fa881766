# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Train, compare, look at failures
#
# Train two methods without any label of the target, compare them sample by sample, and look at the worst.
#
# It reads the shards of `h36m`, `ubc3v` and `mpii` below `kt3d-data`. Without the real datasets, make stand-ins of
# generated people first: `kt3d generate NAME --out kt3d-data/raw/NAME` and `kt3d prepare NAME`.
# The preset `tiny` takes minutes on a CPU.

# %%
import matplotlib.pyplot as plt
import numpy as np

import kt3d_bench as kt

BENCHMARK = "h36m-s9s11-64"
test = kt.load("h36m", "test")
runs = {
    "mean-pose": kt.train("mean-pose", preset="tiny", name="notebook-floor"),
    "knowledge-transfer": kt.train("knowledge-transfer", preset="tiny", name="notebook-adapted"),
}
predictions = {name: run.predict(test) for name, run in runs.items()}

# %% [markdown]
# ## Scores with intervals
#
# Intervals are 95 % bootstraps over clips. A difference between two methods needs a test over the same clips:
# `kt3d score` writes rows, and the board ranks only what such a test can tell apart.

# %%
for name, found in predictions.items():
    scores = kt.evaluate(BENCHMARK, found)
    low, high = scores.intervals.get("mpjpe_mm", (np.nan, np.nan))
    print(f"{name:20} {scores.overall['mpjpe_mm']:6.1f} mm [{low:.1f}, {high:.1f}]")
    for warning in scores.warnings:
        print("   ", warning)

# %% [markdown]
# ## Sample by sample

# %%
errors_mm = {name: kt.mpjpe(found.joints_cam_mm, test.joints_cam_mm, root=0) for name, found in predictions.items()}
fig, ax = plt.subplots()
ax.scatter(errors_mm["mean-pose"], errors_mm["knowledge-transfer"], s=12)
ax.axline((0, 0), slope=1, linewidth=1)
ax.set(xlabel="mean-pose, mm", ylabel="knowledge-transfer, mm", aspect="equal")

# %% [markdown]
# ## The worst samples
#
# Solid: the truth. Dashed: the prediction. Is the person cut, turned away, or is left taken for right?

# %%
worst = np.argsort(errors_mm["knowledge-transfer"])[::-1][:3]
fig, axes = plt.subplots(1, 3, figsize=(12, 4))
for ax, index in zip(axes, worst, strict=True):
    kt.plot(test[index], predictions["knowledge-transfer"][index], ax=ax)
    ax.set_title(f"{errors_mm['knowledge-transfer'][index]:.0f} mm, {test.labels.action[index]}", fontsize=9)

# %% [markdown]
# ## Which joints
#
# Errors by joint show what a method has not learned: hands and feet move most.

# %%
by_joint = kt.evaluate(BENCHMARK, predictions["knowledge-transfer"]).by_joint
for joint, values in sorted(by_joint.items(), key=lambda item: -item[1]["mpjpe_mm"])[:5]:
    print(f"{joint:15} {values['mpjpe_mm']:6.1f} mm")
