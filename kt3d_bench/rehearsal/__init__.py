"""``kt3d check``: a plugin goes through the whole line on generated data, one part of the contract at a time."""

from kt3d_bench.rehearsal.log import Finding
from kt3d_bench.rehearsal.rehearse import rehearse

__all__ = ["Finding", "rehearse"]
