"""The stages of the method: what each reads, what it trains, how long, and which options decide its outcome."""

from __future__ import annotations

from typing import Any

from kt3d_bench.method import MethodContext, Optimiser, Stage
from kt3d_bench.nn.camera_fit import cameras_stage
from kt3d_bench.nn.pretrain2d import pretrain_2d_stage
from kt3d_bench.nn.prior import prior_stage
from kt3d_bench.nn.schedules import length, training
from kt3d_knowledge_transfer.config import Config

PRIOR_NOISE = 0.3
"""Noise on the prior's input, in units of the pose's size: each sample draws its standard deviation between 0 and
this."""
OFFSET_WEIGHT = 0.1
"""Weight of the hip's depth behind the surface (smooth L1, threshold 50 mm). The paper does not say how it finds
absolute depth."""

_ADVERSARIAL = ("adversarial", "adversarial_delay_steps", "classifier_width")
_GENERATOR = ("generator", "generator_width", "generator_schedule", "reconstruction", "image_floor")


def stages(config: Config, context: MethodContext) -> tuple[Stage, ...]:
    """All that the run needs, in order; only ``synthetic`` where target and source are the same dataset."""
    found: list[Stage] = []
    rgb = context.target_modality == "rgb"
    if not context.transfers:
        return (_synthetic(config, context),)
    if rgb:
        names = ("backbone", "input_px", "side", "marginal_weight")
        sizes: dict[str, Any] = {name: getattr(config, name) for name in names}
        found.append(pretrain_2d_stage(**sizes, **_schedule(config, config.pretrain_steps)))  # section 4.3
        if fits_cameras(config):
            found.append(cameras_stage("rgb_net", sizes, (found[0].name,)))
            found.append(_prior(config, after=(found[0].name, found[1].name)))
        elif has_prior(config):
            found.insert(0, _prior(config))
    cycles = config.bridge == "generated" or (rgb and config.depth_at_test == "cycle")
    if not rgb or cycles or adversarial_in_adapt(config):
        found.append(_synthetic(config, context))
    if cycles and config.generator_schedule == "separate":
        found.append(_generator(config, context))
    if rgb and has_bridge(config):
        found.append(_bridge(config, context))
    return (*found, _adapt(config, context, after=tuple(stage.name for stage in found)))


def has_prior(config: Config) -> bool:
    """Whether the pose prior of RGB targets is used: by the teacher or at test time."""
    return config.teacher == "mean" or config.depth_at_test in ("prior", "mask")


def fits_cameras(config: Config) -> bool:
    """Whether the prior's cameras are fitted to the target."""
    return has_prior(config) and config.prior_cameras == "fitted"


def has_bridge(config: Config) -> bool:
    """Whether the mask-conditioned network of RGB targets is used."""
    return config.bridge == "observed" or config.depth_at_test == "mask"


def learns_depth(config: Config, context: MethodContext) -> bool:
    """Whether E_r, D_r learns depths in ``adapt``. On RGB images depths that are not used would only disturb the 2D
    pose: their part of the network starts untrained."""
    used = config.depth_at_test == "network" or config.bridge == "generated"
    return context.target_modality != "rgb" or used


def tunes_prior(config: Config, context: MethodContext) -> bool:
    """Whether ``adapt`` trains the prior on: with 3D labels, where it gives the depths at test time."""
    lifts = context.target_modality == "rgb" and config.depth_at_test in ("prior", "mask")
    return lifts and context.supervision in ("partial", "partial-3d", "full", "full-3d")


def adversarial_in_adapt(config: Config) -> bool:
    return bool(config.adversarial and config.weight_domain)


def _schedule(config: Config, steps: int, learning_rate: float | None = None) -> dict[str, Any]:
    """How long and how a stage is trained: as published in steps of the rate; else the rate is held, then decays, and
    the weights are averaged."""
    return {
        **length(steps, config.epochs),
        "batch_size": config.batch_size,
        **_optimisation(config, learning_rate or config.learning_rate),
    }


def _optimisation(config: Config, learning_rate: float) -> dict[str, Any]:
    return {"optimiser": Optimiser(learning_rate=learning_rate), **training(config.schedule)}


