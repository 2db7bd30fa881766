"""Ways to damage valid files, inside and outside their containers."""

from __future__ import annotations

import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

Mutator = Callable[[random.Random, bytes], bytes]
NUMBERS = (
    0,
    1,
    -1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 40,
    (1 << 63) - 1,
    1 << 63,
)
WORDS: tuple[Any, ...] = (
    None, True, 0, -1, 1 << 62, 1 << 64, 10**400, 1e308, float("nan"), float("inf"), -0.0, "", "\ud800", "\0",
           "\x1b[2J",
    "a" * 100_000, "../../../../etc/passwd", "/dev/zero", "1e999", "-1", "[" * 5000, [], {}, [[]], {"": {}},
    [0] * 20_000,
    "2026-01-01", "%s%n", "\u202e", "{{7*7}}", "<script>",
)  # fmt: skip


def bytes_changed(chance: random.Random, data: bytes) -> bytes:
    """Flip, overwrite, insert, delete, repeat and cut."""
    content = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        at = chance.randrange(len(content) + 1)
        length = min(len(content) - at, chance.choice((1, 1, 2, 4, 8, 64, 1024)))
        what = chance.randrange(7)
        if what == 0 and at < len(content):
            content[at] ^= 1 << chance.randrange(8)
        elif what == 1:
            number = chance.choice(NUMBERS) & (1 << 64) - 1
            size = chance.choice((1, 2, 4, 8))
            piece = number.to_bytes(8, "little")[:size]
            content[at : at + size] = piece if chance.random() < 0.5 else piece[::-1]
        elif what == 2:
            content[at:at] = chance.randbytes(length)
        elif what == 3:
            del content[at : at + length]
        elif what == 4:
            content[at:at] = content[at : at + length] * chance.choice((1, 2, 50))
        elif what == 5:
            del content[at if chance.random() < 0.3 else max(0, len(content) - length) :]
        else:
            content[at : at + length] = bytes(length)
    return bytes(content)


def _node_changed(chance: random.Random, value: Any) -> Any:
    """Replace, drop, rename, repeat or nest one part of a document."""
    if isinstance(value, dict | list) and value and chance.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key, what = chance.choice(keys), chance.random()
        copy: Any = dict(value) if isinstance(value, dict) else list(value)
        if what < 0.8:
            copy[key] = _node_changed(chance, value[key])
        elif what < 0.88:
            del copy[key]
        elif isinstance(copy, dict):
            copy[chance.choice(("", "x" * 1000, "\x1b[31m", "__class__", "\udc80", str(key).upper()))] = value[key]
        else:
            copy += [value[key]] * chance.choice((1, 100))
        return copy
    if chance.random() < 0.1:
        nested: Any = value
        for _ in range(chance.choice((20, 60, 900, 3000))):
            nested = [nested] if chance.random() < 0.5 else {"a": nested}
        return nested
    if isinstance(value, int | float) and not isinstance(value, bool) and chance.random() < 0.5:
        return chance.choice((-value, value * 1e9, value + 1, -(1 << 70), str(value)))
    return chance.choice(WORDS)


def json_changed(chance: random.Random, data: bytes) -> bytes:
    """Change the document; half of the time only its text."""
    if chance.random() < 0.4:
        return bytes_changed(chance, data)
    try:
        value = _node_changed(chance, json.loads(data))
        return json.dumps(value, ensure_ascii=chance.random() < 0.5).encode(errors="surrogatepass")
    except (ValueError, RecursionError):
        depth = chance.choice((60, 900, 100_000))
        return b"[" * depth + data + b"]" * depth


def lines_changed(chance: random.Random, data: bytes) -> bytes:
    """Change words of a text, or its bytes."""
    if chance.random() < 0.5:
        return bytes_changed(chance, data)
    lines = data.split(b"\n")
    for _ in range(chance.choice((1, 2, 5))):
        at = chance.randrange(len(lines))
        words = lines[at].split(b" ")
        place = chance.randrange(len(words))
        words[place] = str(chance.choice(WORDS)).encode(errors="surrogatepass")[:5000]
        lines[at] = b" ".join(words)
        if chance.random() < 0.2 and len(lines[at]) < 10_000:
            lines.insert(at, lines[at] * chance.choice((1, 300)))
    return b"\n".join(lines)


def yaml_changed(chance: random.Random, data: bytes) -> bytes:
    """Change words, or add what only YAML has: anchors, merge keys, tags, odd scalars."""
    if chance.random() < 0.7:
        return lines_changed(chance, data)
    lines = data.split(b"\n")
    odd = (b"<<: *a", b"a: &a [*a]", b"!!python/object/apply:os.system [id]", b"? {a: b}\n: c", b"- !!binary zz",
           b"x: 1_0:59",
           b"y: 0o777", b"z: 9999-99-99", b"t: 2001-01-01 00:00:00 +99:99", b"&a " + b"[" * 60, b"\tk: v",
                  b"--- !!set", b"k: !!float x",
           b"n: !!int 0x", b"m: " + b"9" * 5000)  # fmt: skip
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(odd))
    return b"\n".join(lines)


