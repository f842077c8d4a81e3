"""Several processes for one run, as real processes with gloo on the loopback, against one process."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from test_training import prepare
from tiny_runs import TINY, tiny

from benchmark.data.images import load
from benchmark.errors import BenchError
from benchmark.methods.base import Method
from benchmark.negatives import OURS
from benchmark.plan import yamlfile
from benchmark.run import run
from benchmark.running.device import Runtime
from benchmark.running.processes import ALONE, Ranks
from benchmark.running.signals import Stopped
from benchmark.store.folders import RunFolder
from benchmark.training.batches import Batches, DeviceImages
from benchmark.training.loop import Trainer, TrainingHooks

CPU = torch.device("cpu")
# Measured: losses within 2e-6 of their value; weights within 9e-6 (the keys' biases, whose gradients are zero but for
# rounding, which AdamW divides by its own size) and within 1e-7 elsewhere, where training moves them by 1e-4 to 1e-3.
LOSS_TOLERANCE = 2e-5  # relative
WEIGHT_TOLERANCE = 2e-5  # absolute


def several(world: int) -> list[Ranks]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [Ranks(rank, world, rank, f"127.0.0.1:{port}") for rank in range(world)]


@contextmanager
def started(target: Callable[..., None], arguments: list[tuple[Any, ...]]) -> Iterator[list[Any]]:
    """A process for each of `arguments`, from a server that has imported torch; none outlives the block."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmark.run", "benchmark.commands.app", "sklearn.metrics"])
    processes = [context.Process(target=target, args=given) for given in arguments]
    for process in processes:
        process.start()
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.join()


def exit_codes(processes: list[Any], seconds: float = 180) -> list[int | None]:
    deadline = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
    return [process.exitcode for process in processes]


# Training -------------------------------------------------------------------------------------------------------------


def train_rank(ranks: Ranks, changes: dict, data: Path, folder: Path, stop_after: int, stopper: int) -> None:
    """One rank of a training, in a folder of its own; leaves its state, or what it said when it stopped."""
    torch.set_num_threads(1)
    own = folder / f"rank{ranks.rank}"
    own.mkdir(parents=True, exist_ok=True)
    config, steps = tiny(**changes), 0
    method, _ = prepare(config, data)
    if ranks.rank:  # what it starts from must come from rank 0
        torch.manual_seed(ranks.rank)
        for parameter in method.trainable():
            torch.nn.init.normal_(parameter)
    batches = shared_batches(changes, data, ranks)

    def should_stop() -> bool:
        nonlocal steps
        steps += 1
        return ranks.rank == stopper and steps == stop_after

    def quiet(line: str) -> None:
        pass

    try:
        with ranks.together(CPU):
            Trainer(
                method, batches, config.train, 0, own, "me", TrainingHooks(ranks, should_stop=should_stop, say=quiet)
            ).train()
    except Stopped as stopped:
        (folder / f"stopped{ranks.rank}").write_text(str(stopped))
    torch.save(method.modules().state_dict(), folder / f"state{ranks.rank}.pt")


def shared_batches(changes: dict, data: Path, ranks: Ranks) -> Batches:
    images = DeviceImages(load(data, "mini", "train").images[:24], CPU)  # three steps an epoch, two epochs
    auxiliary = {"imagenet": DeviceImages(load(data, "mini-aux", "aux").images, CPU)}
    return Batches(tiny(**changes), images, auxiliary, ranks)


def train_together(
    world: int, changes: dict, data: Path, folder: Path, stop_after: int = 0, stopper: int = 0
) -> dict[str, torch.Tensor]:
    """Rank 0's state after a training, the same bit for bit on all ranks; its files are in folder/rank0."""
    if world == 1:
        train_rank(ALONE, changes, data, folder, stop_after, 0)
    else:
        arguments = [(ranks, changes, data, folder, stop_after, stopper) for ranks in several(world)]
        with started(train_rank, arguments) as processes:
            assert exit_codes(processes) == [0] * world
    states = [torch.load(folder / f"state{rank}.pt", weights_only=True) for rank in range(world)]
    for state in states[1:]:
        assert all(torch.equal(state[name], value) for name, value in states[0].items())
    assert not [path for rank in range(1, world) for path in (folder / f"rank{rank}").iterdir()], "rank 0 alone writes"
    return states[0]


