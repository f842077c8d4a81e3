"""The packages of the wheel; everything else is in pyproject.toml, which cannot add one to those that it finds.

The sweep files go along as benchmark/sweeps, so that `bench sweep smoke` needs no checkout.
"""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["benchmark", "benchmark.*"]), "benchmark.sweeps"],
    package_dir={"benchmark.sweeps": "sweeps"},
)
