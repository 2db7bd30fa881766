"""Metrics, prediction files, benchmarks and scores. NumPy only: nothing here imports torch."""

from kt3d_bench.metrics import functional, offered

functional.METRICS.offered = offered.offered_metrics
