"""The house rules: imports point one way along the line, heavy packages stay where they belong, files stay short."""

from __future__ import annotations

from pathlib import Path

import house
import pytest

REPOSITORY = next(folder for folder in Path(__file__).resolve().parents if (folder / "pyproject.toml").exists())

# From the ground up: a room imports rooms before it. Those of one line are small and may import each other.
FLOW = [
    ["errors", "files", "seeds", "cores", "provenance", "exits", "plugins"],
    ["negatives"],
    ["data"],
    ["plan"],
    ["store"],
    ["running"],
    ["detection"],
    ["scoring"],
    ["views"],
    ["models"],
    ["methods"],
    ["training"],
    ["evaluation"],
    ["run"],
    ["report"],
    ["advise"],
    ["detector"],
    ["own"],
    ["perf"],
    ["launch"],
    ["doctor"],
    ["commands"],
    ["commands", "__main__"],
]
TORCH = {"torch", "torchvision", "timm"}
DATA_TABLES: list[str] = []  # paths of files that are long because there is much to list


@pytest.fixture(scope="module")
def tree() -> house.Tree:
    return house.Tree.read(REPOSITORY / "benchmark")


def assert_none(breaches: list[str]) -> None:
    assert not breaches, "\n" + "\n".join(breaches)


def test_no_modules_import_each_other_in_a_circle(tree: house.Tree) -> None:
    assert_none(house.circles(tree))


def test_imports_follow_the_flow(tree: house.Tree) -> None:
    assert_none(house.against_the_flow(tree, FLOW))


def test_reporting_never_comes_to_import_torch(tree: house.Tree) -> None:
    assert_none(house.reach(tree, "report", TORCH))


def test_training_never_comes_to_import_pandas(tree: house.Tree) -> None:
    assert_none(house.reach(tree, "training", {"pandas"}))


def test_only_launch_slurm_knows_submitit(tree: house.Tree) -> None:
    assert_none(house.only_in(tree, "submitit", "benchmark.launch.slurm"))


@pytest.mark.parametrize("folder", ["benchmark", "tests"])
def test_no_file_is_over_400_lines(folder: str) -> None:
    allowed = [path.removeprefix(f"{folder}/") for path in DATA_TABLES]
    assert_none(house.long_files(REPOSITORY / folder, 400, allowed))


@pytest.mark.parametrize("folder", ["benchmark", "tests"])
def test_no_folder_holds_a_single_module(folder: str) -> None:
    assert_none(house.lonely_modules(REPOSITORY / folder))


@pytest.mark.parametrize("folder", ["benchmark", "tests"])
def test_every_module_is_called_after_what_is_in_it(folder: str) -> None:
    assert_none(house.nameless_modules(REPOSITORY / folder))


# That each rule can be broken ----------------------------------------------------------------------------------------

SMALL_FLOW = [["errors", "files"], ["plan"], ["run"], ["report"]]


def build(folder: Path, **modules: str) -> house.Tree:
    """A package `pack` of these modules ("plan__config" is plan/config.py) beside an errors.py and a files.py."""
    for name, text in {"__init__": "", "errors": "", "files": "", **modules}.items():
        path = folder / "pack" / f"{name if '/' in name or name == '__init__' else name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.parent != folder / "pack":
            (path.parent / "__init__.py").touch()
        path.write_text(text)
    return house.Tree.read(folder / "pack")


def lazily(statement: str) -> str:
    return f"def f():\n    if True:\n        {statement}\n"


def for_types(statement: str) -> str:
    return f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {statement}\n"


def test_every_form_of_an_import_is_seen(tmp_path: Path) -> None:
    text = "import pack.errors\nfrom pack import errors as e\nfrom pack.errors import X\nfrom ..errors import Y\n"
    text += "from .. import errors\nfrom . import b\n" + lazily(
        "import importlib; importlib.import_module('pack.files')"
    )
    tree = build(tmp_path, plan__a=text, plan__b="class A:\n    import torch.nn\n")
    found = [(one.target, one.when, one.line) for one in tree.own if one.source == "pack.plan.a"]
    assert found == [
        *[("pack.errors", "import", line) for line in (1, 2, 3, 4, 5)],
        ("pack.plan.b", "import", 6),
        ("pack.files", "lazy", 9),
    ]
    assert ("pack.plan.b", "torch.nn") in [(one.source, one.target) for one in tree.outside]


