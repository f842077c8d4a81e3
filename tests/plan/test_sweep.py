from __future__ import annotations

from pathlib import Path

import pytest
from tiny_runs import TINY, tiny

from benchmark.data.downloads import LOADERS
from benchmark.errors import BenchError
from benchmark.negatives import VARIANTS
from benchmark.plan import sweep as sweeps
from benchmark.plan import yamlfile
from benchmark.store import missing, states
from benchmark.store.folders import Status

REPOSITORY = Path(__file__).parents[2]
PAPER_COLUMNS = [
    "dino",
    "imgn",
    "rot-imgn",
    "rot360-imgn",
    "dti",
    "perm-16-imgn",
    "perm-4-imgn",
    "rot-dti",
    "pixperm-imgn",
    "rot-in-dist",
]


def write(folder: Path, name: str = "s.yaml", **keys: object) -> Path:
    base = {key: value for key, value in TINY.items() if key != "variant"}
    path = folder / name
    path.write_text(yamlfile.write({"base": base, "grid": {"variant": ["dino", "imgn"], "seed": [0, 1]}, **keys}))
    return path


def test_table2_has_the_papers_ten_columns_and_two_references() -> None:
    runs = sweeps.load(REPOSITORY / "sweeps/table2.yaml").runs
    assert [run.config.variant for run in runs] == [*PAPER_COLUMNS, "none", "none"]
    first = runs[0].config
    assert (
        first.train.epochs,
        first.train.batch,
        first.train.lr,
        first.views.global_size,
        first.views.local_size,
        first.model.backbone,
        first.train.weight_decay,
    ) == (500, 128, 0.004, 256, 128, "vit_small_patch16_224", [0.04, 0.4])


@pytest.mark.parametrize(("one", "other", "shared"), [
    ("table1", "rivals", {"simclr", "csi"}), ("table1", "oe", {"classifier-rotation"}),
    ("table1-cpu", "cpu", {"rot-imgn", "combined"}), ("table1-cpu", "oe-cpu", {"classifier-rotation"}),
    ("table1-cpu", "frozen", {"frozen"}),
    ("background-one-class", "one-class", {"dino", "rot-in-dist"}),
    ("rivals-cpu", "one-class", {"rotation", "dino", "rot-in-dist"}),
])  # fmt: skip
def test_sweeps_share_what_they_have_in_common(one: str, other: str, shared: set[str]) -> None:
    first, second = ({run.recipe: run.config.label for run in sweeps.load(Path(name)).runs} for name in (one, other))
    assert {first[recipe] for recipe in first.keys() & second.keys()} - {"untrained", "image-statistics"} == shared


def test_tables_1_and_2_share_their_common_run() -> None:
    one, two = (
        {run.config.recipe_id(): run.config.label for run in sweeps.load(REPOSITORY / f"sweeps/{name}").runs}
        for name in ("table1.yaml", "table2.yaml")
    )
    assert sorted(one[recipe] for recipe in one.keys() & two.keys()) == ["image-statistics", "rot-imgn", "untrained"]


@pytest.mark.parametrize("name", ["smoke.yaml", "small.yaml"])
def test_small_sweeps_hold_all_eleven_variants(name: str) -> None:
    runs = sweeps.load(REPOSITORY / "sweeps" / name).runs
    assert {run.config.variant for run in runs} == {*VARIANTS, "none"}


def test_grid_order_set_only_and_references(tmp_path: Path) -> None:
    path = write(tmp_path)
    names = [run.short_name for run in sweeps.load(path).runs]
    assert names == [
        "mini-dino-s0",
        "mini-dino-s1",
        "mini-imgn-s0",
        "mini-imgn-s1",
        "mini-untrained-s0",
        "mini-image-statistics-s0",
    ]
    changed = sweeps.load(path, sets=["train.epochs=7", "method.classes=32"], only="*-s1").runs
    assert [run.short_name for run in changed] == ["mini-dino-s1", "mini-imgn-s1"]
    assert all(run.config.train.epochs == 7 for run in changed)


