"""Recorded motions: BVH and Acclaim files, their joints, and their transfer onto a generated body."""
