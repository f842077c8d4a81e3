from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from tiny_runs import TINY, tiny

from benchmark.errors import BenchError
from benchmark.plan import config as config_module
from benchmark.plan import yamlfile
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import DinoConfig
from benchmark.plan.validation import validate
from benchmark.store.folders import RunFolder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"epoch": 3}}, ["base.train", "unknown key 'epoch'", "did you mean 'epochs'", "allowed: batch"]),
        ({"train": {"epochs": "3"}}, ["base.train.epochs", "integer", "given '3'"]),
        ({"train": {"epochs": 0}}, ["base.train.epochs", "greater than or equal to 1", "given 0"]),
        ({"train": 3}, ["base.train", "given 3"]),
        ({"variant": "rot-imgnn"}, ["unknown variant 'rot-imgnn'", "did you mean 'rot-imgn'"]),
        ({"variant": "perm-0-imgn"}, ["unknown variant 'perm-0-imgn'"]),
        ({"variant": "perm-7-imgn"}, ["perm-7 does not divide", "32x32"]),
        ({"variant": f"perm-{10**20}-imgn"}, [f"perm-{10**20} does not divide", "32x32"]),
        ({"method": {"name": "foo"}}, ["base.method", "unknown method 'foo'", "dino"]),
        ({"method": {"clases": 5}}, ["base.method", "unknown key 'clases'", "did you mean 'classes'"]),
        ({"protocol": "mine"}, ["base.protocol", "'paper' or 'authors'", "given 'mine'"]),
        ({"data": {"sources": {}}}, ["data.sources.imagenet", "not set"]),
        ({"train": {"epochs": 2, "warmup_epochs": 2.0}}, ["train.warmup_epochs", "leaves nothing"]),
        ({"views": {"local_scale": [0.4, 0.1]}}, ["views.local_scale", "smallest, largest"]),
        ({"views": {"global_scale": [40, 100]}}, ["views.global_scale", "[40.0, 100.0] given", "up to 1"]),
        ({"views": {"local_scale": [0, 0.4]}}, ["views.local_scale", "above 0"]),
        ({"eval": {"scores": ["eq6-permutations"]}, "data": {"image_size": 33}}, ["eval.scores", "is odd"]),
        ({"eval": {"temperature": float("inf")}}, ["base.eval.temperature", "finite"]),
    ],
)
def test_bad_settings_give_one_line_that_names_the_key(change: dict, words: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        validate(RunConfig, {**TINY, **change}, "file.yaml", "base")
    line = str(caught.value)
    assert "\n" not in line and line.startswith("file.yaml: ")
    for word in words:
        assert word in line, line


@pytest.mark.parametrize(("variant", "refused"), [("perm-9-imgn", ""), ("perm-4096-imgn", "36x36")])
def test_patches_must_fit_the_views_that_are_seen_and_no_others(variant: str, refused: str) -> None:
    """Outlier Exposure has one view, of the image's own size; the sizes of DINO's crops are nothing to it."""
    raw = {
        "in_dist": "mini", "variant": variant, "method": {"name": "outlier-exposure", "classes": 4},
        "model": {"backbone": "small_convnet", "args": {}}, "data": {"image_size": 36},
        "negatives": {"draw": "per-view"}, "eval": {"ood": ["mini-ood"]},
    }  # fmt: skip
    if not refused:
        assert RunConfig.model_validate(raw).input_sizes() == (36,)
        return
    with pytest.raises(ValueError, match=f"does not divide an image of {refused}"):
        RunConfig.model_validate(raw)


def test_missing_key_is_named() -> None:
    with pytest.raises(BenchError, match=r"in_dist: is required and missing"):
        validate(RunConfig, {"variant": "dino"}, "file.yaml")


def test_authors_protocol_brings_each_slip_and_yields_to_what_the_user_says() -> None:
    authors = tiny(protocol="authors")
    assert isinstance(authors.method, DinoConfig)
    assert (
        authors.data.aux_order,
        authors.negatives.draw,
        authors.negatives.rot360,
        authors.method.centre,
        authors.method.teacher_sees_negatives,
        authors.method.start_temperature(authors.in_dist),
    ) == ("fixed", "per-view", "any-angle", "two-rows", True, 0.04)
    mended = tiny(protocol="authors", data={"aux_order": "each-epoch"})
    assert mended.data.aux_order == "each-epoch" and mended.negatives.draw == "per-view"


def test_teacher_temperature_follows_the_paper_by_in_distribution_set() -> None:
    at = [
        RunConfig(in_dist=name, variant="dino").method.start_temperature(name)
        for name in ("cifar10", "cifar100", "mine")
    ]
    assert at == [0.055, 0.050, 0.055]


# What changes the numbers changes the id ------------------------------------------------------------------------------

CHANGES = [
    {"in_dist": "other"},
    {"variant": "imgn"},
    {"seed": 1},
    {"protocol": "authors"},
    {"data": {"train_limit": 8}},
    {"data": {"aux_limit": 8}},
    {"data": {"test_limit": 8}},
    {"data": {"sources": {"imagenet": "x", "dti": "y"}}},
    {"data": {"aux_order": "fixed"}},
    {"model": {"drop_path": 0.3}},
    {"views": {"local_views": 3}},
    {"views": {"local_scale": [0.05, 0.4]}},
    {"negatives": {"weight": 0.5}},
    {"negatives": {"draw": "per-view"}},
    {"method": {"classes": 17}},
    {"method": {"head": "text"}},
    {"method": {"centre": "two-rows"}},
    {"method": {"teacher_temperature_start": 0.04}},
    {"method": {"teacher_momentum": 0.9}},
    {"train": {"epochs": 3}},
    {"train": {"batch": 4}},
    {"train": {"precision": "bf16"}},
    {"train": {"clip": 1.0}},
    {"eval": {"temperature": 0.1}},
    {"eval": {"knn": [3]}},
    {"eval": {"ood_resize": "direct"}},
]


def test_every_change_of_the_numbers_changes_the_id() -> None:
    ids = [tiny(**change).recipe_id() for change in [{}, *CHANGES]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "change",
    [
        {"eval": {"ood": ["another"]}},  # each OOD set is scored on its own
        {"data": {"sources": {"imagenet": "mini-aux", "dti": "unused"}}},  # Combined reads no DTI
        {"negatives": {"rot360": "any-angle"}},  # no Rot.360 in Combined
        {"method": {"centre_shards": 2}},  # only the two-rows centre has shards
        {"method": {"teacher_sees_negatives": True}},  # time, not numbers
        {"method": {"teacher_temperature_start": 0.055}},  # what "paper" means here
        {"method": {"name": "dino"}},
    ],
)
def test_what_changes_no_number_keeps_the_id(change: dict) -> None:
    assert tiny(**change).recipe_id() == tiny().recipe_id()


def test_a_run_without_negatives_ignores_all_that_concerns_them() -> None:
    plain = tiny(variant="dino").recipe_id()
    for change in ({"negatives": {"weight": 0.3}}, {"data": {"aux_limit": 3}}, {"data": {"sources": {}}}):
        assert tiny(variant="dino", **change).recipe_id() == plain


def test_reference_rows_ignore_training() -> None:
    for name in ("untrained", "image-statistics"):
        change = {"method": {"name": name}, "variant": "none"}
        raw = {**TINY, **change}
        first = validate(RunConfig, raw, "t").recipe_id()
        assert validate(RunConfig, {**raw, "train": {"epochs": 9, "warmup_epochs": 1.0}}, "t").recipe_id() == first
        assert validate(RunConfig, {**raw, "data": {"test_limit": 3}}, "t").recipe_id() != first


def test_perm_variant_by_its_own_name_and_by_the_table_is_the_same_run() -> None:
    assert tiny(variant="perm-4-imgn").recipe_id() != tiny(variant="perm-16-imgn").recipe_id()
    assert tiny(variant="perm-8-dti").label == "perm-8-dti"


def test_run_id_depends_on_the_images() -> None:
    assert tiny().run_id({"mini/train": "a"}) != tiny().run_id({"mini/train": "b"})
    assert tiny().run_name(tiny().run_id({})).startswith("mini-combined-s0-")


def test_ids_of_the_papers_runs_stay_what_they_were() -> None:
    """A changed id orphans every result that people have; a new field belongs in LEGACY_DEFAULTS."""
    pinned = json.loads((Path(__file__).parent / "pinned_ids.json").read_text())
    now = {name: RunConfig(in_dist="cifar10", variant=name).recipe_id()[:16] for name in pinned}
    assert now == pinned


COMMITTED = sorted((Path(__file__).parents[2] / "results/reference").glob("*/*/record.json"))


def test_committed_records_keep_their_names() -> None:
    """Whatever fields have joined since: the same settings are the same run."""
    assert len(COMMITTED) >= 26
    for file in COMMITTED:
        record = RunFolder(file.parent).read_record()
        assert record is not None
        config = record.run_config
        training = {"/".join(key) for key in config.training_sets()}
        run_id = config.run_id({key: seen.fingerprint for key, seen in record.data.items() if key in training})
        assert (config.recipe_id(), run_id, config.run_name(run_id)) == (record.recipe_id, record.run_id, record.name)


def test_a_later_field_at_its_legacy_value_stays_out_of_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tiny().recipe_id()
    monkeypatch.setitem(config_module.LEGACY_DEFAULTS, "train.clip", 3.0)
    assert tiny().recipe_id() != before  # as if `clip` had been added later: 3.0 means "as it was"
    assert "clip" not in tiny().identity()["train"]
    assert tiny(train={"clip": 2.0}).identity()["train"]["clip"] == 2.0


def test_the_rise_of_lambda_is_part_of_a_run_with_negatives_alone() -> None:
    slow = {"negatives": {"weight_warmup_epochs": 2.0}}
    assert "weight_warmup_epochs" not in tiny().identity()["negatives"]  # 0: as before it could be told
    assert tiny(negatives={"weight_warmup_epochs": 0.0}).recipe_id() == tiny().recipe_id()
    assert tiny(**slow).identity()["negatives"]["weight_warmup_epochs"] == 2.0
    assert tiny(**slow).recipe_id() not in (
        tiny().recipe_id(),
        tiny(negatives={"weight_warmup_epochs": 1.0}).recipe_id(),
    )
    assert tiny(variant="dino", **slow).recipe_id() == tiny(variant="dino").recipe_id()
    for name in ("rotation", "untrained", "image-statistics"):
        raw = {**TINY, "variant": "none", "method": {"name": name}}
        assert validate(RunConfig, raw | slow, "t").recipe_id() == validate(RunConfig, raw, "t").recipe_id()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"negatives": {"weight_warmup_epochs": 2.5}},
            "s.yaml: negatives.weight_warmup_epochs: 2.5 is more than train.epochs 2; allowed: 0 to 2",
        ),
        ({"negatives": {"weight_warmup_epochs": -1.0}}, "s.yaml: negatives.weight_warmup_epochs: input should be"),
        ({"eval": {"every": 0}}, "s.yaml: eval.every: input should be greater than or equal to 1, given 0"),
        ({"eval": {"every": 1.5}}, "s.yaml: eval.every: input should be a valid integer, given 1.5"),
        (
            {"seed": [0, 1]},
            "s.yaml: seed: input should be a valid integer, given [0, 1]; several values are an axis: "
            "grid: {seed: [0, 1]}",
        ),
    ],
)
def test_a_rise_or_looks_that_cannot_be(change: dict[str, Any], line: str) -> None:
    with pytest.raises(BenchError) as caught:
        validate(RunConfig, {**TINY, **change}, "s.yaml")
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