def test_extends_merges_and_overrides_reach_matching_runs(tmp_path: Path) -> None:
    write(tmp_path, "parent.yaml", resources={"gpus": 2, "hours": 5})
    child = tmp_path / "child.yaml"
    child.write_text(
        yamlfile.write(
            {
                "extends": "parent.yaml",
                "base": {"train": {"epochs": 5}},
                "references": [],
                "overrides": [{"when": {"variant": "im*"}, "set": {"train.lr": 0.5}, "resources": {"hours": 9}}],
            }
        )
    )
    runs = sweeps.load(child).runs
    assert [
        (run.config.train.epochs, run.config.train.batch, run.config.train.lr, run.resources.hours, run.resources.gpus)
        for run in runs
    ] == [(5, 8, 0.004, 5, 2)] * 2 + [(5, 8, 0.5, 9, 2)] * 2


@pytest.mark.parametrize(
    ("base", "grid", "when", "hours"),
    [
        ({}, {}, {"seed": "0"}, [9]),  # where the default is meant
        ({}, {"seed": [0, 1]}, {"seed": "0"}, [9, 24]),
        ({"variant": "imgn"}, {}, {"variant": "imgn"}, [9]),
        ({}, {"train.nesterov": [True, False]}, {"train.nesterov": "true"}, [9, 24]),
        ({}, {"train.clip": [3.0, None]}, {"train.clip": "null"}, [24, 9]),
        ({}, {}, {"method.name": "dino"}, [9]),
    ],
)
def test_an_override_is_when_a_field_has_a_value_as_yaml_writes_it(
    tmp_path: Path, base: dict, grid: dict, when: dict, hours: list[int]
) -> None:
    path = tmp_path / "s.yaml"
    base = {"in_dist": "mini", "variant": "rot-in-dist", "train": {"optimiser": "sgd"}, "eval": {"ood": []}} | base
    rest = {"references": [], "overrides": [{"when": when, "resources": {"hours": 9}}]}
    path.write_text(yamlfile.write({"base": base, "grid": grid, **rest}))
    assert [run.resources.hours for run in sweeps.load(path).runs] == hours


def test_the_statistics_of_images_that_are_resized_at_once_are_another_row() -> None:
    rows = [tiny(eval={"ood_resize": how}).reference("image-statistics") for how in ("stored", "direct")]
    assert rows[0].recipe_id() != rows[1].recipe_id()


def test_resources_do_not_change_ids(tmp_path: Path) -> None:
    one = sweeps.load(write(tmp_path, resources={"gpus": 0}))
    two = sweeps.load(write(tmp_path, resources={"gpus": 4, "partition": "big"}))
    assert [run.config.recipe_id() for run in one.runs] == [run.config.recipe_id() for run in two.runs]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"gird": {}}, ["unknown key 'gird'", "did you mean 'grid'"]),
        ({"grid": {"variant": ["dino", "dino"]}}, ["grid.variant", "'dino' is listed twice"]),
        ({"grid": {"variant": []}}, ["grid.variant", "at least 1"]),
        ({"grid": {"variant": ["dinno"]}}, ["unknown variant 'dinno'"]),
        (
            {
                "grid": {"train.epoch": [1]},
            },
            ["s.yaml: grid.train: unknown key 'epoch'"],
        ),
        ({"grid": {"variant": ["dino"], "seed": [-1]}}, ["s.yaml: grid.seed: ", "given -1"]),
        ({"grid": {"variant": ["dinno"], "seed": [0]}}, ["s.yaml: grid.variant: unknown variant"]),
        (
            {"grid": {"train.epochs": [1, 2], "train": [{"lr": 1.0}, {"epochs": 3}]}},
            ["s.yaml: grid.train.epochs: the values of the axis 'train' have epochs too"],
        ),
        ({"references": ["random"]}, ["references.0", "'untrained' or 'image-statistics'"]),
        ({"resources": {"gpu": 1}}, ["resources", "unknown key 'gpu'", "did you mean 'gpus'"]),
        (
            {"overrides": [{"when": {"colour": "x"}}]},
            ["overrides.0.when", "unknown field 'colour'", "in_dist, method.name"],
        ),
    ],
)
def test_bad_sweep_files(tmp_path: Path, keys: dict, words: list[str]) -> None:
    path = write(tmp_path, **keys)
    with pytest.raises(BenchError) as caught:
        sweeps.load(path)
    assert all(word in str(caught.value) for word in [str(path), *words]), caught.value
    assert "\n" not in str(caught.value)


