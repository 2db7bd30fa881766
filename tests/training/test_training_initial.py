"""``--init``: what fits is set, what does not is told, and stages that started otherwise are other stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from training_toys import CONTEXT, Notes, ToyConfig, ToyMethod
from training_workplace import Workplace

from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.files import file_sha256
from kt3d_bench.leaderboard.publish import _facts_of_run
from kt3d_bench.nn.resnet import ResNet50
from kt3d_bench.run_folder import final_checkpoint, read_run
from kt3d_bench.training.initial import in_words, start_from
from kt3d_bench.training.train import train


def toy(width: int = 4) -> ToyMethod:
    torch.manual_seed(width)
    return ToyMethod(ToyConfig(width=width), CONTEXT)


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_tensors_of_the_same_name_and_shape_are_set(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"w.{ending}"
    given = {**toy(4).state_dict(), "body.0.weight": torch.zeros(9, 3, 3, 3), "other.bias": torch.ones(2)}
    del given["head.bias"]
    if ending == "pth":
        torch.save({"state_dict": given}, path)
    else:
        save_file(given, path)
    method, before = toy(4), toy(4).state_dict()
    for value in method.parameters():
        value.data.fill_(7.0)
    found = start_from(method, str(path), tmp_path)
    assert found == {
        "from": f"w.{ending}", "sha256": file_sha256(path), "set": 7, "of": 9,
        "left_out": ["body.0.weight", "other.bias"], "saw": {}, "external_data": [],
    }  # fmt: skip
    after = method.state_dict()
    kept = {"body.0.weight", "head.bias"}
    assert all((after[name] == 7).all() for name in kept)
    assert all(torch.equal(after[name], value) for name, value in before.items() if name not in kept)
    words = f"started from 'w.{ending}': 7 of the method's 9 tensors are set; 2 of its tensors have no place here"
    assert in_words(found) == f"{words} (body.0.weight, other.bias)"


def test_a_torchvision_file_goes_into_every_encoder(tmp_path: Path) -> None:
    path, encoder = tmp_path / "resnet50.pth", ResNet50(3)
    torch.save({**encoder.state_dict(), "fc.weight": torch.zeros(1000, 2048)}, path)
    method = toy()
    method.rgb, method.depth = ResNet50(3), ResNet50(1)
    found = start_from(method, str(path), tmp_path)
    assert (found["set"], found["left_out"]) == (2 * len(encoder.state_dict()), ["fc.weight"])
    assert torch.equal(method.rgb.conv1.weight, encoder.conv1.weight)
    assert torch.equal(method.depth.layer4[2].conv3.weight, encoder.layer4[2].conv3.weight)
    torch.testing.assert_close(method.depth.conv1.weight.sum(1), encoder.conv1.weight.sum(1))


def test_weights_that_fit_nowhere_or_are_not_there_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ArtefactError, match=r"none of its 1 tensors fits the method, .*body.0.weight; give weights of"):
        start_from(toy(), str(tmp_path / "other.pt"), tmp_path)
    with pytest.raises(ArtefactError, match=r"absent\.pth: there is no such file"):
        start_from(toy(), str(tmp_path / "absent.pth"), tmp_path)
    with pytest.raises(UsageError, match="there is no run 'nobody'"):
        start_from(toy(), "nobody", tmp_path)
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(ArtefactError, match=r"cut.safetensors: is not a weight file that can be read safely"):
        start_from(toy(), str(tmp_path / "cut.safetensors"), tmp_path)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(UsageError, match=r"safetensors is not installed; pip install 'kt3d-bench\[weights\]'"):
        start_from(toy(), str(tmp_path / "w.safetensors"), tmp_path)


def test_a_run_starts_from_another_one_and_says_so(workplace: Workplace) -> None:
    for dataset in ("dots-target", "dots-source"):
        workplace.prepare(dataset)
    first = train(workplace.config(name="first", settings={"steps": 3}))
    plain = read_run(train(workplace.config(name="plain")))
    report = Notes()
    second = read_run(train(workplace.config(name="second", init="first"), report))
    assert "started from 'first': 9 of the method's 9 tensors are set" in report.notes
    assert second["init"]["sha256"] == file_sha256(final_checkpoint(first))
    assert plain["init"] is None
    assert (second["init"]["supervision"], _facts_of_run(second)["target_labels_seen"]) == ("none", "none")
    second["init"]["supervision"] = "full"
    assert _facts_of_run(second)["target_labels_seen"] == "none, and full by the weights it began with"
    both = zip(plain["stages"], second["stages"], strict=True)
    assert all(one["digest"] != other["digest"] for one, other in both)
    again = read_run(train(workplace.config(name="third", init=str(first))))
    assert all(stage["reused"] for stage in again["stages"])