def npy_changed(chance: random.Random, data: bytes) -> bytes:
    """Change the header of an array, in its own syntax and length."""
    headers = (
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "((((((((((" * 20,
        "{'descr': '<U",
        "{'descr': '<U268435456', 'fortran_order': False, 'shape': (0, 99999), }",
        "{'descr': [('a', '<f4', (1 << 9,))]}",
        "{'descr': '<f4', 'fortran_order': True, 'shape': " + "(" * 90 + ")" * 90 + ", }", "1" * 5000,
        "{'descr': 'm8[Y]', 'a': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 9223372036854775807, 9), }", "\\", "'\\N{x}'",
        "{**1}", "0_0", "{'descr': '|V0', 'fortran_order': False, 'shape': (9999999999,), }",
        "{'descr': '<c16', 'fortran_order': False, 'shape': (True,), }",
    )  # fmt: skip
    if chance.random() < 0.5:
        return bytes_changed(chance, data[:128]) + data[128:]
    version = chance.choice((b"\x01\x00", b"\x02\x00", b"\x03\x00"))
    text = chance.choice(headers).encode("latin-1")
    length = chance.choice((len(text), 0, 0xFFFF)) if chance.random() < 0.2 else len(text)
    size = struct.pack("<H" if version == b"\x01\x00" else "<I", length)
    return b"\x93NUMPY" + version + size + text + data[128:]


def zip_changed(inner: Mutator) -> Mutator:
    """Change a member of a zip by ``inner`` and pack it with right sums; or the members' names, number and headers."""

    def changed(chance: random.Random, data: bytes) -> bytes:
        if chance.random() < 0.3:
            end = len(data) - min(len(data), 600)
            return (
                data[:end] + bytes_changed(chance, data[end:]) if chance.random() < 0.5 else bytes_changed(chance, data)
            )
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(one.filename, archive.read(one), one.compress_type) for one in archive.infolist()]
        at = chance.randrange(len(members))
        name, content, how = members[at]
        what = chance.random()
        if what < 0.75:
            members[at] = name, inner(chance, content), how
        elif what < 0.8:
            members.insert(at, members[at])
        elif what < 0.85:
            del members[at]
        else:
            odd = (
                "",
                "../" + name,
                "/etc/" + name,
                "\x1b[2J" + name,
                "a" * 60_000,
                name.upper(),
                name + "/",
                "\ud7ff\u202e.npy",
            )
            members[at] = chance.choice(odd), content, chance.choice((how, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, content, how in members:
                with_zip64 = zipfile.ZipInfo(name.encode(errors="replace").decode() or "x")
                with_zip64.compress_type = how
                with archive.open(with_zip64, "w", force_zip64=chance.random() < 0.5) as member:
                    member.write(content)
        return buffer.getvalue()

    return changed


def gzip_changed(inner: Mutator) -> Mutator:
    """Change what is packed, or the packing."""

    def changed(chance: random.Random, data: bytes) -> bytes:
        if chance.random() < 0.3:
            return bytes_changed(chance, data)
        return gzip.compress(inner(chance, gzip.decompress(data)), 1)

    return changed


def tar_changed(chance: random.Random, data: bytes) -> bytes:
    """Change bytes, or put a member of another kind before the others: links, devices, sparse files, long names."""
    if chance.random() < 0.5:
        return bytes_changed(chance, data)
    info = tarfile.TarInfo(chance.choice(("a", "../../a", "/etc/passwd", "\x1b[2J", "a" * 90)))
    info.type = chance.choice([b"0", *(bytes([kind]) for kind in b"1234567SLKxgXDMNV\0")])
    info.linkname = chance.choice(("", "/etc/passwd", "../x"))
    info.size = chance.choice((0, 1, 512, 1 << 20, 1 << 33, (1 << 63) - 1))
    body = chance.choice((b"", b"30 path=" + b"a" * 22, b"99999999999 path=a\n", b"16 size=9999999\n",
           b"22 GNU.sparse.major=1\n",
                          b"0 \n", b"-5 a=b\n", chance.randbytes(512), b"25 GNU.sparse.map=0,-1,9\n"))  # fmt: skip
    if info.size < 4096:
        info.size = len(body)
    try:
        head = bytearray(info.tobuf(chance.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))))
    except (ValueError, OverflowError):
        return bytes_changed(chance, data)
    if info.type == b"S":
        head[386:483] = chance.randbytes(97)
        head[148:156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:]) + 256)
    return bytes(head) + body + bytes(-len(body) % 512) + data


def chunks_changed(chance: random.Random, data: bytes) -> bytes:
    """Change the chunks of a PNG and give them right sums."""
    if chance.random() < 0.3:
        return bytes_changed(chance, data)
    content, at = bytearray(data), 8
    places = []
    while at + 12 <= len(content):
        length = int.from_bytes(content[at : at + 4])
        places.append((at, length))
        at += 12 + length
    at, length = chance.choice(places)
    body = bytes_changed(chance, bytes(content[at + 8 : at + 8 + length]))
    if content[at + 4 : at + 8] == b"IDAT" and chance.random() < 0.4:
        body = zlib.compress(bytes(chance.choice((0, 10, 1 << 16, 1 << 22))))
    kind = chance.choice(
        (bytes(content[at + 4 : at + 8]), b"acTL", b"fcTL", b"fdAT", b"PLTE", b"tRNS", b"iCCP", b"eXIf")
    )
    chunk = kind + body
    content[at : at + 12 + length] = len(body).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    return bytes(content)
