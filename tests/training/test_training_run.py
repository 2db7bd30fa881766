from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from training_toys import Notes
from training_workplace import Workplace

from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import file_sha256
from kt3d_bench.interrupts import InterruptedRunError
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.plugins import registry
from kt3d_bench.plugins.hookspecs import Recipe, RecipeRow
from kt3d_bench.run_folder import final_checkpoint, newest_run, read_run
from kt3d_bench.training import checkpoint
from kt3d_bench.training.predict import choose_benchmark, load_method, predict
from kt3d_bench.training.resolve import resolve, settings_rule
from kt3d_bench.training.train import train


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = checkpoint.load(final_checkpoint(folder))["model"]
    return model


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_from_config_to_predictions(workplace: Workplace) -> None:
    shards = workplace.prepare("dots-target")
    report = Notes()
    folder = train(workplace.config(), report)
    assert folder == workplace.root / "runs" / "toy-dots-target-none-tiny-s0" == newest_run(workplace.root)
    document = read_run(folder)
    assert document["state"] == "finished"
    assert document["method_config"]["width"] == 2, "the preset"
    assert document["method_config"]["steps"] == 4, "--set"
    assert document["shards"]["target"]["origin"] == "official"
    assert document["shards"]["source"]["origin"] == "generated"
    assert "dots-source" in report.notes[0]
    assert "generating a stand-in" in report.notes[0]
    assert document["target_labels"] == {"joints_2d": [], "joints_3d": []}
    assert [stage["name"] for stage in document["stages"]] == ["first", "second"]
    assert document["checkpoint_sha256"] == file_sha256(final_checkpoint(folder))
    assert (folder / "log.jsonl").read_text().count("\n") == 8
    path = predict(folder)
    found = read_predictions(path)
    test = ShardSet.open(shards, "test")
    assert list(found.keys) == list(test.keys)
    hip = found.joints_cam_mm[:, 0]
    assert hip[:, 2] == pytest.approx(test.labels.joints_cam_mm[:, 0, 2], rel=1e-5), "root-given"
    assert found.meta["benchmark"] == "dots-target-rgb"
    assert found.meta["checkpoint_sha256"] == document["checkpoint_sha256"]


