"""Which labels a run saw, of every dataset, and that neither detections, masks nor weights pass them on unsaid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from test_training_external import SMALL, store
from training_toys import SOMEBODY, StagelessMethod, ToyMethod
from training_workplace import Workplace

import kt3d_bench as kt
from kt3d_bench.data.detections import Maker, detections_path, masks_path, read_detections
from kt3d_bench.data.folders import split_digest
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import npz_bytes
from kt3d_bench.leaderboard.publish import _facts_of_run
from kt3d_bench.loading.batches import UnlabelledBatch
from kt3d_bench.method import Estimate
from kt3d_bench.plugins import registry
from kt3d_bench.run_folder import final_checkpoint, labels_seen, read_run
from kt3d_bench.supervision import grant, labels_name, together
from kt3d_bench.testing import tiny_plugin
from kt3d_bench.training.detect import _detector
from kt3d_bench.training.external import Aid, require_hidden
from kt3d_bench.training.train import train

ALL = list(range(17))
NOTHING: dict[str, list[int]] = {"joints_2d": [], "joints_3d": []}
EVERYTHING = {"joints_2d": ALL, "joints_3d": ALL}


@pytest.fixture
def target(workplace: Workplace) -> ShardSet:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    return ShardSet.open(workplace.root / "shards" / "dots-target", "train")


def test_records_of_labels_add_up_and_have_names() -> None:
    first, second = {"a": {"joints_2d": [3, 1]}}, {"b": EVERYTHING, "a": {"joints_2d": [1], "joints_3d": [0]}}
    assert together(first, second) == {"a": {"joints_2d": [1, 3], "joints_3d": [0]}, "b": EVERYTHING}
    assert labels_name(first["a"]) == "2 joints 2d, 0 joints 3d"
    named = [("none", 6, "none"), ("full", 6, "full"), ("full-2d", 6, "full-2d"), ("partial", 17, "full"),
             ("partial-3d", 1, "partial-3d, 1 joint"), ("partial", 3, "partial, 3 joints")]  # fmt: skip
    assert [labels_name(grant(level, joints).labels) for level, joints, _ in named] == [name for *_, name in named]


@pytest.mark.parametrize(
    ("theirs", "own", "words"),
    [
        (("full", 6), ("none", 6), "(full), and this run may see none"),
        (("partial", 17), ("partial", 1), "(full), and this run may see partial, 1 joint"),
        (("full-2d", 6), ("partial", 6), "(full-2d), and this run may see partial, 6 joints"),
        (("partial-3d", 1), ("full-2d", 6), "(partial-3d, 1 joint), and this run may see full-2d"),
        (("none", 6), ("none", 6), ""),
        (("partial-2d", 6), ("full-2d", 6), ""),
        (("partial", 3), ("partial", 12), ""),
    ],
)
def test_labels_do_not_pass_through_detections(
    target: ShardSet, theirs: tuple[str, int], own: tuple[str, int], words: str
) -> None:
    """Each joint that the detector learned from must be one that this run may see, in 2D and in 3D."""
    granted = {"dots-target": grant(*own).labels}
    for dataset in ("dots-target", "another"):
        aid = Aid("masks", "x", target, replace(SOMEBODY, saw={dataset: grant(*theirs).labels}))
        if words and dataset == "dots-target":
            with pytest.raises(UsageError) as refused:
                require_hidden([aid], granted)
            assert f"'x' come from a run that saw labels of dots-target {words}; detect with" in str(refused.value)
        else:
            require_hidden([aid], granted)


def test_a_run_has_seen_the_labels_of_its_source(target: ShardSet, workplace: Workplace) -> None:
    """Its detections are no help to a run from which the source's labels are hidden, and none is hidden from itself."""
    run = train(workplace.config(method="toy"))
    saw = {"dots-source": EVERYTHING, "dots-target": NOTHING}
    assert read_run(run)["saw"] == saw
    _, maker, _ = _detector(run, workplace.root)
    assert (maker.run, maker.saw) == (run.name, saw)
    source = ShardSet.open(workplace.root / "shards" / "dots-source", "train")
    store(source, maker=maker)
    with pytest.raises(UsageError, match=r"saw labels of dots-source \(full\), and this run may see none"):
        train(workplace.config(method="baseline", settings=SMALL, target="dots-source", pseudo_labels="others"))
    require_hidden([Aid("masks", "others", source, maker)], read_run(run)["saw"])