def test_a_rise_over_all_epochs_is_allowed_and_minds_only_methods_with_negatives() -> None:
    assert tiny(negatives={"weight_warmup_epochs": 2.0}).negatives.weight_warmup_epochs == 2.0
    untrained = {**TINY, "variant": "none", "method": {"name": "untrained"}, "negatives": {"weight_warmup_epochs": 9.0}}
    validate(RunConfig, untrained, "t")


def test_scoring_on_the_way_and_no_ood_set_change_no_name() -> None:
    for change in ({"every": 1}, {"ood": []}):
        config = tiny(eval={**TINY["eval"], **change})
        assert config.recipe_id() == tiny().recipe_id() and config.setting() == tiny().setting()
    assert tiny(eval={"ood": []}).ood_sets() == []


def test_config_survives_its_yaml() -> None:
    for config in (tiny(), tiny(protocol="authors"), RunConfig(in_dist="cifar10", variant="dino")):
        text = yamlfile.write(config.model_dump(mode="json"))
        again = validate(RunConfig, yamlfile.parse(text, "x"), "x")
        assert again == config and again.recipe_id() == config.recipe_id()


# YAML -----------------------------------------------------------------------------------------------------------------


def test_yaml_reads_numbers_and_words_as_people_mean_them() -> None:
    text = "a: 1e-4\nb: on\nc: 010\nd: 3:30:00\ne: true\nf: ~\ng:\nh: 1.5\ni: -3\nj: 2026-01-01\nk: .5\nl: 1E+3\nm: no"
    assert yamlfile.parse(text, "x") == {
        "a": 1e-4,
        "b": "on",
        "c": "010",
        "d": "3:30:00",
        "e": True,
        "f": None,
        "g": None,
        "h": 1.5,
        "i": -3,
        "j": "2026-01-01",
        "k": 0.5,
        "l": 1000.0,
        "m": "no",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  c: 2\n", ["x.yaml:4:3", "duplicate key 'c'"]),
        ("a: [1", ["x.yaml:1"]),
        ("a: !!python/object/apply:os.system [ls]", ["x.yaml:1:4"]),
        ("a: !!int x", ["x.yaml", "'x'"]),
        ("a: " + 5000 * "1", ["x.yaml", "limit"]),
        ("1: 2", ["'1' is not text"]),
    ],
)
def test_broken_yaml_names_file_and_line(text: str, words: list[str]) -> None:
    with pytest.raises(BenchError) as caught:
        yamlfile.parse(text, "x.yaml")
    assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_both_yaml_parsers_read_the_same() -> None:
    """Random damage to YAML of all kinds: a text is the same value, or an error, with and without libyaml."""

    def outcome(loader: Any, text: str) -> str:
        try:
            return repr(yaml.load(text, Loader=loader))
        except yaml.YAMLError:
            return "error"

    plain = (
        "a: 1e-4\nb: on\nc: 010\nd: [1, 2.5, .5, 1., +3, ~, null, true]\n",
        "a: {b: 1, c: [x, 'y z', \"q\\n\"]}\nd:\n  e: 3:30:00\n  f: 2026-01-01\n",
        "a: &x {k: v}\nb: *x\n# note\n- 1\n- - 2\n  - 3\n",
        yamlfile.write(tiny().model_dump(mode="json")),
    )
    pieces = [*" \n:-#[]{}&*'\"@`,~\\=<0123456789.eE+atn", "\n  ", ": ", "- ", "<<: ", "---\n", "...\n"]
    random = Random(0)
    compared = 0
    for _ in range(600):
        text = random.choice(plain)
        for _ in range(random.choice((1, 2, 5))):
            place = random.randrange(len(text))
            text = text[:place] + random.choice(pieces) + text[place + random.choice((0, 1, 3)) :]
        slow = outcome(yamlfile._Loader, text)
        fast = "error" if yamlfile._READ_DIFFERENTLY.search(text) else outcome(yamlfile._FastLoader, text)
        assert fast in (slow, "error"), text  # after an error the Python parser decides
        compared += fast != "error"
    assert compared > 100


@pytest.mark.parametrize("text", ["a:\tb", "a: |#\n  b", "a: [1?e5]", "a: [!, b]", "? a\n: b\ufeff\t"])
def test_texts_that_libyaml_alone_would_take(text: str) -> None:
    with pytest.raises(BenchError, match=r"x\.yaml:"):
        yamlfile.parse(text, "x.yaml")
