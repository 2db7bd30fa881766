"""Samples drawn while training: a function of the seed alone, in batches that go on where they stopped."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from kt3d_ubc3v import convert, generate, stream

import kt3d_bench as kt
from kt3d_bench.data.prepare import prepare
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.geometry.cameras import project
from kt3d_bench.loading.augment import Augmentation
from kt3d_bench.loading.batches import LabelledBatch
from kt3d_bench.loading.stream import Stream, StreamLoader
from kt3d_bench.method import Stage
from kt3d_bench.plugins import registry
from kt3d_bench.run_folder import read_run
from kt3d_bench.training.config import RunConfig
from kt3d_bench.training.feeds import OTHER_PEOPLE, Place, RoleData
from kt3d_bench.training.sources import domain
from kt3d_bench.training.train import train
from kt3d_bench.training.validation import PLAIN

PX = 32


def loader(seed: int = 0, modalities: tuple[str, ...] = ("depth", "parts"), **options: Any) -> StreamLoader:
    settings: dict[str, Any] = {"batch_size": 3, "input_px": PX, "seed": 5, "augmentation": Augmentation(),
                                "workers": 0, **options}  # fmt: skip
    return StreamLoader(Stream(registry.dataset("ubc3v"), seed), modalities, **settings)


def batches(source: StreamLoader, count: int) -> list[LabelledBatch]:
    found = list(islice(iter(source), count))
    source.close()
    return [batch for batch in found if isinstance(batch, LabelledBatch)]


def fields(found: list[LabelledBatch]) -> dict[str, torch.Tensor]:
    """Everything in the batches, laid end to end."""
    parts: dict[str, list[torch.Tensor]] = {}
    for batch in found:
        shown = {**batch.images, "intrinsics": batch.cameras.intrinsics_px, "surface": batch.surface_mm,
                 "px": batch.joints_px, "cam": batch.joints_cam_mm, "root": batch.joints_root_mm,
                 "2d": batch.mask_2d, "3d": batch.mask_3d}  # fmt: skip
        for name, tensor in shown.items():
            parts.setdefault(name, []).append(tensor)
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def twelve() -> dict[str, torch.Tensor]:
    return fields(batches(loader(), 4))


def test_the_same_seed_gives_the_same_samples_whatever_the_batch_size(twelve: dict[str, torch.Tensor]) -> None:
    again = fields(batches(loader(batch_size=6), 2))
    assert same(twelve, again)
    other = fields(batches(loader(seed=1), 1))
    assert not torch.equal(other["cam"], twelve["cam"][:3])


def test_processes_draw_what_is_drawn_here(twelve: dict[str, torch.Tensor]) -> None:
    assert same(twelve, fields(batches(loader(workers=1), 4)))


def test_it_goes_on_where_it_stopped(twelve: dict[str, torch.Tensor]) -> None:
    first = loader()
    running: Iterator[Any] = iter(first)
    next(running)
    next(running)
    later = loader()
    later.load_state_dict(first.state_dict())
    rest = fields(batches(later, 2))
    assert same(rest, {name: tensor[6:] for name, tensor in twelve.items()})


def test_ranks_share_the_stream(twelve: dict[str, torch.Tensor]) -> None:
    for rank in range(2):
        own = fields(batches(loader(rank=rank, world=2), 2))
        assert same(own, {name: tensor[rank::2] for name, tensor in twelve.items()})


def test_another_stream_is_not_gone_on_with() -> None:
    state = loader().state_dict()
    with pytest.raises(ArtefactError, match="the saved order of samples has stream"):
        loader(seed=1).load_state_dict(state)
    with pytest.raises(ArtefactError, match="batch_size 3, this run has 4"):
        loader(batch_size=4).load_state_dict(state)


def test_labels_lie_on_the_person(twelve: dict[str, torch.Tensor]) -> None:
    points, parts = twelve["px"].numpy(), twelve["parts"].numpy()
    cameras, cam = twelve["intrinsics"].double().numpy(), twelve["cam"].double().numpy()
    projected = np.einsum("nij,nkj->nki", cameras, cam / cam[..., 2:])
    assert np.abs(projected - points).max() < 1e-2
    on = []
    for sample in range(len(points)):
        near = cv2.dilate((parts[sample] > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
        on += [bool(near[round(y), round(x)]) for x, y in points[sample] if 0 <= x < PX - 1 and 0 <= y < PX - 1]
    assert np.mean(on) > 0.95
    assert int(parts.max()) < Stream(registry.dataset("ubc3v"), 0).num_parts
    person, named = twelve["depth"][:, 0] > 0, twelve["parts"] > 0
    assert not bool((named & ~person).any())
    assert float((named == person).float().mean()) > 0.99


def test_samples_are_what_the_files_of_the_stand_in_hold(tmp_path: Path) -> None:
    """Paint what the generator paints, read it back from files, and compare with the sample that was never a file."""
    generate.generate(tmp_path, people=1, frames=2, seed=3, test_postures=1, workers=1)
    (item,) = convert.plan(tmp_path, "train", {})
    stored = list(convert.convert(item))
    drawn = list(stream.samples(3, 0, 6, "cpu"))
    for kind in (stored, drawn):
        for one in kind:
            assert one.subject == "inter-pose"
            assert np.abs(project(one.camera, one.joints_cam_mm) - one.joints_px).max() < 1e-3
            assert one.depth_mm.shape == one.parts.shape
    bones = [[np.linalg.norm(one.joints_cam_mm[2] - one.joints_cam_mm[1]) for one in kind] for kind in (stored, drawn)]
    assert np.ptp(np.concatenate(bones)) < 1e-2
    levels = [np.unique(np.concatenate([one.depth_mm[one.depth_mm > 0] for one in kind])) for kind in (stored, drawn)]
    steps = np.concatenate([np.diff(level) for level in levels])
    assert steps.min() >= 29
    assert len({one.key for one in drawn}) == 6


def test_ranks_of_one_machine_share_its_cores_and_those_of_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kt3d_bench.loading.stream.cores", lambda: 12)
    data = RoleData(domain("ubc3v"), Stream(registry.dataset("ubc3v"), 0))
    stage = Stage("synthetic", {"source": ("depth",)}, (), {}, steps=1, batch_size=8)
    for sharing, workers in ((1, 12), (4, 3), (24, 1)):
        opened: Any = data.open(stage, "source", PX, 0, Place(world=8, sharing=sharing))
        assert opened._workers == workers


def test_a_dataset_without_a_stream_and_a_modality_without_images_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'mpii' cannot be generated on the fly; these can: ubc3v"):
        Stream(registry.dataset("mpii"), 0)
    with pytest.raises(UsageError, match="holds depth, parts, not rgb"):
        loader(modalities=("rgb",))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of eight samples, drawn in this process."""
    monkeypatch.setattr(stream, "EPOCH", 8)

    def here(*arguments: Any, **options: Any) -> StreamLoader:
        return StreamLoader(*arguments, **{**options, "workers": 0})

    monkeypatch.setattr("kt3d_bench.loading.stream.StreamLoader", here)


