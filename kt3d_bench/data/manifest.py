"""The manifest of a shards folder: content, origin, licence and digests."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kt3d_bench.budgets import OverBudgetError, json_value, read_whole
from kt3d_bench.data.format import FORMAT_VERSION, MAX_SIDE_PX
from kt3d_bench.data.index import AGAIN, LABEL_ARRAYS, Labels
from kt3d_bench.errors import ArtefactError
from kt3d_bench.files import write_atomically
from kt3d_bench.schema import problems
from kt3d_bench.skeletons import NUM_JOINTS, Quality

MANIFEST = "manifest.json"
Sha256 = str
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]+$")]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shard(_Strict):
    """One tar."""

    name: str = Field(pattern=r"^[A-Za-z0-9_\-]+-\d{6}\.tar$")
    sha256: Sha256
    size: int = Field(ge=1, lt=2**63)
    """Bytes of the tar."""
    samples: int = Field(ge=1, lt=2**63)


class SkippedSample(_Strict):
    """A sample or a work item that could not be used."""

    name: str
    reason: str
    where: str = ""
    """The corrupt or missing raw file, relative to the raw folder, where that is the reason."""


class Counts(_Strict):
    """Samples per subject, action and camera."""

    subject: dict[str, Count]
    action: dict[str, Count]
    camera: dict[str, Count]


class Split(_Strict):
    """One split: its shards in order, and digests of what they hold."""

    samples: Count
    shards: tuple[Shard, ...]
    counts: Counts
    modalities: tuple[str, ...]
    sample_list_digest: Sha256
    """Digest of the keys, whatever their order."""
    labels_digest: Sha256
    """Digest of keys, labels and cameras, whatever their order and grouping; see ``labels_digest``."""
    skipped: tuple[SkippedSample, ...]

    def skipped_lines(self) -> list[str]:
        """Return how many samples or work items were skipped, by reason, the commonest first; empty when none were.

        Reasons that differ only in numbers count as one, and rare ones are summed up, so that the lines stay few.
        """
        reasons: dict[str, list[SkippedSample]] = {}
        for one in self.skipped:
            reasons.setdefault(_NUMBER.sub("#", one.reason), []).append(one)
        ranked = sorted(reasons.items(), key=lambda entry: (-len(entry[1]), entry[0]))
        lines = [
            f"  skipped {len(alike)}: {alike[0].reason} (first: {alike[0].where or alike[0].name})"
            for _, alike in ranked[:_REASONS_SHOWN]
        ]
        if rest := ranked[_REASONS_SHOWN:]:
            many = sum(len(alike) for _, alike in rest)
            lines.append(f"  skipped {many} for {len(rest)} other reasons: see {MANIFEST}")
        if any(one.where for one in self.skipped):
            lines.append("  replace these files and run the same prepare command again; the other shards are kept")
        return lines


_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_REASONS_SHOWN = 8


class CropRule(_Strict):
    """How crops were cut; see ``geometry.crops``."""

    margin: float = Field(gt=0, allow_inf_nan=False)
    longest_px: int = Field(ge=1, le=MAX_SIDE_PX)


class Manifest(_Strict):
    """``manifest.json``: written last, so that a folder with a manifest is complete for the splits it names."""

    format_version: int
    dataset: Name
    origin: Literal["official", "generated"]
    """"generated" when the raw data was written by ``kt3d generate``."""
    generator_version: int | None
    splits: dict[Name, Split]
    num_parts: int = Field(ge=0, le=256)
    """Part classes of the masks, background included; 0 without masks."""
    part_mirror: tuple[int, ...] | None = None
    """(num_parts,) part id -> id of its left-right partner; ``None`` where the card does not say."""
    quality: tuple[Annotated[int, Field(ge=min(Quality), le=max(Quality))], ...] = Field(
        min_length=NUM_JOINTS, max_length=NUM_JOINTS
    )
    """``skeletons.Quality`` code of each joint: the worst that any sample has."""
    box_rule: str
    foreground: str = "given"
    """Rule of ``geometry.foreground`` by which the person is found in stored depth images."""
    crop: CropRule
    source_digests: dict[str, Sha256]
    """Split -> digest of the work plan and of the raw files it names (name, size and first 64 KiB of each)."""
    options: dict[str, Any]
    licence: str
    redistribution: str
    citation: str
    tool_version: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.part_mirror is not None and sorted(self.part_mirror) != list(range(self.num_parts)):
            raise ValueError("part_mirror must name each of the num_parts part ids once")
        encode_manifest(self)
        return self

    @property
    def digest(self) -> Sha256:
        """SHA-256 of the file this manifest is stored as."""
        return hashlib.sha256(encode_manifest(self)).hexdigest()


def encode_manifest(manifest: Manifest) -> bytes:
    """Sorted, indented JSON: equal manifests give equal bytes."""
    return (json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write ``manifest.json`` into a shards folder atomically: readers see the old one or the new one."""
    path = folder / MANIFEST
    write_atomically(path, encode_manifest(manifest))
    return path


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a shards folder. Raises ``ArtefactError`` when the folder or its manifest is missing (naming
    the command that writes it), corrupt, or of another format version."""
    path = folder / MANIFEST
    try:
        data = read_whole(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _missing(folder) from error
    except (OSError, OverBudgetError) as error:
        raise ArtefactError(f"the manifest cannot be read ({error})", where=path, hint=AGAIN) from error
    return decode_manifest(data, where=path)


def decode_manifest(data: bytes, *, where: Path | str, hint: str = AGAIN) -> Manifest:
    """Decode the bytes of a manifest. Raises ``ArtefactError`` as ``read_manifest``."""
    try:
        content = json_value(data)
    except ValueError as error:
        raise ArtefactError(f"the manifest cannot be read ({error})", where=where, hint=hint) from error
    version = content.get("format_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version != FORMAT_VERSION:
        what = f"the shards have format version {version}, this kt3d reads {FORMAT_VERSION}"
        hint = "prepare them again with this version (kt3d prepare NAME --overwrite)"
        raise ArtefactError(what, where=where, hint=hint)
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        found = "; ".join(problems(error, Manifest))
        raise ArtefactError(f"the manifest is corrupt: {found}", where=where, hint=hint) from error


def _missing(folder: Path) -> ArtefactError:
    """Return the error for a folder without a manifest; it suggests ``prepare`` only where that could help."""
    if folder.is_dir() and any(folder.iterdir()):
        unfinished = any(folder.glob("*-??????.tar"))
        hint = AGAIN if unfinished else f"see what it is instead: kt3d inspect {shlex.quote(str(folder))}"
        return ArtefactError("missing shards: the folder holds no manifest", where=folder, hint=hint)
    what = "missing shards: the folder is empty" if folder.is_dir() else "the shards are missing"
    usual = folder.parent.name == "shards"
    command = f"kt3d prepare {folder.name}" if usual else f"kt3d prepare DATASET --out {shlex.quote(str(folder))}"
    return ArtefactError(what, where=folder, hint=f"run: {command}")


def sample_list_digest(keys: Sequence[str] | np.ndarray[Any, Any]) -> Sha256:
    """Return the SHA-256 over the sorted keys, one per line: which samples these are, whatever their order."""
    return hashlib.sha256("\n".join(sorted(str(key) for key in keys)).encode()).hexdigest()


_DECIMALS: Mapping[str, int] = {
    "joints_px": 2, "joints_cam_mm": 2, "box_px": 2, "position_world_mm": 2,
    "intrinsics_px": 3, "distortion": 6, "rotation": 6,
}  # fmt: skip


def labels_digest(keys: np.ndarray[Any, Any], labels: Labels) -> Sha256:
    """Return the SHA-256 over keys, labels and cameras, sorted by key: equal digests score alike.

    Numbers are rounded first (0.01 mm and px; 0.001 px for intrinsics; 1e-6 for rotation and distortion), so that the
    last bit of another CPU's arithmetic hardly ever changes the digest.
    """
    order = np.argsort(keys, kind="stable")
    digest = hashlib.sha256("\n".join(str(key) for key in keys[order]).encode())
    for name, (dtype, _) in LABEL_ARRAYS.items():
        values = getattr(labels, name)[order]
        digest.update(f"\n{name}\n".encode())
        if dtype is np.str_:
            digest.update("\n".join(str(value) for value in values).encode())
        elif name in _DECIMALS:
            digest.update(_rounded(values, _DECIMALS[name]).tobytes())
        else:
            digest.update(values.astype("<i8").tobytes())
    return digest.hexdigest()


def _rounded(values: np.ndarray[Any, Any], decimals: int) -> np.ndarray[Any, Any]:
    whole = np.rint(values.astype(np.float64) * 10**decimals)
    return np.where(np.isnan(whole), np.iinfo(np.int64).min, np.nan_to_num(whole)).astype("<i8")


def counts(labels: Labels) -> Counts:
    """Count samples per subject, action and camera, sorted by name."""

    def tally(names: np.ndarray[Any, Any]) -> dict[str, int]:
        values, numbers = np.unique(names, return_counts=True)
        return {str(value): int(number) for value, number in zip(values, numbers, strict=True)}

    return Counts(subject=tally(labels.subject), action=tally(labels.action), camera=tally(labels.camera_id))