def _recipe(config: Config, context: MethodContext, *names: str) -> dict[str, Any]:
    always = ("input_px", "backbone", "mask", "depth_channels", "marginal_weight")
    facts = {"num_parts": context.num_parts, "pose_loss": "smooth-l1, threshold a 64th of the volume"}
    return facts | {name: getattr(config, name) for name in always + names}


def _synthetic(config: Config, context: MethodContext) -> Stage:
    """Section 3.1: both branches, C, and G where the schedule is joint, on synthetic depth images and masks."""
    joint = config.generator_schedule == "joint"
    names = ("weight_depth", "weight_mask", "weight_adversarial", *_ADVERSARIAL)
    return Stage(
        "synthetic",
        roles={"source": ("depth", "parts")},
        trains=("depth_net", "mask_net")
        + (("classifier",) if config.adversarial else ())
        + (("generator",) if joint else ()),
        recipe=_recipe(config, context, *names, *(("weight_reconstruction", *_GENERATOR) if joint else ())),
        step_s=0.17,
        **_schedule(config, config.synthetic_steps),
    )


def _generator(config: Config, context: MethodContext) -> Stage:
    """G on its own: inside the joint loss a weight of 0.15 starves it."""
    return Stage(
        "generator",
        roles={"source": ("depth", "parts") if config.mask == "part-depth" else ("parts",)},
        trains=("generator",),
        recipe=_recipe(config, context, *_GENERATOR),
        step_s=0.23,
        after=("synthetic",),
        **_schedule(config, config.generator_steps),
    )


def _prior(config: Config, after: tuple[str, ...] = ()) -> Stage:
    """Labels of the source alone, no images: what poses there are, and what depths go with their x and y."""
    return prior_stage(
        input_px=config.input_px,
        width=config.prior_width,
        noise=PRIOR_NOISE,
        cameras=config.prior_cameras,
        after=after,
        **length(config.prior_steps, config.epochs),
        **_optimisation(config, 1e-3),
    )


def _bridge(config: Config, context: MethodContext) -> Stage:
    """The mask-conditioned network, on synthetic silhouettes and labels, half of them before virtual cameras."""
    return Stage(
        "bridge",
        roles={"source": ("foreground",)},
        trains=("bridge_net",),
        recipe=_recipe(config, context),
        step_s=0.1,
        **_schedule(config, config.bridge_steps),
    )


def _adapt(config: Config, context: MethodContext, after: tuple[str, ...]) -> Stage:
    """Section 3.2: E_r, D_r and C on target images; G, E_s and D_s stay as they are."""
    rgb = context.target_modality == "rgb"
    mix = "mix_pretrain" if rgb else "mix_source"
    names = ("weight_pose", "weight_domain", "bridge", "teacher", mix, "prior_cameras", *_ADVERSARIAL)
    facts = {"supervision": context.supervision, "learns_depth": learns_depth(config, context)}
    adversarial = adversarial_in_adapt(config)
    roles: dict[str, tuple[str, ...]] = {"target": ("rgb",) if rgb else ("depth",)}
    if rgb and config.bridge == "observed":
        roles["target"] += ("foreground",)
    synthetic = set[str]()
    if adversarial or config.bridge == "generated":
        synthetic |= {"parts", "depth"} if config.mask == "part-depth" else {"parts"}
    if config.mix_source and not rgb:
        synthetic.add("depth")
    if synthetic or tunes_prior(config, context):
        roles["source"] = tuple(sorted(synthetic))
    if config.mix_pretrain and rgb:
        roles["pretrain"] = ("rgb",)
    trains: tuple[str, ...] = ("rgb_net" if rgb else "adapted_net",)
    trains += ("prior",) if tunes_prior(config, context) else ()
    trains += ("classifier",) if adversarial else ()
    trains += ("teacher_net",) if config.teacher == "mean" else ()
    return Stage(
        "adapt",
        roles=roles,
        trains=trains,
        recipe=_recipe(config, context, *names) | facts,
        step_s=0.135,
        after=after,
        augment=config.teacher == "none",
        **_schedule(config, config.adapt_steps, config.adapt_learning_rate),
    )
