"""Checks of files: tars against the manifest and their indexes, and the manifest's claims against what is there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kt3d_bench.data.checks.findings import Check, Finding, found
from kt3d_bench.data.format import FIELDS
from kt3d_bench.data.index import Labels, ShardIndex, index_path
from kt3d_bench.data.manifest import Manifest, Shard, Split, counts, labels_digest, sample_list_digest
from kt3d_bench.data.reader import ShardSet, checked_index
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import file_sha256
from kt3d_bench.geometry.foreground import RULES

FILES = Check("files", "every shard of the manifest is there, complete, with its index", "")
DIGEST = Check("digest", "the SHA-256 of every tar is the manifest's", "")
MEMBERS = Check("members", "the index points at the members it names", "none")
COUNTS = Check("counts", "the manifest counts what the shards hold", "none")
DIGESTS = Check("sample list", "sample list and labels have the manifest's digests", "")
LEFTOVERS = Check("leftovers", "no shard that the manifest does not list, and no unfinished file", "none", "", "note")

_TAR_BLOCK = 512


def shard_file(folder: Path, shard: Shard, split: str) -> tuple[ShardIndex | None, Finding | None]:
    """Return the index of one shard, or what is wrong with its files. Reads sizes and the index, not the tar."""
    path = folder / shard.name
    try:
        return checked_index(path, shard), None
    except ArtefactError as error:
        index = index_path(path).name
        remove = (index,) if "does not belong" in error.what else ()
        return None, found(FILES, split, error.what, shard=shard.name, remove=remove)


def digest(folder: Path, shard: Shard, split: str) -> Finding | None:
    """Check that the tar's SHA-256 is the manifest's, which reads the whole tar."""
    try:
        sha256 = file_sha256(folder / shard.name)
    except OSError as error:
        return found(DIGEST, split, f"the tar cannot be read ({error})", shard=shard.name)
    if sha256 == shard.sha256:
        return None
    sentence = f"the tar was changed: its SHA-256 is {sha256[:12]}..., not {shard.sha256[:12]}..."
    return found(DIGEST, split, sentence, shard=shard.name, remove=(shard.name,))


def members(path: Path, shards: ShardSet, number: int) -> Finding | None:
    """Check that each member named by the index of tar ``path``, the ``number``-th of a split, follows its own tar
    header; the finding names the first that does not."""
    wrong: list[str] = []
    samples = np.flatnonzero(shards.shard_of == number)
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        for column, name in enumerate(shards.fields):
            extension = FIELDS[name].extension
            places = (table[samples, column].tolist() for table in (shards.offsets, shards.sizes))
            for key, offset, size in zip(shards.keys[samples].tolist(), *places, strict=True):
                header = os.pread(descriptor, _TAR_BLOCK, offset - _TAR_BLOCK) if offset >= _TAR_BLOCK else b""
                if not _is_header_of(header, f"{key}.{extension}", size):
                    wrong.append(f"{key}.{extension}")
    finally:
        os.close(descriptor)
    if not wrong:
        return None
    sentence = f"the index points to wrong places for {len(wrong)} members of the tar, the first {wrong[0]}"
    removed = (index_path(path).name,)
    return found(MEMBERS, shards.split, sentence, shard=path.name, value=len(wrong), remove=removed)


def _is_header_of(header: bytes, name: str, size: int) -> bool:
    """Return whether a tar header names this member; long names are stored truncated, after a block of their own."""
    stored = header[:100].rstrip(b"\0")
    try:
        return stored == name.encode()[:100] and int(header[124:135].rstrip(b" \0") or b"0", 8) == size
    except ValueError:
        return False


def claims(split: Split, keys: Any, labels: Labels, per_shard: Mapping[str, int]) -> Iterator[str]:
    """Yield what is wrong, or "", for every number in a split's manifest that its shards determine."""
    held = len(keys)
    yield "" if held == split.samples else f"{split.samples} samples are claimed, {held} are there"
    off = [f"{shard.name} {shard.samples}, not {per_shard[shard.name]}" for shard in split.shards
           if per_shard.get(shard.name, shard.samples) != shard.samples]  # fmt: skip
    yield "" if not off else f"samples are claimed that are not there: {', '.join(off[:3])}"
    counted = counts(labels)
    for what in ("subject", "action", "camera"):
        claimed, real = getattr(split.counts, what), getattr(counted, what)
        names = [name for name in sorted({*claimed, *real}) if claimed.get(name, 0) != real.get(name, 0)]
        shown = ", ".join(f"'{name}' {claimed.get(name, 0)}, not {real.get(name, 0)}" for name in names[:3])
        yield "" if not names else f"samples per {what} are wrong: {shown}"


def digests(split: Split, keys: Any, labels: Labels) -> Iterator[str]:
    """Yield what is wrong, or "", for the two digests of a split."""
    listed = sample_list_digest(keys) == split.sample_list_digest
    yield "" if listed else "the keys in the indexes are not those of the manifest's sample list"
    same = labels_digest(keys, labels) == split.labels_digest
    yield "" if same else "the labels in the indexes are not those of the manifest's labels digest"


def folder_claims(manifest: Manifest, splits: Sequence[Labels] | None) -> Iterator[str]:
    """Yield what is wrong, or "", for the foreground rule and, given the labels of all splits, the joint qualities."""
    known = manifest.foreground in RULES
    yield "" if known else f"the foreground rule '{manifest.foreground}' is not known to this version"
    if splits:
        worst = np.min([labels.quality.min(axis=0) for labels in splits], axis=0).tolist()
        yield "" if worst == list(manifest.quality) else "the joint qualities are not the worst of its samples"


def leftovers(folder: Path, manifest: Manifest) -> list[Finding]:
    """Find shards that no split of the manifest lists, and unfinished files."""
    listed = {shard.name for split in manifest.splits.values() for shard in split.shards}
    wrong: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(".tmp"):
            wrong[path.name] = "is unfinished"
        elif re.fullmatch(r".+-\d{6}\.tar", path.name) and path.name not in listed:
            wrong[path.name] = "is not in the manifest"
    return [found(LEFTOVERS, "", f"{name} {what}", shard=name) for name, what in wrong.items()]
