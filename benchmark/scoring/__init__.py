"""Scores of kept outputs: what detects, apart from what was trained. Larger score = more OOD."""
