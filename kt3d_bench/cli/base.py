"""The root command: expected errors become one sentence and an exit code; what several commands share."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from kt3d_bench import __version__
from kt3d_bench.cli.console import say, write_anything
from kt3d_bench.cores import cores
from kt3d_bench.errors import SYSTEM_ERRORS, TEMPORARY_FULL, TEMPORARY_HINT, Kt3dError
from kt3d_bench.interrupts import StoppedError, exit_code
from kt3d_bench.supervision import HELD_OUT

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# To look for plugins, pydantic reads the metadata of everything that is installed.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
Command = TypeVar("Command", bound=Callable[..., Any])


def workers_option(command: Command) -> Command:
    """Add ``--workers`` to a command."""
    return click.option(
        "--workers", type=click.IntRange(min=1), default=cores, show_default="cores", help="Number of processes."
    )(command)


def held_out_option(text: str) -> Callable[[Command], Command]:
    """Return what adds ``--held-out`` to a command, with this help."""
    return click.option("--held-out", type=click.Choice(HELD_OUT), default=HELD_OUT[0], show_default=True, help=text)


def completing(*kinds: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what completes names of "datasets", "methods", "benchmarks", "recipes" or "runs" in a shell."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        import kt3d_bench as kt
        from kt3d_bench.files import default_data_root

        found: list[str] = []
        try:
            for kind in kinds:
                names = (
                    [path.parent.name for path in (default_data_root() / "runs").glob("*/run.yaml")]
                    if kind == "runs"
                    else getattr(kt, kind)()
                )
                found += sorted(names)
        except Kt3dError:
            return []
        return [name for name in found if name.startswith(incomplete)]

    return complete


class ShardsPlace(click.ParamType[Path]):
    """A folder with shards, or the URL of one, which is mirrored at once; other paths by the rules of ``path``."""

    name = "folder or url"

    def __init__(self, path: click.ParamType[Any]) -> None:
        self._path = path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        from kt3d_bench.data.remote import is_url, local_folder

        if is_url(value):
            return local_folder(value)
        found: Path = self._path.convert(value, param, ctx)
        return found


SHARDS = ShardsPlace(FOLDER)
ANY_PLACE = ShardsPlace(click.Path(path_type=Path))
USER_ERRORS = frozenset({errno.EDQUOT, errno.EEXIST, errno.EISDIR, errno.ENOSPC, errno.ENOTDIR, errno.EROFS})
"""Errors that the user can repair: a full disk, a file where a folder should be."""


def _sentence(error: OSError) -> str | None:
    """Return what the machine refuses and what to do about it, ``None`` where only a bug explains it."""
    import tempfile

    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    if str(error.strerror).startswith("No usable temporary directory"):
        return f"no folder for temporary files can be written to; {TEMPORARY_HINT}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    if full and tempfile.tempdir is not None and error.filename == tempfile.tempdir:
        return f"{where}{TEMPORARY_FULL}; {TEMPORARY_HINT}"
    if error.errno in SYSTEM_ERRORS and (where or not isinstance(error, PermissionError)):
        return f"{where}{error.strerror}; {SYSTEM_ERRORS[error.errno]}"
    if error.errno in USER_ERRORS and (where or full):
        what = "Not a directory" if error.errno in (errno.EEXIST, errno.ENOTDIR) else error.strerror
        return f"{where}{what}; {'free space, or ' if full else ''}choose another folder"
    return None


class Listing(click.Group):
    """Its help gives the first sentence of every command whole."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        shown = [(name, one.get_short_help_str(limit=1000)) for name, one in found if one and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(shown)


class Commands(Listing):
    """Expected errors become one sentence and an exit code; anything else is a bug and keeps its traceback."""

    group_class = Listing

    def invoke(self, ctx: click.Context) -> Any:
        write_anything()
        try:
            return super().invoke(ctx)
        except Kt3dError as error:
            say(f"Error: {error.message}", err=True, kept="")
            ctx.exit(exit_code() if isinstance(error, StoppedError) else error.exit_code)
        except MemoryError:
            say(f"Error: not enough memory; {SYSTEM_ERRORS[errno.ENOMEM]}", err=True, kept="")
            ctx.exit(1)
        except OSError as error:
            if (text := _sentence(error)) is None:
                raise
            say(f"Error: {text}", err=True, kept="")
            ctx.exit(1)
        except KeyboardInterrupt:
            say("Interrupted; run the same command again.", err=True)
            ctx.exit(exit_code())


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="kt3d")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress and no notes, only results and errors.")
def main(quiet: bool) -> None:
    """Datasets, methods and benchmarks for 3D human pose estimation across domains.

    raw dataset -> prepare -> shards -> train -> checkpoint -> predict -> predictions -> score -> leaderboard

    Try it without any download: kt3d demo

    Data and runs lie in kt3d-data, or in the folder that the environment variable KT3D_DATA names.
    """
