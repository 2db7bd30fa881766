"""Where prepared shards lie: by data set below a data root, and those of a run where its data has been moved since."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kt3d_bench.data.manifest import Manifest, read_manifest
from kt3d_bench.data.remote import local_folder
from kt3d_bench.errors import ArtefactError


def shards_folder(data_root: Path, dataset: str) -> Path:
    """Return the folder of a dataset's shards below a data root."""
    return data_root / "shards" / dataset


def has_shards(folder: Path) -> bool:
    """Return whether shards were prepared in ``folder``."""
    return (folder / "manifest.json").is_file()


def split_digest(manifest: Manifest, split: str) -> str:
    """Return the SHA-256 over the digests of a split's tars: it does not depend on the other splits."""
    listed = "\n".join(shard.sha256 for shard in manifest.splits[split].shards)
    return hashlib.sha256(listed.encode()).hexdigest()


def with_target_found(document: Mapping[str, Any], *roots: Path) -> dict[str, Any]:
    """Return ``run.yaml``'s document with the folder where the target's shards lie now.

    That is the recorded folder or, where it is gone (the data was moved, or the command runs in another folder), the
    same place below one of the data ``roots``. Raises ``ArtefactError`` when other shards than the run's lie there.
    """
    target = document["shards"]["target"]
    recorded = Path(target["folder"])
    if has_shards(recorded):
        return dict(document)
    ends = [recorded.parts[start:] for start in range(len(recorded.parts) - 1)]
    places = (root.joinpath(*end) for end in ends if recorded.anchor not in end[:1] for root in roots)
    found = next((place for place in places if has_shards(place)), None)
    if found is None and target.get("url"):
        found = local_folder(target["url"])
    if found is None:
        return dict(document)
    manifest, split = read_manifest(found), target.get("split")
    same_split = split in manifest.splits and split_digest(manifest, split) == target.get("split_digest")
    if manifest.digest != target["manifest_digest"] and not same_split:
        hint = "put those back, or prepare them again from the same data with the same options"
        what = f"these are other shards than those of the run, which lay in {recorded}"
        raise ArtefactError(what, where=found, hint=hint)
    return {**document, "shards": {**document["shards"], "target": {**target, "folder": str(found)}}}
