"""All options of the knowledge-transfer method, in one frozen record.

The defaults are the paper's sizes and schedule, with the options that measured best (README.md has the numbers).
``AS_PUBLISHED`` holds the options with which the method does what the paper says; ``--set fidelity=as-published`` sets
them all. What is set by name wins over ``fidelity``, and ``fidelity`` wins over the preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kt3d_bench.errors import UsageError, did_you_mean
from kt3d_knowledge_transfer.losses import RECONSTRUCTIONS

CHOICES: Mapping[str, tuple[str, ...]] = {
    "fidelity": ("ours", "as-published"),
    "mask": ("one-hot", "part-depth"),
    "generator": ("dcgan", "limb-map"),
    "generator_schedule": ("joint", "separate"),
    "generator_input": ("predicted", "truth"),
    "reconstruction": RECONSTRUCTIONS,
    "anchor": ("none", "lifted-2d", "frozen-2d", "ema-2d"),
    "cycle_input": ("prediction", "anchor"),
    "cycle_depth": ("predicted", "zero"),
    "depth_init": ("depth-net", "scratch"),
    "branch": ("depth", "mask"),
    "lifted_pose": ("student", "teacher"),
    "depth_at_test": ("network", "prior"),
}


@dataclass(frozen=True)
class Config:
    """Options of ``knowledge-transfer`` and ``source-only``; ``--set name=value`` changes one.

    Raises ``UsageError`` for an unknown choice, a number out of range, and options that exclude each other.
    """

    fidelity: str = "ours"
    """"ours", or "as-published": losses, generator and anchor exactly as in the paper. On the command line and in
    recipes it sets several other options at once (``BUNDLES``). An option that is set by name wins, so that each change
    can be tried alone."""

    # Sizes.
    input_px: int = 256
    """Side of the square network input; the volumes have a quarter of it."""
    backbone: str = "resnet50"
    """"resnet50" or "tiny"."""
    generator_width: int = 32
    """Channels of the generator: at full resolution, doubled with each halving (dcgan), or throughout (limb-map)."""
    limb_shrink: int = 2
    """Limb maps are drawn at input_px / limb_shrink."""
    classifier_width: int = 256
    """Hidden units of the domain classifier."""

    depth_channels: int = 2
    """Depth images as "relief and foreground" (2), or as nearness alone (1, the paper's)."""
    marginal_weight: float = 0.75
    """Weight of the marginals' loss beside the soft-argmax's, in supervised stages (``nn.integral.pose_loss``)."""

    # Schedule.
    epochs: float = 140.0
    """Length of each stage. The paper does not say which stages its 140 epochs cover."""
    synthetic_steps: int = 0
    """Steps of the stage ``synthetic``; 0 = ``epochs`` decide, as for the three below."""
    generator_steps: int = 0
    pretrain_steps: int = 0
    adapt_steps: int = 0
    batch_size: int = 32
    adapt_batch_size: int = 32
    learning_rate: float = 1e-3
    generator_learning_rate: float = 1e-3
    pretrain_learning_rate: float = 1e-3
    adapt_learning_rate: float = 1e-3
    adversarial_delay_steps: int = 5000
    """Start the adversarial loss after this many steps of a stage ..."""
    adversarial_delay: float = 0.0
    """... and after this fraction of it."""

    # The synthetic stage.
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
    weight_offset: float = 0.1
    """Weight of the hip's depth behind the surface (smooth L1, threshold 50 mm). The paper does not say how it finds
    absolute depth."""
    adversarial: bool = True
    """Whether the domain classifier is used, in both stages."""

    # The generator.
    generator: str = "limb-map"
    """"dcgan" (the paper's) or "limb-map"."""
    generator_schedule: str = "separate"
    """"joint" with the synthetic stage (the paper's), or "separate": a stage of its own."""
    generator_input: str = "truth"
    """Poses the generator learns from: "predicted" by the depth branch (the paper's) or "truth"."""
    generator_hide_depth: float = 0.5
    """Share of the generator's samples whose depths are replaced by the hip's, so that it learns to lift as well as to
    draw: of half of these all depths, of the other half those of random joints."""
    generator_noise: float = 0.3
    """Noise on the generator's poses, in units of the pose's size: each sample draws its standard deviation between 0
    and this."""
    weight_lift: float = 0.1
    """Weight of the cycle's error in the separate ``generator`` stage: D_s(E_s(G(pose))) of a noisy pose with hidden
    depths, against the true pose."""
    reconstruction: str = "cross-entropy"
    """"si-log" (the paper's), "si", "mse" (Table 4's traditional), or "cross-entropy" for one-hot masks."""

    # The adapt stage.
    weight_pose: float = 0.95
    """l1: weight of L_3D."""
    weight_domain: float = 0.05
    """l2: weight of the domain loss in the stage ``adapt``."""
    weight_cycle: float = 1.0
    """Weight inside L_3D: the prediction against its own cycle through G, E_s and D_s."""
    weight_label: float = 1.0
    """Weight inside L_3D: the prediction against granted labels."""
    weight_cycle_label: float = 1.0
    """Weight inside L_3D: the cycle's output against granted labels."""
    cycle_gradient: bool = True
    """Whether the gradient flows through the cycle."""
    cycle_input: str = "prediction"
    """Input of the cycle: the "prediction" (the paper's), or the "anchor": the teacher's 2D pose, with granted labels
    in place. The cycle is then a fixed teacher, and its output needs no labels of its own."""
    cycle_depth: str = "predicted"
    """Depths that enter the cycle: "predicted", or "zero": the cycle lifts the 2D pose alone."""
    cycle_where_labelled: bool = True
    """Whether labelled coordinates must also agree with the cycle."""
    cycle_beside_lift: float = 0.1
    """Factor of both weights of the cycle while the lifted anchor of RGB targets is used: the mask network's errors
    then outweigh what the cycle adds."""
    cycle_share: float = 0.5
    """Share of each batch that passes the cycle, which takes four times as long as the network itself; C sees as many
    synthetic masks."""
    anchor: str = "lifted-2d"
    """Target for the pose of unlabelled images: "none" (the paper's), "frozen-2d": the network as the stage found it,
    "ema-2d": the moving average of the student (mean teacher), "lifted-2d": the frozen network's 2D pose, with granted
    labels in place, cleaned and lifted by the pose prior. For depth targets, whose start sees all three axes, poses
    are used as they are, and "lifted-2d" means "frozen-2d"."""
    anchor_with_labels: bool = False
    """Whether the anchor is also used for the unlabelled joints of labelled batches; if not, only for batches without
    labels. The lifted anchor of RGB targets, which sees the labels, is always used."""
    anchor_weight: float = 1.0
    anchor_decay: float = 0.99
    """Decay of the mean teacher, per step."""
    anchor_confidence_vox: float = 2.0
    """Tolerance for the teacher's disagreement with itself on the mirrored image: weight exp(-(difference / this)^2),
    in voxels of a 64-bin volume. 0 = no mirrored image, and weight 1."""
    lifted_pose: str = "student"
    """Whose x and y the prior lifts for the anchor "lifted-2d": the "student"'s, which become better than the
    "teacher"'s during training. The anchor's own x and y are the teacher's, cleaned, in both cases."""
    view_strength: float = 0.0
    """The student sees the image mirrored, scaled and shifted by up to this share; 0 = as it is."""
    mix_pretrain: float = 1.0
    """Weight of the loss on a batch of the pretrain role beside each target batch (RGB targets): its 2D labels and,
    where the anchor is "lifted-2d", the depths that the pose prior gives them. 0 = none."""
    mix_share: float = 0.25
    """Share of that batch that is used: each image takes as long as one of the target's."""
    depth_at_test: str = "network"
    """Source of a prediction's depths on RGB images: the "network", or the pose "prior" from the network's x and y."""

    # The pose prior (anchor "lifted-2d" of RGB targets): learned from the synthetic poses alone.
    prior_steps: int = 40000
    """Steps of the stage ``prior``; 0 = ``epochs`` decide, as for the other stages."""
    prior_batch_size: int = 64
    prior_learning_rate: float = 1e-3
    prior_width: int = 1024
    """Hidden units of the prior's layers."""
    prior_noise: float = 0.3
    """Noise on the prior's input, in units of the pose's size: each sample draws its standard deviation between 0 and
    this."""
    depth_init: str = "depth-net"
    """Start of E_r, D_r for depth targets: E_d, D_d, or from "scratch"."""

    # Prediction when source and target are the same dataset.
    branch: str = "depth"
    """Which network predicts: "depth" or "mask" (the paper's Table 1)."""

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            if getattr(self, name) not in words:
                raise UsageError(
                    f"{name} cannot be '{getattr(self, name)}'", hint=did_you_mean(str(getattr(self, name)), words)
                )
        for name in ("generator_hide_depth", "adversarial_delay", "anchor_decay", "cycle_share", "mix_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}", hint="give a share between 0 and 1")
        if not 0 <= self.view_strength < 1:
            raise UsageError(f"view_strength is {self.view_strength}", hint="give a share from 0 to below 1")
        positive = ("weight_", "anchor_", "cycle_beside", "generator_noise", "mix_", "prior_")
        for name, value in vars(self).items():
            if name.startswith(positive) and value < 0:
                raise UsageError(f"{name} is {value}", hint="give 0 or more")
        if self.input_px < 32 or self.input_px % 8:
            raise UsageError(f"input_px is {self.input_px}", hint="give a multiple of 8, 32 or more")
        if min(self.limb_shrink, self.generator_width, self.classifier_width, self.prior_width) < 1:
            raise UsageError("a size is too small", hint="limb_shrink and the widths are at least 1")
        if min(self.batch_size, self.adapt_batch_size, self.prior_batch_size) < 2:
            raise UsageError("a batch is too small", hint="batch sizes are at least 2")
        if self.depth_channels not in (1, 2) or self.marginal_weight < 0:
            raise UsageError("depth_channels is 1 or 2, marginal_weight 0 or more", hint="see kt3d list METHOD")
        if self.cycle_input == "anchor" and self.anchor == "none":
            raise UsageError("cycle_input 'anchor' needs an anchor", hint="set anchor=lifted-2d")
        if self.mask == "part-depth" and self.reconstruction == "cross-entropy":
            raise UsageError(
                "reconstruction 'cross-entropy' is for one-hot masks", hint="set reconstruction=si-log or mask=one-hot"
            )

    @property
    def side(self) -> int:
        """Bins along each axis of a volume."""
        return self.input_px // 4

    def vox(self, vox_of_64: float) -> float:
        """A length given in voxels of a 64-bin volume, in voxels of this one."""
        return vox_of_64 * self.side / 64


AS_PUBLISHED: Mapping[str, Any] = {
    "generator": "dcgan", "generator_schedule": "joint", "generator_input": "predicted", "generator_hide_depth": 0.0,
    "generator_noise": 0.0, "weight_lift": 0.0, "reconstruction": "si-log",
    "weight_cycle": 1.0, "weight_label": 1.0, "weight_cycle_label": 1.0, "cycle_gradient": True,
    "cycle_input": "prediction", "cycle_depth": "predicted", "cycle_where_labelled": True, "cycle_share": 1.0,
    "anchor": "none", "anchor_with_labels": False, "view_strength": 0.0, "mix_pretrain": 0.0,
    "depth_at_test": "network", "depth_channels": 1, "marginal_weight": 0.0,
}  # fmt: skip
"""Settings under which the method does what the paper says, and nothing that it does not say."""

BUNDLES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {"fidelity": {"ours": {}, "as-published": AS_PUBLISHED}}
"""Field -> word -> the options that the word sets together."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "paper": {},
    "small": {
        "input_px": 128, "epochs": 0.0, "synthetic_steps": 12000, "generator_steps": 6000, "pretrain_steps": 8000,
        "adapt_steps": 6000, "prior_steps": 20000, "adversarial_delay_steps": 0, "adversarial_delay": 0.2,
    },
    "tiny": {
        "input_px": 64, "backbone": "tiny", "classifier_width": 64, "prior_width": 256,
        "learning_rate": 2e-3, "generator_learning_rate": 3e-3, "adapt_learning_rate": 2e-3, "epochs": 0.0,
        "synthetic_steps": 600, "prior_steps": 1500, "generator_steps": 260, "pretrain_steps": 600, "adapt_steps": 260,
        "cycle_share": 0.25, "mix_share": 1.0, "adversarial_delay_steps": 0, "adversarial_delay": 0.2,
    },
}  # fmt: skip
