"""What can be reported, by name, and that reporting is light."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark
from benchmark.plan import sweep as sweeps
from benchmark.report.items import FIGURES, TABLES

PACKAGE = Path(benchmark.__file__).parent
MODULES = sorted(".".join(path.relative_to(PACKAGE).with_suffix("").parts) for room in ("report", "advise")
                 for path in (PACKAGE / room).rglob("*.py"))  # fmt: skip


@pytest.mark.parametrize("item", [*TABLES.values(), *FIGURES.values()], ids=lambda item: item.made_by)
def test_every_item_has_its_function_and_its_sweep(item):
    module, function = item.made_by.split(":")
    assert callable(getattr(importlib.import_module(f"benchmark.report.{module}"), function))
    assert item.sweep in sweeps.built_in()


def test_no_report_module_imports_torch():
    script = "import sys\n" + "".join(f"import benchmark.{name}\n" for name in MODULES)
    script += "assert not {'torch', 'timm', 'torchvision'} & set(sys.modules), 'torch is there'"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == 0


def test_the_names_of_items_cost_no_pandas_and_no_matplotlib():
    script = "import sys, benchmark.report.items\nassert not {'pandas', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
