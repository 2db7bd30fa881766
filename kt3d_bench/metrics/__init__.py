"""Metrics, prediction files, benchmarks and scores. NumPy only: nothing here imports torch."""
