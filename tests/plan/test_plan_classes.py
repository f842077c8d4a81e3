"""One class of a set as a run's in-distribution set: its OOD sets, its names, and what is refused before any image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import TINY, tiny

from benchmark.data.images import write_set
from benchmark.errors import BenchError
from benchmark.plan import sweep as sweeps
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.validation import validate
from benchmark.report.published import sets as published
from benchmark.running.images import load_images
from benchmark.store import states


def config(in_dist: str, ood: list[str] | None = None, **fields: Any) -> RunConfig:
    raw = {
        "in_dist": in_dist,
        "variant": "none" if "method" in fields else "dino",
        "eval": {"ood": ood} | fields.pop("eval", {}),
        **fields,
    }
    made: RunConfig = validate(RunConfig, raw, "x.yaml")
    return made


def refused(in_dist: str, ood: list[str] | None = None, **fields: Any) -> str:
    with pytest.raises(BenchError) as caught:
        config(in_dist, ood, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_ood_set_of_a_class_is_all_others() -> None:
    assert config("cifar10:automobile").ood_sets() == ["cifar10:not-automobile"]
    assert config("cifar10:not-automobile").ood_sets() == ["cifar10:automobile"]
    assert config("pets@64:big-cat").ood_sets() == ["pets@64:not-big-cat"]
    given = ["svhn", "other-classes", "cifar10:not-ship", "svhn"]
    assert config("cifar10:ship", given).ood_sets() == ["svhn", "cifar10:not-ship"]
    assert config("cifar10:ship", given).eval.ood == given  # as it was given: the settings of the sweep's runs agree
    assert config("cifar10:ship", []).ood_sets() == []
    assert len(config("cifar10").ood_sets()) == 8


def test_keys_and_stored_names() -> None:
    one = config("cifar10:ship", ["other-classes", "svhn"])
    assert one.train_key == "cifar10:ship/train" and one.ood_key("cifar10:not-ship") == "cifar10:not-ship/test"
    direct = config("cifar10:ship", ["other-classes"], eval={"ood_resize": "direct"})
    assert direct.ood_key("cifar10:not-ship") == "cifar10@256:not-ship/test"
    assert direct.stored_name("texture") == "texture@256" and direct.stored_name("svhn@64:3") == "svhn@64:3"
    small = config("cifar10", [], eval={"ood_resize": "direct"}, views={"global_size": 32, "local_size": 16})
    assert small.stored_name("texture") == "texture"  # which is what it is called at 32 pixels
    assert small.reference("image-statistics").stored_name("texture") == "texture"
    whole = config("cifar10", [], eval={"ood_resize": "direct"}, method={"name": "rotation"})
    assert whole.stored_name("texture") == "texture"  # it sees whole images of 32 pixels, and no view of 256


def test_names_of_runs_are_file_names() -> None:
    one = config("cifar10:not-ship", method={"name": "rotation"})
    assert one.short_name == "cifar10.not-ship-rotation-s0"
    assert one.run_name("1234abcdef") == "cifar10.not-ship-rotation-s0-1234abcd"
    assert config("cifar10").short_name == "cifar10-dino-s0"


def test_each_class_is_a_run_of_its_own_and_ood_sets_are_none() -> None:
    recipes = {config(name).recipe_id() for name in ("cifar10", "cifar10:ship", "cifar10:not-ship", "cifar10:truck")}
    assert len(recipes) == 4
    assert config("cifar10:ship").recipe_id() == config("cifar10:ship", ["other-classes", "svhn"]).recipe_id()
    assert config("cifar10:ship").setting() == config("cifar10:truck").setting()


def test_a_class_of_cifar100_starts_as_cifar100_does() -> None:
    starts = {"cifar100": 0.05, "cifar100@64": 0.05, "cifar100@64:apple": 0.05, "cifar10": 0.055}
    starts |= {"cifar100:apple": 0.05, "cifar100:not-apple": 0.05, "cifar10:cat": 0.055}
    for name, start in starts.items():
        assert config(name).method.start_temperature(name) == start  # type: ignore[attr-defined]
        assert config(name).identity()["method"]["teacher_temperature_start"] == start


def test_the_paper_has_no_values_for_a_class() -> None:
    assert published.value("cifar10", "cifar100", "dino") == 90.29
    assert published.value("cifar10:cat", "cifar100", "dino") is None
    assert published.value("cifar10", "cifar100:apple", "dino") is None
    assert not published.is_stand_in("lsunlike:tower") and published.is_stand_in("lsunlike")
    assert published.original("cifar10:cat") == "cifar10:cat" and published.paper_sets("cifar10:cat") == []
    assert published.average("cifar10:cat", ["cifar10:not-cat"], "dino") is None


@pytest.mark.parametrize(
    ("in_dist", "ood", "parts"),
    [
        ("cifar10:automobil", None, ["in_dist: unknown class of cifar10 'automobil'", "did you mean 'automobile'"]),
        ("cifar10:Ship", None, ["in_dist: ", "is called cifar10:ship"]),
        ("cifar10:8", None, ["in_dist: ", "is called cifar10:ship"]),
        ("synthetic:fisch", None, ["in_dist: unknown class of synthetic", "fish"]),
        ("cifar10:*", None, ["in_dist: 'cifar10:*'", "in_dist of a grid alone"]),
        ("pets:*", None, ["in_dist: 'pets:*'", "in_dist of a grid alone"]),
        ("pets:Big_Cat", None, ["in_dist: 'pets:Big_Cat'", "as in pets:big-cat"]),
        ("a:b:c", None, ["in_dist: ", "'a:b:c'", "SET:CLASS"]),
        ("cifar10:ship", ["cifar10:shop"], ["eval.ood: unknown class of cifar10 'shop'"]),
        ("cifar10:ship", ["svhn", "cifar10:ship"], ["eval.ood: 'cifar10:ship' holds images of in_dist"]),
        ("cifar10:ship", ["cifar10"], ["eval.ood: 'cifar10' holds", "all other classes are cifar10:not-ship"]),
        ("cifar10:ship", ["cifar10:not-cat"], ["eval.ood: 'cifar10:not-cat' holds images of in_dist 'cifar10:ship'"]),
        ("cifar10:not-cat", ["cifar10:ship"], ["eval.ood: 'cifar10:ship' holds images of in_dist"]),
        ("cifar10", ["cifar10:ship"], ["eval.ood: 'cifar10:ship' holds images of in_dist 'cifar10'"]),
        ("pets:cat", ["pets"], ["eval.ood: 'pets' holds images of in_dist"]),
        ("cifar10", ["other-classes"], ["eval.ood: 'other-classes' needs a class as in_dist", "'cifar10'"]),
    ],
)
def test_refused_by_name(in_dist: str, ood: list[str] | None, parts: list[str]) -> None:
    said = refused(in_dist, ood)
    assert all(part in said for part in ["x.yaml", *parts]), said


def test_a_class_behind_an_auxiliary_source() -> None:
    sources = {"imagenet": "cifar100:not-bus", "dti": "dti"}
    made = config("cifar10:automobile", variant="imgn", data={"sources": sources})
    assert ("cifar100:not-bus", "aux") in made.training_sets()
    said = refused("cifar10:automobile", data={"sources": {"imagenet": "cifar100:buss"}})
    assert "data.sources.imagenet: unknown class of cifar100 'buss'" in said


# --- against what is stored ------------------------------------------------------------------------------------------

TITLES = ["red", "green", "blue", "grey"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """mini as of `tiny_runs`, with named classes; the last has no images in test. odd: a class called not-...."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 24)):
        pixels = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        kinds = 4 if split == "train" else 3
        write_set(tmp_path / "data", "mini", split, pixels, np.arange(count) % kinds, "random", TITLES)
        odd = ["ripe", "not ripe", "rotten"]
        write_set(tmp_path / "data", "odd", split, pixels, np.arange(count) % 3, "random", odd)
        write_set(tmp_path / "data", "bare", split, pixels, np.full(count, -1), "random")
    return tmp_path / "data"


