"""The half-hour kit, `python -m benchmark.kit`: what to do with half an hour of a GPU, in commands of ten minutes.

Its commands begin where hardly anything is installed: at import the modules here need nothing but Python.
"""