def steps_of(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "pairs_per_second"} for line in lines]


def assert_same_training(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor], *folders: Path) -> None:
    for line, other in zip(*(steps_of(folder / "rank0") for folder in folders), strict=True):
        assert other == pytest.approx(line, rel=LOSS_TOLERANCE)
    assert one.keys() == two.keys() and {"centre"} < one.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=WEIGHT_TOLERANCE, msg=lambda m, n=name: f"{n}: {m}")


NO_DROP = {"model": {"drop_path": 0.0}}


@pytest.mark.parametrize(
    ("world", "changes"),
    [
        (2, {"variant": "dino"}),
        (2, {"variant": "combined"}),
        (4, {"variant": "combined", "protocol": "authors"}),  # the two-rows centre; transforms drawn per view
        (2, {"variant": "rot-imgn", "method": {"centre": "two-rows", "centre_shards": 2}}),
        # convolutions, whose weights and gradients lie in memory channels last
        (2, {"variant": "dino", "model": {"backbone": "small_convnet", "args": {"width": 8, "norm": "group"}}}),
    ],
)
def test_several_processes_train_what_one_does(tmp_path: Path, mini_data: Path, world: int, changes: dict) -> None:
    changes = {**changes, "model": {**NO_DROP["model"], **changes.get("model", {})}}
    one = train_together(1, changes, mini_data, tmp_path / "one")
    many = train_together(world, changes, mini_data, tmp_path / "many")
    assert len(steps_of(tmp_path / "one/rank0")) == 6
    assert_same_training(one, many, tmp_path / "one", tmp_path / "many")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, mini_data: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, train_together(1, NO_DROP, mini_data, folder)


@pytest.mark.parametrize("worlds", [(2, 1), (1, 2)])
def test_a_stop_on_any_rank_stops_all_and_any_number_of_ranks_resumes(
    tmp_path: Path, mini_data: Path, undisturbed: tuple[Path, dict[str, torch.Tensor]], worlds: tuple[int, int]
) -> None:
    folder, stopper = tmp_path / "parts", random.randrange(worlds[0])
    train_together(worlds[0], NO_DROP, mini_data, folder, stop_after=4, stopper=stopper)
    said = [(folder / f"stopped{rank}").read_text() for rank in range(worlds[0])]
    assert said == ["stopped at step 4 of 6; checkpoint saved"] * worlds[0]
    assert [path.name for path in (folder / "rank0").glob("checkpoint*")] == ["checkpoint.pt"]
    resumed = train_together(worlds[1], NO_DROP, mini_data, folder)
    assert_same_training(undisturbed[1], resumed, undisturbed[0], folder)


OTHER_VIEWS = {"views": {"background": "random", "background_p": 0.5}}


