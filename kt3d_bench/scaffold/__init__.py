"""``kt3d new``: a plugin package that works as it is written, to be changed bit by bit."""

from kt3d_bench.scaffold.write import KINDS, Names, named, write_plugin

__all__ = ["KINDS", "Names", "named", "write_plugin"]
