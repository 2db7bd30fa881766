"""Recipes: lists of runs that belong together, run to their end with what they share trained once."""
