"""Comparisons of speed: each measures two or more ways of doing the same work, in turn."""