def test_circular_extends_and_bad_set(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b.yaml\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\n")
    with pytest.raises(BenchError, match="circle"):
        sweeps.load(tmp_path / "a.yaml")
    with pytest.raises(BenchError, match="FIELD=VALUE"):
        sweeps.load(write(tmp_path), sets=["train.epochs"])
    with pytest.raises(
        BenchError, match=r"^--set seed=\[0, 1\]: seed: .*several values are an axis: grid: \{seed: \[0, 1\]\}"
    ):
        sweeps.load(write(tmp_path), sets=["seed=[0, 1]"])
    with pytest.raises(BenchError, match="matches no run"):
        sweeps.load(write(tmp_path), only="nothing*")
    with pytest.raises(BenchError, match=r"--only nothing\*: .*, \.\.\. \(\d+ in all\)$") as caught:
        sweeps.load(Path("one-class"), only="nothing*")
    assert len(str(caught.value)) < 400
    as_a_set, as_a_run = (sweeps.load(Path("rivals-cpu"), only=f"cifar10{mark}cat-csi-*").runs for mark in ":.")
    assert [run.config.in_dist for run in as_a_set] == ["cifar10:cat"] and as_a_set == as_a_run


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("train.epoch=2", "--set train.epoch=2: train: unknown key 'epoch' (did you mean 'epochs'?)"),
        ("title=x", "--set title=x: unknown key 'title'; allowed: data"),
        ("train.epochs.x=2", "--set: train.epochs.x: 'epochs' is a value, not a section"),
        (
            "data.sources.imagnet=x",
            "--set data.sources.imagnet=x: data.sources: unknown source 'imagnet' (did you mean",
        ),
        ("method.name=dinno", "--set method.name=dinno: method: unknown method 'dinno'"),
    ],
)
def test_what_is_wrong_with_a_setting_is_said_of_where_it_was_given(tmp_path: Path, given: str, line: str) -> None:
    file = write(tmp_path)
    with pytest.raises(BenchError) as caught:
        sweeps.load(file, sets=["train.lr=1.0", given])
    assert str(caught.value).startswith(line), caught.value
    file = write(tmp_path, base={"in_dist": "mini", "method": {"name": "dinno"}})
    with pytest.raises(BenchError, match=r"s\.yaml: base\.method: unknown method 'dinno'"):
        sweeps.load(file, sets=["method.classes=8"])


def test_the_arguments_of_another_backbone_may_be_given_in_any_order(tmp_path: Path) -> None:
    given = ["model.args={norm: group}", "model.backbone=small_convnet"]
    for sets in (given, given[::-1]):
        models = {run.config.model.backbone: run.config.model.args for run in sweeps.load(write(tmp_path), sets).runs}
        assert models == {"small_convnet": {"norm": "group"}}


def test_several_globs_choose_what_any_of_them_matches_and_none_is_in_vain(tmp_path: Path) -> None:
    file = write(tmp_path)
    every = [run.short_name for run in sweeps.load(file).runs]
    chosen = [run.short_name for run in sweeps.load(file, only=["*-s1", "mini-dino-*"]).runs]
    assert chosen == [name for name in every if name.endswith("-s1") or name.startswith("mini-dino-")]
    assert len(chosen) < len(every) and {"mini-dino-s0", "mini-dino-s1"} < set(chosen)
    assert [run.short_name for run in sweeps.load(file, only="dino").runs] == ["mini-dino-s0", "mini-dino-s1"]
    with pytest.raises(BenchError, match=r"^--only nothing\*: matches no run of "):
        sweeps.load(file, only=["*-s1", "nothing*"])


