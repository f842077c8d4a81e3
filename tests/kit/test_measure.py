"""The measuring command: what it asks for, with a stand-in for Python that does none of it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from kit_sweeps import write_tiny_sweep
from readmes import REPOSITORY, fences

from benchmark.commands.app import app
from benchmark.kit import measure
from benchmark.kit.__main__ import main, parser
from benchmark.kit.measure import PARTS

# It writes what it is told to write, or fails, or hangs, as WILL says of its part.
STUB = """#!{python} -S
import json, os, sys, time
words = sys.argv[1:]
joined = " ".join(words)
if "-m pytest" in joined:
    part, file = "cuda-tests", next(word for word in words if word.startswith("--junitxml=")).partition("=")[2]
elif "benchmark.kit speed" in joined:
    part, file = "speed", os.path.join(words[words.index("--out") + 1], "choice.json")
elif "data import" in joined:
    part, file = "images", os.devnull
else:
    file = words[words.index("--json") + 1]
    part = os.path.basename(file)[: -len(".json")]
with open({calls!r}, "a") as stream:
    stream.write(json.dumps([part, words]) + "\\n")
will = json.loads(os.environ.get("WILL", "{{}}")).get(part)
if will == "hang":
    time.sleep(60)
if will == "fail":
    print("the reason of", part)
    sys.exit(1)
with open(file, "w") as stream:
    stream.write({junit!r} if part == "cuda-tests" else json.dumps({{"from": part}}))
"""
JUNIT = """<testsuites><testsuite><testcase classname="a" name="passes" time="1.5"/>
<testcase classname="a" name="fails" time="2"><failure message="assert 1 == 2">trace</failure></testcase>
<testcase classname="b" name="breaks" time="0"><error message="no GPU left">trace</error></testcase>
<testcase classname="b" name="skips" time="0"><skipped message="needs two GPUs"/></testcase></testsuite></testsuites>"""


@pytest.fixture
def go(tmp_path: Path, mini_data: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Measure with the stand-in: the exit code, the files that lie in the out folder, and the calls by part."""
    calls = tmp_path / "calls"
    stub = tmp_path / "python"
    stub.write_text(STUB.format(python=sys.executable, calls=str(calls), junit=JUNIT))
    stub.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stub))
    monkeypatch.chdir(tmp_path)
    sweep = write_tiny_sweep(tmp_path)

    def measured(*more: str, **will: str) -> tuple[int, dict[str, Any], dict[str, list[str]]]:
        monkeypatch.setenv("WILL", json.dumps({name.replace("_", "-"): how for name, how in will.items()}))
        calls.write_text("")
        places = ["--out", "home", "--results", "runs", "--data", str(mini_data), "--sweep", str(sweep)]
        code = main(["measure", *places, "--perf-sweep", str(sweep), *more])
        found = {file.name: json.loads(file.read_text()) for file in Path("home").iterdir()}
        return code, found, dict(json.loads(line) for line in calls.read_text().splitlines())

    return measured


def states(found: dict[str, Any]) -> dict[str, str]:
    return {part["name"]: part["state"] for part in found["kit.json"]["parts"]}


def test_every_part_leaves_a_file_within_what_may_go_home(go: Any) -> None:
    code, found, calls = go()
    assert code == 0 and tuple(calls) == PARTS and set(states(found).values()) == {"done"}
    assert set(found) == {
        "kit.json", "doctor.json", "cuda-tests.json", "choice.json", "perf-bf16.json", "perf-fp32.json",
        "perf-bf16-compiled.json", "perf-fp32-compiled.json",
    }  # fmt: skip
    assert json.loads(Path("runs/choice.json").read_text()) == {"from": "speed"}, "kept for the commands that follow"


