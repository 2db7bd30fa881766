"""Recipes: lists of runs that belong together, such as the rows of a paper's table."""
