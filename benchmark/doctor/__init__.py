"""`bench doctor`: what this machine can do for the benchmark, what is missing, and what to do about it."""
