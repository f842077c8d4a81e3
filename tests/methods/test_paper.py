"""methods/PAPER.md: the headings that code cites, every setting as it is, and the published numbers."""

from __future__ import annotations

import json
import re
from statistics import fmean
from typing import Any

import pytest
from readmes import REPOSITORY

from benchmark.negatives import VARIANTS
from benchmark.plan.config import PROTOCOLS, RunConfig
from benchmark.plan.methods import DinoConfig
from benchmark.report.published import sets as published

TEXT = (REPOSITORY / "benchmark/methods/PAPER.md").read_text()
HEADINGS = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
SECTIONS = ("data", "model", "views", "negatives", "method", "train", "eval")
ROW = re.compile(r"^\| `(\w+\.\w+)` \| `(.+?)` \| (.+) \|$", re.MULTILINE)


def cited(text: str) -> list[str]:
    """The headings that a file cites, as in: PAPER.md, "Model" and "Loss"."""
    places = re.findall(r'PAPER\.md, ("[^"]+"(?: and "[^"]+")*)', text)
    return [heading for place in places for heading in re.findall(r'"([^"]+)"', place)]


def anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_heading_that_is_cited_exists() -> None:
    found = {}
    for folder in ("benchmark", "tests"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            text = path.read_text()
            if path.name != "test_paper.py":
                assert not re.search(r"\bMETHOD[:']", text), f"{path}: cites a page that is not in the repository"
                named = len(re.findall(r"PAPER\.md", text))
                found[path.name] = cited(text)
                assert bool(named) == bool(found[path.name]), f"{path}: cites PAPER.md without a heading"
    assert len([heading for of in found.values() for heading in of]) >= 12
    assert {name: set(of) - set(HEADINGS) for name, of in found.items() if set(of) - set(HEADINGS)} == {}


def test_a_heading_that_is_not_there_is_found() -> None:
    assert cited('see methods/PAPER.md, "Model" and "Losses", and "this"') == ["Model", "Losses"]
    assert "Losses" not in HEADINGS and "Loss" in HEADINGS


def test_links_within_the_page_lead_to_headings() -> None:
    wanted = re.findall(r"\]\(#([^)]+)\)", TEXT)
    assert len(wanted) == 4 and set(wanted) <= set(map(anchor, HEADINGS))


def test_every_setting_stands_there_with_its_default_and_a_source() -> None:
    full = RunConfig(in_dist="cifar10", variant="dino").model_dump(mode="json")
    defaults = {f"{section}.{key}": value for section in SECTIONS for key, value in full[section].items()}
    rows: dict[str, Any] = {}
    for name, value, source in ROW.findall(TEXT):
        assert name not in rows and re.match(r"(paper|code|DINO|ours|of other methods)\b", source), name
        rows[name] = json.loads(value)
    assert rows == defaults


def test_what_the_authors_protocol_brings_back_is_explained() -> None:
    for section, settings in PROTOCOLS["authors"].items():
        for key, value in settings.items():
            [source] = [source for name, _, source in ROW.findall(TEXT) if name == f"{section}.{key}"]
            assert (str(value).lower() in source) or "per view" in source, key


def test_start_temperatures_are_those_of_the_page() -> None:
    [source] = [source for name, _, source in ROW.findall(TEXT) if name == "method.teacher_temperature_start"]
    for name, value in (("cifar10", 0.055), ("cifar100", 0.050)):
        assert DinoConfig().start_temperature(name) == value and f"{value:.3f} for {name.upper()}" in source


def test_the_table_of_negatives_has_the_papers_columns() -> None:
    table = TEXT.split("## Negatives")[1].split("## Evaluation")[0]
    named = {name for row in re.findall(r"^\| ([^|`]+) \|", table, re.MULTILINE) for name in row.split(", ")}
    assert {variant.label for variant in VARIANTS.values()} <= named


def test_the_nine_oddities_have_the_published_numbers() -> None:
    oddities = dict(re.findall(r"^### Oddity (\d): .*\n\n((?:.+\n)+)", TEXT, re.MULTILINE))
    assert list(map(int, oddities)) == list(range(1, 10))
    for ood in ("cifar100", "svhn"):
        [value] = {published.VALUES["cifar10", ood, column] for column in ("dti", "rot-dti")}
        assert f"({value:.2f})" in oddities["4"]
    for column in ("combined", "rot-imgn"):
        mean = fmean(published.VALUES["cifar10", ood, column] for ood in published.paper_sets("cifar10"))
        assert f"{mean:.2f}" in oddities["5"]


def test_the_claims_have_the_published_numbers() -> None:
    text = " ".join(TEXT.split("## Claims")[1].split("## Known oddities")[0].split())
    mean = {
        column: fmean(published.VALUES["cifar10", ood, column] for ood in published.paper_sets("cifar10"))
        for column in VARIANTS
    }
    claims = {
        "Rot. ImgN is (.+?) above ImgN": mean["rot-imgn"] - mean["imgn"],
        "Rot. DTI (.+?) above DTI": mean["rot-dti"] - mean["dti"],
        "Rot.360 ImgN is (.+?) below ImgN": mean["imgn"] - mean["rot360-imgn"],
        "Rot. In-Dist. is the best single source .(.+?).,? and": published.VALUES["cifar10", "cifar100", "rot-in-dist"],
        "Combined is above it .(.+?)[)]": published.VALUES["cifar10", "cifar100", "combined"],
    }
    for pattern, value in claims.items():
        [said] = re.findall(pattern, text)
        assert float(said) == pytest.approx(value, abs=0.011), pattern
