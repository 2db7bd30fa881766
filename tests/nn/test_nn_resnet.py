"""ResNet-50: torchvision's names and shapes, and what its weight loader accepts and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from kt3d_bench.errors import ArtefactError
from kt3d_bench.nn.resnet import ResNet50, set_torchvision_weights
from kt3d_bench.nn.weights import read_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    torch.manual_seed(1)
    return ResNet50().state_dict()


def test_names_and_sizes_are_torchvisions() -> None:
    """Facts about torchvision's resnet50 without ``fc``: 23,508,032 parameters, 318 entries in the state dict."""
    net = ResNet50()
    names = dict(net.named_parameters())
    assert sum(p.numel() for p in names.values()) == 23_508_032
    assert len(net.state_dict()) == 318
    assert names["layer1.0.conv1.weight"].shape == (64, 64, 1, 1)
    assert names["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert names["layer3.5.conv2.weight"].shape == (256, 256, 3, 3)
    assert names["layer4.2.bn3.bias"].shape == (2048,)
    assert net(torch.zeros(1, 3, 64, 64)).shape == (1, 2048, 2, 2)


@pytest.mark.parametrize("wrapped", [False, True])
def test_plain_and_wrapped_files_load_without_classifier(tmp_path: Path, state: State, wrapped: bool) -> None:
    content = {**state, "fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    torch.save({"state_dict": content, "epoch": 3} if wrapped else content, tmp_path / "w.pt")
    net = ResNet50()
    set_torchvision_weights(net, read_weights(tmp_path / "w.pt"), tmp_path / "w.pt")
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, state[name])


@pytest.mark.parametrize("channels", [1, 44])
def test_other_inputs_answer_a_grey_image_alike(tmp_path: Path, state: State, channels: int) -> None:
    torch.save(state, tmp_path / "w.pt")
    net = ResNet50(channels)
    set_torchvision_weights(net, read_weights(tmp_path / "w.pt"), tmp_path / "w.pt")
    grey = torch.rand(1, 1, 16, 16)
    expected = torch.nn.functional.conv2d(grey.expand(-1, 3, -1, -1), state["conv1.weight"], stride=2, padding=3)
    torch.testing.assert_close(net.conv1(grey.expand(-1, channels, -1, -1)), expected, atol=1e-5, rtol=1e-4)


def _changed(state: State, drop: str | None = None, **more: Tensor) -> State:
    return {**{name: tensor for name, tensor in state.items() if name != drop}, **more}


@pytest.mark.parametrize(
    ("drop", "more", "message"),
    [
        ("layer2.1.conv2.weight", {}, r"'layer2\.1\.conv2\.weight' is missing"),
        (None, {"bn1.bias": torch.zeros(65)}, r"'bn1\.bias' has shape \(65,\), expected \(64,\)"),
        (None, {"conv1.weight": torch.zeros(64, 3, 3, 3)}, r"'conv1\.weight' has shape \(64, 3, 3, 3\)"),
        (None, {"layer9.x": torch.zeros(1)}, r"'layer9\.x' has no place"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_name_and_changes_nothing(
    tmp_path: Path, state: State, drop: str | None, more: State, message: str
) -> None:
    torch.save(_changed(state, drop, **more), tmp_path / "w.pt")
    net = ResNet50()
    before = net.conv1.weight.clone()
    with pytest.raises(ArtefactError, match=message):
        set_torchvision_weights(net, read_weights(tmp_path / "w.pt"), tmp_path / "w.pt")
    torch.testing.assert_close(net.conv1.weight, before)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    net = ResNet50()
    with pytest.raises(ArtefactError, match="no such file"):
        set_torchvision_weights(net, read_weights(tmp_path / "absent.pt"), tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty.pt").write_bytes(b"")
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    torch.save({"a": Path("x")}, tmp_path / "object.pt")
    for name in ("text", "empty", "list", "object"):
        with pytest.raises(ArtefactError, match=f"{name}.pt"):
            set_torchvision_weights(net, read_weights(tmp_path / f"{name}.pt"), tmp_path / f"{name}.pt")


@pytest.mark.parametrize("content", [b"", b"plain text\n", b"PK\x03\x04 cut", b"\x80\x02]", b"(dp0\n."])
def test_whatever_is_no_weight_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"weights\.pth: "):
        set_torchvision_weights(ResNet50(3), read_weights(path), path)
