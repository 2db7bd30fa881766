"""The paper's tables and its Figure 5 as recipes, and two of our own: light records, no torch.

Rows take three seeds where a claim hangs on them (``none``, ``full``, martinez, source-only, both branches), else one.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from kt3d_bench import Recipe, RecipeClaim, RecipePicture, RecipeRow

TRANSFER, SYNTHETIC, RGB = "knowledge-transfer", "ubc3v", "h36m"
PAPER = "knowledge transfer"
LEVELS = ("none", "partial-2d", "partial-3d", "partial", "full-2d", "full-3d", "full")
SEEDS = 3
JOINTS = (1, 3, 6, 12, 17)
_CLAIMED = ("none", "full")


def _levels(target: str, words: str = "") -> tuple[RecipeRow, ...]:
    """The method at its seven levels of supervision, each beside the paper's row of that level."""
    return tuple(
        RecipeRow(
            TRANSFER,
            level,
            target=target,
            label=f"{level}{words}",
            reported={"method": PAPER, "supervision": level},
            seeds=SEEDS if level in _CLAIMED else 1,
        )
        for level in LEVELS
    )


def _transfer_and_others(target: str) -> tuple[RecipeRow, ...]:
    """The method at three levels of supervision, after what it is compared with."""
    others = RecipeRow("mean-pose", target=target), RecipeRow("source-only", target=target)
    levels = (RecipeRow(TRANSFER, level, target=target) for level in ("none", "partial", "full"))
    return (*others, RecipeRow("integral-pose", "full", target=target), *levels)


def _branch(branch: str) -> RecipeRow:
    return RecipeRow(
        TRANSFER,
        "full",
        target=SYNTHETIC,
        settings={"branch": branch},
        label=f"{branch} branch",
        reported={"method": PAPER, "input": {"depth": "depth", "mask": "part mask"}[branch]},
        seeds=SEEDS,
    )


def _ablation() -> tuple[RecipeRow, ...]:
    """Table 4 exactly as published, whose reconstruction loss trains a part of the joint synthetic stage; both
    branches of each, which share that stage. The paper's numbers look like the mask branch's."""
    rows = []
    losses = {"scale-invariant": "si-log", "mean squared error": "mse"}
    for loss, words, branch in product(losses, ("with", "without"), ("mask", "depth")):
        settings = {"fidelity": "as-published", "reconstruction": losses[loss], "adversarial": words == "with"}
        reported = {"reconstruction loss": loss, "adversarial loss": words} if branch == "mask" else {}
        label = f"{loss}, {words} adversarial loss, {branch} branch"
        given: dict[str, Any] = {"settings": {**settings, "branch": branch}, "label": label, "reported": reported}
        rows.append(RecipeRow(TRANSFER, "full", target=SYNTHETIC, **given))
    return tuple(rows)