def test_built_in_sweeps_go_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert sorted(sweeps.built_in()) == sorted(path.stem for path in (REPOSITORY / "sweeps").glob("*.yaml"))
    named = sweeps.load(Path("cpu"))  # extends small
    assert named == sweeps.load(REPOSITORY / "sweeps/cpu.yaml") and named.name == "cpu"
    own = tmp_path / "own.yaml"
    own.write_text("extends: smoke\nbase: {train: {epochs: 7}}\n")
    assert {run.config.train.epochs for run in sweeps.load(own).runs if run.config.method.name == "dino"} == {7}


def test_a_path_wins_over_a_built_in_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke").mkdir()  # a folder is no sweep file
    assert sweeps.load(Path("smoke")).runs[0].config.in_dist == "synthetic"
    for mine in ("small", "smoke.yaml", "smoke/small"):
        write(tmp_path, mine)
        assert {run.config.in_dist for run in sweeps.load(Path(mine)).runs} == {"mini"}


def test_a_misspelt_file_is_told_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").touch()
    with pytest.raises(BenchError, match=r"pet\.yaml: no such file \(did you mean 'pets\.yaml'\?\)$"):
        sweeps.load(tmp_path / "pet.yaml")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ("table9", "unknown sweep 'table9' (did you mean 'table2'?); allowed: background-cpu, background-one-class, "
         "cifar100-cpu, cpu, cpu-40-epochs, downloads, frozen, half-hour, no-batch-norm-cpu, oe, oe-cpu, one-class, "
         "one-class-paper, pretrained-negatives, rivals, rivals-cpu, small, smoke, table1, table1-cpu, table2; "
         "a sweep file of your own is meant by its path, as in table9.yaml"),
        ("mine.yaml", "mine.yaml: no such file"),
        ("sweeps/table2.yaml", "sweeps/table2.yaml: no such file; the built-in sweep is called table2"),
    ],
)  # fmt: skip
def test_what_names_no_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BenchError) as caught:
        sweeps.load(Path(given))
    assert str(caught.value) == line


def test_plan_tells_missing_and_unknown_images(tmp_path: Path, mini_data: Path) -> None:
    sweep = sweeps.load(write(tmp_path), only="mini-dino-s0")
    [planned] = states.plan(sweep, tmp_path / "results", mini_data)
    assert planned.state == "to do" and planned.folder is not None
    with pytest.raises(BenchError, match="unknown image set 'mini'"):
        states.plan(sweep, tmp_path / "results", tmp_path / "empty")
    paper = sweeps.load(REPOSITORY / "sweeps/table2.yaml", only="cifar10-dino-s0")
    [planned] = states.plan(paper, tmp_path / "results", tmp_path / "empty")
    assert planned.state == "no data" and "cifar10/train" in planned.detail and "lsun/test" in planned.detail


def test_downloads_needs_only_sets_that_download_by_themselves(tmp_path: Path) -> None:
    runs = sweeps.load(REPOSITORY / "sweeps/downloads.yaml").runs
    assert [run.config.variant for run in runs] == ["dino", "rot-in-dist", "perm-4-in-dist", "none", "none"]
    lacking = missing.missing_sets(states.plan(sweeps.load(Path("downloads")), tmp_path, tmp_path))
    assert list(lacking) == ["cifar10/train", "cifar10/test", "cifar100/test", "svhn/test", "texture/test"]
    assert {key.split("/")[0] for key in lacking} <= LOADERS.keys()


def test_plan_reads_failed_and_interrupted_from_the_status(tmp_path: Path, mini_data: Path) -> None:
    sweep = sweeps.load(write(tmp_path), only="mini-dino-*")
    first, second = states.plan(sweep, tmp_path / "results", mini_data)
    assert first.folder and second.folder
    first.folder.write_status(Status(state="failed", error="Traceback ...\nValueError: broken"))
    second.folder.write_status(Status(state="running"))  # says so, but nobody holds the lease: it was killed
    first, second = states.plan(sweep, tmp_path / "results", mini_data)
    assert (first.state, first.detail) == ("failed", "ValueError: broken")
    assert second.state == "lost"
    second.folder.write_status(Status(state="interrupted"))
    assert states.plan(sweep, tmp_path / "results", mini_data)[1].state == "interrupted"
