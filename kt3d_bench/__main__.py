"""The program ``kt3d``, also as ``python -m kt3d_bench``: what it imports takes a moment, in which Ctrl-C is no bug."""

import gc
import sys

from kt3d_bench import interrupts


def run() -> None:
    """Entry point of the ``kt3d`` program."""
    try:
        interrupts.interrupt_on_signals()
        from kt3d_bench.cli import run as run_command

        run_command()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; run the same command again.\n")
        sys.exit(interrupts.exit_code())
    finally:
        gc.freeze()  # Python would search what torch leaves for cycles, which takes half a second


if __name__ == "__main__":
    run()
