"""The command that repeats one row: recorded commands may have made a whole table of runs."""

from __future__ import annotations

import shlex

from kt3d_bench.leaderboard.entries import Entry

_PLAIN = {"target": None, "source": None, "pretrain": None, "init": None, "precision": "auto", "hold_out": 0.0,
          "masks": "", "pseudo_labels": ""}  # fmt: skip
_NOT_OPTIONS = {
    "steps_scale": 1.0, "time_scale": None, "clip_norm": None, "stand_in_people": None, "stand_in_frames": None,
}  # fmt: skip
"""What a recipe may set and ``kt3d train`` cannot."""


def row_command(entry: Entry) -> str:
    """Return the ``kt3d train`` command of this entry's run alone, or the recorded command where it cannot be told."""
    config = entry.provenance.run.get("config")
    if not isinstance(config, dict) or any(config.get(name, plain) != plain for name, plain in _NOT_OPTIONS.items()):
        return entry.provenance.command
    words = ["kt3d", "train", "--method", entry.method, "--supervision", entry.supervision]
    if entry.supervision.startswith("partial") and entry.joints is not None:
        words += ["--joints", str(entry.joints)]
    words += ["--preset", str(config.get("preset", "paper")), "--seed", str(entry.seed or 0)]
    for name, plain in _PLAIN.items():
        if config.get(name, plain) != plain:
            words += [f"--{name.replace('_', '-')}", str(config[name])]
    words += ["--deterministic"] if config.get("deterministic") else []
    for option, pairs in (("--set", config.get("settings")), ("--shards", config.get("shards"))):
        for name, value in sorted(pairs.items()) if isinstance(pairs, dict) else ():
            words += [option, f"{name}={value}"]
    return f"{shlex.join(words)} && kt3d score"
