"""``python -m kt3d_bench`` is ``kt3d``."""

from kt3d_bench.cli import run

if __name__ == "__main__":
    run()