@pytest.mark.parametrize("form", [str, lazily])
def test_circles_are_found(tmp_path: Path, form: type[str]) -> None:
    there, back = "from pack.plan.b import f", form("from pack import run")
    tree = build(tmp_path, run="import pack.plan.a", plan__a=there, plan__b=back)
    assert house.circles(tree) == ["pack.plan.a -> pack.plan.b -> pack.run -> pack.plan.a"]


def test_a_type_makes_no_circle(tmp_path: Path) -> None:
    assert house.circles(build(tmp_path, a="import pack.b", b=for_types("from pack.a import A"))) == []


@pytest.mark.parametrize("form", [str, lazily, for_types])
def test_imports_against_the_flow_are_found(tmp_path: Path, form: type[str]) -> None:
    [breach] = house.against_the_flow(build(tmp_path, plan__a=form("from pack.run import go"), run=""), SMALL_FLOW)
    assert breach.startswith("pack.plan.a:") and breach.endswith("pack.run: run comes after plan")


def test_imports_with_the_flow_beside_and_of_the_package_are_none(tmp_path: Path) -> None:
    tree = build(
        tmp_path,
        errors="import pack.files",
        plan__a="import pack.plan.b, pack.errors",
        plan__b="from pack import __version__",
        report__c="from pack import run",
        run="from pack.plan import a",
    )
    assert house.against_the_flow(tree, SMALL_FLOW) == []


def test_a_room_without_a_place_is_found(tmp_path: Path) -> None:
    assert house.against_the_flow(build(tmp_path, attic__a=""), SMALL_FLOW) == ["pack/attic: has no place in the flow"]


@pytest.mark.parametrize("form", [str, lazily])
def test_torch_is_found_however_far_it_is(tmp_path: Path, form: type[str]) -> None:
    tree = build(tmp_path, report__a="import pack.plan.b", plan__b=form("import pack.run"), run=form("import torch.nn"))
    assert house.reach(tree, "report", TORCH) == ["pack.report.a -> pack.plan.b -> pack.run -> torch.nn"]
    assert house.reach(tree, "report", {"pandas"}) == []


def test_torch_is_found_in_the_packages_around_but_not_in_their_functions(tmp_path: Path) -> None:
    tree = build(tmp_path, report__a="import pack.plan.b", plan__b="", **{"plan/__init__": "from timm import x"})
    assert house.reach(tree, "report", TORCH) == ["pack.report.a -> pack.plan.b -> pack.plan -> timm.x"]
    tree = build(
        tmp_path, plan____init__=lazily("import torch"), run=for_types("import torch"), report__a="import pack.run"
    )
    assert house.reach(tree, "report", TORCH) == []


@pytest.mark.parametrize("form", [str, lazily])
def test_submitit_outside_its_place_is_found(tmp_path: Path, form: type[str]) -> None:
    tree = build(tmp_path, launch__slurm="import submitit", launch__task=form("from submitit import helpers"))
    [breach] = house.only_in(tree, "submitit", "pack.launch.slurm")
    assert breach.startswith("pack.launch.task:") and breach.endswith("submitit.helpers")


def test_long_lonely_and_nameless_files_are_found(tmp_path: Path) -> None:
    lines = "x = 1\n" * 401
    build(tmp_path, run=lines, table=lines, plan__a="", plan__b="", report__only="", data__utils="", data__catalog="")
    folder = tmp_path / "pack"
    assert house.long_files(folder, 400, ["table.py"]) == ["run.py: 401 lines"]
    assert house.long_files(folder, 401) == []
    assert house.lonely_modules(folder) == ["report: holds only only.py"]
    assert house.nameless_modules(folder) == ["data/utils.py"]
    (folder / "helpers").mkdir()
    assert house.nameless_modules(folder) == ["data/utils.py", "helpers"]
