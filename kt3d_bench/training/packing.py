"""Write a finished run as one file for others: see ``kt3d_bench.packs``."""

from __future__ import annotations

from pathlib import Path

from kt3d_bench.errors import UsageError
from kt3d_bench.files import default_data_root
from kt3d_bench.leaderboard.entries import data_root, portable, portable_command
from kt3d_bench.packs import ENDING, write_pack
from kt3d_bench.run_folder import final_checkpoint, found_run, read_run, run_yaml
from kt3d_bench.training.portable import facts
from kt3d_bench.training.predict import load_method


def pack(run: Path | str | None = None, out: Path | None = None, *, data: Path | str | None = None) -> Path:
    """Pack a finished run into ``out``, by default ``<name>.kt3d`` in the working directory; return the file.

    ``load_run``, ``predict``, ``export`` and ``--init`` accept it in place of a run. It holds no absolute path. Raises
    ``ArtefactError`` for a run that is not finished or corrupt, ``UsageError`` for another ending.
    """
    folder = found_run(run, Path(data or default_data_root()))
    out = Path(f"{folder.name}{ENDING}") if out is None else out
    if out.suffix != ENDING:
        raise UsageError(f"a packed run ends in {ENDING}", where=out, hint=f"name it {out.name}{ENDING}")
    document = read_run(folder)
    method, stored = load_method(final_checkpoint(folder))
    root = data_root(document)
    bare = {**portable(document, root), "command": portable_command(document.get("command", ""), root)}
    write_pack(out, facts(document, method.input_px), run_yaml(bare), final_checkpoint(folder), stored["sha256"])
    return out