def test_pseudo_labels_are_no_true_labels_and_those_of_weights_are_remembered(
    target: ShardSet, workplace: Workplace
) -> None:
    store(target, maker=replace(SOMEBODY, saw={"far": EVERYTHING}, external_data=("web images",)))

    def follow(init: str | None, **options: Any) -> tuple[dict[str, Any], str, Maker]:
        run = train(workplace.config(settings={"steps": 1}, init=init, **options))
        return read_run(run), _facts_of_run(read_run(run))["target_labels_seen"], _detector(run, workplace.root)[1]

    document, seen, maker = follow(None, name="pseudo", pseudo_labels="others")
    assert document["context"]["supervision"] == "full-2d"
    assert (seen, maker.saw) == ("none", {"dots-source": EVERYTHING, "dots-target": NOTHING, "far": EVERYTHING})
    assert maker.external_data == ["2D pseudo-labels by others", "web images"]
    _, seen, maker = follow("pseudo", name="after")
    assert (seen, maker.saw) == ("none", {"dots-source": EVERYTHING, "dots-target": NOTHING, "far": EVERYTHING})
    assert maker.external_data == ["2D pseudo-labels by others", "web images", "weights of pseudo"]
    follow(None, name="full", supervision="full")
    _, seen, maker = follow("full", name="second")
    assert (seen, maker.saw["dots-target"]) == ("none, and full by the weights it began with", EVERYTHING)
    file = str(final_checkpoint(workplace.root / "runs" / "second"))
    document, seen, maker = follow(file, name="third")
    assert (seen, maker.saw["dots-target"]) == ("none, and full by the weights it began with", EVERYTHING)
    assert _facts_of_run(document)["external_data"] == ["weights of full", "weights of final.pt"]
    _, seen, _ = follow("second", name="fourth", supervision="full")
    assert seen == "full"
    store(target, maker=maker)
    with pytest.raises(UsageError, match=r"saw labels of dots-target \(full\), and this run may see none"):
        follow(None, pseudo_labels="others")


class Masked(ToyMethod):
    """Says that every joint is where the foreground is, on average."""

    looked: tuple[torch.Tensor, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        return ("rgb", "foreground")

    def predict(self, batch: UnlabelledBatch) -> Estimate:
        type(self).looked += (batch.images["foreground"][:, 0],)
        return Estimate(joints_px=torch.zeros(batch.size, 17, 2))


@pytest.fixture
def _masked(workplace: Workplace) -> Iterator[None]:
    Masked.looked = ()
    roles = {"target": "dots-target", "source": "dots-source"}
    plugin = kt.MethodPlugin("masked", "", f"{__name__}:Masked", presets=("tiny",), defaults=roles)
    with registry.lent({"masked": tiny_plugin(methods=[plugin])}):
        yield


@pytest.mark.usefixtures("_masked")
def test_a_run_detects_with_the_masks_that_it_was_trained_with(target: ShardSet, workplace: Workplace) -> None:
    test = ShardSet.open(target.folder, "test")
    web = replace(SOMEBODY, external_data=("web images",))
    store(target, maker=web)
    with pytest.raises(ArtefactError, match="there are no masks 'others' of split 'test'; make them: kt3d detect"):
        train(workplace.config(method="masked", masks="others"))
    assert not list((workplace.root / "runs").glob("*"))
    store(test, maker=web)
    run = train(workplace.config(method="masked", masks="others"))
    kt.detect(target.folder, run, splits=["test"], device="cpu")
    shown = torch.cat(Masked.looked)
    assert len(shown) == len(test)
    assert (shown[:, :, :3] == 1).all()
    assert (shown[:, :, 5:] == 0).all()
    _, _, maker = read_detections(test, run.name)
    assert (maker.masks, maker.external_data) == ("others", ["masks by others", "web images"])


def test_a_method_without_training_tells_its_external_data(target: ShardSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def predict(self: Any, batch: UnlabelledBatch) -> Estimate:
        return Estimate(joints_px=torch.zeros(batch.size, 17, 2))

    monkeypatch.setattr(StagelessMethod, "predict", predict)
    plugin = replace(registry.method("stageless"), name="taught", external_data=("web images",))
    with registry.lent({"taught": tiny_plugin(methods=[plugin])}):
        kt.detect(target.folder, "taught", splits=["train"], device="cpu")
    assert read_detections(target, "taught")[2] == Maker("taught", {}, ["web images"])


def test_who_does_not_say_what_was_seen_is_refused(target: ShardSet, workplace: Workplace) -> None:
    """Run folders and detections of earlier versions."""
    store(target)
    path, digest = detections_path(target, "others"), split_digest(target.manifest, "train")
    arrays = dict(np.load(path))
    old = {"method": "a", "run": "b", "saw": {"dataset": "dots-target", "levels": ["full"]}}
    for meta, words in (({"method": "a"}, "the field 'saw' is missing"), (old, r"saw\.dataset is 'dots-target'")):
        told = np.array(json.dumps({**meta, "split_digest": digest}))
        path.write_bytes(npz_bytes({**arrays, "meta": told}))
        with pytest.raises(ArtefactError, match=rf"{words}.*make them: kt3d detect"):
            read_detections(target, "others")
    with pytest.raises(ArtefactError, match=r"run\.yaml: does not say which labels the run saw.*; train the run again"):
        labels_seen({"config": {}}, workplace.root)
    assert asdict(SOMEBODY) == {"method": "somebody", "saw": {}, "external_data": (), "run": "", "masks": ""}
    assert masks_path(target, "others").is_file()
