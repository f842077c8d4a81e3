"""`bench sweep`, `status`, `logs` and `cancel` on a real SLURM cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from lab import BENCH, MEDIUM, Lab, record_of

import benchmark


def test_array_of_12_over_two_nodes_three_at_a_time(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(accounting=True, cpus=2)
    file = lab.no_op(runs=12, resources={"array_parallelism": 3})
    begun = time.monotonic()
    said = lab.submit(file)
    assert "array of 12 runs, 3 at a time, each: 0 GPUs, 1 CPU, 0.5 GB, 0.25 h" in said.out
    assert said.out.count("submitted ") == 12
    most, nodes, first = 0, set(), 0.0
    while lab.queue():
        running = [line.split("|") for line in lab.queue("%T|%N") if line.startswith("RUNNING")]
        first = first or (time.monotonic() - begun if running else 0.0)
        most, nodes = max(most, len(running)), nodes | {node for _, node in running}
        assert time.monotonic() - begun < 240
        time.sleep(0.4)
    last = max(folder.record.stat().st_mtime for folder in lab.runs()) - (time.time() - (time.monotonic() - begun))
    assert most == 3 and nodes == {"node1", "node2"}
    assert [len(folder.read_attempts()) for folder in lab.runs()] == [1] * 12
    assert "12 runs: 12 done" in lab.bench("status", file).out
    lab.until("sacct knows", lambda: set(lab.client("sacct", "-nXPo", "State").split()) == {"COMPLETED"}, 20)
    assert "nothing to do" in lab.submit(file).out
    print(f"\n12 runs: first running after {first:.1f} s, last record after {last:.1f} s")


def test_arrays_are_cut_at_the_clusters_limit(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(accounting=False, max_array_size=3)
    file = lab.no_op(runs=5, resources={"sbatch": {"hold": True}})
    assert "5 runs in 2 submissions" in lab.submit(file).out
    jobs = sorted(job for job in lab.queue("%i"))
    assert len(jobs) == 5 and [job.split("_")[1] for job in jobs] == ["0", "1", "2", "0", "1"]
    assert "5 pending" in lab.bench("status", file).out and "JobHeldUser" in lab.bench("status", file).out


def test_a_failure_is_told_and_tried_again_only_on_request(lab: Lab) -> None:
    file = lab.sweep(epochs=2)
    whole = (lab.folder / "data/mini/train/images.npy").read_bytes()
    lab.submit(file)
    folder = lab.run()
    images = lab.folder / "data/mini/train/images.npy"
    images.write_bytes(whole[: len(whole) // 2])
    lab.until("the failure is on record", lambda: (s := folder.read_status()) and s.state == "failed")
    lab.until("the queue is empty", lambda: not lab.queue())
    assert "failed" in lab.state(folder) and str(images.parent) in lab.state(folder)
    assert str(images.parent) in lab.bench("logs", folder.name).out
    again = lab.bench("sweep", file, "--executor", "slurm", code=1).out
    assert "left alone, failed before" in again and "nothing to do" in again
    images.write_bytes(whole)
    lab.submit(file, "--retry-failed")
    lab.until_done(folder)
    assert "1 done" in lab.bench("status", file).out


def test_a_run_that_goes_on_from_another_waits_for_it(lab: Lab) -> None:
    file = lab.sweep(epochs=MEDIUM)
    content = yaml.safe_load((lab.folder / file).read_text())
    content["base"]["model"] = {"backbone": "small_convnet", "args": {"width": 8}, "drop_path": 0.0}
    content["base"] |= {"negatives": {"weight": 0.5}, "method": {"name": "classifier", "classes": 4}}
    tuned = {"method": {"name": "outlier-exposure", "classes": 4, "tune": "classifier"}, "train": {"epochs": 1}}
    content["grids"] = [{}, {"base": tuned, "grid": {"variant": ["imgn", "rot-in-dist"]}}]
    content["grid"] = {"seed": [0]}
    (lab.folder / file).write_text(yaml.safe_dump(content))
    assert "array of 2 runs, each:" in (said := lab.submit(file).out) and "; after the 1 they go on from" in said
    start = next(folder for folder in lab.runs() if "classifier" in folder.name)
    after = [folder for folder in lab.runs() if "tuned" in folder.name]
    lab.until_training(start)
    assert len(after) == 2 and all("Dependency" in lab.state(folder) for folder in after)
    for folder in after:
        lab.until_done(folder)
        assert f"goes on from {start.name}" in folder.log.read_text()
        assert folder.read_attempts()[0]["time"] >= start.record.stat().st_mtime
    assert "3 done" in lab.bench("status", file).out


def test_what_is_queued_or_running_is_left_alone(lab: Lab) -> None:
    file = lab.sweep(seeds=2, epochs=MEDIUM, resources={"array_parallelism": 1})
    lab.submit(file)
    first, second = (RunFolder for RunFolder in lab.runs())
    lab.until("one runs", lambda: any("RUNNING" in line for line in lab.queue()))
    running, waiting = (first, second) if "pending" in lab.state(second).split() else (second, first)
    lab.until_training(running)
    for _ in range(2):
        said = lab.submit(file).out
        assert "1 running, 1 pending" in said and "nothing to do" in said
    state = lab.state(running)
    assert "running" in state and "train" in state and "on node" in state
    assert "JobArrayTaskLimit" in lab.state(waiting)
    assert len(lab.queue()) == 2
    # Cancel one of the array: the other goes on.
    assert "1 of 1 runs cancelled" in lab.bench("cancel", waiting.name).out
    lab.until("one job is left", lambda: len(lab.queue()) == 1)
    assert "cancelled" in lab.state(waiting)
    lab.until_done(running)
    lab.assert_as_undisturbed(running)
    assert not waiting.record.exists()
    assert "1 done, 1 to do" in lab.bench("status", file).out


def test_cancel_keeps_the_checkpoint_and_a_sweep_goes_on_from_it(lab: Lab) -> None:
    file = lab.sweep(seeds=2, epochs=MEDIUM)
    lab.submit(file)
    first, second = lab.runs()
    for folder in (first, second):
        lab.until_training(folder)
    lab.bench("cancel", f"*-s0-*{first.name[-4:]}" if "-s0-" in first.name else first.name)
    lab.until("one job is left", lambda: len(lab.queue()) <= 1)
    assert first.checkpoint.exists() and "cancelled" in lab.state(first)
    stopped = first.read_status()
    assert stopped is not None and stopped.state == "interrupted", "it had the time to save"
    time.sleep(8)  # longer than a requeue takes: it must not come back by itself
    assert not [line for line in lab.queue("%i %T") if line.startswith(first.read_job()["job"] + " ")]
    lab.submit(file)
    lab.until_done(first, second)
    assert f"resumed at step {stopped.step} " in lab.log_of(first)
    lab.assert_as_undisturbed(first)


def test_two_sweeps_at_the_same_moment_submit_each_run_once(lab: Lab) -> None:
    for race in range(3):
        file = lab.sweep(f"race{race}.yaml", seeds=2, epochs=race + 1, resources={"sbatch": {"hold": True}})
        racers = [
            subprocess.Popen([*BENCH, "sweep", file, "--executor", "slurm"], stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        said = [racer.communicate()[0] for racer in racers]
        assert [racer.returncode for racer in racers] == [0, 0]
        assert sum(text.count("submitted ") for text in said) == 2, said
        assert len(lab.queue()) == 2
        lab.bench("cancel", file)
        lab.until("the queue is empty", lambda: not lab.queue())


def test_a_refusal_is_one_line_and_leaves_nothing_behind(lab: Lab) -> None:
    file = lab.no_op(resources={"partition": "nowhere"})
    said = lab.bench("sweep", file, "--executor", "slurm", code=2)
    [line] = said.err.strip().splitlines()
    assert "invalid partition specified: nowhere" in line and "0 GPUs, 1 CPU, 0.5 GB, 0.25 h, partition nowhere" in line
    assert not lab.queue() and "1 to do" in lab.bench("status", file).out
    (lab.folder / "site.yaml").write_text("always: {partition: urgent}\n")
    lab.submit(file, "--site", "site.yaml")
    assert lab.queue("%P") == ["urgent"]
    lab.until_done()


def test_gpus_are_asked_for_and_must_be_there(lab: Lab) -> None:
    seen = lab.folder / "gpus"
    with_gpus = {"gpus": 2, "setup": [f"echo $SLURM_JOB_GPUS $SLURM_GPUS_ON_NODE > {seen}"], "tasks": 1}
    pretended = lab.no_op("pretended.yaml", resources={**with_gpus, "device": "cpu"})
    lab.submit(pretended)
    lab.until_done()
    assert seen.read_text().split() == ["0,1", "2"]
    real = lab.sweep("real.yaml", variant=["dino"], resources={"gpus": 1})
    lab.submit(real)
    failed = next(folder for folder in lab.runs() if "dino" in folder.name)
    lab.until("it fails", lambda: (s := failed.read_status()) and s.state == "failed")
    assert "cuda: not to be had here" in lab.state(failed)


def test_a_submitter_that_dies_leaves_no_orphan(lab: Lab) -> None:
    """sbatch kills its caller the moment the job is in: the login node went down."""
    real = lab.client("sh", "-c", "command -v sbatch")
    (lab.folder / "bin").mkdir()
    (lab.folder / "bin/sbatch").write_text(f'#!/bin/sh\n{real} "$@"\nkill -9 $PPID\n')
    (lab.folder / "bin/sbatch").chmod(0o755)
    file = lab.no_op(runs=2, resources={"sbatch": {"begin": "now+8"}})
    environment = {**os.environ, "PATH": f"{lab.folder / 'bin'}:{os.environ['PATH']}"}
    died = subprocess.run([*BENCH, "sweep", file, "--executor", "slurm"], env=environment, capture_output=True)
    assert died.returncode == -signal.SIGKILL and len(lab.queue()) == 2
    assert not any(folder.read_job().get("job") for folder in lab.runs())
    assert "2 pending" in lab.bench("status", file).out
    assert "nothing to do" in lab.submit(file).out and len(lab.queue()) == 2
    lab.until_done()
    assert [len(folder.read_attempts()) for folder in lab.runs()] == [1, 1]


def test_what_runs_is_the_code_that_was_submitted(lab: Lab) -> None:
    source = lab.folder / "tree/benchmark"
    copy = ["cp", "-r", str(Path(benchmark.__file__).parent), str(source)]
    source.parent.mkdir()
    subprocess.run(copy, check=True)
    file = lab.no_op(resources={"sbatch": {"hold": True}})
    environment = {**os.environ, "PYTHONPATH": str(source.parent), "PYTHONSAFEPATH": "1"}
    subprocess.run([*BENCH, "sweep", file, "--executor", "slurm"], env=environment, check=True, capture_output=True)
    (source / "run.py").write_text("raise SystemExit('this was edited while the job waited')\n")
    lab.client("scontrol", "release", lab.queue("%A")[0])
    lab.until_done()
    assert record_of(lab.run()).environment["commit"] == lab.run().read_attempts()[0]["commit"]


def test_ids_that_are_used_again_belong_to_others(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(accounting=False)
    lab.submit(lab.sweep("old.yaml", epochs=500))
    old = lab.run()
    lab.until_training(old)
    lab.cluster.kill_slurmd("node1", with_jobs=True)
    lab.cluster.start(fresh=True)  # the scheduler has forgotten everything; its ids start at 1 again
    lab.submit(lab.sweep("new.yaml", variant=["dino"], resources={"sbatch": {"hold": True}}))
    new = next(folder for folder in lab.runs() if folder.name != old.name)
    assert new.read_job()["job"] == old.read_job()["job"] == "1"
    assert "lost" in lab.state(old) and "pending" in lab.state(new)
    assert "0 of 1 runs cancelled" in lab.bench("cancel", old.name).out and len(lab.queue()) == 1


def test_a_silent_controller_is_told_and_nothing_is_submitted_twice(lab: Lab) -> None:
    file = lab.sweep(seeds=2, epochs=4 * MEDIUM, resources={"array_parallelism": 1})
    lab.submit(file)
    folder = lab.until("one runs", lambda: next((run for run in lab.runs() if run.holder()), None))
    lab.until_training(folder)
    lab.cluster.stop_controller()
    said = lab.bench("status", file).out
    assert "note: squeue failed" in said and "1 running, 1 unknown" in said
    said = lab.bench("sweep", file, "--executor", "slurm", code=2)
    assert "unknown which jobs" in said.err
    lab.cluster.start_controller()
    lab.until_done()
    assert [len(run.read_attempts()) for run in lab.runs()] == [1, 1]


def test_wait_follows_the_runs_to_their_end(make_lab: Callable[..., Lab]) -> None:
    lab = make_lab(accounting=True)
    file = lab.no_op(runs=2, resources={"setup": ["[ $SLURM_ARRAY_TASK_ID = 0 ] || exit 3"]})
    said = lab.bench("sweep", file, "--executor", "slurm", "--wait", code=1).out
    [good], [bad] = ([run for run in lab.runs() if run.record.exists() is ends] for ends in (True, False))
    assert f"done        {good.name}" in said and f"lost        {bad.name}" in said and "1 done, 1 lost" in said
    lab.until("sacct knows", lambda: "FAILED" in lab.state(bad), 20)
