"""Recorded motions of one file or of all files below a folder, and clips drawn evenly from them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from kt3d_bench.errors import RawDataError, UsageError
from kt3d_bench.synth.motion.acclaim import read_amc
from kt3d_bench.synth.motion.bvh import read_bvh
from kt3d_bench.synth.motion.recorded import Motion
from kt3d_bench.synth.motion.retarget import clip_from_motion
from kt3d_bench.synth.rig import Clip

SUFFIXES = (".bvh", ".amc")
_MOST_LINES = 10
_Stamp = tuple[Path, int, int]
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Settings:
    """What the user says of motion files that they do not state themselves, or wrongly."""

    rate_hz: float | None = None
    roles: tuple[tuple[str, str], ...] = ()
    """(role, name of its joint in the files)."""

    def __post_init__(self) -> None:
        if self.rate_hz is not None and not 1 <= self.rate_hz <= 10_000:
            raise UsageError(f"a rate of {self.rate_hz:g} Hz is not possible", where="--motion-rate",
                             hint="give frames per second, 1 to 10000")  # fmt: skip

    @classmethod
    def parsed(cls, rate_hz: float | None, joints: str) -> Settings:
        """Return the settings of ``--motion-rate`` and ``--motion-joints`` ("knee_l=LeftLeg,knee_r=RightLeg")."""
        pairs = [tuple(part.strip() for part in word.split("=", 1)) for word in joints.split(",") if word.strip()]
        wrong = next((pair for pair in pairs if len(pair) != 2 or not all(pair)), None)
        if wrong is not None:
            raise UsageError(f"expected role=name, found '{'='.join(wrong)}'", where="--motion-joints",
                             hint="write for example knee_l=LeftLeg,knee_r=RightLeg")  # fmt: skip
        return cls(rate_hz, tuple((pair[0], pair[1]) for pair in pairs))


_settings: ContextVar[Settings] = ContextVar("settings", default=Settings())  # noqa: B039


@contextmanager
def motion_settings(settings: Settings) -> Iterator[None]:
    """Read all motions with these settings inside the context."""
    token = _settings.set(settings)
    try:
        yield
    finally:
        _settings.reset(token)


@dataclass(frozen=True)
class Recording:
    """One usable motion file."""

    path: Path
    frames: int
    rate_hz: float
    facts: str
    """How it was read."""

    def starts(self, frames: int, rate_hz: float) -> int:
        """Return at how many of its frames a clip of ``frames`` at ``rate_hz`` can begin."""
        return self.frames - int(np.ceil((frames - 1) * self.rate_hz / rate_hz - 1e-9))


@dataclass(frozen=True)
class Motions:
    """Usable recordings, in the order of their paths. Their content is read when a clip is drawn."""

    source: Path
    recordings: tuple[Recording, ...]
    skipped: tuple[tuple[Path, str], ...]
    """Files below a folder that could not be used, each with the reason."""
    settings: Settings
    digest: str
    """SHA-256 of the usable files and of all .asf: names below ``source``, sizes and bytes."""

    def __len__(self) -> int:
        return len(self.recordings)

    @property
    def marker(self) -> dict[str, str]:
        """What a stand-in's marker records of the motions it was made from."""
        told = {} if self.settings == Settings() else {"motion_settings": repr(self.settings)}
        return {"motion": self.source.name, "motion_digest": self.digest, **told}

    def lines(self) -> list[str]:
        """Describe for the terminal how much there is, and which files were skipped and why."""
        seconds = sum(recording.frames / recording.rate_hz for recording in self.recordings)
        lines = [f"{len(self)} {'motion' if len(self) == 1 else 'motions'}, {seconds:.1f} s, from {self.source}"]
        lines += [f"skipped {path.relative_to(self.source)}: {reason}" for path, reason in self.skipped[:_MOST_LINES]]
        if len(self.skipped) > _MOST_LINES:
            lines.append(f"skipped {len(self.skipped) - _MOST_LINES} more")
        return [*lines, *self._facts()]

    def _facts(self) -> list[str]:
        """Return how the files were read: unit, axis, rate and joints, one line per kind of file."""
        alike: dict[str, list[str]] = {}
        for recording in self.recordings:
            alike.setdefault(recording.facts, []).append(recording.path.name)
        lines = []
        for facts, names in list(alike.items())[:_MOST_LINES]:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"{names[0]}{more}: {facts}")
        if len(alike) > _MOST_LINES:
            lines.append(f"{len(alike) - _MOST_LINES} more kinds of files, each read by the same rules")
        return lines

    def clip(self, number: int, frames: int, rate_hz: float, *, seed: int | Sequence[int] = 0) -> Clip:
        """Return the ``number``-th clip of ``frames`` frames at ``rate_hz``; it depends on these arguments alone.

        Consecutive numbers go through all recordings that are long enough, in an order drawn from ``seed``. Each clip
        of a recording begins elsewhere: the starts (a golden-ratio sequence) cover it evenly.
        Raises ``RawDataError`` if no recording is long enough.
        """
        long_enough = self._long_enough(frames, rate_hz)
        rng = np.random.default_rng(seed)
        order, offsets = rng.permutation(len(long_enough)), rng.random(len(long_enough))
        turn, place = divmod(number, len(long_enough))
        recording = long_enough[int(order[place])]
        where = (offsets[place] + turn * _GOLDEN) % 1.0
        start = int(where * recording.starts(frames, rate_hz))
        return clip_from_motion(_load(recording.path, self.digest, self.settings), rate_hz, start, frames)

    def require(self, frames: int, rate_hz: float) -> None:
        """Raise ``RawDataError`` unless a recording is long enough for a clip of ``frames`` at ``rate_hz``."""
        self._long_enough(frames, rate_hz)

    def _long_enough(self, frames: int, rate_hz: float) -> list[Recording]:
        found = [recording for recording in self.recordings if recording.starts(frames, rate_hz) > 0]
        if not found:
            longest = max(recording.frames / recording.rate_hz for recording in self.recordings)
            raise RawDataError(
                f"{frames} frames at {rate_hz:g} Hz take {frames / rate_hz:.2f} s, but the longest motion has only "
                f"{longest:.2f} s",
                where=self.source,
                hint="ask for fewer frames, or add longer motions",
            )
        return found


