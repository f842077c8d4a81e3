"""A finished run as a detector of its own: export, load, score. Nothing here needs the results or the data folder."""
