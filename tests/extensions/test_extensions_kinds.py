"""What ``kt3d new method --kind`` writes keeps the contract: methods that lift 2D joints, of images and of clips."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from kt3d_bench.cli import main
from kt3d_bench.errors import UsageError
from kt3d_bench.plugins import registry
from kt3d_bench.scaffold import READS, new_plugin
from kt3d_bench.testing import check_plugin


@pytest.mark.parametrize("kind", [pytest.param("lifting", marks=pytest.mark.slow), "video"])
def test_the_contract_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    done = CliRunner().invoke(main, ["new", "method", f"my-{kind}", "--kind", kind, "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    monkeypatch.syspath_prepend(tmp_path / f"kt3d-my-{kind}" / "src")
    with registry.lent({f"my-{kind}": importlib.import_module(f"kt3d_my_{kind}")}):
        method = registry.load(registry.method(f"my-{kind}").load)
        assert method.Config().frames == {"lifting": 1, "video": 9}[kind]
        broken = [one.sentence for one in check_plugin(f"my-{kind}") if not one.holds]
    assert broken == []


def test_unknown_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no template of a method for 'vido'; did you mean 'video'\?"):
        new_plugin("method", "thing", tmp_path, reads="vido")
    assert list(tmp_path.iterdir()) == []
    assert list(READS) == ["image", "lifting", "video"]
