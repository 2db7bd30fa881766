"""Anybody's pictures: read images, videos and depth images, predict the people in them, and write what was found."""
