"""What the READMEs show is true: every command parses, options, files, links and paths exist, and light ones are run.

The two `sh` blocks of the top README are run word for word by .ci/run.
"""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
import textwrap
import tomllib
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from command import run_bench
from readmes import PAGES, REPOSITORY, Shown, fences, is_placeholder, prose, shown, title

import benchmark
from benchmark import Detector
from benchmark.commands.app import app
from benchmark.errors import BenchError
from benchmark.plan import resources, scores, sweep, yamlfile
from benchmark.scoring.named import named

# The reader's own files and folders, in examples: none of these are ours.
OWN = {"pets", "pets.yaml", "my-detector", "photos/", "photos.yaml", "new-photos/", "mine.yaml", "scores.csv"}
OWN |= {"worst.html", "negatives.png", "mirror.png", "sweep.schema.json", "my_rows.py"}
FOREIGN_OPTIONS = {"--nproc-per-node", "--maxschedchunk", "--no-deps"}  # torchrun's, pytest's, pip's
OTHER_PROGRAMS = {"pytest", "ruff", "mypy", "python", "python3", "pip", "uv", ".", ".ci/gpu/gpu.py"}
# Files that a run or a cluster makes, as the pages name them.
MADE = {"config.yaml", "record.json", "status.json", "lease.json", "job.json", "results/.submitit"}
GPU = runpy.run_path(str(REPOSITORY / ".ci/gpu/gpu.py"))
MADE |= {".gpu/images.tar.xz.01-of-02", ".gpu/wheels", "results/gpu"}

BENCH: Any = typer.main.get_command(app)
GPU_OPTIONS = set(re.findall(r"--[a-z-]+", GPU["parser"]().format_help()))
COMMANDS = [command for page in PAGES for command in shown(page)]
OF_BENCH = [command for command in COMMANDS if command.words[0] == "bench"]
on_every_page = pytest.mark.parametrize("page", PAGES, ids=title)


def options(command: Any) -> set[str]:
    """The options of a command and of those below it."""
    own = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return own.union({"-h", "--help"}, *(options(below) for below in getattr(command, "commands", {}).values()))


def parsed(shown: Shown) -> dict[str, Any]:
    """What the real command line makes of the words; nothing is run. Raises for what it does not know."""
    command, rest, name = BENCH, list(shown.words[1:]), "bench"
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name not in command.commands:
            raise typer.BadParameter(f"no such command: {name}")
        command = command.commands[name]
    if hasattr(command, "commands") or {"-h", "--help"} & set(rest) or (shown.in_prose and not rest):
        if unknown := {word for word in rest if word.startswith("-")} - options(command):
            raise typer.BadParameter(f"no such option: {unknown}")
        return {}
    values: dict[str, Any] = command.make_context(name, rest).params
    return values


def is_known(path: Path) -> bool:
    """Whether a path is in the repository, a built-in sweep, or the reader's own."""
    if str(path) in {own.rstrip("/") for own in OWN} or is_placeholder(str(path)) or str(path).startswith("package:"):
        return True
    try:
        return (REPOSITORY / path).exists() or sweep.find(path).exists()
    except BenchError:
        return False


def test_the_pages_are_found() -> None:
    rooms = [
        "sweeps",
        "results",
        "reports",
        "tests",
        *(f"benchmark{room}" for room in ("", "/data", "/launch", "/own")),
    ]
    assert {"README.md", "CONTRIBUTING.md", "FOOTGUNS.md", *(f"{room}/README.md" for room in rooms)} <= {
        *map(title, PAGES)
    }
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 110
    assert len(OF_BENCH) > 40


def test_ci_runs_the_two_commands_of_the_front_page() -> None:
    first, second, own = [text for _, text in fences((REPOSITORY / "README.md").read_text(), "sh")]
    assert "bench sweep sweeps/smoke.yaml && bench report --table 2 --sweep sweeps/smoke.yaml" in first
    assert "pytest" in second and own.startswith("bench init")
    assert [f"readme {n}" in (REPOSITORY / ".ci/run").read_text() for n in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize("command", OF_BENCH, ids=str)
def test_every_bench_command_parses_and_names_files_that_exist(command: Shown) -> None:
    try:
        values = parsed(command)
    except Exception as error:
        pytest.fail(f"{command}: {getattr(error, 'message', error)}")
    unknown = [value for value in values.values() if isinstance(value, Path) and not is_known(value)]
    assert unknown == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.words[0] != "bench"], ids=str)
def test_other_commands_are_of_the_tests_and_their_files_exist(command: Shown) -> None:
    program, *rest = command.words
    assert program in OTHER_PROGRAMS
    assert [word for word in rest if word.startswith("tests/") and not (REPOSITORY / word).exists()] == []


