"""Which of several processes this one is, from the environment that torchrun or srun gives it."""

from __future__ import annotations

import pytest
import torch

from benchmark.errors import BenchError
from benchmark.launch.slots import Slot
from benchmark.running.device import _own_gpu
from benchmark.running.processes import ALONE, Ranks, first_host, from_environment

CPU = torch.device("cpu")

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu1", "MASTER_PORT": "29500"}
ALLOCATION = {"SLURM_JOB_ID": "70123", "SLURM_NTASKS": "4", "SLURM_JOB_NODELIST": "gpu[07-08]"}
BATCH_SCRIPT = {**ALLOCATION, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
STEP = {
    **ALLOCATION,
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ALONE),
        (TORCHRUN, Ranks(3, 8, 1, "gpu1:29500")),
        ({**TORCHRUN, "RANK": "0", "WORLD_SIZE": "1"}, ALONE),
        ({"RANK": "0", "WORLD_SIZE": "1"}, ALONE),  # as the local queue starts its runs
        ({"WORLD_SIZE": "8", "MASTER_ADDR": "gpu1"}, ALONE),  # exported by a script; nothing says which one this is
        (ALLOCATION, ALONE),  # typed in the shell of `salloc --ntasks 4`
        (BATCH_SCRIPT, ALONE),  # in an sbatch script, not under srun
        ({**STEP, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, ALONE),  # a shell that salloc starts as a step
        ({**STEP, "MASTER_PORT": "5"}, Ranks(2, 4, 0, "gpu07:5")),
        ({**STEP, "MASTER_ADDR": "ib7", "MASTER_PORT": "1234", "WORLD_SIZE": "4"}, Ranks(2, 4, 0, "ib7:1234")),
        ({**STEP, **TORCHRUN}, Ranks(3, 8, 1, "gpu1:29500")),  # torchrun started by srun
        ({**STEP, "RANK": "0", "WORLD_SIZE": "1"}, ALONE),  # the local queue under srun
    ],
)
def test_who_this_process_is(variables: dict[str, str], expected: Ranks) -> None:
    assert from_environment(variables) == expected


def test_ranks_agree_on_a_port_that_differs_from_job_to_job() -> None:
    def port(**changes: str) -> int:
        host, _, number = from_environment({**STEP, **changes}).master.partition(":")
        assert host == "gpu07" and 10_000 <= int(number) < 20_000
        return int(number)

    assert port(SLURM_PROCID="0") == port(SLURM_PROCID="3", SLURM_LOCALID="1")
    others = [{"SLURM_JOB_ID": "70124"}, {"SLURM_STEP_ID": "1"}, {"SLURM_RESTART_COUNT": "1"}, {"SLURM_JOB_NAME": "b"}]
    assert len({port(), *(port(**other) for other in others)}) == 5


def test_the_local_queue_starts_single_processes_wherever_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**STEP, **TORCHRUN}.items():
        monkeypatch.setenv(name, value)
    assert from_environment() != ALONE and from_environment(Slot(None, 1).environment()) == ALONE


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK: is not set"),
        ({**TORCHRUN, "RANK": "8"}, "RANK: must be below WORLD_SIZE 8, given 8"),
        ({**TORCHRUN, "MASTER_PORT": "http"}, "MASTER_PORT: must be a whole number, given 'http'"),
        ({**STEP, "SLURM_STEP_NODELIST": ""}, "SLURM_STEP_NODELIST: is not set"),
    ],
)
def test_a_broken_environment_is_one_line(variables: dict[str, str], words: str) -> None:
    with pytest.raises(BenchError, match=words):
        from_environment(variables)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("gpu1", "gpu1"),
        ("gpu07,gpu09", "gpu07"),
        ("gpu[07-09,12],login", "gpu07"),
        ("gpu[3,5-6]-ib", "gpu3-ib"),
        ("rack[0-1]node[004-007]", "rack0node004"),
        ("a-b.c.d,e[1-2]", "a-b.c.d"),
    ],
)
def test_first_host_of_a_node_list(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert _own_gpu("cuda", Ranks(5, 8, 1, "h:1")) == "cuda:1"
    with pytest.raises(BenchError, match="process 4 of this host has no GPU: 4 are visible"):
        _own_gpu("cuda", Ranks(4, 8, 4, "h:1"))
    with pytest.raises(BenchError, match="--device cuda:2: is one GPU, and the run has 8 processes"):
        _own_gpu("cuda:2", Ranks(5, 8, 1, "h:1"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # srun --gpus-per-task 1 shows each its own
    assert _own_gpu("cuda", Ranks(5, 8, 1, "h:1")) == "cuda:0"
