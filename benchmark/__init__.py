"""Benchmark of label-free out-of-distribution detection by self-distillation and negative sampling."""

__version__ = "0.1.0"
