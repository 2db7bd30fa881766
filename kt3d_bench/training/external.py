"""What others found in images, in the place of what ``prepare``, labels or a method itself say: stored masks,
pseudo-labels and 2D detections. They are declared, and pass on no label that is hidden from the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kt3d_bench.data.detections import (
    Maker,
    detections_path,
    masks_path,
    read_detections,
    with_masks,
    with_pseudo_labels,
)
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import UsageError
from kt3d_bench.run_folder import labels_seen
from kt3d_bench.supervision import Grant, Seen, exceeds, grant, labels_name
from kt3d_bench.training.config import RunConfig

if TYPE_CHECKING:
    from kt3d_bench.method import Method, Stage

PSEUDO_LEVEL = "full-2d"
"""What a method learns from with pseudo-labels: 2D labels of every image, some of them absent."""


@dataclass(frozen=True, eq=False)
class Aid:
    """Stored detections that a run uses."""

    what: str
    """Which part of them."""
    name: str
    samples: ShardSet
    maker: Maker


def learns_from(config: RunConfig) -> str:
    """Return the supervision for which a run's method is built: its own, or that of pseudo-labels."""
    return PSEUDO_LEVEL if config.pseudo_labels else config.supervision


def training_target(shards: ShardSet, config: RunConfig, granted: Grant) -> tuple[ShardSet, Grant, list[Aid]]:
    """Return the target's training shards as the run may see them, what may be seen of their labels, and whose masks
    and pseudo-labels these are.

    With pseudo-labels the true ones are not among them. Raises ``ArtefactError`` for detections that are missing,
    corrupt or of other shards.
    """
    aids = []
    if config.masks:
        shards, maker = with_masks(shards, config.masks)
        aids.append(Aid("masks", config.masks, shards, maker))
    if config.pseudo_labels:
        shards, maker = with_pseudo_labels(shards, config.pseudo_labels)
        aids.append(Aid("2D pseudo-labels", config.pseudo_labels, shards, maker))
        granted = grant(PSEUDO_LEVEL)
    return shards, granted, aids


def stage_aids(stages: Sequence[Stage], samples: Mapping[str, Any]) -> list[Aid]:
    """Return the detections that stages read beside the ``samples`` of their roles. Raises as ``read_detections``."""
    named = dict.fromkeys((role, name) for stage in stages for role, name in stage.detections.items())
    return [
        Aid("2D detections", name, shards, read_detections(shards, name)[2])
        for role, name in named
        if _is_stored(name) and isinstance(shards := samples[role], ShardSet)
    ]


def test_aids(tests: Sequence[ShardSet], masks: str, method: Method) -> list[Aid]:
    """Return what ``predict`` will read beside those of ``tests`` that have it.

    Raises what ``_with_aids`` raises for the first of them where none has it.
    """
    paths = [detections_path] * _is_stored(method.detections) + [masks_path] * bool(_masks_read(masks, method))
    names = {detections_path: method.detections, masks_path: masks}
    present = [one for one in tests if all(path(one, names[path]).is_file() for path in paths)]
    return [aid for one in present or tests[:1] for aid in _with_aids(one, masks, method)[1]]


def predicted_samples(samples: ShardSet, folder: Path, document: Mapping[str, Any], method: Method) -> ShardSet:
    """Return samples as the run of ``folder`` predicts them, whose ``run.yaml`` is the ``document``: with its masks,
    where it reads any.

    Raises ``ArtefactError`` for masks and detections that are missing, corrupt or of other shards, and
    ``UsageError`` for those of a run that saw labels that this one did not see.
    """
    samples, aids = _with_aids(samples, document["config"].get("masks", ""), method)
    if aids:
        require_hidden(aids, labels_seen(document, folder))
    return samples


def require_hidden(aids: Sequence[Aid], own: Seen) -> None:
    """Raise ``UsageError`` where detections come from a run that saw other labels of the samples' dataset than ``own``,
    those that the present run sees: joints and masks would pass them on."""
    for aid in aids:
        dataset = aid.samples.manifest.dataset
        theirs, ours = aid.maker.saw.get(dataset, {}), own.get(dataset, {})
        if exceeds(theirs, ours):
            raise UsageError(
                f"the detections '{aid.name}' come from a run that saw labels of {dataset} ({labels_name(theirs)}), "
                f"and this run may see {labels_name(ours)}",
                where=aid.samples.folder,
                hint="detect with a run that saw no more labels: kt3d detect",
            )


def external_data(aids: Sequence[Aid]) -> list[str]:
    """Return what a run declares of the detections that it uses, and what their makers declared."""
    found: list[str] = []
    for name in dict.fromkeys(aid.name for aid in aids):
        own = [aid for aid in aids if aid.name == name]
        found.append(f"{' and '.join(dict.fromkeys(aid.what for aid in own))} by {name}")
        found += [text for aid in own for text in aid.maker.external_data]
    return list(dict.fromkeys(found))


def _is_stored(name: str) -> bool:
    from kt3d_bench.method import OWN

    return name not in ("", OWN)


def _masks_read(masks: str, method: Method) -> str:
    return masks if "foreground" in method.reads else ""


def _with_aids(samples: ShardSet, masks: str, method: Method) -> tuple[ShardSet, list[Aid]]:
    """Return samples as ``method`` predicts them, with the ``masks`` of its run where it reads any, and what it uses.

    Raises ``ArtefactError`` for detections that are missing, corrupt or of other shards.
    """
    aids = []
    if name := _masks_read(masks, method):
        samples, maker = with_masks(samples, name)
        aids.append(Aid("masks", name, samples, maker))
    if _is_stored(method.detections):
        aids.append(Aid("2D detections", method.detections, samples, read_detections(samples, method.detections)[2]))
    return samples, aids