@pytest.mark.parametrize("variant", ["imgn", "combined", "rot360-imgn", "perm-4-imgn", "pixperm-imgn", *OURS])
@pytest.mark.parametrize("changes", [{"protocol": "paper"}, {"protocol": "authors"}, OTHER_VIEWS])
def test_the_ranks_shares_are_the_batch(mini_data: Path, variant: str, changes: dict) -> None:
    """Put together again, view by view, with no process group; a blur's padding follows the images beside it."""
    changes = {**changes, "variant": variant}
    whole = shared_batches(changes, mini_data, ALONE).batch(1, 2)
    parts = [shared_batches(changes, mini_data, Ranks(rank, 4)).batch(1, 2) for rank in range(4)]
    for kind in range(1 + len(whole.negatives)):
        for size in ("globals", "locals"):
            expected = [whole.positives, *whole.negatives][kind][size]
            shares = [[part.positives, *part.negatives][kind][size] for part in parts]
            assert all(len(share) == len(expected) // 4 for share in shares)
            views = len(expected) // 8
            rows = [share[view * 2 + image] for view in range(views) for share in shares for image in range(2)]
            torch.testing.assert_close(torch.stack(rows), expected, rtol=0, atol=1e-5)


def test_what_cannot_be_shared_is_refused(tmp_path: Path, mini_data: Path) -> None:
    with pytest.raises(BenchError, match=r"train\.batch: 8 images per step cannot be shared equally by 3 processes"):
        shared_batches({}, mini_data, Ranks(0, 3))

    def refused(method: Method, batches: Batches, words: str) -> None:
        with pytest.raises(BenchError, match=words):
            Trainer(method, batches, method.config.train, 0, tmp_path, "me", TrainingHooks(Ranks(0, 2)))

    method, batches = prepare(tiny(model={"backbone": "resnet18", "args": {}}), mini_data)
    refused(method, batches, "model.backbone: resnet18 normalises over the images of a batch")
    method, batches = prepare(tiny(), mini_data)
    method.loss_is_a_mean_over_images = False
    refused(method, batches, "method.name: dino compares the images")


# Whole runs ---------------------------------------------------------------------------------------------------------


def bench_run(ranks: Ranks, config: Path, results: Path, data: Path, log: Path) -> None:
    """`bench run` as torchrun starts it, which blocks no signals: the local queue's server does, and may be this one,
    where a test before it has started it."""
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for number in (1, 2):
        os.dup2(stream, number)
    host, port = ranks.master.split(":")
    place = {"RANK": ranks.rank, "WORLD_SIZE": ranks.world, "LOCAL_RANK": ranks.local_rank}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR=host, MASTER_PORT=port)
    sys.argv = ["bench", "run", str(config), "--results", str(results), "--data", str(data), "--device", "cpu"]
    sys.argv += ["--threads", "1"]
    from benchmark.commands.app import main

    main()


@contextmanager
def two_ranks(tmp_path: Path, data: Path, epochs: int, **changes: Any) -> Iterator[list[Any]]:
    """Both ranks of `bench run`; rank 1 with a results folder of its own, which is to stay empty."""
    config = tmp_path / "c.yaml"
    settings = {**TINY, **NO_DROP_IN_FULL, "train": {**TINY["train"], "epochs": epochs}, **changes}
    config.write_text(yamlfile.write(settings))
    arguments = [
        (ranks, config, tmp_path / f"results{ranks.rank}", data, tmp_path / f"log{ranks.rank}") for ranks in several(2)
    ]
    with started(bench_run, arguments) as processes:
        yield processes
    assert not (tmp_path / "results1").exists(), "rank 0 alone writes"


NO_DROP_IN_FULL = {"model": {**TINY["model"], "drop_path": 0.0}}


def say(tmp_path: Path, rank: int) -> str:
    log = tmp_path / f"log{rank}"
    return log.read_text() if log.exists() else ""


def wait_for_step(tmp_path: Path, step: int) -> RunFolder:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for path in (tmp_path / "results0").glob("*/status.json"):
            folder = RunFolder(path.parent)
            status = folder.read_status()
            if status is not None and status.step >= step:
                return folder
        time.sleep(0.05)
    raise AssertionError(say(tmp_path, 0) + say(tmp_path, 1))