def test_a_failure_and_a_hang_lose_nothing_else(go: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code, found, calls = go("--limit", "30", "--reserve", "1", doctor="fail", cuda_tests="hang", perf_bf16="fail")
    # A doctor that finds something broken ends with 1, and has said what.
    assert code == 1 and tuple(calls) == PARTS
    assert states(found) == {**dict.fromkeys(PARTS, "done"), "cuda-tests": "stopped", "perf-bf16": "failed"}
    assert found["cuda-tests.json"]["state"] == "stopped" and "counts" not in found["cuda-tests.json"]
    assert found["perf-fp32.json"] == {"from": "perf-fp32"} and "perf-bf16.json" not in found
    assert "the reason of perf-bf16" in capsys.readouterr().out


def test_what_there_is_no_time_for_is_skipped_and_old_files_are_not_taken_for_new(go: Any) -> None:
    go()
    code, found, _ = go("--limit", "5", "--reserve", "1", doctor="fail", speed="hang", cuda_tests="fail")
    assert code == 1 and states(found)["speed"] == "stopped" and states(found)["perf-fp32"] == "skipped"
    assert not {"choice.json", "perf-fp32.json"} & set(found)


def test_a_part_alone_leaves_the_files_of_the_others(go: Any) -> None:
    go()
    code, found, calls = go("--parts", "perf-fp32,doctor", perf_fp32="fail")
    assert code == 1 and tuple(calls) == ("perf-fp32", "doctor") and "perf-fp32.json" not in found
    assert {"choice.json", "perf-bf16.json", "doctor.json"} <= set(found)


def test_images_that_lack_are_taken_in_where_they_were_brought(go: Any, tmp_path: Path) -> None:
    _, _, calls = go("--parts", "doctor")
    assert "images" not in calls
    (tmp_path / ".kit/images").mkdir(parents=True)
    _, _, calls = go("--parts", "doctor", "--data", "elsewhere")
    assert calls["images"][2:] == ["data", "import", "runs/.brought", "--data", "elsewhere"]
    _, _, calls = go("--parts", "doctor")
    assert "images" not in calls, "all are there"


def test_what_pytest_found_is_told_test_by_test(go: Any) -> None:
    _, found, calls = go("--parts", "cuda-tests")
    tests = found["cuda-tests.json"]
    assert tests["counts"] == {"passed": 1, "failed": 2, "skipped": 1}
    assert tests["failed"] == [
        {"test": "a::fails", "seconds": 2.0, "said": "assert 1 == 2"},
        {"test": "b::breaks", "seconds": 0.0, "said": "no GPU left"},
    ]
    assert tests["passed"] == [{"test": "a::passes", "seconds": 1.5}]
    assert calls["cuda-tests"][:4] == ["-m", "pytest", "-m", "cuda"]


def test_the_commands_are_ones_that_bench_and_the_kit_know(go: Any) -> None:
    _, _, calls = go("--jobs", "3,2", "--window", "99")
    bench: Any = typer.main.get_command(app)
    steps = {}
    for part, words in calls.items():
        if words[:2] == ["-m", "benchmark"]:
            command = bench.commands[words[2]]
            steps[part] = command.make_context(words[2], words[3:]).params
    assert set(steps) == {"doctor", *measure.STEPS}
    for part, told in list(steps.items())[1:]:
        assert told["set_"] == [f"train.precision={part.split('-')[1]}"]
        assert told["compile"] == part.endswith("compiled")
        assert (told["against"] is not None) == (part == "perf-bf16")
        assert (told["rounds"], told["steps"]) == (3, 6)
    told = parser().parse_args(calls["speed"][2:])
    assert (told.verb, told.jobs, told.window, told.commands) == ("speed", [3, 2], 99, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["measure", "--jobs", "4,0"], "4,0: must be whole numbers above 0"),
        (["measure", "--parts", "docter"], "did you mean 'doctor'?"),
        (["tabel2"], "invalid choice"),
        (["table2", "--limit", "60"], "--limit 60: must be more than --reserve 75"),
    ],
)
def test_bad_input_is_said_and_nothing_is_begun(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code: Any = main(words)
    except SystemExit as ended:  # argparse's way
        code = ended.code
    assert code == 2 and said in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_what_lacks_is_one_line_that_says_how_to_bring_it(
    go: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmark.kit.luggage.lacking", lambda project: ["pydantic", "timm"])
    with pytest.raises(FileNotFoundError):  # no folder to look into: nothing was begun
        go()
    [line] = capsys.readouterr().err.splitlines()
    assert "this Python lacks pydantic, timm" in line and "bring IMAGES --lacking pydantic --lacking timm" in line


def test_the_page_shows_commands_that_parse() -> None:
    page = (REPOSITORY / "benchmark/kit/README.md").read_text()
    lines = [line for _, block in fences(page, "sh") for line in block.splitlines()]
    told = [parser().parse_args(shlex.split(line)[3:]) for line in lines]
    assert [each.verb for each in told] == ["bring", "measure", "table2", "table2"]
    assert all(line.split()[1:3] == ["-m", "benchmark.kit"] for line in lines)
    # The choice counts on as much time as the further commands have.
    first, second = told[1], told[2]
    assert first.window <= second.limit - second.reserve and first.commands == 2
