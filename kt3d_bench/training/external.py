"""What others say of the target's images, in the place of what ``prepare`` and labels say: masks and pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kt3d_bench.data.detections import with_masks, with_pseudo_labels
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import UsageError
from kt3d_bench.plugins import registry
from kt3d_bench.supervision import Grant, grant
from kt3d_bench.training.config import RunConfig

PSEUDO_LEVEL = "full-2d"
"""What a method learns from with pseudo-labels: 2D labels of every image, some of them absent."""


def learns_from(config: RunConfig) -> str:
    """Return the supervision for which a run's method is built: its own, or that of pseudo-labels."""
    return PSEUDO_LEVEL if config.pseudo_labels else config.supervision


def training_target(shards: ShardSet, config: RunConfig, granted: Grant) -> tuple[ShardSet, Grant]:
    """Return the target's training shards as the run may see them, and what may be seen of their labels.

    With pseudo-labels the true ones are not among them. Raises ``ArtefactError`` for detections that are missing,
    corrupt or of other shards, ``UsageError`` for those of a run that saw labels that are hidden from this one.
    """
    if config.masks:
        shards, meta = with_masks(shards, config.masks)
        require_hidden(meta.get("saw"), config.supervision, shards, config.masks)
    if config.pseudo_labels:
        shards, meta = with_pseudo_labels(shards, config.pseudo_labels)
        require_hidden(meta.get("saw"), config.supervision, shards, config.pseudo_labels)
        granted = grant(PSEUDO_LEVEL)
    return shards, granted


def predicted_samples(samples: ShardSet, config: Mapping[str, Any], reads: Sequence[str]) -> ShardSet:
    """Return samples that a run with ``config`` (of its ``run.yaml``) predicts: with its masks, where it reads any.
    Raises what ``training_target`` raises."""
    name = config.get("masks")
    if not name or "foreground" not in reads:
        return samples
    found, meta = with_masks(samples, name)
    require_hidden(meta.get("saw"), config["supervision"], samples, name)
    return found


def external_data(config: RunConfig) -> list[str]:
    """Return what a run declares of its masks and pseudo-labels, and what they were made with."""
    named = {config.masks: "masks", config.pseudo_labels: "2D pseudo-labels"}
    if config.masks == config.pseudo_labels:
        named[config.masks] = "masks and 2D pseudo-labels"
    return [text for name, what in named.items() if name for text in made_with(name, what)]


def made_with(name: str, what: str) -> list[str]:
    """Return ``what`` was detected with ``name``, and the external data of a method of that name."""
    others = registry.methods()[name].external_data if name in registry.methods() else ()
    return [f"{what} by {name}", *others]


def require_hidden(saw: Any, own: str, samples: ShardSet, name: str) -> None:
    """Raise ``UsageError`` where the run that made the detections ``name`` ``saw`` target labels that are hidden at the
    supervision ``own``: its joints and masks would pass them on."""
    if not isinstance(saw, Mapping) or saw.get("dataset") != samples.manifest.dataset or own == "full":
        return
    for level in saw.get("levels", ()):
        if level not in ("none", own):
            raise UsageError(
                f"the detections '{name}' come from a run that saw labels of {samples.manifest.dataset} "
                f"({level}), and this run may see {own}",
                where=samples.folder,
                hint="detect with a run that saw no more labels: kt3d detect",
            )