def test_a_whole_run_then_a_done_one_then_a_held_one(tmp_path: Path, mini_data: Path) -> None:
    expected = run(tiny(**NO_DROP), tmp_path / "one", mini_data, Runtime(device="cpu", threads=1))
    assert expected is not None
    with two_ranks(tmp_path, mini_data, epochs=2) as processes:
        assert exit_codes(processes) == [0, 0]
    folder = RunFolder(tmp_path / "results0" / expected.name)
    record = folder.read_record()
    assert record is not None and record.run_id == expected.run_id and record.environment["processes"] == 2
    assert record.training["losses"] == pytest.approx(expected.training["losses"], rel=LOSS_TOLERANCE)
    one, two = (load_file(path / "weights.safetensors") for path in (tmp_path / "one" / expected.name, folder.path))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=WEIGHT_TOLERANCE)
    assert say(tmp_path, 1) == "" and "done: " in say(tmp_path, 0)

    written = folder.record.stat().st_mtime_ns
    with two_ranks(tmp_path, mini_data, epochs=2) as processes:
        assert exit_codes(processes) == [0, 0]
    assert folder.record.stat().st_mtime_ns == written and say(tmp_path, 0).count("done: ") == 2

    with folder.hold(), two_ranks(tmp_path, mini_data, epochs=2) as processes:
        assert exit_codes(processes) == [75, 75]
    assert all("another process is on this run" in say(tmp_path, rank) for rank in (0, 1))


@pytest.mark.parametrize("variant", ["rot-in-dist", "background-in-dist"])
def test_the_negatives_that_a_score_reads_are_those_of_one_process(
    tmp_path: Path, mini_data: Path, variant: str
) -> None:
    data = Path(shutil.copytree(mini_data, tmp_path / "data"))  # masks are kept beside the set
    changes = {"variant": variant, "eval": {**TINY["eval"], "scores": ["eq6-from-negatives"]}}
    expected = run(tiny(**NO_DROP, **changes), tmp_path / "one", data, Runtime(device="cpu", threads=1))
    assert expected is not None
    with two_ranks(tmp_path, data, epochs=2, **changes) as processes:
        assert exit_codes(processes) == [0, 0], say(tmp_path, 0)
    one, two = (np.load(tmp_path / place / expected.name / "features.npz") for place in ("one", "results0"))
    (name,) = (name for name in one.files if name.startswith("negatives"))
    np.testing.assert_allclose(two[name], one[name], atol=1e-3)


@pytest.mark.parametrize(("number", "rank"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_a_signal_to_one_rank_ends_all_with_one_checkpoint(
    tmp_path: Path, mini_data: Path, number: int, rank: int
) -> None:
    with two_ranks(tmp_path, mini_data, epochs=400) as processes:
        folder = wait_for_step(tmp_path, 5)
        os.kill(processes[rank].pid, number)
        assert exit_codes(processes, 60) == [130, 130]
    status = folder.read_status()
    assert status is not None and status.state == "interrupted"
    assert [path.name for path in folder.path.glob("checkpoint*")] == ["checkpoint.pt"]
    assert not folder.lease_is_live()


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_other_within_seconds(tmp_path: Path, mini_data: Path, victim: int) -> None:
    with two_ranks(tmp_path, mini_data, epochs=400) as processes:
        folder = wait_for_step(tmp_path, 5)
        processes[victim].kill()
        begun = time.monotonic()
        assert exit_codes(processes, 30)[1 - victim] == 2
        assert time.monotonic() - begun < 10
    lines = [line for line in say(tmp_path, 1 - victim).splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and "another process of this run died or stopped answering" in lines[0]
    status = folder.read_status()
    assert status is not None and (victim == 0 or (status.state == "failed" and "died" in status.error))


def test_a_rank_that_waits_in_vain_can_be_interrupted(tmp_path: Path, mini_data: Path) -> None:
    arguments = (several(2)[0], tmp_path / "c.yaml", tmp_path / "results", mini_data, tmp_path / "log0")
    arguments[1].write_text(yamlfile.write(TINY))
    with started(bench_run, [arguments]) as processes:
        deadline = time.monotonic() + 60
        while "waits for the other" not in say(tmp_path, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        os.kill(processes[0].pid, signal.SIGINT)
        assert exit_codes(processes, 10) == [-signal.SIGINT]