def planned(folder: Path, root: Path, in_dist: str, ood: list[str] | None = None) -> list[states.PlannedRun]:
    path = folder / "s.yaml"
    base = {**TINY, "in_dist": in_dist, "variant": "dino", "eval": {"ood": ood, "knn": [5]}}
    path.write_text(yamlfile.write({"base": base, "references": []}))
    return states.plan(sweeps.load(path), folder / "results", root)


def test_a_plan_names_its_run_by_the_class(tmp_path: Path, root: Path) -> None:
    folders = [planned(tmp_path, root, f"mini:{of}")[0].folder for of in ("red", "green", "not-red")]
    names = [folder.name.rpartition("-")[0] for folder in folders if folder]
    assert names == ["mini.red-dino-s0", "mini.green-dino-s0", "mini.not-red-dino-s0"]


@pytest.mark.parametrize(
    ("in_dist", "ood", "parts"),
    [
        ("mini:rad", None, ["in_dist: unknown class of mini 'rad'", "allowed: blue, green, grey, red"]),
        ("mini:0", None, ["in_dist: 'mini:0': this class is called mini:red"]),
        ("mini:grey", None, ["in_dist: image set mini:grey/test: mini/test has no images of it"]),
        ("mini:red", ["mini:grey"], ["eval.ood: image set mini:grey/test: mini/test has no images of it"]),
        ("mini:red", ["mini:not-blue"], ["eval.ood: 'mini:not-blue' holds images of in_dist 'mini:red'"]),
        ("odd:ripe", None, ["eval.ood: 'odd:not-ripe' is a class of odd itself"]),
        ("bare:0", None, ["image set bare/train: has no labels"]),
        ("absent:0", None, ["in_dist: unknown image set 'absent'"]),
        ("mini:red", ["absent:1"], ["eval.ood: unknown image set 'absent'"]),
    ],
)
def test_refused_by_what_is_stored(
    tmp_path: Path, root: Path, in_dist: str, ood: list[str] | None, parts: list[str]
) -> None:
    with pytest.raises(BenchError) as caught:
        planned(tmp_path, root, in_dist, ood)
    said = str(caught.value)
    assert "\n" not in said and all(part in said for part in [str(tmp_path / "s.yaml"), *parts]), said


