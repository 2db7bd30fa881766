"""The whole of ``prepare``: same bytes whoever does the work, nothing finished lost, every error a sentence."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import data_fake_dataset
import numpy as np
import pytest
from data_fake_dataset import Recorder, plugin

from kt3d_bench import inspect
from kt3d_bench.data import writer
from kt3d_bench.data.manifest import Manifest, SkippedSample, read_manifest
from kt3d_bench.data.plan import checked_options, group
from kt3d_bench.data.prepare import LOCK, PrepareInterruptedError, prepare
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, PluginError, RawDataError, UsageError
from kt3d_bench.locks import LockedError, held
from kt3d_bench.plugins.hookspecs import DatasetPlugin, Option
from kt3d_bench.records import WorkItem

TINY = 6
"""Samples per shard: each training file becomes a shard of its own."""


@pytest.fixture
def fake(card_folder: Path) -> DatasetPlugin:
    return plugin(card_folder)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "shards" / "fake"


def run(fake: DatasetPlugin, raw: Path, out: Path, **changes: Any) -> Manifest:
    return prepare(fake, raw=raw, out=out, **{"workers": 1, "samples_per_shard": TINY, **changes})


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def add(raw: Path, name: str, *lines: str, split: str = "train") -> Path:
    path = raw / split / f"{name}.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_bytes_do_not_depend_on_run_workers_or_place(fake: DatasetPlugin, raw: Path, tmp_path: Path) -> None:
    run(fake, raw, tmp_path / "one")
    run(fake, raw, tmp_path / "two", workers=2)
    raw.rename(tmp_path / "elsewhere")
    run(fake, tmp_path / "elsewhere", tmp_path / "three")
    one = content(tmp_path / "one")
    assert list(one) == [
        "manifest.json", "prepare.json", "test-000000.index.npz", "test-000000.tar",
        *(f"train-{number:06d}.{kind}" for number in range(3) for kind in ("index.npz", "tar")),
    ]  # fmt: skip
    assert one == content(tmp_path / "two") == content(tmp_path / "three")


def test_the_manifest_counts_everything(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "e", "7", "skip nobody there", "8", "skip nobody there")
    manifest = run(fake, raw, out, options={"view": "top"})
    assert read_manifest(out) == manifest
    train = manifest.splits["train"]
    assert train.samples == 14 == sum(shard.samples for shard in train.shards)
    assert train.counts.subject == {"a": 5, "b": 4, "c": 3, "e": 2}
    assert train.counts.action == {"": 8, "walk": 6}
    assert train.counts.camera == {"c1": 14}
    assert [(one.name, one.reason) for one in train.skipped] == [
        ("train_e_001", "nobody there"), ("train_e_003", "nobody there"),
    ]  # fmt: skip
    assert train.modalities == ("rgb", "depth", "parts")
    assert (manifest.dataset, manifest.origin, manifest.generator_version) == ("fake", "official", None)
    assert (manifest.num_parts, manifest.box_rule, manifest.quality) == (5, "joints", (3,) * 17)
    assert (manifest.crop.margin, manifest.crop.longest_px) == (1.5, 320)
    assert manifest.options == {"flip": False, "scale": 1.0, "step": 1, "view": "top"}
    assert (manifest.licence, manifest.citation) == ("Do as you like.", "@misc{fake}")
    words = "\n".join(inspect(out))
    for part in (
        "14 samples",
        "a 5, b 4, c 3, e 2",
        "skipped 2: nobody there",
        "view = top",
        "official",
        "@misc{fake}",
    ):
        assert part in words
    assert manifest.splits["train"].skipped_lines() == [
        "  skipped 2: nobody there (first: train_e_001)",
    ]


def test_progress_is_told_in_totals(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "e", "skip blank")
    report = Recorder()
    run(fake, raw, out, report=report)
    assert report.total == 5
    assert report.calls == [(1, 5, 0), (2, 9, 0), (4, 12, 1), (5, 16, 1)]
    again = Recorder()
    run(fake, raw, out, report=again)
    assert again.calls == report.calls


def test_shards_are_grouped_by_expected_samples_alone() -> None:
    def sizes(expected: list[int], limit: int | None = None) -> list[int]:
        items = [WorkItem(str(number), size, None) for number, size in enumerate(expected)]
        groups = group(items, limit)
        assert [item for members in groups for item in members] == items
        return [len(members) for members in groups]

    assert sizes([3, 3, 3, 3], 6) == [2, 2]
    assert sizes([3, 4, 9, 1, 1], 6) == [1, 1, 1, 2]
    assert sizes([0, 0, 0], 2) == [2, 1]
    assert sizes([100] * 200) == [10] * 20
    assert sizes([10] * 12) == [6, 6]
    assert sizes([50] * 80) == [5] * 16


def test_finished_shards_are_kept(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    run(fake, raw, out)
    before = content(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "train-000001.tar").unlink()
    (out / "train-000002.index.npz").write_bytes(b"cut")
    (out / "train-000000.tar.tmp").write_bytes(b"left behind by a power cut")
    (out / "manifest.json").unlink()
    run(fake, raw, out)
    assert content(out) == before
    redone = {path.name for path in out.glob("train-*") if path.stat().st_mtime_ns != times[path.name]}
    assert redone == {f"train-{number:06d}.{kind}" for number in (1, 2) for kind in ("tar", "index.npz")}


def test_an_item_with_a_damaged_file_is_left_out_whole(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    run(fake, raw, out)
    whole = content(out)
    path = raw / "train" / "b.txt"
    text = path.read_text()
    path.write_text("\n".join([*text.splitlines()[:-1], "damaged\n"]))
    for workers in (1, 2):
        manifest = run(fake, raw, out, splits=["train"], workers=workers)
        assert manifest.splits["train"].skipped == (
            SkippedSample(name="train/b", reason="line is damaged; download it again", where="train/b.txt"),
        )
        assert not any("_b_" in key for key in ShardSet.open(out, "train").keys)
    assert content(out)["train-000000.tar"] == whole["train-000000.tar"]
    path.write_text(text)
    run(fake, raw, out)
    assert content(out) == whole


def test_a_shard_that_lacks_a_damaged_item_is_tried_again_although_size_and_head_are_the_same(
    fake: DatasetPlugin, raw: Path, out: Path
) -> None:
    mark = raw / "repaired"
    add(raw, "b", f"damaged-until {mark}", "1")
    assert len(run(fake, raw, out).splits["train"].skipped) == 1
    times = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    mark.touch()
    assert run(fake, raw, out).splits["train"].skipped == ()
    redone = [path.name for path in out.glob("*.tar") if path.stat().st_mtime_ns != times.get(path)]
    assert redone == ["train-000001.tar"], "only the shard of a repaired file is written again"


def test_nothing_but_damaged_items_is_an_error_naming_one_of_them(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    for path in (raw / "train").glob("*.txt"):
        path.write_text("damaged")
    with pytest.raises(RawDataError) as caught:
        run(fake, raw, out)
    assert caught.value.where == str(raw / "train" / "a.txt")
    said = "line is damaged; download it again (split train has no usable sample: train/a and 2 more skipped)"
    assert caught.value.what == said
    assert not (out / "manifest.json").exists()


def test_many_skips_of_many_kinds_are_said_in_few_lines(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "b", "1", *(f"skip frame {n} of kind {chr(97 + n % 20)} is off by {n / 7:.2f} mm" for n in range(400)))
    said = run(fake, raw, out, splits=["train"]).splits["train"].skipped_lines()
    assert len(said) == 9, said
    assert said[0] == "  skipped 20: frame 0 of kind a is off by 0.00 mm (first: train_b_001)"
    assert said[-1] == "  skipped 240 for 12 other reasons: see manifest.json"


def test_other_recordings_are_refused(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    run(fake, raw, out)
    add(raw, "z", "1")
    with pytest.raises(ArtefactError, match="holds train shards of other recordings; choose another --out"):
        run(fake, raw, out)
    run(fake, raw, out, overwrite=True)


def test_an_error_while_others_work_brings_no_warnings(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "a", "full")
    for name in "bcdefgh":
        add(raw, name, *map(str, range(40)))
    with warnings.catch_warnings(record=True) as noise:
        warnings.simplefilter("always")
        with pytest.raises(ArtefactError, match="the disk is full"):
            run(fake, raw, out, splits=["train"], workers=2)
    assert [str(warning.message) for warning in noise] == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("lines", "place"),
    [(("1", "2", "bug"), "after sample train_b_001 (frame 2)"), (("bug",), "before its first sample")],
)
def test_a_bug_in_a_converter_names_item_and_frame_in_one_sentence(
    fake: DatasetPlugin, raw: Path, out: Path, workers: int, lines: tuple[str, ...], place: str
) -> None:
    add(raw, "b", *lines)
    with pytest.raises(PluginError) as caught:
        run(fake, raw, out, workers=workers)
    assert caught.value.message == (
        f"data_fake_dataset.convert, item train/b, {place}: the converter raised ZeroDivisionError: division by zero; "
        "correct the converter (--traceback shows where it was raised); finished shards are kept: run the same command "
        "again to continue"
    )
    (note,) = caught.value.__notes__
    assert 'raise ZeroDivisionError("division by zero")' in note
    assert not list(out.glob("*.tmp"))


def test_a_worker_that_dies_once_is_replaced(fake: DatasetPlugin, raw: Path, out: Path, tmp_path: Path) -> None:
    add(raw, "b", "1", f"die-once {tmp_path / 'mark'}", "2")
    manifest = run(fake, raw, out, workers=2)
    assert manifest.splits["train"].counts.subject == {"a": 5, "b": 2, "c": 3}
    assert not list(out.glob("*.tmp"))


def test_an_item_that_kills_its_worker_is_named_and_the_others_are_finished(
    fake: DatasetPlugin, raw: Path, out: Path
) -> None:
    add(raw, "b", "1", "die")
    with pytest.raises(RawDataError, match="the worker process died 3 times while converting train/b; a raw file of"):
        run(fake, raw, out, workers=2)
    finished = {path.name for path in out.glob("*.index.npz")}
    assert finished == {"train-000000.index.npz", "train-000002.index.npz", "test-000000.index.npz"}
    assert not list(out.glob("*.tmp"))


def test_a_full_disk_is_a_sentence(fake: DatasetPlugin, raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(raw, "b", "1", "full")
    with pytest.raises(
        ArtefactError, match=r"train-000001.tar: the disk is full; free some space; finished shards are"
    ):
        run(fake, raw, out)
    assert (out / "train-000000.tar").exists()
    assert not list(out.glob("*.tmp"))

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer.os, "fsync", fsync)
    with pytest.raises(ArtefactError, match="the disk is full"):
        run(fake, raw, out.parent / "second")
    assert not list((out.parent / "second").glob("*.tmp"))


def test_a_shard_that_fills_a_real_disk_leaves_no_debris(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    """A file size limit fails writes in the middle, as a full disk does."""
    script = f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from data_fake_dataset import Recorder, plugin
        from kt3d_bench.errors import ArtefactError
        from kt3d_bench.data.prepare import prepare
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            prepare(plugin(Path({str(fake.folder)!r})), raw=Path({str(raw)!r}), out=Path({str(out)!r}), workers=1)
        except ArtefactError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert "train-000000.tar: cannot be written ([Errno 27] File too large)" in done.stdout
    assert done.stderr == ""
    assert not list(out.glob("*.tmp"))


def test_an_unreadable_raw_file_is_not_a_writing_error(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "b", "vanish")
    (skipped,) = run(fake, raw, out).splits["train"].skipped
    assert (skipped.where, skipped.reason) == (
        "train/gone.bin", "cannot be read (No such file or directory); repair it"
    )  # fmt: skip


def test_ctrl_c_keeps_what_is_finished(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "b", "1", "interrupt")
    with pytest.raises(
        PrepareInterruptedError, match="interrupted; finished shards are kept: run the same command"
    ) as it:
        run(fake, raw, out)
    assert it.value.exit_code == 1
    assert sorted(path.name for path in out.iterdir()) == [
        "prepare.json", "train-000000.index.npz", "train-000000.tar",
    ]  # fmt: skip


def test_ctrl_c_from_a_terminal_stops_workers_and_a_rerun_continues(
    fake: DatasetPlugin, raw: Path, out: Path, tmp_path: Path
) -> None:
    """SIGINT to the whole process group, as a terminal sends it, while one worker is stuck."""
    add(raw, "b", f"wait {tmp_path / 'go'}", *map(str, range(4)))
    script = f"""
        import signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from data_fake_dataset import Recorder, plugin
        from kt3d_bench.data.prepare import PrepareInterruptedError, prepare
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            prepare(plugin(Path({str(fake.folder)!r})), raw=Path({str(raw)!r}), out=Path({str(out)!r}), workers=2,
                    samples_per_shard={TINY})
        except PrepareInterruptedError as error:
            print(error)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and len(list(out.glob("*.index.npz"))) < 3:
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGINT)
        text, noise = child.communicate(timeout=60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    assert "interrupted; finished shards are kept" in text
    assert noise == ""
    assert not list(out.glob("*.tmp"))
    assert len(list(out.glob("*.index.npz"))) == 3
    (tmp_path / "go").touch()
    assert run(fake, raw, out).splits["train"].samples == 12


def test_names_that_are_no_utf8_are_written_out(fake: DatasetPlugin, raw: Path, tmp_path: Path) -> None:
    add(raw, "\udcfe", "damaged")
    out = tmp_path / "out\udcfd"
    split = run(fake, raw, out).splits["train"]
    assert split.samples == 12
    assert run(fake, raw, out) == read_manifest(out)
    assert [(one.name, one.where) for one in split.skipped] == [(r"train/\udcfe", r"train/\udcfe.txt")]


def test_a_disk_that_will_be_full_is_foreseen(
    fake: DatasetPlugin, raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three shards of training data are told after the first, once; what fits is not told."""
    for free, told in ((1000, 1), (10**9, 0)):
        monkeypatch.setattr(shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        recorder = Recorder()
        run(fake, raw, out.with_name(f"free-{free}"), splits=["train"], report=recorder)
        found = [note for note in recorder.notes if "will be full before the end: about 0.0 GB are still" in note]
        assert len(found) == told


def test_two_at_once_are_refused(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    who = rf"another kt3d prepare is writing here \(process {os.getpid()} on .*\); wait for it"
    with held(out / LOCK, "", ""), pytest.raises(LockedError, match=who):
        run(fake, raw, out)
    run(fake, raw, out)
    assert not any(path.name.startswith(".") for path in out.iterdir())


def test_what_a_killed_preparation_left_is_removed(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    out.mkdir(parents=True)
    lease = out / ".preparing-1234"
    for path in (lease, out / LOCK):
        path.write_text("{}")
    whole = run(fake, raw, out)
    assert run(fake, raw, out.with_name("other")) == whole
    assert content(out) == content(out.with_name("other"))


def test_splits_can_be_prepared_one_by_one(fake: DatasetPlugin, raw: Path, tmp_path: Path) -> None:
    whole = run(fake, raw, tmp_path / "whole")
    first = run(fake, raw, tmp_path / "parts", splits=["test"])
    assert list(first.splits) == ["test"]
    assert run(fake, raw, tmp_path / "parts", splits=("train",)) == whole
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


def test_other_configurations_are_refused_or_replaced(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    run(fake, raw, out)
    (out / "notes.txt").write_text("mine")
    for change in ({"options": {"step": 2}}, {"samples_per_shard": 100}):
        before = content(out)
        with pytest.raises(ArtefactError, match="choose another --out, or replace them with --overwrite"):
            run(fake, raw, out, **change)
        assert content(out) == before
    manifest = run(fake, raw, out, splits=["test"], options={"step": 2}, overwrite=True)
    assert list(manifest.splits) == ["test"]
    assert manifest.splits["test"].samples == 2
    assert sorted(content(out)) == [
        "manifest.json", "notes.txt", "prepare.json", "test-000000.index.npz", "test-000000.tar",
    ]  # fmt: skip


def test_replacing_one_split_keeps_the_other(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    first = run(fake, raw, out)
    add(raw, "d", "5", "6", split="test")
    second = run(fake, raw, out, splits=["test"], overwrite=True)
    assert second.splits["test"].samples == 2
    assert second.splits["train"] == first.splits["train"]
    assert len(ShardSet.open(out, "train", verify=True)) == 12


def test_shards_without_a_record_are_refused(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    run(fake, raw, out)
    for text in (None, "{", "[]", '{"common": 3}'):
        if text is None:
            (out / "prepare.json").unlink()
        else:
            (out / "prepare.json").write_text(text)
        with pytest.raises(ArtefactError, match="the folder holds shards of another configuration"):
            run(fake, raw, out)
    run(fake, raw, out, overwrite=True)


def test_a_damaged_manifest_is_made_again(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    run(fake, raw, out)
    before = content(out)
    (out / "manifest.json").write_text("{")
    run(fake, raw, out)
    assert content(out) == before


def test_generated_raw_data_is_marked(fake: DatasetPlugin, raw: Path, out: Path, tmp_path: Path) -> None:
    official = run(fake, raw, tmp_path / "official")
    marker = {"dataset": "fake", "version": 3, "seed": 1, "people": 2, "frames": 4}
    for place in (raw, raw / "train", raw.parent):
        path = place / "kt3d-generated.json"
        path.write_text(json.dumps(marker))
        manifest = run(fake, raw, out, overwrite=True)
        assert (manifest.origin, manifest.generator_version) == ("generated", 3)
        path.unlink()
    assert manifest.splits["train"].labels_digest == official.splits["train"].labels_digest
    assert "GENERATED stand-in data (generator version 3)" in inspect(out)[1]
    (raw / "kt3d-generated.json").write_text(json.dumps({**marker, "seed": 2}))
    with pytest.raises(ArtefactError, match="shards of another configuration"):
        run(fake, raw, out)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the marker of generated data is damaged"),
        ("[]", "must hold dataset, version, seed, people, frames"),
        ('{"dataset": "fake", "version": "3", "seed": 1, "people": 2, "frames": 4}', "must hold dataset, version"),
        (
            '{"dataset": "other", "version": 3, "seed": 1, "people": 2, "frames": 4}',
            "generated data of other, not of fake",
        ),
    ],
)
def test_a_bad_marker_is_refused(fake: DatasetPlugin, raw: Path, out: Path, text: str, message: str) -> None:
    (raw / "kt3d-generated.json").write_text(text)
    with pytest.raises(RawDataError, match=message):
        run(fake, raw, out)


def test_usage_errors_suggest(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="fake has no split 'trian'; did you mean 'train'"):
        run(fake, raw, out, splits=["trian"])
    with pytest.raises(UsageError, match="fake has no option 'stepp'; did you mean 'step'"):
        run(fake, raw, out, options={"stepp": 1})
    with pytest.raises(UsageError, match="--view of fake: there is no choice 'topp'; did you mean 'top'"):
        run(fake, raw, out, options={"view": "topp"})
    with pytest.raises(UsageError, match="--step of fake: expected a whole number like 1, found 'two'"):
        run(fake, raw, out, options={"step": "two"})
    with pytest.raises(UsageError, match="--flip of fake: expected true or false, found 'maybe'"):
        run(fake, raw, out, options={"flip": "maybe"})
    with pytest.raises(UsageError, match=r"--step of fake: expected a whole number like 1, found 1\.5"):
        run(fake, raw, out, options={"step": 1.5})
    assert not out.exists()


def test_options_are_typed_by_their_defaults(fake: DatasetPlugin) -> None:
    given = {"step": "3", "flip": "yes", "scale": 2}
    assert checked_options(fake, given) == {"flip": True, "scale": 2.0, "step": 3, "view": "front"}
    assert checked_options(fake, {}) == {"flip": False, "scale": 1.0, "step": 1, "view": "front"}
    free = dataclasses.replace(fake, options={"name": Option(None, "anything")})
    assert checked_options(free, {"name": "x"}) == {"name": "x"}


def test_an_option_that_came_later_leaves_earlier_shards_as_they_are(
    fake: DatasetPlugin, raw: Path, out: Path, tmp_path: Path
) -> None:
    """At its default it is not recorded: the manifest has the same bytes, and the folder is kept."""
    newer = dataclasses.replace(fake, options={**fake.options, "zoom": Option(4, "", later=True)})
    before = run(fake, raw, out)
    kept = (out / "manifest.json").read_bytes()
    assert run(newer, raw, out, options={"zoom": 4}).digest == before.digest
    assert (out / "manifest.json").read_bytes() == kept
    with pytest.raises(ArtefactError, match="the folder holds shards of another configuration"):
        run(newer, raw, out, options={"zoom": 2})
    assert run(newer, raw, tmp_path / "other", options={"zoom": "2"}).options == {**before.options, "zoom": 2}


def test_an_option_may_choose_the_box_rule(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    choosy = dataclasses.replace(fake, options={**fake.options, "boxes": Option("joints", "", ("joints", "official"))})
    assert run(choosy, raw, out, options={"boxes": "official"}).box_rule == "official"


def test_missing_raw_data_names_both_ways_out(fake: DatasetPlugin, tmp_path: Path, out: Path) -> None:
    with pytest.raises(
        RawDataError, match=r"no raw data of fake; obtain it \(kt3d list fake .*kt3d generate fake --out"
    ):
        run(fake, tmp_path / "nowhere", out)
    (tmp_path / "hollow").mkdir()
    with pytest.raises(RawDataError, match="the raw data holds nothing for split train; see what is there with"):
        run(fake, tmp_path / "hollow", out)


def test_a_split_without_samples_says_why(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "d", "skip blank", "skip blank", "skip dark", split="test")
    with pytest.raises(RawDataError, match=r"split test has no usable sample \(2 skipped: blank; 1 skipped: dark\)"):
        run(fake, raw, out)
    assert (out / "train-000002.tar").exists()


def test_a_shard_of_skipped_samples_is_done_once(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "b", *["skip blank"] * 5)
    manifest = run(fake, raw, out)
    assert [shard.name for shard in manifest.splits["train"].shards] == ["train-000000.tar", "train-000002.tar"]
    assert len(manifest.splits["train"].skipped) == 5
    assert len(ShardSet.open(out, "train", verify=True)) == 8
    stamp = (out / "train-000001.index.npz").stat().st_mtime_ns
    run(fake, raw, out)
    assert (out / "train-000001.index.npz").stat().st_mtime_ns == stamp


def test_a_key_in_two_shards_names_both_items(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    add(raw, "b", "1", "2", "3", "key same")
    add(raw, "c", "1", "2", "key same")
    with pytest.raises(PluginError, match="the sample key same is produced by items train/b and train/c"):
        run(fake, raw, out)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("wrong", "item train/b: expected Sample or Skipped records, found int"),
        ("part 5", "sample train_b_000 has part 5, but the card counts 5 classes"),
        ("rgb-only", "items train/a and train/b hold different images"),
        ("factor", "items train/a and train/b hold different images or distortion formulas"),
        ("huge", "a sample cannot be stored"),
        ("pose", "item train/b: sample train_b_000 has no image; yield Skipped for it, or set poses_only"),
    ],
)
def test_a_converter_that_breaks_its_contract_is_named(
    fake: DatasetPlugin, raw: Path, out: Path, line: str, message: str
) -> None:
    add(raw, "b", line)
    with pytest.raises(PluginError, match=message):
        run(fake, raw, out, samples_per_shard=1)


def test_poses_without_images_are_kept_where_the_item_promises_them(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    for path in (raw / "train").iterdir():
        path.unlink()
    add(raw, "pose", "pose", "pose")
    manifest = run(fake, raw, out, splits=["train"])
    assert manifest.splits["train"].modalities == ()
    assert "Split train: 2 samples with poses but no images, in 1 shards" in "\n".join(inspect(out))
    shards = ShardSet.open(out, "train", verify=True)
    assert shards.modalities == ()
    assert shards.sample(1).rgb is None
    np.testing.assert_array_equal(shards.labels.joints_px[1], shards.sample(1).joints_px)
    with pytest.raises(UsageError, match="split 'train' holds no 'rgb' images, only poses; prepare fake from a"):
        shards.require(["rgb"])


def test_a_card_that_says_another_quality_than_the_converter_writes_is_refused(
    card_folder: Path, raw: Path, out: Path
) -> None:
    card = card_folder / "card.yaml"
    card.write_text(card.read_text().replace("{joint: nose, quality: exact}", "{joint: nose, quality: approximate}"))
    said = "the card says that nose is approximate, and the converter writes exact into split train"
    with pytest.raises(PluginError, match=rf"card\.yaml: {said}; correct the card, or convert\(\) in "):
        run(plugin(card_folder), raw, out)
    assert not (out / "manifest.json").exists()
    assert run(plugin(card_folder), raw, out, check=False).quality[9] == 3


def test_undeclared_images_are_refused(card_folder: Path, raw: Path, out: Path) -> None:
    with pytest.raises(PluginError, match="holds depth, which the dataset does not declare"):
        run(plugin(card_folder, modalities=("rgb", "parts")), raw, out)


def test_a_plan_that_breaks_its_contract_is_named(
    fake: DatasetPlugin, raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: dict[str, list[Any]] = {
        "expected WorkItem records only": [3],
        "split train lists the work item a twice": [WorkItem("a", 1, None), WorkItem("a", 1, None)],
        "payloads and options must be plain data": [WorkItem("a", 1, {1, 2})],
    }
    for message, items in plans.items():
        monkeypatch.setattr(data_fake_dataset, "plan", lambda *_, items=items: items)
        with pytest.raises(PluginError, match=message):
            run(fake, raw, out)


def test_a_folder_that_cannot_be_written_is_a_sentence(fake: DatasetPlugin, raw: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtefactError, match=r"cannot be written \(.*choose another --out"):
        run(fake, raw, tmp_path / "file" / "out")


def test_webdataset_reads_the_whole_split_as_shard_set_does(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    from webdataset.tariterators import group_by_keys, tar_file_expander

    from kt3d_bench.data.format import FIELDS

    run(fake, raw, out)
    shards = ShardSet.open(out, "train")
    seen = Counter[str]()
    for path in sorted(out.glob("train-*.tar")):
        with path.open("rb") as stream:
            for one in group_by_keys(tar_file_expander([{"url": str(path), "stream": stream}])):
                i = shards.keys.tolist().index(one["__key__"])
                assert one["__url__"] == str(path)
                assert {FIELDS[name].extension: shards.read(i, name) for name in shards.fields} == {
                    name: data for name, data in one.items() if not name.startswith("__")
                }
                seen[one["__key__"]] += 1
    assert seen == Counter(shards.keys.tolist())


def test_importing_shards_pulls_in_no_torch() -> None:
    script = """
        import sys
        from kt3d_bench.plugins import cards
        from kt3d_bench.data import format, index, manifest, plan, prepare, reader, work, writer
        heavy = {"torch", "webdataset", "cv2", "h5py", "scipy", "simplejpeg", "joblib"} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_reading_shards_pulls_in_no_torch(fake: DatasetPlugin, raw: Path, out: Path) -> None:
    run(fake, raw, out)
    script = f"""
        import sys
        from kt3d_bench.data.reader import ShardSet
        shards = ShardSet.open({str(out)!r}, "train", verify=True)
        assert all(shards.image(i, "rgb").shape == (9, 12, 3) for i in range(len(shards)))
        heavy = {{"torch", "webdataset"}} & set(sys.modules)
        assert not heavy, heavy
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_the_same_raw_data_by_a_relative_path_is_the_same_configuration(
    fake: DatasetPlugin, raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = run(fake, raw, out)
    monkeypatch.chdir(raw.parent)
    assert run(fake, Path(raw.name), out) == absolute
