"""Batches, steps, checkpoints: the loop that trains any method."""
