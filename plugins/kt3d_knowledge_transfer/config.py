"""All options of the knowledge-transfer method, in one frozen record.

The defaults are the paper's sizes and schedule, with the options that measured best (README.md has the numbers).
``AS_PUBLISHED`` holds the options with which the method does what the paper says; ``--set fidelity=as-published`` sets
them all. What is set by name wins over ``fidelity``, and ``fidelity`` wins over the preset.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_bench.nn.pretrain2d import PRESETS as SHARED
from kt3d_bench.nn.schedules import SCHEDULES
from kt3d_knowledge_transfer.losses import RECONSTRUCTIONS

CHOICES: Mapping[str, tuple[str, ...]] = {
    "fidelity": ("ours", "as-published"),
    "mask": ("one-hot", "part-depth"),
    "generator": ("dcgan", "limb-map"),
    "generator_schedule": ("joint", "separate"),
    "reconstruction": RECONSTRUCTIONS,
    "teacher": ("mean", "none"),
    "bridge": ("observed", "generated", "none"),
    "depth_at_test": ("prior", "mask", "cycle", "network"),
    "prior_cameras": ("virtual", "source", "fitted"),
    "branch": ("depth", "mask"),
    "schedule": SCHEDULES,
}
_NOT_NEGATIVE = ("weight_", "marginal_weight", "mix_")
_AT_LEAST_1 = ("generator_width", "classifier_width", "prior_width")


@dataclass(frozen=True)
class Config:
    """Options of ``knowledge-transfer`` and ``source-only``; ``--set name=value`` changes one.

    Raises ``UsageError`` for an unknown choice, a number out of range, and options that exclude each other.
    """

    fidelity: str = "ours"
    """"ours", or "as-published": losses, networks and stages exactly as in the paper. On the command line and in
    recipes it sets several other options at once (``BUNDLES``). An option that is set by name wins, so that each change
    can be tried alone."""

    # Sizes.
    input_px: int = 256
    """Side of the square network input; the volumes have a quarter of it."""
    backbone: str = "resnet50"
    """"resnet50" or "tiny"."""
    generator_width: int = 32
    """Channels of the generator: at full resolution, doubled with each halving (dcgan), or throughout (limb-map)."""
    classifier_width: int = 256
    """Hidden units of the domain classifier."""
    prior_width: int = 1024
    """Hidden units of the pose prior's layers."""

    # Schedule.
    epochs: float = 140.0
    """Length of each stage. The paper does not say which stages its 140 epochs cover."""
    synthetic_steps: int = 0
    """Steps of the stage ``synthetic``; 0 = ``epochs`` decide, as for those below."""
    generator_steps: int = 0
    pretrain_steps: int = 0
    prior_steps: int = 40000
    bridge_steps: int = 0
    adapt_steps: int = 0
    batch_size: int = 32
    learning_rate: float = 1e-3
    adapt_learning_rate: float = 1e-3
    schedule: str = "hold"
    """"steps" of the learning rate at 64 and 86 % of a stage (the paper's), or "hold": three quarters of the stage at
    the full rate, then down to a hundredth, and averaged weights (``nn.schedules``)."""
    adversarial_delay_steps: int = 5000
    """Start the adversarial loss after this many steps of a stage, or a fifth of it, whichever comes first."""

    # Supervised stages.
    depth_channels: int = 2
    """Depth images as relief and foreground (2), or as nearness alone (1, the paper's)."""
    marginal_weight: float = 3.0
    """Weight of the marginals' loss beside the soft-argmax's (``nn.integral.pose_loss``)."""

    # The synthetic stage and the generator.
    mask: str = "one-hot"
    """Content of a mask pixel: "one-hot" parts, or "part-depth": the depth in the part's channel."""
    weight_depth: float = 0.4
    """w1: weight of the depth branch's smooth L1."""
    weight_mask: float = 0.4
    """w2: weight of the mask branch's smooth L1."""
    weight_reconstruction: float = 0.15
    """w3: weight of the generated masks' loss in the joint schedule; a separate ``generator`` stage does not use it."""
    weight_adversarial: float = 0.05
    """w4: weight of the domain loss in the stage ``synthetic``."""
    adversarial: bool = True
    """Whether the domain classifier is used, in both stages."""
    generator: str = "limb-map"
    """"dcgan" (the paper's) or "limb-map"."""
    generator_schedule: str = "separate"
    """"joint" with the synthetic stage, from the poses that the depth branch predicts (the paper's), or "separate": a
    stage of its own, from true poses with noise and hidden depths, with the cycle's own error as a second loss."""
    reconstruction: str = "cross-entropy"
    """"si-log" (the paper's), "si", "mse" (Table 4's traditional), or "cross-entropy" for one-hot masks."""
    image_floor: float = 0.1
    """Images are clamped here before the logarithm of "si-log"; the paper does not say how."""

    # The pose prior of RGB targets, learned from the synthetic poses alone.
    prior_cameras: str = "virtual"
    """Cameras that it learns from: "virtual", the "source"'s own, or virtual ones "fitted" to the poses that
    ``pretrain-2d`` finds in the target's images, without labels."""

    # The adapt stage.
    weight_pose: float = 0.95
    """l1: weight of L_3D."""
    weight_domain: float = 0.0
    """l2: weight of the domain loss in the stage ``adapt``; 0.05 in the paper."""
    bridge: str = "observed"
    """What carries the pose across: "generated" masks, the paper's cycle through G, E_s and D_s; "observed"
    silhouettes, with which the mask-conditioned network corrects the start's x and y for the teacher; or "none"."""
    teacher: str = "mean"
    """Who answers for what is not labelled: "mean", the moving average of the student, on the image as it is, while the
    student sees it turned, scaled, mirrored, recoloured and cut, depth images mirrored and cut alone; or "none" (the
    paper's)."""
    mix_pretrain: float = 1.0
    """Weight of the loss on a batch of the pretrain role beside each target batch (RGB targets). 0 = none."""
    mix_source: float = 1.0
    """Weight of the loss on a labelled batch of the source beside each target batch (depth targets). 0 = none; then
    nothing holds a mean teacher without labels of the target, and it drifts away."""

    # Prediction.
    depth_at_test: str = "prior"
    """Source of a prediction's depths on RGB images: the pose "prior", from the network's x and y; the "network"; the
    "cycle" from z = 0, x and y kept; or "mask": the mask-conditioned network corrects x and y by the motion foreground,
    then the prior lifts them."""
    flip_test: bool = True
    """Whether predictions are averaged with those of the mirrored image."""
    branch: str = "depth"
    """Which network predicts where source and target are the same dataset: "depth" or "mask" (the paper's Table 1)."""

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                raise UsageError(
                    f"{name} cannot be '{getattr(self, name)}'", hint=did_you_mean(str(getattr(self, name)), words)
                )
        for name, value in vars(self).items():
            if name.startswith(_NOT_NEGATIVE) and not 0 <= value < math.inf:
                raise UsageError(f"{name} is {value}", hint="give 0 or more")
            if name in _AT_LEAST_1 and value < 1:
                raise UsageError(f"{name} is {value}", hint="widths are at least 1")
        if self.input_px < 32 or self.input_px % 8:
            raise UsageError(f"input_px is {self.input_px}", hint="give a multiple of 8, 32 or more")
        if self.batch_size < 2:
            raise UsageError(f"batch_size is {self.batch_size}", hint="batch sizes are at least 2")
        if not 0 < self.image_floor < 1:
            raise UsageError(f"image_floor is {self.image_floor}", hint="give a number between 0 and 1")
        if self.depth_channels not in (1, 2):
            raise UsageError(f"depth_channels is {self.depth_channels}", hint="choose 1 or 2")
        if self.mask == "part-depth" and self.reconstruction == "cross-entropy":
            raise UsageError(
                "reconstruction 'cross-entropy' is for one-hot masks", hint="set reconstruction=si-log or mask=one-hot"
            )

    @property
    def side(self) -> int:
        """Bins along each axis of a volume."""
        return self.input_px // 4


