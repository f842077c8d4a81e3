"""What would be submitted to SLURM, and how its clients' answers are read; the clients are small scripts here."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmark import provenance
from benchmark.errors import BenchError
from benchmark.launch import kept_code, slurm
from benchmark.launch.board import LIVE, Board
from benchmark.launch.jobs import Job
from benchmark.launch.kept_code import keep_code
from benchmark.launch.sbatch import parameters
from benchmark.launch.status import QueuedJob, Row
from benchmark.launch.task import RunTask
from benchmark.plan.config import RunConfig
from benchmark.plan.resources import Resources
from benchmark.store.folders import RunFolder
from benchmark.store.states import PlannedRun

CONFIG = RunConfig.model_validate({"in_dist": "mine", "eval": {"ood": []}, "method": {"name": "image-statistics"}})


def job(tmp_path: Path, name: str) -> Job:
    return Job(CONFIG, RunFolder(tmp_path / "results" / name))


def test_equal_resources_are_one_array_cut_at_the_clusters_limit(tmp_path: Path) -> None:
    small, large = Resources(gpus=1), Resources(gpus=4)
    names = ["a", "b", "c", "d", "e", "f"]
    jobs = [(job(tmp_path, name), large if name in "be" else small.model_copy()) for name in names]
    arrays = slurm.make_arrays(jobs, largest=3)
    assert [[j.folder.name for j in array.jobs] for array in arrays] == [["a", "c", "d"], ["f"], ["b", "e"]]
    assert [array.resources.gpus for array in arrays] == [1, 1, 4]


def test_runs_that_go_on_from_others_are_arrays_of_their_own_and_wait_for_them(tmp_path: Path, client) -> None:
    client("srun", "exit 0")
    client("sbatch", 'cat "$1" >> "$0.texts"; echo x >> "$0.calls"; echo "Submitted batch job 7$(wc -l < "$0.calls")"')
    (tmp_path / "results").mkdir()
    started, earlier = job(tmp_path, "start"), job(tmp_path, "earlier")
    earlier.folder.path.mkdir()
    earlier.folder.write_job({"name": "x"})  # its submitter died before it could note the id, which SLURM has
    queued = {"earlier": QueuedJob("65_3", "PENDING")}
    tuned = [
        Job(
            RunConfig.model_validate({
                "in_dist": "mine", "eval": {"ood": []}, "variant": "imgn",
                "method": {"name": "outlier-exposure", "tune": recipe},
            }),
            RunFolder(tmp_path / "results" / name),
        )
        for name, recipe in (("first", "a" * 64), ("second", "b" * 64), ("third", "c" * 64))
    ]  # fmt: skip
    jobs = [(one, Resources(gpus=0)) for one in (tuned[0], started, tuned[1], tuned[2])]
    open_runs = {"a" * 64: started.folder, "b" * 64: earlier.folder, "d" * 64: tuned[0].folder}  # the third's is done
    arrays = slurm.make_arrays(jobs, largest=9, open_runs=open_runs)
    assert [[j.folder.name for j in array.jobs] for array in arrays] == [["start"], ["first", "second", "third"]]
    assert slurm.describe(arrays).splitlines()[1].endswith("; after the 2 they go on from")
    list(slurm.submit(arrays, "sweep", tmp_path / "results", tmp_path / "data", 60.0, queued))
    texts = (tmp_path / "bin/sbatch.texts").read_text()
    assert re.findall("^#SBATCH --dependency=(.*)$", texts, re.MULTILINE) == ["afterany:71:65_3"]
    mine = Resources(gpus=0, sbatch={"dependency": "singleton"})
    text = slurm.submission_text(slurm.Array(mine, (tuned[0],), (earlier.folder,)), "t", tmp_path, queued)
    assert "#SBATCH --dependency=singleton,afterany:65_3" in text


def test_what_is_queued_or_about_to_be_is_waited_for_and_nothing_else(tmp_path: Path) -> None:
    def planned(recipe: str) -> PlannedRun:
        return PlannedRun(SimpleNamespace(recipe=recipe), "to do", RunFolder(tmp_path / recipe))  # type: ignore[arg-type]

    states = {"done": "done", "failed": "failed", "chosen": "to do", **{state: state for state in LIVE}}
    rows = [Row(name, state) for name, state in states.items()]
    chosen = [(Job(CONFIG, RunFolder(tmp_path / "chosen")), Resources())]
    found = Board([planned(name) for name in states], rows, chosen, [])
    assert set(found.open_runs) == {"chosen", *LIVE} and found.open_runs["chosen"].name == "chosen"


def test_sbatch_text_says_what_the_resources_say(tmp_path: Path) -> None:
    resources = Resources(
        gpus=2,
        gpu_type="a100",
        nodes=3,
        cpus=6,
        memory_gb=1.5,
        hours=1.51,
        partition="main",
        account="lab",
        qos="low",
        constraint="a100|h100",
        array_parallelism=2,
        setup=["module load cuda"],
        sbatch={"exclusive": True, "nice": 10, "requeue": True, "contiguous": False},
    )
    array = slurm.Array(resources, tuple(job(tmp_path, name) for name in "abc"))
    text = slurm.submission_text(array, "table 2", tmp_path / "results")
    options = {line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")}
    assert {
        "array=0-2%2",
        "gpus-per-node=a100:2",
        "cpus-per-task=6",
        "mem=1536M",
        "time=91",
        "partition=main",
        "account=lab",
        "qos=low",
        "constraint='a100|h100'",
        "signal=USR2@120",
        "exclusive",
        "nice=10",
        "requeue",
        "nodes=3",
        "ntasks-per-node=2",
    } <= options
    assert "wckey" not in text and "contiguous" not in text
    lines = text.splitlines()
    assert lines.index("export SRUN_CPUS_PER_TASK=6") < lines.index("module load cuda")
    assert any(re.fullmatch(r"job-name=table-2-[0-9a-f]{6}", option) for option in options), "a name for this one alone"
    code = next(i for i, line in enumerate(lines) if line.startswith("export PYTHONPATH="))
    assert code > lines.index("module load cuda"), "a module may touch PYTHONPATH"
    assert not (tmp_path / "results").exists(), "showing what would be submitted wrote something"


def test_a_flag_that_is_false_is_not_given(tmp_path: Path) -> None:
    for given, there in (({}, True), ({"requeue": False}, False), ({"requeue": True}, True)):
        assert ("requeue" in parameters(Resources(sbatch=given), "name")["additional_parameters"]) == there


def test_a_single_run_without_gpu_is_a_plain_job(tmp_path: Path) -> None:
    text = slurm.submission_text(slurm.Array(Resources(gpus=0, hours=0.05), (job(tmp_path, "a"),)), "t", tmp_path)
    asked = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert not [line for line in asked if line.startswith(("#SBATCH --array", "#SBATCH --gpu", "#SBATCH --gres"))]
    assert "signal=USR2@45" in text  # a quarter of three minutes: the usual 120 s would come at the start


def test_submit_keeps_ids_and_pickles_paths_alone(tmp_path: Path, client) -> None:
    client("srun", "exit 0")
    client("sbatch", 'echo "$@" >> "$0.calls"; echo "Submitted batch job 7$(wc -l < "$0.calls")"')
    (tmp_path / "results").mkdir()
    arrays = [
        slurm.Array(Resources(), (job(tmp_path, "a"), job(tmp_path, "b"))),
        slurm.Array(Resources(gpus=0), (job(tmp_path, "c"),)),
    ]
    submitted = dict(slurm.submit(arrays, "sweep", tmp_path / "results", tmp_path / "data", 60.0))
    assert submitted == {"a": "71_0", "b": "71_1", "c": "72"}
    noted = json.loads((tmp_path / "results/b/job.json").read_text())
    assert noted["job"] == "71_1" and RunFolder(tmp_path / "results/b").read_config() == CONFIG
    submission = Path(noted["folder"])
    assert submission.parent == tmp_path / "results/.submitit"
    assert json.loads((tmp_path / "results/c/job.json").read_text())["folder"] != str(submission)
    for name in ("71_1_submitted.pkl", "run-1.pkl"):  # the second is the job's own, should we die after sbatch
        with open(submission / name, "rb") as stream:
            delayed = pickle.load(stream)
        assert isinstance(delayed.function, RunTask) and not delayed.args and not delayed.kwargs
        assert all(isinstance(value, str | int | float) for value in vars(delayed.function).values())
        assert delayed.function.config == str(tmp_path / "results/b/config.yaml")


def test_another_state_of_the_package_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_code, "PACKAGE", tmp_path)
    (tmp_path / "report").mkdir()
    (tmp_path / "a.py").write_text("a = 1\n")
    (tmp_path / "report/zz.csv").write_text("1\n")

    def state() -> str:
        kept_code.code_hash.cache_clear()
        return kept_code.code_hash()

    first = state()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("x")
    (tmp_path / ".hidden").write_text("x")
    assert state() == first
    (tmp_path / "report/zz.csv").write_text("2\n")
    second = state()
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, state()}) == 3
    kept_code.code_hash.cache_clear()


def test_jobs_run_the_code_that_was_submitted(tmp_path: Path) -> None:
    text = slurm.submission_text(slurm.Array(Resources(), (job(tmp_path, "a"),)), "t", tmp_path)
    code = Path(re.search(r"export PYTHONPATH=(\S+?)\"", text).group(1))  # type: ignore[union-attr]
    keep_code(code)
    keep_code(code)  # once is enough
    where = "import benchmark.provenance as p; print(p.__file__); print(p.source_commit())"
    (tmp_path / "cwd/benchmark").mkdir(parents=True)
    (tmp_path / "cwd/benchmark/__init__.py").write_text("raise SystemExit('the working tree, not what was submitted')")
    said = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path / "cwd",
        env={**os.environ, "PYTHONPATH": str(code), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert said[0].startswith(str(code)) and said[1] == provenance.source_commit()


def test_refused_submission_is_one_line_and_earlier_arrays_stay(tmp_path: Path, client) -> None:
    client("srun", "exit 0")
    client(
        "sbatch",
        'if grep -q gpus "$1"; then echo "sbatch: error: Invalid account" >&2; exit 1; fi\n'
        'echo "Submitted batch job 5"',
    )
    (tmp_path / "results").mkdir()
    arrays = [slurm.Array(Resources(gpus=gpus), (job(tmp_path, name),)) for gpus, name in ((0, "a"), (1, "b"))]
    submitted = []
    with pytest.raises(BenchError, match=r"sbatch refused.*Invalid account") as caught:
        for name, _ in slurm.submit(arrays, "s", tmp_path / "results", tmp_path, 60.0):
            submitted.append(name)
    assert submitted == ["a"] and "\n" not in str(caught.value)
    assert "asked for: 1 GPU, 8 CPUs, 32 GB, 24 h; the 1 runs before are submitted" in str(caught.value)
    assert (tmp_path / "results/a/job.json").exists()
    assert not (tmp_path / "results/b/job.json").exists()


def test_limits_and_presence_are_asked_of_the_cluster(client, monkeypatch: pytest.MonkeyPatch) -> None:
    client("sbatch", "exit 0")
    client("scontrol", '[ "$1" = ping ] && echo "Slurmctld(primary) at c is UP" || echo "MaxArraySize = 17"')
    assert slurm.is_available() and slurm.max_array_size() == 17
    for down in (0, 1):  # releases differ in the exit code
        client("scontrol", f'[ "$1" = ping ] && echo "Slurmctld(primary) at c is DOWN" && exit {down}; exit 1')
        with pytest.raises(
            BenchError, match=r"controller does not answer .*is DOWN.*--executor local.*slurm"
        ) as caught:
            slurm.is_available()
        assert "\n" not in str(caught.value)
    assert slurm.max_array_size() == slurm.DEFAULT_MAX_ARRAY_SIZE
    client(
        "scontrol",
        "echo 'scontrol: error: no DNS\nscontrol: fatal: Could not establish a configuration source' >&2; exit 1",
    )
    assert not slurm.is_available(), "clients without a cluster"
    monkeypatch.setenv("PATH", "/nonexistent")
    assert not slurm.is_available()


def submitted_runs(tmp_path: Path) -> list[RunFolder]:
    """Runs a and b of the array s-1, c of the plain job s-2, d never submitted."""
    folders = [RunFolder(tmp_path / name) for name in "abcd"]
    for folder, name, index in zip(folders, ("s-1", "s-1", "s-2"), (0, 1, 0), strict=False):
        folder.write_job({"name": name, "index": index, "submitted": time.time()})
    return folders


def test_queued_jobs_are_asked_once_and_by_name(tmp_path: Path, client) -> None:
    folders = submitted_runs(tmp_path)
    answer = (
        "3_1|PENDING||s-1|Resources\n9|RUNNING|node[1-2]|s-2|None\n3_2|PENDING||s-1|Priority\n3_1|RUNNING|n|other|None"
    )
    client("squeue", f'echo "$@" >> "$0.calls"; printf \'{answer}\\n\'')
    assert slurm.queued_jobs(folders) == {
        "b": QueuedJob("3_1", "PENDING", "", "Resources"),
        "c": QueuedJob("9", "RUNNING", "node[1-2]", ""),
    }
    calls = (tmp_path / "bin/squeue.calls").read_text().splitlines()
    assert len(calls) == 1 and "--name=s-1,s-2" in calls[0]
    client("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(BenchError, match=r"squeue failed.*Unable to contact.*still queued"):
        slurm.queued_jobs(folders)
    assert slurm.queued_jobs(folders[3:]) == {}, "without jobs squeue need not be asked"


def test_accounting_tells_how_a_job_ended_where_there_is_any(tmp_path: Path, client) -> None:
    folders = submitted_runs(tmp_path)
    client("sacct", "printf '3_0|s-1|CANCELLED by 0\\n9|s-2|NODE_FAIL\\n3_1|older|COMPLETED\\n'")
    assert slurm.last_words(folders) == {"a": "job 3_0: CANCELLED", "c": "job 9: NODE_FAIL"}
    client("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert slurm.last_words(folders) == {}


def test_cancel_says_so_before_the_job_can_ask_for_another_start(tmp_path: Path, client) -> None:
    folders = submitted_runs(tmp_path)
    client("squeue", "printf '3_0|RUNNING|n|s-1|None\\n9|RUNNING|n|s-2|None\\n'")
    client("scancel", f'echo "$@" > "$0.calls"; grep -q cancelled {folders[0].job}')
    assert slurm.cancel(folders[:2]) == [("a", "3_0")]
    assert (tmp_path / "bin/scancel.calls").read_text().split() == ["3_0"]
    assert not folders[2].read_job().get("cancelled")
