"""Shards behind a URL, from a loopback server that drops, truncates, delays, lies and forgets what ranges are."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest
from data_fake_dataset import plugin

from kt3d_bench.data import download, remote
from kt3d_bench.data.prepare import prepare
from kt3d_bench.data.reader import ShardSet
from kt3d_bench.errors import ArtefactError, UsageError

TINY = 6
"""Samples per shard: each training file becomes a shard of its own."""
PIECE = 6000
"""Bytes asked for at a time: a tar is fetched in several pieces."""


class Host(ThreadingHTTPServer):
    """Serves a folder under /data/set, and misbehaves as ``trouble`` says: word -> how many times more."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.trouble = Counter[str]()
        self.asked: list[tuple[str, str]] = []
        self.leads_to = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data/set"

    def served(self, suffix: str) -> list[str]:
        """The ranges asked for of files of that ending."""
        return [span for name, span in self.asked if name.endswith(suffix)]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Dropped connections are meant."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        host: Host = self.server  # type: ignore[assignment]
        name = self.path.rpartition("/")[2]
        span = self.headers.get("Range", "")
        if body:
            host.asked.append((name, span))
        path = host.folder / name
        if self.path != f"/data/set/{name}" or not path.is_file():
            return self.plain(404, b"nothing here" if body else b"")
        data = path.read_bytes()
        if self.had("redirect"):
            self.send_response(302)
            self.send_header("Location", host.leads_to)
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if self.had("compress"):
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        if not name.endswith(".tar") or not body:
            return self.send(data, span, body)
        if self.had("refuse"):
            return self.plain(503, b"busy")
        if self.had("deny"):
            return self.plain(403, b"no")
        if self.had("lie"):
            data = bytes([data[0] ^ 1]) + data[1:]
        if self.had("forget ranges"):
            span = ""
        if self.had("stall"):
            time.sleep(1.5)
        return self.send(data, span, body, drop=self.had("drop"), shorten=self.had("shorten"))

    def had(self, word: str) -> bool:
        trouble = self.server.trouble  # type: ignore[attr-defined]
        trouble[word] -= 1
        return bool(trouble[word] >= 0)

    def send(self, data: bytes, span: str, body: bool, *, drop: bool = False, shorten: bool = False) -> None:
        total, start = len(data), 0
        if span:
            first, _, last = span.removeprefix("bytes=").partition("-")
            start = int(first)
            data = data[start : int(last) + 1 if last else total]
        announced = len(data)
        if shorten:
            data = data[: len(data) // 2]
            announced = len(data)
        self.send_response(206 if span else 200)
        self.send_header("Content-Length", str(announced))
        self.send_header("ETag", '"x"')
        if span:
            self.send_header("Content-Range", f"bytes {start}-{start + len(data) - 1}/{total}")
        self.end_headers()
        if body:
            self.wfile.write(data[: len(data) // 2] if drop else data)
        if drop:
            self.close_connection = True
            self.connection.close()

    def plain(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def shards(card_folder: Path, raw: Path, tmp_path: Path) -> Path:
    out = tmp_path / "shards"
    prepare(plugin(card_folder), raw=raw, out=out, workers=1, samples_per_shard=TINY, check=False)
    return out


@pytest.fixture
def host(shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    monkeypatch.setenv("KT3D_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(remote, "_PAUSE_S", 0.01)
    monkeypatch.setattr(remote, "STALL_S", 1.0)
    host = Host(shards)
    thread = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield host
    host.shutdown()
    thread.join()
    host.server_close()


def content(folder: Path, pattern: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob(pattern))}


def test_a_url_opens_like_a_folder_and_brings_only_what_is_read(host: Host, shards: Path) -> None:
    here, there = ShardSet.open(shards, "train"), ShardSet.open(host.url, "train")
    assert there.keys.tolist() == here.keys.tolist()
    assert (there.digest, there.labels_digest, there.url) == (here.digest, here.labels_digest, host.url)
    assert not list(there.folder.glob("*.tar")), "labels alone need no tar"
    last = len(there) - 1
    assert there.read(last, "rgb") == here.read(last, "rgb")
    assert [path.name for path in there.folder.glob("*.tar")] == ["train-000002.tar"]
    copied = pickle.loads(pickle.dumps(there))
    assert (copied.image(0, "depth_mm") == here.image(0, "depth_mm")).all()
    steps: list[tuple[int, int]] = []
    there.fetch(lambda done, total: steps.append((done, total)))
    size = (shards / "train-000001.tar").stat().st_size
    assert steps == [(size, size)], "only what was missing is fetched"
    assert content(there.folder, "train-*") == content(shards, "train-*")
    asked = len(host.asked)
    again = ShardSet.open(host.url, "train", verify=True)
    assert [again.read(i, "rgb") for i in range(len(again))] == [here.read(i, "rgb") for i in range(len(here))]
    assert [name for name, _ in host.asked[asked:]] == ["manifest.json"], "the rest is in the cache"
    mirror = ShardSet.open(again.folder, "train")
    assert mirror.url == host.url
    assert mirror.take([1, 2]).url == host.url


@pytest.mark.parametrize("word", ["drop", "shorten", "stall", "refuse", "forget ranges"])
def test_what_connections_do_is_overcome(host: Host, shards: Path, word: str) -> None:
    host.trouble[word] = 1 if word == "stall" else 3
    there = ShardSet.open(host.url, "train")
    there.fetch()
    assert content(there.folder, "train-*.tar") == content(shards, "train-*.tar")
    assert not list(there.folder.glob("*.part"))
    assert host.trouble[word] <= 0, "the trouble never came"


def test_a_download_goes_on_where_it_stopped(host: Host, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = ShardSet.open(host.url, "test")
    monkeypatch.setattr(remote, "TRIES", 2)
    real, calls = remote._file_system, Counter[str]()

    class Failing:
        def cat_file(self, url: str, **span: int) -> bytes:
            calls["all"] += 1
            if calls["all"] > 2:
                raise OSError("the network is down")
            return bytes(real("http").cat_file(url, **span))

    monkeypatch.setattr(remote, "_file_system", lambda scheme: Failing())
    with pytest.raises(ArtefactError, match=r"000.tar: cannot be downloaded \(the network is down; tried 2 times"):
        there.fetch()
    assert (there.folder / "test-000000.tar.part").stat().st_size == 2 * PIECE
    assert not (there.folder / "test-000000.tar").exists()
    monkeypatch.setattr(remote, "_file_system", real)
    host.asked.clear()
    there.fetch()
    assert host.served(".tar")[0] == f"bytes={2 * PIECE}-{3 * PIECE - 1}"
    assert content(there.folder, "test-*.tar") == content(shards, "test-*.tar")


def test_other_bytes_than_the_manifest_promises_never_arrive(host: Host) -> None:
    there = ShardSet.open(host.url, "test")
    host.trouble["lie"] = 1
    there.fetch()
    (there.folder / "test-000000.tar").unlink()
    host.trouble["lie"] = 1000
    with pytest.raises(ArtefactError, match=r"test-000000.tar does not fit the manifest \(its SHA-256"):
        there.fetch()
    assert not list(there.folder.glob("*.tar*"))


def test_a_foreign_index_is_refused(host: Host, shards: Path) -> None:
    (shards / "test-000000.index.npz").write_bytes((shards / "train-000000.index.npz").read_bytes())
    with pytest.raises(ArtefactError, match=r"test-000000.index.npz does not fit the manifest"):
        ShardSet.open(host.url, "test")
    (shards / "test-000000.index.npz").write_bytes(b"cut")
    with pytest.raises(ArtefactError, match=r"test-000000.index.npz does not fit the manifest"):
        ShardSet.open(host.url, "test")


def test_what_is_not_there_or_not_for_us_is_said_at_once(host: Host, shards: Path) -> None:
    with pytest.raises(ArtefactError, match=r"/data/set/nothing/manifest.json: there is no such file; check the URL"):
        ShardSet.open(f"{host.url}/nothing", "train")
    there = ShardSet.open(host.url, "test")
    host.trouble["deny"] = 1
    host.asked.clear()
    with pytest.raises(ArtefactError, match="the server answers 403"):
        there.fetch()
    assert len(host.asked) == 1
    (shards / "manifest.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"the manifest cannot be read .*check the URL, which must name a folder"):
        ShardSet.open(host.url, "train")


def test_an_unreachable_host_is_a_sentence(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TRIES", 2)
    with pytest.raises(ArtefactError, match=r"manifest.json: cannot be downloaded \(.*; tried 2 times\); check"):
        ShardSet.open("http://127.0.0.1:1/data", "train")


def test_no_room_is_said_before_anything_is_fetched(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    there = ShardSet.open(host.url, "train")
    usage = type("Usage", (), {"free": 5})
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(ArtefactError, match=r"the download needs 0.0 GB and 0.0 GB are free; free some space, or name"):
        there.fetch()
    assert host.served(".tar") == []


def test_processes_share_a_cache(host: Host, shards: Path, tmp_path: Path) -> None:
    """Three at once: each byte of each tar is asked for once, and all read the same."""
    script = f"""
        import hashlib, sys
        from kt3d_bench.data import remote
        from kt3d_bench.data.reader import ShardSet
        remote.PIECE_BYTES = {PIECE}
        shards = ShardSet.open({host.url!r}, "train")
        shards.fetch()
        print(hashlib.sha256(b"".join(shards.read(i, "rgb") for i in range(len(shards)))).hexdigest())
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) for _ in range(3)]
    said = {child.communicate(timeout=60)[0] for child in children}
    assert [child.returncode for child in children] == [0, 0, 0]
    assert len(said) == 1
    spans = Counter((name, span) for name, span in host.asked if name.endswith(".tar"))
    assert set(spans.values()) == {1}
    (mirror,) = (tmp_path / "cache" / "shards").iterdir()
    assert content(mirror, "train-*.tar") == content(shards, "train-*.tar")
    assert not list(mirror.glob("*.part")) + list(mirror.glob("*.tmp"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("pipe:cat /etc/passwd", "shards are not read through 'pipe:'; give a folder, or a URL that begins with"),
        ("ftp://host/shards", "shards are not read through 'ftp:'"),
        ("filecache::http://host/shards", "shards are not read through 'filecache:'"),
        ("http://host/a::b", "this is not the URL of a folder"),
        ("https://host/shards?key=1", "this is not the URL of a folder"),
        ("s3:///shards", "this is not the URL of a folder"),
        ("https://me:secret@host/shards", "^https://host/shards: the URL holds a password"),
        ("file://elsewhere/shards", "a file URL names a folder of this machine"),
    ],
)
def test_a_url_that_cannot_name_shards_is_refused(url: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_read", None)
    with pytest.raises(UsageError, match=message):
        ShardSet.open(url, "train")


def test_a_file_url_is_a_folder(shards: Path) -> None:
    assert ShardSet.open(shards.as_uri(), "train").folder == shards
    assert remote.local_folder("folder/with:colon") == Path("folder/with:colon")


def test_a_folder_outside_the_cache_never_causes_a_request(host: Host, shards: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ShardSet.open(host.url, "train").folder, tmp_path / "downloaded"))
    assert (folder / "remote.json").exists()
    asked = len(host.asked)
    with pytest.raises(ArtefactError, match="the shard is missing"):
        ShardSet.open(folder, "train")
    remote.complete(folder)
    assert len(host.asked) == asked
    assert not list(folder.glob("*.tar"))


def test_an_index_beyond_any_size_is_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SMALL_BYTES", 500)
    with pytest.raises(ArtefactError, match=r"manifest.json: the file is larger than 500 bytes"):
        ShardSet.open(host.url, "train")


def test_a_mirror_that_does_not_know_its_source_is_refused(host: Host) -> None:
    folder = ShardSet.open(host.url, "train").folder
    for text in ("{", "{}", '{"url": "pipe:cat x"}'):
        (folder / "remote.json").write_text(text)
        with pytest.raises(ArtefactError, match="does not say where shards come from; delete its folder"):
            ShardSet.open(folder, "train")


def test_s3_is_read_by_its_own_protocol(host: Host, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket called data on our own server, as S3 with path-style addresses."""
    pytest.importorskip("s3fs")
    for name, value in {
        "AWS_ENDPOINT_URL": host.url.removesuffix("/data/set"), "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "x", "AWS_EC2_METADATA_DISABLED": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    host.trouble["drop"] = 1
    there = ShardSet.open("s3://data/set", "train")
    there.fetch()
    assert content(there.folder, "train-*.tar") == content(shards, "train-*.tar")
    assert there.url == "s3://data/set"
    with pytest.raises(ArtefactError, match=r"s3://data/nothing/manifest.json: there is no such file"):
        ShardSet.open("s3://data/nothing", "train")
    host.trouble["deny"] = 1
    with pytest.raises(ArtefactError, match=r"test-000000.tar: access is denied"):
        ShardSet.open("s3://data/set", "test").fetch()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """``S3Files`` whose answers are the bytes 0, 1, 2, ... without end, and a record of how many were read."""
    pytest.importorskip("s3fs")

    class Endless:
        given = 0

        async def read(self, most: int) -> bytes:
            await asyncio.sleep(0.001)
            self.given += most
            return bytes(most)

        def close(self) -> None:
            return

    files = download.S3Files(1.0, 1.0)
    files.body = Endless()  # type: ignore[attr-defined]

    async def answered(method: str, **asked: Any) -> dict[str, Any]:
        told = {"ContentRange": asked["Range"].replace("=", " ")} if files.part else {}  # type: ignore[attr-defined]
        status = 206 if files.part else 200  # type: ignore[attr-defined]
        return {"Body": files.body, "ResponseMetadata": {"HTTPStatusCode": status}, **told}  # type: ignore[attr-defined]

    monkeypatch.setattr(files._files, "_call_s3", answered)
    yield files
    type(files._files).clear_instance_cache()


@pytest.mark.parametrize("part", [True, False])
def test_an_answer_of_s3_without_end_is_cut(bucket: Any, part: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "WITHOUT_RANGES_BYTES", 5 << 20)
    bucket.part = part
    assert len(bucket.cat_file("s3://a/b", start=0, end=3 << 20)) == (3 << 20 if part else 5 << 20)
    assert bucket.body.given <= 6 << 20


def test_an_answer_of_s3_that_drips_is_given_up(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "DEADLINE_S", 0.05)
    bucket.part = True
    with pytest.raises(TimeoutError):
        bucket.cat_file("s3://a/b", start=0, end=1 << 40)


def test_another_part_from_s3_is_refused(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.part = True
    answered = bucket._files._call_s3

    async def shifted(method: str, **asked: Any) -> Any:
        return {**await answered(method, **asked), "ContentRange": "bytes 9-20/30"}

    monkeypatch.setattr(bucket._files, "_call_s3", shifted)
    with pytest.raises(ArtefactError, match="the server sends another part than was asked for"):
        bucket.cat_file("s3://a/b", start=0, end=10)


def test_s3_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(scheme: str, **options: Any) -> Any:
        raise ImportError(scheme)

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(UsageError, match=r'install it: pip install "kt3d-bench\[remote\]"'):
        ShardSet.open("s3://data/set", "train")


def test_s3_without_credentials_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = pytest.importorskip("botocore.exceptions")
    monkeypatch.setattr(remote, "_PAUSE_S", 0.0)
    raised: list[Exception] = [exceptions.NoCredentialsError(), exceptions.ConnectionClosedError(endpoint_url="there")]

    class Bucket:
        def cat_file(self, url: str, **more: Any) -> bytes:
            raise raised[0]

    monkeypatch.setattr(remote, "_file_system", lambda scheme: Bucket())
    with pytest.raises(ArtefactError, match="S3 asks for credentials; set AWS_PROFILE"):
        ShardSet.open("s3://data/set", "train")
    raised.pop(0)
    with pytest.raises(ArtefactError, match=r"cannot be downloaded .*tried 6 times"):
        ShardSet.open("s3://data/set", "train")


@pytest.mark.parametrize(("leads_to", "message"), [
    ("http://localhost:1/manifest.json", "the server redirects to http://localhost; give the URL to which it leads"),
    ("file:///etc/passwd", "the server redirects to file://None; give"),
    ("//169.254.169.254/latest/meta-data", r"the server redirects to http://169\.254\.169\.254; give"),
    ("http://[::1/x", "the server redirects to no URL"),
    ("manifest.json", "the server redirects more than 5 times; check the URL"),
])  # fmt: skip
def test_redirects_stay_within_the_host(host: Host, leads_to: str, message: str) -> None:
    host.leads_to = leads_to
    host.trouble["redirect"] = 1000
    with pytest.raises(ArtefactError, match=rf"/data/set/manifest\.json: {message}"):
        ShardSet.open(host.url, "train")


def test_a_redirect_within_the_host_is_followed(host: Host, shards: Path) -> None:
    host.leads_to, host.trouble["redirect"] = "manifest.json", 2
    assert ShardSet.open(host.url, "train").digest == ShardSet.open(shards, "train").digest


def test_a_compressed_answer_is_refused(host: Host) -> None:
    host.trouble["compress"] = 1
    with pytest.raises(ArtefactError, match=r"the server sends it compressed \(gzip\); serve the files as they are"):
        ShardSet.open(host.url, "train")


def test_an_answer_without_end_is_cut(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ignores the range and sends far more: no more than the cap is kept."""
    monkeypatch.setattr(download, "WITHOUT_RANGES_BYTES", 1000)
    host.trouble["forget ranges"] = 1
    files, tar = download.HttpFiles(1.0, 1.0), f"{host.url}/train-000000.tar"
    whole = (host.folder / "train-000000.tar").read_bytes()
    assert len(whole) > 5000
    assert files.cat_file(tar, start=100, end=200) == whole[100:1100]
    assert files.cat_file(tar, start=100, end=200) == whole[100:200]
    assert files.cat_file(tar, start=len(whole) - 10, end=len(whole) + 90) == whole[-10:]


def test_an_answer_that_only_drips_has_a_deadline(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "DEADLINE_S", 0.3)
    monkeypatch.setattr(remote, "TRIES", 1)
    there = ShardSet.open(host.url, "test")
    host.trouble["stall"] = 1
    with pytest.raises(ArtefactError, match=r"cannot be downloaded \(.*; tried 1 times\)"):
        there.fetch()
