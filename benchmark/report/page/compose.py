"""`bench report --page`: tables, figures, curves, claims, scores, images and provenance as one HTML file.

All that is shown is computed here, most of it by the modules that make the other files; the templates say how it stands
on the page, whose script only sorts, highlights and shows. Nothing in it is fetched from anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark.data.catalog import info
from benchmark.plan.methods import REFERENCES
from benchmark.plan.titles import title_of
from benchmark.report import claims, detectors_table, one_class_claims, scores_table, tables
from benchmark.report.cells import Table
from benchmark.report.claims_text import Claim
from benchmark.report.groups import Group
from benchmark.report.one_class import OneClass
from benchmark.report.one_class_table import one_class
from benchmark.report.page import document
from benchmark.report.page.charts import class_charts, figure_charts, loss_charts, training_charts
from benchmark.report.page.provenance import provenance
from benchmark.report.page.scores import IMAGE_BYTES, Thumbnails, chooser
from benchmark.report.page.tables import shown
from benchmark.report.verdicts import Verdict, tally

SYMBOLS: dict[Verdict, str] = {"holds": "✓", "unclear": "?", "fails": "✗", "not judged": "–"}


def write_page(path: Path, title: str, groups: Sequence[Group | OneClass], results: Path, data: Path) -> Path:
    """Write the page of these groups of runs and return its path.

    results: where the runs' folders are (curves and scores are read from there). data: the folder of the image sets,
    for thumbnails; what is missing in either is said on the page. Raises BenchError for a damaged scores.npz.
    """
    thumbnails = Thumbnails(data, IMAGE_BYTES)
    parts = [part_of(group, number, results, thumbnails) for number, group in enumerate(groups)]
    ordered = sorted(dict.fromkeys(label for group in groups for label in _labels(group)), key=REFERENCES.__contains__)
    return document.write(path, "page.html", ["page.css"], "page.js", title=title, groups=parts,
                          labels={label: title_of(label) for label in ordered}, images=thumbnails.sources)  # fmt: skip


def _labels(group: Group | OneClass) -> list[str]:
    if isinstance(group, OneClass):
        return [column.label for column in group.columns]
    return [label for in_dist in group.in_dists for label in group.labels(in_dist)]


def part_of(group: Group | OneClass, number: int, results: Path, thumbnails: Thumbnails) -> dict[str, Any]:
    """The summary of a group and its sections, in order: of each its id, class and name, and what shows `content`."""
    sections: list[dict[str, Any]] = []
    rules: Sequence[str]

    def add(kind: str, name: str, template: str, content: Any) -> None:
        shows = {"template": f"{template}.html", "content": content}
        sections.append({"id": f"{kind}-{number}", "kind": kind, "name": name, **shows})

    whole = Group(group.heading, group.runs)
    training = loss_charts(whole, results)
    if isinstance(group, OneClass):
        plain, checked = group.as_groups(), one_class_claims.check(group)
        rules = one_class_claims.rules(group)
        averaged, beside = one_class(group), []
        add("table-one-class", "Table", "tables", shown(averaged))
        figures = ("figure-one-class", "Figure", "charts", class_charts(group))
    else:
        plain, checked = [group], claims.check(group)
        rules = claims.rules(group, checked)
        first, averaged, beside = tables.table1(group), tables.table2(group), detectors_table.detectors(group)
        add("table-1", "Table 1", "tables", shown(first))
        add("table-2", "Table 2", "tables", shown(averaged, {note for table in first for note in table.notes}))
        drawn = [one for in_dist in group.in_dists for one in figure_charts(group, in_dist)]
        figures = ("figures", "Figures 2 and 3", "charts", drawn)
        training += [one for in_dist in group.in_dists for one in training_charts(group, in_dist)]
    if scores_table.scores_of(group.runs) or beside:
        add("table-scores", "Table of scores", "tables", shown([*beside, *scores_table.scores(group)]))
    add(*figures)
    add("training", "Training", "charts", training)
    add("claims", "Claims", "claims", {"claims": checked, "rules": rules, "symbols": SYMBOLS})
    choosers = [chooser(one, in_dist, results, thumbnails) for one in plain for in_dist in one.in_dists]
    masks = document.png(document.read_bytes("masks.png")) if any(run.config.masked for run in group.runs) else ""
    add("scores", "Scores and images", "scores", {"choosers": choosers, "foregrounds": masks})
    add("provenance", "Provenance", "provenance", provenance(whole))
    of_class = f"Classes of {info(group.parent).title}" if isinstance(group, OneClass) else ""
    heading = ": ".join(filter(None, (of_class, group.heading)))
    return {"heading": heading, "summary": summary(group, averaged, checked), "sections": sections}


def summary(group: Group | OneClass, made: Sequence[Table], checked: Sequence[Claim]) -> list[tuple[str, str, str]]:
    """What one wants to know first: how much is done, what is best, what the references reach, how the claims stand."""
    done = sum(run.record is not None for run in group.runs)
    items = [("Runs done", f"{done} of {len(group.runs)}", "")]
    if isinstance(group, OneClass):
        items.insert(0, ("Protocol", "one class", f"of {info(group.parent).title} against its others"))
    for table in made:
        row = next((row for row in table.rows if row.key in ("average", "mean")), None)
        if row is None:
            continue
        of = f"{info(row.in_dist).title}, " if len(made) > 1 else ""
        mean, over = ("mean", "classes") if row.key == "mean" else ("average", "OOD sets")
        best = [column for column, cell in row.cells.items() if cell.best]
        best.sort(key=lambda column: -row.cells[column].ours.mean)  # type: ignore[union-attr]
        if best and (ours := row.cells[best[0]].ours):
            items.append((f"Best {mean} AUROC ({of}{row.over} {over})", f"{ours.mean:.{row.decimals}f}",
                          ", ".join(table.columns[column] for column in best)))  # fmt: skip
        references = [(column, cell.ours) for column, cell in row.cells.items()
                      if table.label(column) in REFERENCES and cell.ours]  # fmt: skip
        if references:
            text = " · ".join(f"{ours.mean:.{row.decimals}f}" for _, ours in references)
            where = f" ({info(row.in_dist).title})" if of else ""
            items.append((f"Reference {mean}s{where}", text, " · ".join(table.columns[c] for c, _ in references)))
    whose = "Claims" if isinstance(group, OneClass) else "The paper's claims"
    held, *rest = tally([claim.verdict for claim in checked])
    if checked:
        items.append((whose, held.replace(" ", f" of {len(checked)} "), ", ".join(rest)))
    else:
        items.append((whose, "not judged", "these are not its sets"))
    return items
