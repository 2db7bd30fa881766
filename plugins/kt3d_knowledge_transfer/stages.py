"""The stages of the method: what each reads, what it trains, how long, and which options decide its outcome."""

from __future__ import annotations

from typing import Any

from kt3d_bench.method import MethodContext, Optimiser, Stage
from kt3d_bench.nn.pretrain2d import pretrain_2d_stage
from kt3d_knowledge_transfer.config import Config

PRIOR = "prior"

_ADVERSARIAL = ("adversarial", "adversarial_delay", "adversarial_delay_steps", "classifier_width")
_GENERATOR = ("generator", "generator_width", "limb_shrink", "generator_input", "generator_hide_depth",
              "generator_noise", "reconstruction")  # fmt: skip


def stages(config: Config, context: MethodContext) -> tuple[Stage, ...]:
    """All of them, in order; only the first where target and source are the same dataset."""
    found = [_synthetic(config, context)]
    if not context.transfers:
        return tuple(found)
    if config.generator_schedule == "separate":
        found.append(_generator(config, context))
    if context.target_modality == "rgb":
        schedule = _schedule(config, config.pretrain_steps, config.pretrain_learning_rate, config.batch_size)
        sizes: dict[str, Any] = {
            name: getattr(config, name) for name in ("backbone", "input_px", "side", "marginal_weight")
        }
        found.append(pretrain_2d_stage(budget_s=60.0, **sizes, **schedule))  # section 4.3
        if config.anchor == "lifted-2d" or config.depth_at_test == "prior":
            found.append(_prior(config))
    return (*found, _adapt(config, context, after=tuple(stage.name for stage in found)))


def _schedule(config: Config, steps: int, learning_rate: float, batch_size: int) -> dict[str, Any]:
    length = {"steps": steps} if steps else {"epochs": config.epochs}
    return {**length, "batch_size": batch_size, "optimiser": Optimiser(learning_rate=learning_rate)}


def _recipe(config: Config, context: MethodContext, *names: str) -> dict[str, Any]:
    always = ("input_px", "backbone", "mask", "depth_channels", "marginal_weight")
    facts = {"num_parts": context.num_parts, "pose_loss": "smooth-l1, threshold a 64th of the volume"}
    return facts | {name: getattr(config, name) for name in always + names}


def _synthetic(config: Config, context: MethodContext) -> Stage:
    """Section 3.1: both branches, C, and G where the schedule is joint, on synthetic depth images and masks."""
    joint = config.generator_schedule == "joint"
    names = ("weight_depth", "weight_mask", "weight_adversarial", "weight_offset", *_ADVERSARIAL)
    return Stage(
        "synthetic",
        roles={"source": ("depth", "parts")},
        trains=("depth_net", "mask_net", "source_statistics")
        + (("classifier",) if config.adversarial else ())
        + (("generator",) if joint else ()),
        recipe=_recipe(config, context, *names, *(("weight_reconstruction", *_GENERATOR) if joint else ())),
        budget_s=120.0,
        **_schedule(config, config.synthetic_steps, config.learning_rate, config.batch_size),
    )


def _generator(config: Config, context: MethodContext) -> Stage:
    """G on its own: inside the joint loss a weight of 0.15 starves it."""
    predicted = config.generator_input == "predicted"
    with_depth = predicted or config.mask == "part-depth"
    return Stage(
        "generator",
        roles={"source": ("depth", "parts") if with_depth else ("parts",)},
        trains=("generator",),
        recipe=_recipe(config, context, *_GENERATOR, "weight_lift"),
        budget_s=60.0,
        after=("synthetic",) if predicted or config.weight_lift else (),
        **_schedule(config, config.generator_steps, config.generator_learning_rate, config.batch_size),
    )


def _prior(config: Config) -> Stage:
    """Labels of the source alone, no images: what poses there are, and what depths go with their x and y."""
    return Stage(
        PRIOR,
        roles={"source": ()},
        trains=("prior",),
        recipe={name: getattr(config, name) for name in ("input_px", "prior_width", "prior_noise")},
        budget_s=10.0,
        **_schedule(config, config.prior_steps, config.prior_learning_rate, config.prior_batch_size),
    )


def _adapt(config: Config, context: MethodContext, after: tuple[str, ...]) -> Stage:
    """Section 3.2: E_r, D_r and C on target images; G, E_s and D_s stay as they are."""
    rgb = context.target_modality == "rgb"
    names = ("weight_pose", "weight_domain", "weight_cycle", "weight_label", "weight_cycle_label", "weight_offset",
             "cycle_gradient", "cycle_input", "cycle_depth", "cycle_where_labelled", "cycle_beside_lift", "cycle_share",
             "anchor", "anchor_with_labels", "anchor_weight", "anchor_decay", "anchor_confidence_vox", "view_strength",
             "mix_pretrain", "mix_share", "lifted_pose", "depth_init", *_ADVERSARIAL)  # fmt: skip
    roles: dict[str, tuple[str, ...]] = {"target": ("rgb",) if rgb else ("depth",)}
    if config.adversarial:
        roles["source"] = ("depth", "parts") if config.mask == "part-depth" else ("parts",)
    if config.mix_pretrain and rgb:
        roles["pretrain"] = ("rgb",)
    trains: tuple[str, ...] = ("rgb_net" if rgb else "adapted_net",)
    trains += ("classifier",) if config.adversarial else ()
    trains += ("teacher_net",) if config.anchor == "ema-2d" else ()
    return Stage(
        "adapt",
        roles=roles,
        trains=trains,
        recipe=_recipe(config, context, *names) | {"supervision": context.supervision},
        budget_s=35.0,
        after=after,
        **_schedule(config, config.adapt_steps, config.adapt_learning_rate, config.adapt_batch_size),
    )
