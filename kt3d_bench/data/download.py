"""Bytes of a file behind http, https or s3: streamed up to a cap, within a deadline; http from the host that was named
alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from kt3d_bench.errors import ArtefactError

if TYPE_CHECKING:
    from aiohttp import ClientResponse

DEADLINE_S = 600.0
"""For one answer, however slowly it drips."""
REDIRECTS = 5
WITHOUT_RANGES_BYTES = 256 << 20
"""Most bytes kept of an answer that ignores which part was asked for."""
_CHUNK_BYTES = 1 << 20


class HttpFiles:
    """What is used of fsspec's file systems, for http and https."""

    def __init__(self, connect_s: float, stall_s: float) -> None:
        self._connect_s, self._stall_s = connect_s, stall_s

    def cat_file(self, url: str, *, start: int, end: int) -> bytes:
        """Return bytes ``start`` to ``end`` of a file, or as many of them as there are; more, up to
        ``WITHOUT_RANGES_BYTES``, where the server sends the whole file.

        Raises ``FileNotFoundError``, aiohttp's errors, ``TimeoutError``, and ``ArtefactError`` for an answer that is
        compressed, leads to another host or is another part of the file.
        """
        from fsspec.asyn import get_loop, sync

        content: bytes = sync(get_loop(), self._get, url, start, end)
        return content

    async def _get(self, url: str, start: int, end: int) -> bytes:
        from aiohttp import ClientSession, ClientTimeout

        patience = ClientTimeout(total=DEADLINE_S, sock_connect=self._connect_s, sock_read=self._stall_s)
        asked = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        at = url
        async with ClientSession(timeout=patience, trust_env=True, auto_decompress=False) as session:
            for _ in range(REDIRECTS + 1):
                async with session.get(at, headers=asked, allow_redirects=False) as answer:
                    if "Location" not in answer.headers or not 300 <= answer.status < 400:
                        return await _body(answer, url, start, end)
                    at = _redirected(at, answer.headers["Location"], url)
        raise ArtefactError(f"the server redirects more than {REDIRECTS} times", where=url, hint="check the URL")


def _redirected(at: str, to: str, url: str) -> str:
    try:
        target = urljoin(at, to)
        old, new = urlsplit(at), urlsplit(target)
    except ValueError as error:
        raise ArtefactError(f"the server redirects to no URL ({error})", where=url, hint="check the URL") from error
    if new.hostname != old.hostname or new.scheme not in ("https", old.scheme):
        hint = "give the URL to which it leads, if you trust that"
        raise ArtefactError(f"the server redirects to {new.scheme}://{new.hostname}", where=url, hint=hint)
    return target


async def _body(answer: ClientResponse, url: str, start: int, end: int) -> bytes:
    if answer.status == 404:
        raise FileNotFoundError(url)
    if answer.status == 416:
        return b""
    answer.raise_for_status()
    coding = answer.headers.get("Content-Encoding", "identity")
    if coding != "identity":
        hint = "serve the files as they are"
        raise ArtefactError(f"the server sends it compressed ({coding})", where=url, hint=hint)
    part = answer.status == 206
    if part and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise ArtefactError("the server sends another part than was asked for", where=url, hint="try another server")
    return await _capped(answer.content.iter_chunked(_CHUNK_BYTES), part, start, end)


async def _capped(chunks: AsyncIterator[bytes], part: bool, start: int, end: int) -> bytes:
    """Return what was asked for of an answer that holds ``part`` of the file or the whole."""
    skip, most = (0, end - start) if part else (start, max(end - start, WITHOUT_RANGES_BYTES))
    content = bytearray()
    async for chunk in chunks:
        content += chunk[skip:]
        skip = max(0, skip - len(chunk))
        if len(content) > most:
            break
    return bytes(content[:most])


class S3Files:
    """What is used of s3fs."""

    def __init__(self, connect_s: float, stall_s: float) -> None:
        """Raises ``ImportError`` without s3fs."""
        import fsspec

        patience = {"connect_timeout": connect_s, "read_timeout": stall_s}
        self._files: Any = fsspec.filesystem("s3", config_kwargs=patience)

    def cat_file(self, url: str, *, start: int, end: int) -> bytes:
        """Return bytes as ``HttpFiles.cat_file``. Raises the errors of s3fs, ``TimeoutError`` and ``ArtefactError``."""
        from fsspec.asyn import sync

        content: bytes = sync(self._files.loop, self._get, url, start, end)
        return content

    async def _get(self, url: str, start: int, end: int) -> bytes:
        import asyncio

        bucket, key, _ = self._files.split_path(url)
        async with asyncio.timeout(DEADLINE_S):
            asked = {"Bucket": bucket, "Key": key, "Range": f"bytes={start}-{end - 1}"}
            answer = await self._files._call_s3("get_object", **asked)
            body, part = answer["Body"], answer["ResponseMetadata"]["HTTPStatusCode"] == 206
            try:
                if part and not answer.get("ContentRange", "").startswith(f"bytes {start}-"):
                    what = "the server sends another part than was asked for"
                    raise ArtefactError(what, where=url, hint="try another server")
                return await _capped(_chunks(body), part, start, end)
            finally:
                body.close()


async def _chunks(body: Any) -> AsyncIterator[bytes]:
    while chunk := await body.read(_CHUNK_BYTES):
        yield chunk
