"""The official files: ``ITOP_{side,top}_{train,test}_{depth_map,labels}.h5``, or ``.h5.gz`` as they are downloaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kt3d_bench.errors import MissingDataError, RawDataError, UsageError, did_you_mean

OFFICIAL_VIEW = {"front": "side", "top": "top"}
"""Our view -> the files' word for it; papers and figures say "front view"."""
SPLITS: dict[str, tuple[str, str]] = {
    f"{view}-{part}": (view, part) for view in OFFICIAL_VIEW for part in ("train", "test")
}
"""Split -> (view, part)."""
KINDS = ("depth_map", "labels")
ENDINGS = (".h5", ".h5.gz")
_OBTAIN = "download it from https://zenodo.org/records/3932973"


@dataclass(frozen=True)
class Files:
    """Where the two files of a split lie; ``None`` = not found."""

    depth_map: Path | None
    labels: Path | None


def stem(split: str, kind: str) -> str:
    view, part = SPLITS[split]
    return f"ITOP_{OFFICIAL_VIEW[view]}_{part}_{kind}"


def find(raw: Path, split: str) -> Files:
    """The files of a split in ``raw`` or one folder further down; unpacked ones win over packed ones."""
    depth_map, labels = (_find_one(raw, stem(split, kind)) for kind in KINDS)
    return Files(depth_map, labels)


def _find_one(raw: Path, name: str) -> Path | None:
    for ending in ENDINGS:
        for path in (raw / (name + ending), *sorted(raw.glob(f"*/{name}{ending}"))):
            if path.is_file():
                return path
    return None


def require(raw: Path, split: str) -> tuple[Path, Path]:
    """The depth maps and the labels of a split.

    Raises ``UsageError`` for an unknown split, ``MissingDataError`` when neither file is there, ``RawDataError`` when
    one is missing or ``raw`` is no folder.
    """
    if split not in SPLITS:
        raise UsageError(f"ITOP has no split '{split}'", hint=did_you_mean(split, SPLITS))
    if not raw.is_dir():
        raise RawDataError(
            "is not a folder, expected one with the ITOP_*.h5 or ITOP_*.h5.gz files",
            where=raw,
            hint="point --raw at the downloaded files, or make a stand-in with `kt3d generate itop`",
        )
    found = find(raw, split)
    if found.depth_map is not None and found.labels is not None:
        return found.depth_map, found.labels
    missing = [stem(split, kind) for kind in KINDS if getattr(found, kind) is None]
    if len(missing) == 1:
        raise RawDataError(f"{_named(missing)} is missing, its partner is there", where=raw, hint=_OBTAIN)
    present = sorted(path.name for path in raw.iterdir() if path.name.startswith("ITOP_"))
    present = present or sorted(path.name for path in raw.iterdir())[:8]
    raise MissingDataError(
        f"{_named(missing)} are missing, found {', '.join(present) if present else 'nothing'}",
        where=raw,
        hint=f"{_OBTAIN.replace('it', 'them', 1)}, or make a stand-in with `kt3d generate itop`",
    )


def _named(stems: list[str]) -> str:
    return " and ".join(f"{name}.h5" for name in stems) + " (or .h5.gz)"