AS_PUBLISHED: Mapping[str, Any] = {
    "schedule": "steps",
    "depth_channels": 1, "marginal_weight": 0.0, "mask": "part-depth", "generator": "dcgan",
    "generator_schedule": "joint", "reconstruction": "si-log", "weight_domain": 0.05, "bridge": "generated",
    "teacher": "none", "mix_pretrain": 0.0, "mix_source": 0.0, "depth_at_test": "network", "flip_test": False,
}  # fmt: skip
"""Settings under which the method does what the paper says, and nothing that it does not say."""

BUNDLES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {"fidelity": {"ours": {}, "as-published": AS_PUBLISHED}}
"""Field -> word -> the options that the word sets together."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {**SHARED["paper"]},
    "small": {
        **SHARED["small"], "synthetic_steps": 12000, "generator_steps": 6000, "adapt_steps": 6000, "prior_steps": 20000,
        "bridge_steps": 6000,
    },
    "laptop": {
        **SHARED["laptop"], "classifier_width": 64, "prior_width": 512, "adapt_learning_rate": 3e-4,
        "synthetic_steps": 12000, "prior_steps": 10000, "generator_steps": 2000, "adapt_steps": 1000,
        "bridge_steps": 3000,
    },
    "tiny": {
        **SHARED["tiny"], "classifier_width": 64, "prior_width": 256, "adapt_learning_rate": 3e-4,
        "synthetic_steps": 700, "prior_steps": 1500, "generator_steps": 260, "adapt_steps": 260,
        "bridge_steps": 600,
    },
}  # fmt: skip
