"""The JSON schema of sweep files, read by jsonschema: what we ship is valid under it, what people get wrong is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from command import run_bench

from benchmark.plan import sweep, yamlfile
from benchmark.plan.schema import sweep_schema


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(sweep_schema())
    return jsonschema.Draft202012Validator(sweep_schema())


@pytest.mark.parametrize("name", sweep.built_in())
def test_our_sweeps_are_valid(name: str, validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(yamlfile.read(sweep.built_in()[name]))


@pytest.mark.parametrize("content", [
    {}, {"base": {"method": {"classes": 64}}}, {"base": {"method": {"name": "rotation"}, "train": {"epochs": 3}}},
    {"extends": "small"}, {"grids": [{"base": {"seed": 1}, "grid": {"train.lr": [0.1]}}]}, {"references": []},
    {"overrides": [{"when": {"variant": "*"}, "set": {"train.lr": 0.1}, "resources": {"gpus": 2}}]},
    {"profiles": {"large": {"gpus": 4}}, "resources": {"profile": "large", "hours": 2}},
])  # fmt: skip
def test_parts_of_settings_are_valid(content: dict[str, Any], validator: jsonschema.Draft202012Validator) -> None:
    validator.validate(content)


@pytest.mark.parametrize(("content", "place"), [
    ({"gird": {}}, []),
    ({"base": {"trian": {}}}, ["base"]),
    ({"base": {"train": {"epochs": "ten"}}}, ["base", "train", "epochs"]),
    ({"base": {"train": {"epocs": 10}}}, ["base", "train"]),
    ({"base": {"method": {"name": "dinoo"}}}, ["base", "method"]),
    ({"base": {"method": {"name": "rotation", "classes": 64}}}, ["base", "method"]),
    ({"grid": {"variant": []}}, ["grid", "variant"]),
    ({"grids": [{"base": {"sed": 1}}]}, ["grids", 0, "base"]),
    ({"references": ["random"]}, ["references", 0]),
    ({"overrides": [{"when": {"variant": "*"}, "sets": {}}]}, ["overrides", 0]),
    ({"overrides": [{"resources": {"gpu": 1}}]}, ["overrides", 0, "resources"]),
    ({"resources": {"gpus": -1}}, ["resources", "gpus"]),
    ({"profiles": {"large": {"gpu": 4}}}, ["profiles", "large"]),
])  # fmt: skip
def test_mistakes_are_marked_where_they_are(
    content: dict[str, Any], place: list[str | int], validator: jsonschema.Draft202012Validator
) -> None:
    [error] = validator.iter_errors(content)
    assert list(error.absolute_path) == place


def test_the_command_prints_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = run_bench(monkeypatch, capsys, "schema")
    assert said.code == 0 and json.loads(said.out) == sweep_schema()


def test_every_file_that_is_read_is_one_that_the_schema_knows() -> None:
    """A key that is added to the models is in the schema too."""
    assert set(sweep_schema()["properties"]) == {*sweep.SweepFile.model_fields, "extends"}
    assert Path(sweep.built_in()["smoke"]).exists()
