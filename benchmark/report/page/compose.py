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
from benchmark.report.claims import one_class, paper
from benchmark.report.claims.text import Claim
from benchmark.report.claims.verdicts import Verdict, tally
from benchmark.report.groups import Group
from benchmark.report.page import document
from benchmark.report.page.charts import class_charts, figure_charts, loss_charts, training_charts
from benchmark.report.page.provenance import provenance
from benchmark.report.page.scores import IMAGE_BYTES, Thumbnails, chooser
from benchmark.report.page.tables import shown
from benchmark.report.tables import auroc, detectors, scores
from benchmark.report.tables.cells import Table

SYMBOLS: dict[Verdict, str] = {"holds": "✓", "unclear": "?", "fails": "✗", "not judged": "–"}


def write_page(path: Path, title: str, groups: Sequence[Group], data: Path) -> Path:
    """Write the page of these groups of runs and return its path.

    Curves and scores are read from the folders of the records. data: the folder of the image sets, for thumbnails.
    What is missing in either is said on the page. Raises BenchError for a damaged scores.npz.
    """
    thumbnails = Thumbnails(data, IMAGE_BYTES)
    parts = [part_of(group, number, thumbnails) for number, group in enumerate(groups)]
    labels = dict.fromkeys(column.label for group in groups for column in group.columns())
    titles = {label: title_of(label) for label in sorted(labels, key=REFERENCES.__contains__)}
    return document.write(path, "page.html", ["page.css"], "page.js", title=title, groups=parts, labels=titles,
                          images=thumbnails.sources)  # fmt: skip


def part_of(group: Group, number: int, thumbnails: Thumbnails) -> dict[str, Any]:
    """The summary of a group and its sections, in order: of each its id, class and name, and what shows `content`."""
    sections: list[dict[str, Any]] = []

    def add(kind: str, name: str, template: str, content: Any) -> None:
        shows = {"template": f"{template}.html", "content": content}
        sections.append({"id": f"{kind}-{number}", "kind": kind, "name": name, **shows})

    training, claims = loss_charts(group), one_class if group.parent else paper
    checked = claims.check(group)
    if group.parent:
        averaged, beside = auroc.one_class(group), []
        add("table-one-class", "Table", "tables", shown(averaged))
        figures = ("figure-one-class", "Figure", "charts", class_charts(group))
    else:
        first, averaged, beside = auroc.table1(group), auroc.table2(group), detectors.detectors(group)
        add("table-1", "Table 1", "tables", shown(first))
        add("table-2", "Table 2", "tables", shown(averaged, {note for table in first for note in table.notes}))
        drawn = [one for in_dist in group.in_dists for one in figure_charts(group, in_dist)]
        figures = ("figures", "Figures 2 and 3", "charts", drawn)
        training += [one for in_dist in group.in_dists for one in training_charts(group, in_dist)]
    if group.scores() or beside:
        add("table-scores", "Table of scores", "tables", shown([*beside, *scores.scores(group)]))
    add(*figures)
    add("training", "Training", "charts", training)
    add("claims", "Claims", "claims", {"claims": checked, "rules": claims.rules(group, checked), "symbols": SYMBOLS})
    choosers = [chooser(group, in_dist, thumbnails) for in_dist in group.in_dists]
    masks = document.png(document.read_bytes("masks.png")) if any(run.config.masked for run in group.runs) else ""
    add("scores", "Scores and images", "scores", {"choosers": choosers, "foregrounds": masks})
    add("provenance", "Provenance", "provenance", provenance(group))
    of_class = f"Classes of {info(group.parent).title}" if group.parent else ""
    heading = ": ".join(filter(None, (of_class, group.heading)))
    return {"heading": heading, "summary": summary(group, averaged, checked), "sections": sections}


def summary(group: Group, made: Sequence[Table], checked: Sequence[Claim]) -> list[tuple[str, str, str]]:
    """What one wants to know first: how much is done, what is best, what the references reach, how the claims stand."""
    done = len(group.done)
    items = [("Runs done", f"{done} of {len(group.runs)}", "")]
    if group.parent:
        items.insert(0, ("Protocol", "one class", f"of {info(group.parent).title} against its others"))
    for table in made:
        row = next((row for row in table.rows if row.key in ("average", "mean")), None)
        if row is None:
            continue
        of = f"{info(row.in_dist).title}, " if len(made) > 1 else ""
        mean, over = ("mean", "classes") if row.key == "mean" else ("average", "OOD sets")
        best = [key for key, cell in row.cells.items() if cell.best]
        best.sort(key=lambda key: -row.cells[key].ours.mean)  # type: ignore[union-attr]
        if best and (ours := row.cells[best[0]].ours):
            items.append((f"Best {mean} AUROC ({of}{row.over} {over})", f"{ours.mean:.{row.decimals}f}",
                          ", ".join(table.columns[key].title for key in best)))  # fmt: skip
        references = [(table.columns[key].title, cell.ours) for key, cell in row.cells.items()
                      if table.columns[key].is_reference and cell.ours]  # fmt: skip
        if references:
            text = " · ".join(f"{ours.mean:.{row.decimals}f}" for _, ours in references)
            where = f" ({info(row.in_dist).title})" if of else ""
            items.append((f"Reference {mean}s{where}", text, " · ".join(title for title, _ in references)))
    whose = "Claims" if group.parent else "The paper's claims"
    held, *rest = tally([claim.verdict for claim in checked])
    if checked:
        items.append((whose, held.replace(" ", f" of {len(checked)} "), ", ".join(rest)))
    else:
        items.append((whose, "not judged", "these are not its sets"))
    return items
