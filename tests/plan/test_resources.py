from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.errors import BenchError
from benchmark.plan import sweep as sweeps
from benchmark.plan.resources import Resources, load_site

SWEEP = """
base: {in_dist: mini, eval: {ood: []}}
grid: {variant: [dino, rot-in-dist], seed: [0, 1]}
references: []
resources: {hours: 3, partition: gpu}
profiles: {large: {gpus: 4, memory_gb: 200, constraint: a100}}
overrides:
  - {when: {variant: rot-*}, resources: {profile: large, hours: 9}}
"""


def resources_of(tmp_path: Path, site: str = "", sweep: str = SWEEP) -> dict[str, Resources]:
    (tmp_path / "s.yaml").write_text(sweep)
    (tmp_path / "site.yaml").write_text(site or "{}")
    loaded = sweeps.load(tmp_path / "s.yaml", site=load_site(tmp_path / "site.yaml"))
    return {run.config.variant: run.resources for run in loaded.runs}


def test_profiles_lie_below_the_keys_beside_them(tmp_path: Path) -> None:
    found = resources_of(tmp_path)
    assert (found["dino"].gpus, found["dino"].hours, found["dino"].partition) == (1, 3, "gpu")
    large = found["rot-in-dist"]
    assert (large.gpus, large.memory_gb, large.constraint, large.hours, large.partition) == (4, 200, "a100", 9, "gpu")


def test_site_defaults_lie_below_the_sweep_and_always_above(tmp_path: Path) -> None:
    site = """
defaults: {partition: shared, account: lab, setup: [module load cuda]}
always: {hours: 2}
profiles: {large: {constraint: h100}}
"""
    found = resources_of(tmp_path, site)
    assert (found["dino"].partition, found["dino"].account, found["dino"].hours) == ("gpu", "lab", 2)
    assert found["dino"].setup == ["module load cuda"]
    assert (found["rot-in-dist"].constraint, found["rot-in-dist"].memory_gb, found["rot-in-dist"].hours) == (
        "h100",
        200,
        2,
    )


def test_neither_site_nor_resources_change_a_run(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SWEEP)
    (tmp_path / "b.yaml").write_text(SWEEP.replace("hours: 3", "hours: 30"))
    (tmp_path / "site.yaml").write_text("always: {partition: other, nodes: 2, sbatch: {nice: 5}}\n")
    site = load_site(tmp_path / "site.yaml")
    first = [run.config.recipe_id() for run in sweeps.load(tmp_path / "a.yaml").runs]
    assert first == [run.config.recipe_id() for run in sweeps.load(tmp_path / "b.yaml", site=site).runs]


def test_the_users_own_site_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load_site(None).path is None
    (tmp_path / "ood-bench").mkdir()
    (tmp_path / "ood-bench/site.yaml").write_text("always: {account: mine}\n")
    (tmp_path / "s.yaml").write_text(SWEEP)
    assert {run.resources.account for run in sweeps.load(tmp_path / "s.yaml").runs} == {"mine"}


@pytest.mark.parametrize(
    ("site", "words"),
    [
        ("partition: gpu", r"site.yaml.*unknown key 'partition'.*allowed: always, defaults, profiles"),
        ("defaults: {partitions: gpu}", r"site.yaml.*defaults.*partitions.*did you mean 'partition'"),
        ("always: {hours: long}", r"site.yaml.*always.hours.*'long'"),
        ("profiles: {big: {gpu: 2}}", r"site.yaml.*profiles.big.*gpu"),
        ("always: {sbatch: {time: 10}}", r"site.yaml.*'time' is set by the benchmark; instead use hours"),
        ("always: {profile: huge}", r"unknown profile 'huge'.*allowed: large"),
    ],
)
def test_a_wrong_site_file_is_one_line_that_names_it(tmp_path: Path, site: str, words: str) -> None:
    with pytest.raises(BenchError, match=words) as caught:
        resources_of(tmp_path, site)
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_of_a_sweep_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"s.yaml.*unknown profile 'larg' \(did you mean 'large'\?\)"):
        resources_of(tmp_path, sweep=SWEEP.replace("profile: large", "profile: larg"))


def test_profiles_of_a_site_file_hinder_no_command_that_submits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP.replace("profile: large", "profile: ours"))
    (tmp_path / "site.yaml").write_text("profiles: {ours: {constraint: h100}}")
    monkeypatch.delenv("BENCH_SITE", raising=False)
    plain = {run.config.variant: run.resources for run in sweeps.load(tmp_path / "s.yaml").runs}
    assert (plain["rot-in-dist"].constraint, plain["rot-in-dist"].hours) == (None, 9)
    monkeypatch.setenv("BENCH_SITE", str(tmp_path / "site.yaml"))
    assert load_site(None).path == tmp_path / "site.yaml"
    named = {run.config.variant: run.resources for run in sweeps.load(tmp_path / "s.yaml").runs}
    assert named["rot-in-dist"].constraint == "h100"


@pytest.mark.parametrize("given", ["[large]", "{a: 1}", "3"])
def test_a_profile_is_a_name(tmp_path: Path, given: str) -> None:
    for sweep in (
        SWEEP.replace("hours: 3,", f"profile: {given},"),
        SWEEP.replace("profile: large", f"profile: {given}"),
    ):
        with pytest.raises(BenchError, match=r"s.yaml.*unknown profile"):
            resources_of(tmp_path, sweep=sweep)
        with pytest.raises(BenchError, match=r"s.yaml.*unknown profile"):
            sweeps.load(tmp_path / "s.yaml")


def test_resources_in_words() -> None:
    assert Resources().in_words() == "1 GPU, 8 CPUs, 32 GB, 24 h"
    several = Resources(nodes=2, gpus=4, gpu_type="a100", partition="p")
    assert several.in_words() == "2 nodes of 4 a100 GPUs, 4 processes of 8 CPUs, 32 GB, 24 h, partition p"
