"""The boards as pages: HTML from entries alone, one file each, for any browser, from disk, without a network."""