TABLE1 = Recipe(
    "table1",
    "Table 1 of the paper: both synthetic branches on the hard poses of UBC3V",
    (RecipeRow("mean-pose", target=SYNTHETIC, label="mean-pose"), _branch("depth"), _branch("mask")),
    (RecipePicture("poses", title="The two synthetic branches"),),
)
TABLE2 = Recipe(
    "table2",
    "Table 2 of the paper: ITOP from the front and from above, at seven levels of supervision",
    tuple(
        row
        for view in ("front", "top")
        for row in (
            RecipeRow("mean-pose", target=f"itop-{view}", label=f"mean-pose, {view}"),
            RecipeRow("source-only", target=f"itop-{view}", label=f"source-only, {view}", seeds=SEEDS),
            RecipeRow("integral-pose", "full", target=f"itop-{view}", label=f"integral-pose full, {view}"),
            *_levels(f"itop-{view}", f", {view}"),
        )
    ),
    (
        RecipePicture(
            "poses",
            rows=tuple(f"{name}, {view}" for view in ("front", "top") for name in ("full", "none")),
            title="With labels and without",
        ),
    ),
    tuple(RecipeClaim(f"none, {view}", f"source-only, {view}", f"full, {view}") for view in ("front", "top")),
)
TABLE3 = Recipe(
    "table3",
    "Table 3 of the paper: Human3.6M at seven levels of supervision; its Figure 4",
    (
        RecipeRow("mean-pose", target=RGB, label="mean-pose"),
        RecipeRow("martinez", target=RGB, label="martinez", seeds=SEEDS),
        RecipeRow("source-only", target=RGB, label="source-only", seeds=SEEDS),
        RecipeRow(
            "integral-pose", "full", target=RGB, label="integral-pose full", reported={"method": "Integral Pose"}
        ),
        *_levels(RGB),
    ),
    (RecipePicture("poses", rows=("full", "none"), title="With labels and without"),),
    (
        RecipeClaim("none", "source-only", "full"),
        RecipeClaim("none", "martinez", "full"),
        RecipeClaim("partial", "none"),
        RecipeClaim("full", "partial"),
        RecipeClaim("full", "integral-pose full"),
    ),
)
TABLE4 = Recipe(
    "table4",
    "Table 4 of the paper: reconstruction loss and adversarial loss of the synthetic stage, by both branches",
    _ablation(),
    claims=tuple(
        RecipeClaim(*(f"{loss}, {words} adversarial loss, {branch} branch" for loss, words in pair))
        for branch in ("mask", "depth")
        for pair in (
            (("scale-invariant", "with"), ("mean squared error", "with")),
            (("scale-invariant", "without"), ("mean squared error", "without")),
            (("scale-invariant", "with"), ("scale-invariant", "without")),
            (("mean squared error", "with"), ("mean squared error", "without")),
        )
    ),
)


def _joints(level: str, words: str) -> tuple[RecipeRow, ...]:
    """A level of partial supervision with each number of joints."""
    return tuple(
        RecipeRow(TRANSFER, level, joints, RGB, label=f"{joints} joint{'s' * (joints > 1)}{words}") for joints in JOINTS
    )


FIGURE5 = Recipe(
    "figure5",
    "Figure 5 of the paper, its curve of 2D and 3D labels: the error on Human3.6M against the number of joints",
    (RecipeRow(TRANSFER, "none", target=RGB, label="none"), *_joints("partial", "")),
    (RecipePicture("joints", reference=("none",), title="Joints with 2D and 3D labels"),),
)
FIGURE5_WHOLE = Recipe(
    "figure5-whole",
    "Figure 5 of the paper with all its curves: 2D labels, 3D labels, both",
    (*FIGURE5.rows, *_joints("partial-2d", " in 2D"), *_joints("partial-3d", " in 3D")),
    (RecipePicture("joints", reference=("none",), title="Joints with labels"),),
)
DEMO = Recipe(
    "demo",
    "The transfer to RGB images beside what it must beat, and the two synthetic branches",
    (
        RecipeRow("mean-pose", target=RGB),
        RecipeRow("martinez", target=RGB),
        *_transfer_and_others(RGB)[1:],
        RecipeRow("mean-pose", target=SYNTHETIC),
        *(RecipeRow(TRANSFER, "full", target=SYNTHETIC, settings={"branch": name}) for name in ("depth", "mask")),
    ),
    report=f"{TRANSFER} none",
)
AS_PUBLISHED = Recipe(
    "as-published",
    "The paper's own combination of losses, generator and anchor beside ours, without labels",
    (
        RecipeRow("source-only", target=RGB, label="source-only, ours"),
        RecipeRow("source-only", target=RGB, settings={"fidelity": "as-published"}, label="source-only, as published"),
        RecipeRow(TRANSFER, "none", target=RGB, label="none, ours"),
        RecipeRow(TRANSFER, "none", target=RGB, settings={"fidelity": "as-published"}, label="none, as published"),
    ),
    (RecipePicture("poses", title="As published and ours"),),
    (
        RecipeClaim("none, as published", "source-only, as published"),
        RecipeClaim("none, ours", "source-only, ours"),
        RecipeClaim("none, ours", "none, as published"),
    ),
)


