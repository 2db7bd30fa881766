"""Prepared samples on disk: WebDataset tars with side indexes and a manifest."""