@on_every_page
def test_every_option_that_is_named_exists(page: Path) -> None:
    named = {o for span in re.findall(r"`([^`]+)`", prose(page.read_text())) for o in re.findall(r"--[a-z-]+", span)}
    assert named - options(BENCH) - GPU_OPTIONS - FOREIGN_OPTIONS == set()


def test_the_table_of_commands_is_complete_and_its_options_are_theirs() -> None:
    rows = re.findall(r"^\| `bench ([\w-]+)[^`]*` \|(.*)\|$", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    assert {name for name, _ in rows} == set(BENCH.commands)
    for name, text in rows:
        assert set(re.findall(r"--[a-z-]+", text)) <= options(BENCH.commands[name]), name


@on_every_page
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = prose(page.read_text())
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    broken = [link for link in links if not (page.parent / link).exists()]
    for path in re.findall(r"`([\w./-]+)`", text):
        looks_like_one = "/" in path.strip("/") or re.search(r"\.(py|yaml|json)$", path)
        ours = path not in OWN | MADE and not path.startswith("pets/") and not is_placeholder(path)
        places = (page.parent, REPOSITORY, REPOSITORY / "benchmark")
        if looks_like_one and ours and not any((place / path).exists() for place in places):
            broken.append(path)
    assert broken == []


def test_the_map_of_the_house_names_every_room() -> None:
    rows = re.findall(r"^\| (.*?) \|", (REPOSITORY / "benchmark/README.md").read_text(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    package = REPOSITORY / "benchmark"
    rooms = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    assert rooms - {"__init__"} <= named


def test_yaml_examples_are_sweeps_and_site_files(tmp_path: Path) -> None:
    found = [text for page in PAGES for _, text in fences(page.read_text(), "yaml")]
    assert len(found) == 6
    (tmp_path / "weights.pth").write_bytes(b"planned, not read")
    for text in found:
        text = text.replace("mirror-", "perm-4-")  # the pages' own negative, whose package is not installed here
        file = tmp_path / "example.yaml"
        file.write_text(text)
        if "grids" in yamlfile.read(file):
            # ten classes, each with rotation, two of DINO's variants, two sizes of untrained network, and statistics
            assert len(sweep.load(file).runs) == 10 * (1 + 2 + 2 + 1)
        elif "weights" in yamlfile.read(file).get("base", {}).get("model", {}):
            text = text.replace("/data/weights.pth", str(tmp_path / "weights.pth"))
            file.write_text(text.replace("base:\n", "base:\n  in_dist: cifar10\n"))
            rows = {run.config.label: run.config.model.pretraining for run in sweep.load(file).runs}
            assert rows == {"frozen": "supervised", "untrained": None, "image-statistics": None}
        elif "method" in yamlfile.read(file).get("base", {}):
            file.write_text(text.replace("base:\n", "base:\n  in_dist: cifar10\n"))
            assert sweep.load(file).runs[0].config.train.optimiser == "sgd"
        elif "grid" in yamlfile.read(file):
            # 3 variants, 3 seeds and 2 rates; 7 variants with 3 seeds; and 2 references
            assert len(sweep.load(file).runs) == (7 * 3 + 2 if "perm-4-" in text else 3 * 3 * 2 + 2)
        else:
            assert resources.load_site(file).site.profiles


def test_python_examples_use_what_there_is() -> None:
    found = [text for page in PAGES for _, text in fences(page.read_text(), "python")]
    assert found
    for text in found:
        compile(textwrap.dedent(text).rstrip(",\n"), "README", "exec")
        assert [name for name in re.findall(r"[dD]etector\.(\w+)\(", text) if not hasattr(Detector, name)] == []


def test_the_example_of_a_score_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a row of `KINDS`, by its name, against a loop that leaves each training image itself out."""
    [(_, text)] = fences((REPOSITORY / "benchmark/scoring/README.md").read_text(), "python")
    assert len([line for line in text.splitlines() if line.startswith("    ") and '"""' not in line]) == 8
    written = types.ModuleType("benchmark.scoring.mean_cosine")
    exec(compile(text, "README", "exec"), written.__dict__)
    monkeypatch.setitem(sys.modules, written.__name__, written)
    monkeypatch.setitem(scores.KINDS, "mean-cosine", scores.Kind("mean_cosine:MeanCosine"))
    score = named("mean-cosine", 0.04)
    rows = torch.nn.functional.normalize(torch.randn(9, 5, generator=torch.Generator().manual_seed(0)), dim=1).half()
    score.fit({"features": rows[:6]})
    bank = rows[:6].double()
    new = [-float((bank @ row).mean()) for row in rows[6:].double()]
    assert score.score({"features": rows[6:]}).tolist() == pytest.approx(new, abs=1e-6)
    asked = torch.tensor([4, 0])
    unseen = [-float((bank[torch.arange(6) != i] @ bank[i]).mean()) for i in asked]
    made = score.score({"features": rows[asked]}, asked)
    assert made.tolist() == pytest.approx(unseen, abs=1e-6) and made.dtype == torch.float64


def test_hooks_are_local_and_run_what_ci_runs() -> None:
    hooks = [(repo["repo"], hook) for repo in yamlfile.read(REPOSITORY / ".pre-commit-config.yaml")["repos"]
             for hook in repo["hooks"]]  # fmt: skip
    lines = (REPOSITORY / ".ci/run").read_text().splitlines()
    assert {repo for repo, _ in hooks} == {"local"} and {hook["language"] for _, hook in hooks} == {"system"}
    assert {hook["name"] for _, hook in hooks} == {"ruff check", "ruff format", "mypy"}
    for _, hook in hooks:
        assert hook["entry"].startswith(hook["name"]) and any(line.startswith(hook["name"]) for line in lines)


def test_skipped_tests_say_why_by_default(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import pytest\ndef test_it(): pytest.skip('no teapot: set TEAPOT')\n")
    command = [sys.executable, "-m", "pytest", "-c", str(REPOSITORY / "pyproject.toml"), "-p", "no:cacheprovider"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert "no teapot: set TEAPOT" in done.stdout, done


def is_light(command: Shown) -> bool:
    """Whether it can be run here: it trains and fetches nothing, and writes to the working folder alone."""
    verb, *rest = command.words[1:]
    if {"--help", "--version"} & {verb, *rest}:
        return True
    if command.is_template or not rest or OWN & set(rest):
        return False
    if verb == "data":
        return rest[0] in ("list", "verify")
    return verb == "status" or "--dry-run" in rest or "results/reference/" in " ".join(rest)


LIGHT = list({command.words: command for command in OF_BENCH if is_light(command)}.values())


@pytest.mark.parametrize("command", LIGHT, ids=str)
def test_light_commands_run(
    command: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path / "images"))
    monkeypatch.setattr("benchmark.launch.slurm.is_available", lambda: False)
    (tmp_path / "sweeps").symlink_to(REPOSITORY / "sweeps")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/reference").symlink_to(REPOSITORY / "results/reference")
    said = run_bench(monkeypatch, capsys, *command.words[1:])
    assert said.code == 0 and said.out and not said.err, said


# That the checks can fail --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["sweeep smoke", "sweep smoke --dry", "sweep", "report --table 3", "data lst", "--versoin", "sweep smoke --hlep"],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    with pytest.raises(type(typer.BadParameter("")).__mro__[2]):
        parsed(Shown(Path("README.md"), 1, ("bench", *line.split())))


def test_a_file_that_does_not_exist_is_found() -> None:
    assert all(map(is_known, map(Path, ("sweeps/smoke.yaml", "SWEEP.yaml", "smoke", "pets.yaml"))))
    assert not any(map(is_known, map(Path, ("sweeps/smoky.yaml", "smoky", "my.yaml"))))


def test_commands_are_taken_apart_as_a_shell_does(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("Say `bench data list\\|verify`:\n```sh\nX=1 bench a 'b c' \\\n  && bench d; pytest  # e\n```\n")
    assert [(command.line, *command.words) for command in shown(page)] == [
        (3, "bench", "a", "b c"), (3, "bench", "d"), (3, "pytest"), (1, "bench", "data", "list"),
        (1, "bench", "data", "verify"),
    ]  # fmt: skip


def test_the_version_is_one_and_has_its_changes() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    changes = re.findall(r"^## (.+)$", (REPOSITORY / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert benchmark.__version__ == version == changes[0]


def test_the_front_page_has_one_small_table_of_results_and_the_picture_of_the_conclusion() -> None:
    text = (REPOSITORY / "README.md").read_text()
    numbers = [row for row in re.findall(r"^\|.*\|$", text, re.MULTILINE) if len(re.findall(r"\d+\.\d", row)) > 2]
    assert 1 <= len(numbers) <= 3
    place = text[: text.index("figure-variants.png")].count("\n")
    assert place < 25 and len(re.findall(r"^!\[", text, re.MULTILINE)) == 1
    lines = [len(code.splitlines()) for language in ("python", "sh") for _, code in fences(text, language)]
    assert lines[0] <= 6 and lines[-1] <= 5


def test_the_front_pages_python_prints_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    [(_, text)] = fences((REPOSITORY / "README.md").read_text(), "python")
    monkeypatch.chdir(REPOSITORY)
    imports, _, rest = text.partition("detector =")
    exec(compile(imports + "df =" + rest.partition("df =")[2], "README", "exec"), {})
    assert "CIFAR100" in capsys.readouterr().out