def test_a_second_run_gets_its_own_folder_and_reuses_the_stages(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    first = train(workplace.config())
    report = Notes()
    second = train(workplace.config(), report)
    assert second.name == f"{first.name}-2"
    assert [stage["reused"] for stage in read_run(second)["stages"]] == [True, True]
    assert same(weights(first), weights(second))
    assert newest_run(workplace.root) == second


def test_target_labels_reach_only_a_run_that_is_granted_them(workplace: Workplace, tmp_path: Path) -> None:
    clean, corrupt = tmp_path / "clean", tmp_path / "corrupt"
    workplace.prepare("dots-target", at=clean)
    workplace.prepare("dots-target", at=corrupt, corrupt=True)
    source = workplace.prepare("dots-source")
    runs: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for level in ("none", "partial-3d", "full"):
        for root in (clean, corrupt):
            config = workplace.config(data_root=root, shards={"source": source}, supervision=level)
            runs[level, root.name] = weights(train(config))
    assert same(runs["none", "clean"], runs["none", "corrupt"])
    assert not same(runs["full", "clean"], runs["full", "corrupt"])
    assert not same(runs["partial-3d", "clean"], runs["full", "clean"])
    assert not same(runs["none", "clean"], runs["partial-3d", "clean"])


def test_unsupervised_transfer_does_not_depend_on_any_target_label(workplace: Workplace, tmp_path: Path) -> None:
    """The real method, all its stages, through the real loader: bit for bit the same without the labels."""
    clean, corrupt = tmp_path / "clean", tmp_path / "corrupt"
    workplace.prepare("dots-target", at=clean)
    workplace.prepare("dots-target", at=corrupt, corrupt=True)
    source = workplace.prepare("dots-source")
    stages = ("prior", "synthetic", "generator", "pretrain", "adapt")
    settings = {"input_px": 32, "batch_size": 4, "generator_width": 4, "bridge": "generated", "weight_domain": 0.05,
                **{f"{name}_steps": 2 for name in stages}}  # fmt: skip
    runs: dict[tuple[str, str], dict[str, torch.Tensor]] = {}
    for level in ("none", "partial"):
        for root in (clean, corrupt):
            config = workplace.config(
                method="transfer",
                data_root=root,
                shards={"source": source, "pretrain": source},
                supervision=level,
                settings=settings,
            )
            runs[level, root.name] = weights(train(config))
    assert same(runs["none", "clean"], runs["none", "corrupt"])
    assert not same(runs["partial", "clean"], runs["partial", "corrupt"])


def test_a_method_without_stages_predicts(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    folder = train(workplace.config(method="stageless"))
    assert read_run(folder)["stages"] == []
    assert len(read_predictions(predict(folder)).keys) == 5


def test_a_killed_run_resumes_to_the_same_weights(workplace: Workplace, tmp_path: Path) -> None:
    workplace.prepare("dots-target")
    other = tmp_path / "other"
    workplace.prepare("dots-target", at=other)
    source = workplace.prepare("dots-source")
    config = workplace.config(shards={"source": source})
    with pytest.raises(InterruptedRunError, match="--resume"):
        train(config, Notes(2, "second"))
    with pytest.raises(ArtefactError, match="no finished run"):
        newest_run(workplace.root)
    asked = (workplace.root / "runs" / "toy-dots-target-none-tiny-s0" / "run.yaml").read_bytes()
    with pytest.raises(ArtefactError, match="with other data, settings"):
        train(replace(config, settings={"steps": 5}), resume=True)
    assert (workplace.root / "runs" / "toy-dots-target-none-tiny-s0" / "run.yaml").read_bytes() == asked
    folder = train(config, resume=True)
    assert folder.name == "toy-dots-target-none-tiny-s0"
    whole = train(workplace.config(data_root=other, shards={"source": source}))
    assert same(weights(folder), weights(whole))
    with pytest.raises(UsageError, match=f"no unfinished run.*it has finished: kt3d predict {folder.name}"):
        train(config, resume=True)


def test_a_missing_target_names_the_command(workplace: Workplace) -> None:
    with pytest.raises(ArtefactError, match=r"no shards of 'dots-target'.*kt3d prepare dots-target"):
        train(workplace.config())
    assert not (workplace.root / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "toi"}, "no method 'toi'.*did you mean 'toy'"),
        ({"supervision": "some"}, "supervision is 'some' .str.: did you mean 'none'"),
        ({"method": "picky"}, "'picky' does not accept supervision 'none'.*full"),
        ({"preset": "big"}, "no preset 'big'"),
        ({"preset": "paper"}, "needs a GPU.*tiny"),
        ({"settings": {"widht": "3"}}, "no setting 'widht': did you mean 'width'"),
        ({"settings": {"width": "wide"}}, "setting 'width' is 'wide' .str.: expected a whole number"),
        ({"settings": {"kind": "odd"}}, "setting 'kind' is 'odd' .str.: expected 'plain' or 'noisy'"),
        ({"settings": {"width": "0"}}, "width must be at least 1"),
        (
            {"settings": {"steps": "x", "stepz": "1"}},
            "'steps' is 'x' .str.: expected a whole number.*no setting 'stepz'",
        ),
        ({"pretrain": "dots-source"}, "uses no pretrain data"),
        ({"target": "dots-tarket"}, "no dataset or benchmark 'dots-tarket'.*dots-target"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"precision": "half"}, "precision is 'half' .str.: known names: 16-mixed, 32-true, auto"),
        ({"devices": 0}, "devices is 0 .int.: expected at least 1"),
        ({"steps_scale": 0.0}, "steps_scale is 0.0 .float.: expected more than 0"),
        ({"seed": -1}, "seed is -1 .int.: expected at least 0"),
        ({"seed": 2**32}, "seed is 4294967296 .int.: expected at most 4294967295"),
        ({"settings": {"learning_rate": "nan"}}, "setting 'learning_rate' is 'nan' .str.: expected a finite number"),
        (
            {"settings": {"learning_rate": "1e999"}},
            "setting 'learning_rate' is '1e999' .str.: expected a finite number",
        ),
        ({"shards": {"sauce": Path()}}, "not used.*source"),
        ({"joints": 5}, r"joints is 5 .int.: expected one of \[1, 3, 6, 12, 17\]"),
        ({"joints": True}, "joints is True .bool.: expected a whole number"),
        ({"settings": {"width": True}}, "setting 'width' is True .bool.: expected a whole number"),
        ({"settings": {"width": 2.5}}, "setting 'width' is 2.5 .float.: expected a whole number"),
        ({"settings": {"disturb": "maybe"}}, "setting 'disturb' is 'maybe' .str.: expected true or false"),
    ],
)
def test_what_cannot_be_asked_for(workplace: Workplace, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(workplace.config(**changes))


def test_settings_are_typed_by_the_config(workplace: Workplace) -> None:
    asked = {"width": "3", "learning_rate": "1e-4", "poison_step": "none", "disturb": "yes", "kind": "plain"}
    config = resolve(workplace.config(settings=asked)).method_config
    assert (config.width, config.learning_rate, config.poison_step) == (3, 1e-4, None)
    assert config.disturb is True
    assert config.kind == "plain"


def test_a_given_name_that_is_taken_is_refused(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    train(workplace.config(name="mine"))
    with pytest.raises(UsageError, match="run 'mine' exists"):
        train(workplace.config(name="mine"))
    for name in ("../mine", "a/b", ".hidden", "x" * 101, "two words"):
        with pytest.raises(UsageError, match=r"name is .*expected at most 100 letters, digits"):
            train(workplace.config(name=name))


def test_a_schedule_that_no_stage_can_follow_is_refused(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    with pytest.raises(UsageError, match=r"stage 'first' of 'toy': learning_rate is -0.1 .float.: expected at least 0"):
        train(workplace.config(settings={"learning_rate": "-0.1"}))
    with pytest.raises(UsageError, match=r"its length is -1: expected at least 0"):
        train(workplace.config(settings={"steps": "-1"}))
    assert not (workplace.root / "runs").exists()


def test_a_damaged_or_foreign_final_checkpoint_is_refused(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    folder = train(workplace.config())
    path = final_checkpoint(folder)
    content = checkpoint.load(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtefactError, match="corrupt"):
        predict(folder)
    checkpoint.save(path, {**content, "config": {**content["config"], "colour": 1}})
    with pytest.raises(ArtefactError, match="does not fit the installed method"):
        load_method(path)
    checkpoint.save(path, {**content, "model": {}})
    with pytest.raises(ArtefactError, match="does not fit the installed method"):
        load_method(path)
    (folder / "checkpoints" / "final.pt.sha256").unlink()
    with pytest.raises(ArtefactError, match="digest file is missing"):
        load_method(path)
    path.unlink()
    with pytest.raises(ArtefactError, match="there is no checkpoint"):
        load_method(path)


def test_a_damaged_run_file_is_refused(workplace: Workplace, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no run here"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "run.yaml").write_text("a: [")
    with pytest.raises(ArtefactError, match="is not readable YAML"):
        read_run(tmp_path)
    config = {"method": "toy", "supervision": "none", "joints": 6, "preset": "tiny", "settings": {}, "seed": 0}
    shards = {"dataset": "dots", "folder": "x", "samples": 1, "origin": "generated", "manifest_digest": "0"}
    whole = {"config": config, "method_config": {}, "shards": {"target": shards}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(whole))
    assert read_run(tmp_path) == whole
    stage = {"name": "first", "digest": "0" * 64, "roles": ["source"]}
    for damage, message in (
        ({"config": 1}, "config is 1 .int.: expected a mapping"),
        ({"config": {}}, "the field 'config.method' is missing"),
        ({"config": {"method": "toy"}}, "the field 'config.supervision' is missing"),
        ({"config": config | {"sede": 1}}, "unknown field 'sede' in config, did you mean 'seed'"),
        ({"config": config | {"seed": -1}}, "config.seed is -1 .int.: expected at least 0"),
        ({"config": config | {"settings": []}}, "config.settings is .*expected a mapping"),
        ({"shards": 5}, "shards is 5"),
        ({"shards": {}}, "the field 'shards.target' is missing"),
        ({"shards": {"target": 1}}, "shards.target is 1"),
        ({"shards": {"target": {"dataset": "dots"}}}, "the field 'shards.target.folder' is missing"),
        (
            {"shards": {"target": shards | {"samples": []}}},
            r"shards.target.samples is \[\] .list.: expected a whole number",
        ),
        ({"shards": {"target": shards | {"benchmark": {"a": 1}}}}, "shards.target.benchmark is .*expected text"),
        ({"shards": {"target": shards | {"manifest_digest": -0.0}}}, "shards.target.manifest_digest is -0.0"),
        ({"shards": {"target": shards, "tagret": shards}}, "name 'tagret' is 'tagret' .str.: did you mean 'target'"),
        ({"stages": [stage | {"roles": [[[]]]}]}, "stages.0.roles.0 is .*expected text"),
        ({"stages": [stage, 3]}, "stages.1 is 3 .int.: expected a mapping"),
        ({"__class___": 1.0e308}, "unknown field '__class___'"),
        ({"checkpoint_sha256": "0"}, "checkpoint_sha256 is '0' .str.: expected 64 hexadecimal digits"),
        ({"method_config": 4}, "method_config is 4"),
    ):
        (tmp_path / "run.yaml").write_text(json.dumps(whole | damage))
        with pytest.raises(ArtefactError, match=message) as caught:
            read_run(tmp_path)
        assert "run.yaml: " in caught.value.message
        assert "remove the run's folder, or train again" in caught.value.message
    (tmp_path / "run.yaml").write_text("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n")
    with pytest.raises(ArtefactError, match="holds a YAML alias"):
        read_run(tmp_path)


def test_a_checkpoint_holds_no_code(tmp_path: Path) -> None:
    torch.save({"format_version": 1, "model": Path("x")}, tmp_path / "evil.pt")
    digest = file_sha256(tmp_path / "evil.pt")
    checkpoint.sidecar(tmp_path / "evil.pt").write_text(f"{digest}  evil.pt\n")
    with pytest.raises(ArtefactError, match="this is not a checkpoint"):
        checkpoint.load(tmp_path / "evil.pt")
    checkpoint.save(tmp_path / "old.pt", {"format_version": 0})
    with pytest.raises(ArtefactError, match="format 0, expected 1"):
        checkpoint.load(tmp_path / "old.pt")


def test_what_a_run_records_is_plain_data(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    folder = train(workplace.config(supervision="partial", joints=3))
    document = read_run(folder)
    assert json.loads(json.dumps(document)) == document
    assert len(document["target_labels"]["joints_2d"]) == 3
    assert {"torch", "numpy", "python"} <= document["versions"].keys()
    np.testing.assert_equal(document["config"]["joints"], 3)


def test_the_mean_of_the_source_is_predicted_for_the_target(workplace: Workplace) -> None:
    target = workplace.prepare("dots-target")
    source = workplace.prepare("dots-source", train=32, seed=3)
    folder = train(workplace.config(method="mean", settings={}))
    found = read_predictions(predict(folder))
    poses = ShardSet.open(source, "train").labels.joints_cam_mm.astype(np.float64)
    expected = (poses - poses[:, :1]).mean(0)
    relative = found.joints_cam_mm - found.joints_cam_mm[:, :1]
    np.testing.assert_allclose(relative, np.broadcast_to(expected, relative.shape), atol=1e-2)
    given = ShardSet.open(target, "test").labels.joints_cam_mm[:, 0, 2]
    np.testing.assert_allclose(found.joints_cam_mm[:, 0, 2], given, rtol=1e-5)


def test_poses_without_images_serve_methods_that_read_none(workplace: Workplace) -> None:
    workplace.prepare("dots-source", poses=True)
    workplace.prepare("dots-target")
    run = train(workplace.config(method="mean", settings={}))
    assert np.isfinite(read_predictions(predict(run)).joints_cam_mm).all()
    assert read_predictions(predict(run)).meta["reads"] == []


def test_images_that_shards_of_poses_lack_are_missed_before_anything_is_trained(workplace: Workplace) -> None:
    workplace.prepare("dots-source", poses=True)
    workplace.prepare("dots-target")
    with pytest.raises(UsageError, match=r"dots-source: split 'train' holds no '\w+' images, only poses; prepare"):
        train(workplace.config())
    assert not (workplace.root / "runs").exists()


def test_a_network_of_the_baselines_trains_and_predicts(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    settings = {"input_px": 32, "steps": 3, "batch_size": 4, "pretrain_2d": False}
    folder = train(workplace.config(method="baseline", supervision="partial-2d", settings=settings))
    assert set(read_run(folder)["shards"]) == {"target"}
    found = read_predictions(predict(folder, batch_size=2))
    assert np.isfinite(found.joints_cam_mm).all()
    assert len(found.keys) == 5


def test_a_role_without_a_dataset_is_named(workplace: Workplace) -> None:
    workplace.prepare("dots-target")
    with pytest.raises(UsageError, match=r"reads pretrain data, and no dataset was given for it; .*--pretrain"):
        train(workplace.config(method="baseline", supervision="full", settings={"input_px": 32}))


def two_benchmarks(workplace: Workplace, **second: Any) -> None:
    """Give the target dataset another benchmark, whose fields differ by ``second``."""
    path = registry.dataset("dots-target").folder / "benchmarks.yaml"
    (first,) = yaml.safe_load(path.read_text())["benchmarks"]
    first["train"] = "train"
    path.write_text(json.dumps({"benchmarks": [first, {**first, "id": "dots-again", **second}]}))
    registry.clear()


def test_a_dataset_whose_benchmarks_train_on_different_splits_must_be_named_by_one(workplace: Workplace) -> None:
    two_benchmarks(workplace, train="test", split="train")
    with pytest.raises(UsageError, match=r"'dots-target' has several benchmarks.*dots-target-rgb or dots-again"):
        resolve(workplace.config())
    resolved = resolve(workplace.config(target="dots-again"))
    target = resolved.domains["target"]
    assert (target.dataset, target.training_splits, target.modality) == ("dots-target", ["test"], "rgb")
    assert resolved.base_name == "toy-dots-again-none-tiny-s0"


def test_a_benchmark_as_target_decides_what_is_trained_on_and_predicted(workplace: Workplace) -> None:
    two_benchmarks(workplace, train="test", split="train")
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    folder = train(workplace.config(target="dots-again"))
    target = read_run(folder)["shards"]["target"]
    assert (target["name"], target["dataset"], target["benchmark"]) == ("dots-again", "dots-target", "dots-again")
    assert (target["split"], target["samples"]) == ("test", 5)
    assert choose_benchmark(read_run(folder), None).id == "dots-again"


def test_benchmarks_that_share_their_training_data_need_no_name(workplace: Workplace) -> None:
    two_benchmarks(workplace, version=2)
    target = resolve(workplace.config()).domains["target"]
    assert target.benchmark is None
    assert target.training_splits == ["train"]


def test_two_parts_of_one_dataset_are_a_transfer_and_one_part_is_none(workplace: Workplace) -> None:
    two_benchmarks(workplace, train="test", split="train")
    workplace.prepare("dots-target")
    parts = {"target": "dots-target-rgb", "source": "dots-again"}
    for name in ("dots-target", "dots-source"):
        workplace.prepare(name)
    across = load_method(final_checkpoint(train(workplace.config(**parts))))[0].context.transfers
    same_part = train(workplace.config(**{**parts, "source": "dots-target-rgb"}))
    within = load_method(final_checkpoint(same_part))[0].context.transfers
    assert across is True
    assert within is False


def test_a_run_says_where_its_settings_come_from_unless_the_user_chose_them(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = replace(registry.method("toy"), settings_rule="validation")
    recipe = Recipe("rows", "", (RecipeRow("toy", settings={"width": 8}), RecipeRow("plain", settings={"width": 9})))
    monkeypatch.setattr(registry, "recipes", lambda: {"rows": recipe})
    asked: list[dict[str, Any]] = [{}, {"width": 8}, {"width": 9}, {"width": 8, "steps": 4}]
    assert [settings_rule(toy, each) for each in asked] == ["validation", "validation", "not stated", "not stated"]
    workplace.prepare("dots-target")
    workplace.prepare("dots-source")
    assert read_run(train(workplace.config()))["settings_rule"] == "not stated"
