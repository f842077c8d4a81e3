"""`bench report --page`: tables, figures, curves, claims, scores, images and provenance as one HTML file.

All that is shown is computed here, most of it by the modules that make the other files; the page's script only sorts,
highlights and shows. Nothing in it is fetched from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark.data.catalog import info
from benchmark.plan.methods import REFERENCES
from benchmark.report import cells, charts, detectors_table, scores_table, tables
from benchmark.report import claims as paper_claims
from benchmark.report.claims_text import Claim
from benchmark.report.groups import Group, title_of
from benchmark.report.markup import Html, embed, join, png, summary_cards, tag, write_document
from benchmark.report.one_class import OneClass
from benchmark.report.one_class_page import one_class_parts
from benchmark.report.page_figures import figures_section, looks_section, training_section
from benchmark.report.page_provenance import SYMBOLS, claims_section, provenance_section
from benchmark.report.page_scores import IMAGE_BYTES, Thumbnails, scores_section
from benchmark.report.page_tables import tables_section


def write_page(path: Path, title: str, groups: Sequence[Group | OneClass], results: Path, data: Path) -> Path:
    """Write the page of these groups of runs and return its path.

    results: where the runs' folders are (curves and scores are read from there). data: the folder of the image sets,
    for thumbnails; what is missing in either is said on the page. Raises BenchError for a damaged scores.npz.
    """
    thumbnails = Thumbnails(data, IMAGE_BYTES)
    sections = [_group(group, number, results, thumbnails) for number, group in enumerate(groups)]
    labels = dict.fromkeys(label for group in groups for label in _labels(group))
    ordered = sorted(labels, key=lambda label: label in REFERENCES)
    links = [_links(group, number) for number, group in enumerate(groups)]
    keys = [tag("button", charts.key(label), title_of(label), type="button", data_v=label, aria_pressed="false")
            for label in ordered]  # fmt: skip
    aside = tag(
        "aside",
        tag("nav", links, aria_label="Sections"),
        tag("div", tag("h2", "Highlight"), tag("div", keys, class_="keys", data_roving=""), class_="legend"),
    )
    body = join([
        tag("header", tag("h1", title), tag("p", "Label-free OOD detection by self-distillation and negative sampling: "
            "AUROC in %, larger is better.", class_="note"), class_="top"),
        tag("div", aside, tag("main", sections, id="main", tabindex="-1"), class_="columns"),
        tag("div", id="tip", role="tooltip", hidden=True),
        embed({"images": thumbnails.sources}),
    ])  # fmt: skip
    return write_document(path, title, body, ["page.css"], "page.js")


def _labels(group: Group | OneClass) -> list[str]:
    if isinstance(group, OneClass):
        return [column.label for column in group.columns]
    return [label for in_dist in group.in_dists for label in group.labels(in_dist)]


_SECTIONS = {"table-1": "Table 1", "table-2": "Table 2", "table-scores": "Table of scores",
             "figures": "Figures 2 and 3", "training": "Training",
             "claims": "Claims", "scores": "Scores and images", "provenance": "Provenance"}  # fmt: skip
_ONE_CLASS = {"table-one-class": "Table", "figure-one-class": "Figure"}
_OF_SETS = ("table-1", "table-2", "figures")


def _names(group: Group | OneClass) -> dict[str, str]:
    """The sections of a group: key -> name."""
    shown = {
        key: name for key, name in _SECTIONS.items() if key != "table-scores" or scores_table.scores_of(group.runs)
    }
    if isinstance(group, OneClass):
        return _ONE_CLASS | {key: name for key, name in shown.items() if key not in _OF_SETS}
    return shown


def _heading(group: Group | OneClass) -> str:
    of_class = f"Classes of {info(group.parent).title}" if isinstance(group, OneClass) else ""
    return ": ".join(part for part in (of_class, group.heading) if part)


def _links(group: Group | OneClass, number: int) -> Html:
    heading = _heading(group)
    head = tag("b", heading) if heading else None
    links = [tag("a", name, href=f"#{key}-{number}") for key, name in _names(group).items()]
    return join([head, *links])


def _group(group: Group | OneClass, number: int, results: Path, thumbnails: Thumbnails) -> Html:
    if isinstance(group, OneClass):
        summary, parts = one_class_parts(group, results, thumbnails)
    else:
        summary, parts = _parts(group, results, thumbnails)
    beside = detectors_table.detectors(group) if isinstance(group, Group) else []
    parts["table-scores"] = tables_section([*beside, *scores_table.scores(group)], {})
    parts["scores"] = join([parts["scores"], _foregrounds(group)])
    sections = [
        tag("section", tag("h2", name), parts[key], id=f"{key}-{number}", class_=key)
        for key, name in _names(group).items()
    ]
    heading = _heading(group)
    return tag("div", tag("h2", heading, class_="heading") if heading else None, summary, sections, class_="group")


def _foregrounds(group: Group | OneClass) -> Html | None:
    """What foregrounds and backgrounds are, on the built-in images, where runs tell them apart."""
    if not any(run.config.masked for run in group.runs):
        return None
    caption = "Foregrounds in built-in images, and what runs make of them (* by the method that is the default)."
    picture = Path(__file__).with_name("masks.png").read_bytes()
    return tag("figure", tag("img", src=png(picture), alt=caption, loading="lazy"), tag("figcaption", caption))


def _parts(group: Group, results: Path, thumbnails: Thumbnails) -> tuple[Html, dict[str, Html]]:
    """The summary of a group, and its sections by key."""
    checked = paper_claims.check(group)
    shown = tables.table1(group), tables.table2(group)
    return _summary(group, shown[1], checked), {
        "table-1": tables_section(shown[0], {}),
        "table-2": tables_section(shown[1], dict.fromkeys(note for table in shown[0] for note in table.notes)),
        "figures": join(figures_section(group, in_dist) for in_dist in group.in_dists),
        "training": join([training_section(group, results), *(looks_section(group, i) for i in group.in_dists)]),
        "claims": claims_section(checked, paper_claims.RULES),
        "scores": join(scores_section(group, in_dist, results, thumbnails) for in_dist in group.in_dists),
        "provenance": provenance_section(group),
    }


def _summary(group: Group, made: Sequence[cells.Table], checked: Sequence[Claim]) -> Html:
    """What one wants to know first: how much is done, what is best, what the references reach, how the claims stand."""
    done = sum(run.record is not None for run in group.runs)
    items = [("Runs done", f"{done} of {len(group.runs)}", "")]
    for table in made:
        row = next((row for row in table.rows if row.key == "average"), None)
        if row is None:
            continue
        of = f"{info(row.in_dist).title}, " if len(made) > 1 else ""
        best = [column for column, cell in row.cells.items() if cell.best]
        if best:
            ours = row.cells[best[0]].ours
            assert ours is not None
            items.append((f"Best average AUROC ({of}{row.title.removeprefix('average ')[1:-1]} OOD sets)",
                          f"{ours.mean:.2f}", ", ".join(map(title_of, best))))  # fmt: skip
        references = [(column, cell.ours) for column, cell in row.cells.items() if column in REFERENCES and cell.ours]
        if references:
            text = " · ".join(f"{ours.mean:.2f}" for _, ours in references)
            items.append((f"Reference averages{f' ({of[:-2]})' if of else ''}", text,
                          " · ".join(title_of(column) for column, _ in references)))  # fmt: skip
    counts = {verdict: sum(claim.verdict == verdict for claim in checked) for verdict in SYMBOLS}
    items.append(("The paper's claims", f"{counts['holds']} of {len(checked)} hold",
                  f"{counts['fails']} fail, {counts['not measured']} not measured"))  # fmt: skip
    return summary_cards(items)
