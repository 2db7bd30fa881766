"""Training and predicting from shards behind a URL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from training_workplace import Workplace

from kt3d_bench.cli import main
from kt3d_bench.errors import ArtefactError, UsageError
from kt3d_bench.metrics.predictions import read_predictions
from kt3d_bench.run_folder import read_run
from kt3d_bench.training.predict import predict
from kt3d_bench.training.train import train


class Quiet(SimpleHTTPRequestHandler):
    """Serves files; knows no ranges."""

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """Of what lies in tmp_path/far."""
    (tmp_path / "far").mkdir()
    host = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "far")))
    host.daemon_threads = True
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{host.server_port}"
    host.shutdown()
    thread.join()
    host.server_close()


def test_train_and_predict_from_urls(
    workplace: Workplace, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KT3D_DATA", str(workplace.root))
    far = {role: f"{url}/shards/dots-{role}" for role in ("target", "source")}
    for role in far:
        workplace.prepare(f"dots-{role}", at=tmp_path / "far")
    folder = train(workplace.config(shards=far))
    recorded = read_run(folder)["shards"]
    assert {role: found["url"] for role, found in recorded.items()} == far
    assert all(Path(found["folder"]).parent == workplace.root / "cache" / "shards" for found in recorded.values())
    keys = read_predictions(predict(folder)).keys
    assert len(keys) == 5

    for tar in (workplace.root / "cache").rglob("*.tar"):
        tar.unlink()
    assert read_predictions(predict(folder, shards=far["target"])).keys.tolist() == keys.tolist()
    mirror = Path(recorded["target"]["folder"])
    mirror.rename(workplace.root / "elsewhere")
    assert read_predictions(predict(folder)).keys.tolist() == keys.tolist(), "fetched again from the recorded URL"

    runner = CliRunner()
    said = runner.invoke(main, ["inspect", far["target"]])
    assert "Split test: 5 samples" in said.output
    said = runner.invoke(main, ["validate", far["source"], "--split", "train"])
    assert "12 samples of dots-source" in said.output
    assert "is missing" not in said.output
    said = runner.invoke(main, ["train", "--method", "toy", "--preset", "tiny", "--shards", "target=pipe:true"])
    assert said.exit_code == 2
    assert "Error: pipe:true: shards are not read through 'pipe:'" in said.output


def test_a_url_without_shards_is_no_reason_for_a_stand_in(workplace: Workplace, url: str) -> None:
    workplace.prepare("dots-target")
    with pytest.raises(ArtefactError, match=r"/nothing/manifest.json: there is no such file"):
        train(workplace.config(shards={"source": f"{url}/nothing"}))
    with pytest.raises(UsageError, match="shards are not read through 'ftp:'"):
        train(workplace.config(shards={"source": "ftp://host/shards"}))