def test_validation_shows_people_whom_no_run_trains_on() -> None:
    data = RoleData(domain("ubc3v"), Stream(registry.dataset("ubc3v"), 0))
    stage = Stage("synthetic", {"source": ("depth",)}, (), {}, steps=1, batch_size=3)
    ((unseen,),) = data.fixed(stage, "source", PX, "cpu", (PLAIN,), samples=2)
    assert data.validates_on == "unseen"
    (own,) = batches(loader(0, ("depth",), augmentation=None), 1)
    assert unseen.size == own.size == 3
    assert not torch.allclose(unseen.joints_root_mm, own.joints_root_mm)
    (others,) = batches(loader(OTHER_PEOPLE, ("depth",), augmentation=None), 1)
    assert torch.equal(unseen.joints_root_mm, others.joints_root_mm)
    assert OTHER_PEOPLE > 2**32 - 1, "the largest seed of a run"


def test_generated_samples_make_no_clips() -> None:
    data = RoleData(domain("ubc3v"), Stream(registry.dataset("ubc3v"), 0))
    stage = Stage("synthetic", {"source": ("depth",)}, (), {}, steps=1, batch_size=3, clip=(3, 1))
    for ask in (
        lambda: data.open(stage, "source", PX, 0, Place()),
        lambda: data.fixed(stage, "source", PX, "cpu", (PLAIN,), samples=2),
    ):
        with pytest.raises(UsageError, match=r"needs clips, and generated samples have no neighbours.*prepare shards"):
            ask()
    for changes in ({"views": 2}, {"asks": ("keys",)}):
        asking = Stage("synthetic", {"source": ("depth",)}, (), {}, steps=1, batch_size=3, **changes)
        with pytest.raises(UsageError, match="needs views, keys or extrinsics, and generated samples have no"):
            data.open(asking, "source", PX, 0, Place())
    with pytest.raises(UsageError, match="generated samples have no detections 'x'; prepare shards and train on them"):
        data.detections_digest("x")


def test_a_run_learns_from_the_stream_and_says_so(few: None, tmp_path: Path) -> None:
    generate.generate(tmp_path / "raw", people=1, frames=4, seed=3, test_postures=2, workers=1)
    prepare(registry.dataset("ubc3v"), raw=tmp_path / "raw", out=tmp_path / "shards" / "ubc3v", workers=1)
    runs = [
        train(RunConfig("mean-pose", target="ubc3v", source=name, preset="tiny", device="cpu", data_root=tmp_path))
        for name in ("generated", "generated:ubc3v")
    ]
    documents = [read_run(run) for run in runs]
    for document in documents:
        source = document["shards"]["source"]
        assert (source["dataset"], source["origin"], source["samples"]) == ("ubc3v", "generated", 8)
        assert source["stream"] == {"version": stream.VERSION, "seed": 0}
        assert document["context"]["transfers"] is False
    assert documents[1]["stages"][0]["reused"] is True
    result = kt.score(runs[0], data=tmp_path, leaderboards=tmp_path / "boards")
    (source,) = [one for one in result.entry.flags.training_data if one.role == "source"]
    assert source.dataset == f"ubc3v on the fly, version {stream.VERSION}"
    assert (source.origin, source.split_digest, source.manifest_digest) == ("generated", None, None)
    assert yaml.safe_load((runs[0] / "run.yaml").read_text())["config"]["source"] == "generated"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"source": "generated:mpii"}, "cannot be generated on the fly|2D labels only"),
        ({"source": "generated:ubc4v"}, "no dataset or benchmark 'ubc4v'.*ubc3v"),
        ({"source": "generated", "shards": {"source": Path("x")}}, "which is to be generated"),
        ({"target": "generated"}, "no dataset or benchmark 'generated'"),
    ],
)
def test_what_cannot_be_generated_is_refused(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    given: dict[str, Any] = {"target": "ubc3v", "preset": "tiny", "device": "cpu", "data_root": tmp_path, **options}
    with pytest.raises(UsageError, match=said):
        train(RunConfig("mean-pose", **given))