def test_the_run_itself_refuses_too(root: Path) -> None:
    for in_dist, ood, words in (
        ("mini:red", ["mini:not-blue"], "holds images of in_dist"),
        ("odd:ripe", None, "name the sets in eval"),
        ("mini:grey", None, "no images of it"),
        ("mini:red", ["other-classes"], "60 neighbours of 10 training images of mini:red"),
    ):
        with pytest.raises(BenchError, match=words):
            load_images(tiny(in_dist=in_dist, variant="dino", eval={"ood": ood, "knn": [60]}), root)


def test_the_images_of_a_run(root: Path) -> None:
    made = tiny(
        in_dist="mini:red", variant="dino", data={"train_limit": 6}, train={"batch": 6}, eval={"ood": ["other-classes"]}
    )
    images = load_images(made, root)
    assert images.array("mini:red/train").shape == (6, 32, 32, 3) and set(images.labels("mini:red/train").tolist()) == {
        0
    }
    assert set(images.labels("mini:not-red/test").tolist()) == {1, 2}
    record = images.in_record()
    assert {key: (seen.count, seen.official, seen.official_count) for key, seen in record.items()} == {
        "mini:red/train": (6, False, None),
        "mini:red/test": (8, False, None),
        "mini:not-red/test": (16, False, None),
    }


def test_missing_images_are_those_of_the_whole_set(tmp_path: Path) -> None:
    [item] = planned(tmp_path, tmp_path / "data", "cifar10:ship", ["other-classes", "svhn", "cifar100:apple"])
    assert item.state == "no data" and item.folder is None
    assert item.detail == "missing cifar10/train, cifar10/test, svhn/test, cifar100/test"
