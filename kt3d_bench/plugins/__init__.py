"""Plugins: the records they hand over, how they are found, and what is installed."""