def read_motion(path: Path, settings: Settings | None = None) -> Motion:
    """Read a .bvh, or an .amc with the .asf beside it. ``settings``: by default those of
    ``motion_settings``. Raises ``UsageError`` for another kind of file,
    ``RawDataError`` for a corrupt one."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"expected a .bvh or .amc file, found '{path.name}'", where=path)
    told = settings or _settings.get()
    more: dict[str, Any] = {"rate_hz": told.rate_hz, "roles": dict(told.roles)}
    return read_bvh(path, **more) if path.suffix.lower() == ".bvh" else read_amc(path, **more)


@lru_cache(maxsize=8)
def _load(path: Path, digest: str, settings: Settings) -> Motion:
    """Read a motion, cached; a changed file has another ``digest``."""
    return read_motion(path, settings)


def read_motions(path: Path) -> Motions:
    """Read the motion file ``path``, or every .bvh and .amc below the folder ``path`` without following linked folders.

    Below a folder, files that cannot be used are skipped and listed in ``Motions.skipped`` with the reason; a single
    file that cannot be used is an error. Raises ``UsageError`` for a missing path or another kind of file,
    ``RawDataError`` if nothing can be used.
    """
    if not path.exists():
        raise UsageError("there is no such file or folder", where=path, hint="--motion takes a .bvh or .amc, or a "
                         "folder of them")  # fmt: skip
    files = _below(path) if path.is_dir() else [path]
    if not files:
        raise RawDataError("there is no .bvh or .amc file in or below this folder", where=path, hint="check the path")
    skeletons = sorted({file for folder in {file.parent for file in files} for file in folder.glob("*")
                        if file.suffix.lower() == ".asf" and file.is_file()})  # fmt: skip
    return _read(path, tuple(map(_stamp, files)), tuple(map(_stamp, skeletons)), _settings.get())


def _below(folder: Path) -> list[Path]:
    found = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return sorted(file for file in found if file.suffix.lower() in SUFFIXES and file.is_file())


def _stamp(path: Path) -> _Stamp:
    return path, path.stat().st_size, path.stat().st_mtime_ns


@lru_cache(maxsize=4)
def _read(source: Path, files: tuple[_Stamp, ...], skeletons: tuple[_Stamp, ...], settings: Settings) -> Motions:
    recordings, skipped = [], []
    digest = hashlib.sha256()

    def count_in(path: Path, size: int) -> None:
        name = path.name if source in (path, path.parent) else os.path.relpath(path, source)
        digest.update(f"{Path(name).as_posix()}\n{size}\n".encode() + path.read_bytes())

    for path, size, _ in files:
        try:
            motion = read_motion(path, settings)
            clip_from_motion(motion, motion.rate_hz, 0, 1)
        except (RawDataError, UsageError) as error:
            if path == source:
                raise
            skipped.append((path, error.what))
            continue
        recordings.append(Recording(path, len(motion), motion.rate_hz, motion.facts))
        count_in(path, size)
    if not recordings:
        path, reason = skipped[0]
        others = f" ({len(skipped) - 1} more failed too)" if len(skipped) > 1 else ""
        raise RawDataError(f"none of the motions can be used: {path.name}: {reason}{others}", where=source)
    if any(recording.path.suffix.lower() == ".amc" for recording in recordings):
        for path, size, _ in skeletons:
            count_in(path, size)
    return Motions(source, tuple(recordings), tuple(skipped), settings, digest.hexdigest())
