"""The boards as HTML pages, rendered from entries alone: one file each, for any browser, without a network."""
