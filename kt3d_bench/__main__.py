"""The program ``kt3d``, also as ``python -m kt3d_bench``: what it imports takes a moment, in which Ctrl-C is no bug."""

import sys


def run() -> None:
    """Entry point of the ``kt3d`` program."""
    try:
        from kt3d_bench.cli import run as run_command
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; run the same command again.\n")
        sys.exit(1)
    run_command()


if __name__ == "__main__":
    run()
