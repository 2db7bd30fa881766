"""Entries (one file per result) and the boards rendered from them."""