def _variants(**named: Mapping[str, Any]) -> tuple[RecipeRow, ...]:
    """The method without labels under different settings, which its rows are named after."""
    return tuple(
        RecipeRow(TRANSFER, "none", target=RGB, settings=settings, label=name.replace("_", " "))
        for name, settings in named.items()
    )


BRIDGES = Recipe(
    "bridges",
    "Is it knowledge transfer? What carries the pose to unlabelled images: nothing but a mean teacher and a prior of "
    "poses, the paper's cycle, observed silhouettes; and the mask network again at test time",
    (
        RecipeRow("source-only", target=RGB, label="source-only"),
        RecipeRow("martinez", target=RGB, label="martinez"),
        *_variants(
            without_masks={"bridge": "none", "depth_at_test": "prior"},
            the_papers_cycle={"bridge": "generated", "depth_at_test": "prior"},
            observed_silhouettes={},
            observed_silhouettes_again_at_test={"bridge": "observed", "depth_at_test": "mask"},
        ),
        RecipeRow(
            "source-only", target=RGB, settings={"depth_at_test": "mask"}, label="observed silhouettes at test alone"
        ),
    ),
    claims=(
        RecipeClaim("without masks", "source-only"),
        RecipeClaim("without masks", "martinez"),
        *(
            RecipeClaim(name, "without masks")
            for name in ("the papers cycle", "observed silhouettes", "observed silhouettes again at test")
        ),
    ),
)
CHOICES = Recipe(
    "choices",
    "One choice of ours at a time taken back, without labels and on the synthetic branches",
    (
        *_variants(
            ours={},
            no_teacher={"teacher": "none", "bridge": "generated"},
            source_cameras={"prior_cameras": "source"},
            depths_of_the_network={"depth_at_test": "network"},
            no_flip_test={"flip_test": False},
            no_2d_data_beside={"mix_pretrain": 0.0},
            with_adversary={"weight_domain": 0.05},
        ),
        RecipeRow(TRANSFER, "none", target="itop-front", label="ITOP, ours"),
        RecipeRow(TRANSFER, "none", target="itop-front", settings={"mix_source": 0.0}, label="ITOP, no source beside"),
        *(
            RecipeRow(TRANSFER, "full", target=SYNTHETIC, settings=settings, label=f"depth branch, {words}")
            for words, settings in (
                ("ours", {}),
                ("one channel", {"depth_channels": 1}),
                ("no marginals", {"marginal_weight": 0.0}),
                ("schedule in steps", {"schedule": "steps"}),
            )
        ),
    ),
)
_CYCLE = {"bridge": "generated", "depth_at_test": "cycle"}
_DCGAN = {**_CYCLE, "generator": "dcgan", "reconstruction": "si-log"}
GENERATORS = Recipe(
    "generators",
    "Which generator carries the pose: cycle_mm, true_mask_mm and foreground_right in the logs of adapt, and the error",
    _variants(
        limb_maps=_CYCLE,
        limb_maps_with_the_papers_loss={**_CYCLE, "reconstruction": "si-log"},
        dcgan={**_CYCLE, "generator": "dcgan"},
        dcgan_with_the_papers_loss=_DCGAN,
        dcgan_inside_the_joint_stage={**_DCGAN, "generator_schedule": "joint"},
    ),
    claims=(RecipeClaim("limb maps", "dcgan"),),
)
DEPTH_VIEWS = Recipe(
    "depth-views",
    "The transfer to noisy depth images with a background, seen from the front and from above",
    (*_transfer_and_others("itop-front"), *_transfer_and_others("itop-top")),
)
ALL = (
    AS_PUBLISHED,
    BRIDGES,
    CHOICES,
    DEMO,
    DEPTH_VIEWS,
    FIGURE5,
    FIGURE5_WHOLE,
    GENERATORS,
    TABLE1,
    TABLE2,
    TABLE3,
    TABLE4,
)
