"""Pure NumPy geometry: cameras, crops, alignment. Any leading axes; last axes as documented."""
