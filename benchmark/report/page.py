"""`bench report --page`: tables, figures, curves, claims, scores, images and provenance as one HTML file.

All that is shown is computed here, most of it by the modules that make the other files; the page's script only sorts,
highlights and shows. Nothing in it is fetched from anywhere.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.data.catalog import info
from benchmark.data.images import ImageSet, load, read_manifest
from benchmark.files import read_npz
from benchmark.plan.config import RunConfig
from benchmark.plan.methods import REFERENCES, DinoConfig
from benchmark.report import charts, tables
from benchmark.report import claims as paper_claims
from benchmark.report.figures import Points, measures, near_and_far, near_average, variant_points
from benchmark.report.groups import Group, Run, differences, flat, title_of
from benchmark.report.markup import Child, Html, embed, join, png, tag, write_document
from benchmark.store.folders import RunFolder
from benchmark.store.records import Record

THUMBNAILS = 8  # at each end of each OOD set
THUMBNAIL_SIDE = 64  # larger images are shrunk to it
IMAGE_BYTES = 3_000_000  # all thumbnails of a page together; variants beyond are named
CURVE_POINTS = 24_000  # of all runs of a chart together
DETAILED_RUNS = 150  # with their provenance in full


def write_page(path: Path, title: str, groups: Sequence[Group], results: Path, data: Path) -> Path:
    """Write the page of these groups of runs and return its path.

    results: where the runs' folders are (curves and scores are read from there). data: the folder of the image sets,
    for thumbnails; what is missing in either is said on the page. Raises BenchError for a damaged scores.npz.
    """
    thumbnails = _Thumbnails(data, IMAGE_BYTES)
    sections = [_group(group, number, results, thumbnails) for number, group in enumerate(groups)]
    labels = dict.fromkeys(label for group in groups for i in group.in_dists for label in group.labels(i))
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


_SECTIONS = {"table-1": "Table 1", "table-2": "Table 2", "figures": "Figures 2 and 3", "training": "Training",
             "claims": "Claims", "scores": "Scores and images", "provenance": "Provenance"}  # fmt: skip


def _links(group: Group, number: int) -> Html:
    head = tag("b", group.heading) if group.heading else None
    links = [tag("a", name, href=f"#{key}-{number}") for key, name in _SECTIONS.items()]
    return join([head, *links])


def _group(group: Group, number: int, results: Path, thumbnails: _Thumbnails) -> Html:
    checked = paper_claims.check(group)
    shown = tables.tables(1, group), tables.tables(2, group)
    parts = {
        "table-1": _tables_section(shown[0], {}),
        "table-2": _tables_section(shown[1], dict.fromkeys(note for table in shown[0] for note in table.notes)),
        "figures": join(_figures(group, in_dist) for in_dist in group.in_dists),
        "training": _training(group, results),
        "claims": _claims(checked),
        "scores": join(_scores(group, in_dist, results, thumbnails) for in_dist in group.in_dists),
        "provenance": _provenance(group),
    }
    sections = [
        tag("section", tag("h2", _SECTIONS[key]), part, id=f"{key}-{number}", class_=key) for key, part in parts.items()
    ]
    heading = tag("h2", group.heading, class_="heading") if group.heading else None
    return tag("div", heading, _summary(group, shown[1], checked), sections, class_="group")


def _summary(group: Group, made: Sequence[tables.Table], checked: Sequence[paper_claims.Claim]) -> Html:
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
    counts = {verdict: sum(claim.verdict == verdict for claim in checked) for verdict in _SYMBOLS}
    items.append(("The paper's claims", f"{counts['holds']} of {len(checked)} hold",
                  f"{counts['fails']} fail, {counts['not measured']} not measured"))  # fmt: skip
    cards = [tag("div", tag("dt", name), tag("dd", value, tag("small", more) if more else None))
             for name, value, more in items]  # fmt: skip
    return tag("dl", cards, class_="summary")


# --- tables -------------------------------------------------------------------------------------------------------


def _tables_section(made: Sequence[tables.Table], said: dict[str, None]) -> Html:
    """Tables and their switches; `said`: notes that stand on the page already."""
    published = any(cell.published is not None for table in made for row in table.rows for cell in row.cells.values())
    boxes = []
    if published:
        boxes.append(_switch("Published values", "published"))
    boxes.append(_switch("Variants as rows", "turned"))
    return join([tag("div", boxes, class_="switches"), *(_table(table, said) for table in made)])


def _switch(text: str, what: str) -> Html:
    return tag("label", tag("input", type="checkbox", data_switch=what), text)


def _table(table: tables.Table, said: dict[str, None]) -> Html:
    """A table twice, as the report has it and turned over; the page shows one of them."""
    own = {key: name for key, name in table.columns.items() if not _is_rival(name)}  # ours first, others' at the end
    table = replace(table, columns=own | table.columns)
    name = table.title.removeprefix(f"Table {table.number}. ")
    grids = [tag("div", grid, class_=f"scroll {kind}", tabindex="0", role="region", hidden=kind == "turned",
                 aria_label=table.title)
             for kind, grid in (("plain", _plain(table)), ("turned", _turned(table)))]  # fmt: skip
    notes = [note for note in table.notes if note not in said]
    if len(notes) < len(table.notes):
        notes.append("What is noted below Table 1 holds here too.")
    listed = tag("details", tag("summary", "Notes"), tag("ul", [tag("li", note) for note in notes]), open=True)
    return tag("div", tag("p", name), grids, listed, class_="table")


def _is_rival(name: str) -> bool:
    """Whether the column is another's system, of which only published values are known."""
    return name.endswith("(publ.)")


def _plain(table: tables.Table) -> Html:
    """OOD sets down, variants across; only the OOD sets are sorted, averages and measures stay below."""
    head = [_heading(table.corner, "text"), *(_heading(name, "number", key) for key, name in table.columns.items())]
    parts: dict[tuple[str, str], list[Html]] = {}
    for row in table.rows:
        cells = _cells(table, row)
        line = tag("tr", tag("th", _row_title(table, row), scope="row"), (cells[column] for column in table.columns))
        parts.setdefault((row.in_dist, row.section), []).append(line)
    bodies = [tag("tbody", lines, class_=section, data_sorts="" if section == "ood" else None)
              for (_, section), lines in parts.items()]  # fmt: skip
    return tag("table", tag("thead", tag("tr", head)), bodies, data_roving="")


def _turned(table: tables.Table) -> Html:
    """Variants down, OOD sets, averages and measures across; references and others' systems stay below."""
    head = [_heading("variant", "text"), *(_heading(_row_title(table, row), "number") for row in table.rows)]
    cells = [_cells(table, row) for row in table.rows]
    parts: dict[str, list[Html]] = {"trained": [], "references": [], "rivals": []}
    for column, name in table.columns.items():
        kind = "references" if column in REFERENCES else "rivals" if _is_rival(name) else "trained"
        label = tag("th", charts.key(column) if kind != "rivals" else None, name, scope="row", data_v=column)
        parts[kind].append(tag("tr", label, (of_row[column] for of_row in cells)))
    bodies = [tag("tbody", lines, class_=kind, data_sorts="") for kind, lines in parts.items() if lines]
    return tag("table", tag("thead", tag("tr", head)), bodies, data_roving="")


def _heading(text: str, kind: str, column: str | None = None) -> Html:
    """A column's heading: a button that sorts by it."""
    whole = text.replace("-", "\N{NON-BREAKING HYPHEN}")  # Perm-16 stays on one line
    button = tag("button", whole, type="button", data_sort=kind)
    return tag("th", button, scope="col", data_v=column, aria_sort="none")


def _row_title(table: tables.Table, row: tables.Row) -> str:
    several = len({one.in_dist for one in table.rows}) > 1
    return f"{info(row.in_dist).title} → {row.title}" if several else row.title


def _cells(table: tables.Table, row: tables.Row) -> dict[str, Html]:
    """The cells of a row by column, with the very numbers of the report's other files."""
    texts: dict[str, dict[str, str]] = {}
    for line in tables.lines(table, row, inline_interval=False):
        texts[line.kind] = dict(zip(table.columns, line.texts, strict=True))
    made = {}
    for column, name in table.columns.items():
        cell = row.cells.get(column, tables.Cell())
        ours, published = texts["ours"][column], texts.get("published", {}).get(column)
        number = cell.ours.mean if cell.ours else cell.published
        if _is_rival(name):
            parts = [tag("span", published or "", class_="rival")]
        else:
            parts = [tag("b" if cell.best else "span", ours)]
            for kind, class_ in (("interval", "half"), ("published", "published"), ("difference", "published")):
                if text := texts.get(kind, {}).get(column):
                    parts.append(tag("i", text, class_=class_))
        tip = _tip(f"{name}, {_row_title(table, row)}", cell, row.decimals) if row.cells else None
        made[column] = tag("td", parts, data_v=column, data_n=number, data_tip=tip)
    return made


def _tip(head: str, cell: tables.Cell, decimals: int) -> str | None:
    """Seeds, interval and published value of a cell, a line each."""
    lines = [head]
    if cell.ours and cell.ours.half is not None:
        d = max(decimals, 1)
        low, high = cell.ours.mean - cell.ours.half, cell.ours.mean + cell.ours.half
        lines.append(f"{cell.ours.mean:.{d}f} ± {cell.ours.half:.{d}f}, n = {cell.ours.n}, 95% Student-t")
        lines.append(f"interval {low:.{d}f} to {high:.{d}f}")
        seeds = [f"seed {seed}: {value:.{d}f}" for seed, value in sorted(cell.seeds.items())]
        lines.append(", ".join(seeds[:20]) + (f" and {len(seeds) - 20} more" if len(seeds) > 20 else ""))
    elif cell.ours:
        seeds = [f"seed {seed}" for seed in cell.seeds]
        lines.append(f"{cell.ours.mean:.{decimals}f}, n = 1 ({', '.join(seeds)}): no interval")
    elif cell.planned:
        lines.append("not measured yet")
    if cell.published is not None:
        difference = f", ours {cell.difference:+.2f}" if cell.difference is not None else ""
        lines.append(f"published {cell.published:.2f}{difference}")
    return "\n".join(lines) if len(lines) > 1 else None


# --- figures and curves -------------------------------------------------------------------------------------------


def _figures(group: Group, in_dist: str) -> Html:
    title = info(in_dist).title
    if not any(group.records(in_dist, label) for label in group.labels(in_dist)):
        return tag("p", f"{title}: no run is done yet.", class_="note")
    occupied = partial(tables.occupied, reading=tables.occupancy_reading(group))
    count = tables.classes(group, in_dist)
    of_k = f" of {count:,}" if count else ""

    def points(x: Any, y: Any) -> tuple[Points, Points]:
        return variant_points(group, in_dist, x, y), variant_points(group, in_dist, x, y, references=True)

    heights = {label: height for label, (height, _) in variant_points(group, in_dist, occupied, occupied).items()}
    names, near = near_average(group, in_dist)
    second = [
        charts.bars(heights, count, f"2a. Occupied soft classes, {title} test", f"occupied soft classes{of_k}"),
        charts.scatter(*points(near, occupied), f"AUROC (%), {names}", "occupied soft classes",
                       f"2b. {title} → {names} (near)"),
    ]  # fmt: skip
    third = []
    chosen = near_and_far(group, in_dist)
    for row, (measure, of) in enumerate(measures(group, in_dist).items()):
        for column, kind in enumerate(("near", "far")):
            panel = f"3{'abcd'[2 * row + column]}."
            if kind not in chosen:
                third.append(tag("p", f"{panel} no {kind} OOD set in this sweep", class_="note"))
                continue
            name = info(chosen[kind]).title
            third.append(charts.scatter(*points(partial(tables.auroc, ood=chosen[kind]), of), f"AUROC (%), {name}",
                                        f"{measure}, %", f"{panel} {title} → {name} ({kind})"))  # fmt: skip
    return join([
        tag("h3", f"Figure 2. What negatives do to the soft classes ({title})"),
        tag("div", second, class_="panels"),
        tag("h3", f"Figure 3. What goes with good detection ({title})"),
        tag("div", third, class_="panels"),
        tag("p", "Hollow: references, outside the correlations. r: Pearson with Fisher's 95% interval; ρ: Spearman; "
            "n: variants. Bars: 95% Student-t intervals over seeds.", class_="note"),
    ])  # fmt: skip


def _training(group: Group, results: Path) -> Html:
    """The losses by epoch, a line a run, where the runs' metrics.jsonl are there."""
    found = []
    trained = [run for run in group.runs if run.record and isinstance(run.config.method, DinoConfig)]
    for run in trained:
        assert run.record is not None
        rows = _curve(RunFolder(results / run.record.name).metrics)
        if rows:
            found.append((run, rows))
    if not found:
        return tag("p", "No training curves: these runs have no metrics.jsonl beside their records (reference records "
                   "are kept without). Train the sweep with bench sweep, and bench report --page on its results draws "
                   "them.", class_="note")  # fmt: skip
    several = len({run.config.in_dist for run, _ in found}) > 1
    k = {run.config.method.classes for run, _ in found if isinstance(run.config.method, DinoConfig)}
    log_k = math.log(k.pop()) if len(k) == 1 else None
    keep = max(20, min(150, CURVE_POINTS // len(found)))
    kinds: dict[str, list[charts.Series]] = {"loss": [], "positive": [], "negative": []}
    for run, rows in found:
        for kind, series in kinds.items():
            pairs = [(row["epoch"], row[kind]) for row in rows if kind in row]
            if not pairs or (kind == "negative" and log_k is None):
                continue
            xs, ys = (_thinned([pair[i] for pair in pairs], keep) for i in (0, 1))
            if kind == "negative" and log_k is not None:
                ys = [value - log_k for value in ys]
            where = f"{info(run.config.in_dist).title}, " if several else ""
            series.append((run.config.label, f"{where}{title_of(run.config.label)}, seed {run.config.seed}", xs, ys))
    names = {"loss": "Loss", "positive": "Positive term", "negative": "Negative term less ln K: KL from uniform"}
    panels = [
        charts.lines(series, names[kind], "epoch", log_k if kind == "positive" else None, "ln K: collapsed")
        for kind, series in kinds.items()
        if series
    ]
    lacking = len(trained) - len(found)
    note = f" {lacking} of {len(trained)} runs have no metrics.jsonl." if lacking else ""
    text = f"A line a run ({len(found)}), averaged to at most {keep} points.{note}"
    return join([tag("div", panels, class_="panels"), tag("p", text, class_="note")])


def _curve(path: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl; a half-written last line of a running job is left out."""
    rows = []
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and all(
            isinstance(row.get(key, 0.0), (int, float)) and math.isfinite(row.get(key, 0.0))
            for key in ("epoch", "loss", "positive", "negative")
        ) and "epoch" in row:  # fmt: skip
            rows.append(row)
    return rows


def _thinned(values: Sequence[float], keep: int) -> list[float]:
    """`values` as the means of at most `keep` equal stretches."""
    if len(values) <= keep:
        return list(values)
    return [float(np.mean(part)) for part in np.array_split(np.asarray(values, dtype=float), keep)]


# --- claims -------------------------------------------------------------------------------------------------------

_SYMBOLS = {"holds": "✓", "fails": "✗", "not measured": "–"}


def _claims(checked: Sequence[paper_claims.Claim]) -> Html:
    names = ("Claim", "Published", "Ours", "n", "Verdict")
    rows = []
    for claim in checked:
        kind = claim.verdict.split()[0]
        verdict = tag("span", tag("span", _SYMBOLS[claim.verdict], aria_hidden="true"), claim.verdict,
                      class_=f"verdict {kind}")  # fmt: skip
        text = tag("th", claim.text, tag("small", claim.note) if claim.note else None, scope="row")
        numbers = dict(zip(names[1:4], (claim.published, claim.ours_text, str(claim.n)), strict=True))
        values = [tag("td", value, data_name=name, class_="number") for name, value in numbers.items()]
        rows.append(tag("tr", text, values, tag("td", verdict)))
    head = tag("thead", tag("tr", [tag("th", name, scope="col", class_=None if name in ("Claim", "Verdict") else
                                       "number") for name in names]))  # fmt: skip
    rules = tag("details", tag("summary", "How they are judged"),
                tag("ul", [tag("li", rule) for rule in paper_claims.RULES]))  # fmt: skip
    return join([tag("table", head, tag("tbody", rows), class_="claims"), rules])


# --- scores and images --------------------------------------------------------------------------------------------


@dataclass
class _Thumbnails:
    """The thumbnails of a page: each image once, by number, as long as there is room."""

    data: Path
    room: int  # bytes
    sources: list[str] = field(default_factory=list)
    numbers: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def of(self, run: Run, key: str) -> ImageSet | str:
        """The images that the run scored as "set/split" `key`, or why they cannot be shown."""
        assert run.record is not None
        name, _, split = key.rpartition("/")
        manifest = read_manifest(self.data, name, split)
        seen = run.record.data.get(key)
        if manifest is None:
            return "its images are not on this machine (--data says where they are)"
        if seen is None or manifest["sha256"] != seen.fingerprint:
            return "the images stored here are not those that the run saw"
        limit = run.config.data.test_limit
        if limit is not None and limit < manifest["count"]:
            return "the run scored a random part of them (data.test_limit)"
        return load(self.data, name, split)

    def add(self, many: Sequence[tuple[ImageSet, int]]) -> list[int] | None:
        """Their numbers; None, and nothing kept, where there is no room for all of them."""
        new, used = {}, 0
        for images, index in many:
            key = (images.name, images.fingerprint, index)
            if key not in self.numbers and key not in new:
                new[key] = png(thumbnail(images.images[index]))
                used += len(new[key]) + 3
        if used > self.room:
            return None
        self.room -= used
        for key, source in new.items():
            self.numbers[key] = len(self.sources)
            self.sources.append(source)
        return [self.numbers[(images.name, images.fingerprint, index)] for images, index in many]


def thumbnail(image: np.ndarray) -> bytes:
    """An image (H, W, 3) uint8 as a PNG of at most THUMBNAIL_SIDE pixels a side."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    picture.save(stream, "png", optimize=True)
    return stream.getvalue()


def _scores(group: Group, in_dist: str, results: Path, thumbnails: _Thumbnails) -> Html:
    """Histograms and extreme images of each OOD set, a block a variant of which one is shown."""
    title = info(in_dist).title
    runs = {}
    for label in group.labels(in_dist):
        done = sorted(group.records(in_dist, label))
        run = next((r for r in group.runs if r.record and r.config.in_dist == in_dist and r.config.label == label
                    and r.config.seed == done[0]), None) if done else None  # fmt: skip
        kept = RunFolder(results / run.record.name).scores if run and run.record else None
        if run and kept is not None and kept.exists():
            runs[label] = (run, read_npz(kept))
    if not runs:
        return tag("p", f"{title}: no scores.npz beside these records, so no histograms.", class_="note")
    # The best first: it is shown first, and gets its thumbnails while there is room.
    order = sorted(runs, key=lambda label: (label in REFERENCES, -_average(runs[label][0].record, group, in_dist)))
    blocks = {label: _score_block(*runs[label], thumbnails) for label in order}
    options = [tag("option", f"{title_of(label)}, seed {runs[label][0].config.seed}", value=f"{in_dist} {label}",
                   selected=label == order[0]) for label in runs]  # fmt: skip
    choose = tag("label", f"{title}, detector ", tag("select", options, data_chooses=""), class_="choose")
    legend = tag("p", tag("span", class_="swatch id"), f"{title} test  ", tag("span", class_="swatch ood"),
                 "OOD set. Share of images by score, larger = more OOD; the outermost bins hold what lies beyond.",
                 class_="note")  # fmt: skip
    parts = [tag("div", block, data_block=f"{in_dist} {label}", hidden=label != order[0])
             for label, block in blocks.items()]  # fmt: skip
    return tag("div", choose, legend, parts, class_="chooser")


def _average(record: Record | None, group: Group, in_dist: str) -> float:
    values = [record.ood[ood].auroc for ood in group.ood_sets(in_dist) if record and ood in record.ood]
    return math.fsum(values) / len(values) if values else 0.0


def _score_block(run: Run, scores: dict[str, np.ndarray], thumbnails: _Thumbnails) -> Html:
    config = run.config
    assert run.record is not None
    of_id = scores.get(f"{config.in_dist}/test", np.empty(0))
    keys = {ood: key for ood in config.ood_sets() if (key := f"{config.stored_name(ood)}/test") in scores}
    every = np.concatenate([of_id, *(scores[key] for key in keys.values())])
    every = every[np.isfinite(every)]
    if not len(every):
        return tag("p", "This run has no scores of these sets.", class_="note")
    low, high = (float(value) for value in np.quantile(every, [0.002, 0.998]))
    ends = (low, high) if high > low else charts.span([low])
    cards = []
    for ood, key in keys.items():
        measured = run.record.ood.get(ood)
        name = info(ood).title
        facts = f"AUROC {measured.auroc:.2f} · {measured.n_id:,} against {measured.n_ood:,} images" if measured else ""
        cards.append(tag(
            "article",
            tag("h4", name, tag("small", facts)),
            charts.histograms(of_id, scores[key], ends, f"{name}: scores of {config.label}"),
            _extremes(run, key, scores[key], thumbnails),
        ))  # fmt: skip
    return tag("div", cards, class_="cards")


def _extremes(run: Run, key: str, scores: np.ndarray, thumbnails: _Thumbnails) -> Html:
    images = thumbnails.of(run, key)
    if isinstance(images, str):
        return tag("p", f"No thumbnails: {images}.", class_="note")
    if len(scores) != images.count:
        return tag("p", f"No thumbnails: {len(scores)} scores for {images.count} images.", class_="note")
    order = np.argsort(-scores, kind="stable")
    order = order[np.isfinite(scores[order])]
    few = min(THUMBNAILS, len(order) // 2)
    ends = {"most OOD": order[:few], "least OOD": order[::-1][:few]}
    numbers = thumbnails.add([(images, int(i)) for chosen in ends.values() for i in chosen])
    if numbers is None:
        return tag("p", "No thumbnails: left out to keep this page small.", class_="note")
    classes = images.manifest.get("classes") or []
    strips, place = [], 0
    for name, chosen in ends.items():
        pictures = []
        for i in map(int, chosen):
            label = int(images.labels[i])
            of_class = f"{classes[label]}\n" if 0 <= label < len(classes) else ""
            tip = f"{of_class}score {scores[i]:.3f}\nimage {i} of {info(images.name).title}"
            pictures.append(tag("img", data_i=numbers[place], alt=tip.replace("\n", ", "), data_tip=tip,
                                width=32, height=32))  # fmt: skip
            place += 1
        strips.append(tag("div", tag("span", name), tag("div", pictures, class_="strip", data_roving="")))
    return tag("div", strips, class_="extremes")


# --- provenance ---------------------------------------------------------------------------------------------------


def _provenance(group: Group) -> Html:
    """What all runs share, the images they read, and each run's own."""
    settings = [run.config.model_dump(mode="json") for run in group.runs]
    trained = [config.model_dump(mode="json") for config in group.trained] or settings
    own = differences(trained)
    shared = {key: value for key, value in flat(trained[0]).items() if key not in own}
    images = [
        tag("tr", tag("th", f"{info(key.rpartition('/')[0]).title} {key.rpartition('/')[2]}", scope="row"),
            tag("td", f"{seen.count:,}", class_="number"),
            tag("td", f"{seen.official_count:,}" if seen.official_count else "unknown", class_="number"),
            tag("td", "official" if seen.official else "imported"),
            tag("td", tag("code", seen.fingerprint[:16], title=seen.fingerprint)))
        for key, seen in group.data().items()
    ]  # fmt: skip
    head = [tag("th", name, scope="col", class_="number" if name in ("Images", "Officially") else None)
            for name in ("Set", "Images", "Officially", "Origin", "sha256 of the content")]  # fmt: skip
    done = [run for run in group.runs if run.record]
    todo = [f"{run.config.in_dist}-{run.config.label}-s{run.config.seed}" for run in group.runs if not run.record]
    more = len(done) - DETAILED_RUNS
    return join([
        _fold("Settings that all trained runs share", _list(shared)),
        _fold("Images", tag("div", tag("table", tag("thead", tag("tr", head)), tag("tbody", images)), class_="scroll",
                            tabindex="0", role="region", aria_label="Images"), open_=True),
        tag("h3", f"Runs ({len(done)} of {len(group.runs)} done)"),
        tag("p", f"No record yet: {', '.join(todo[:30])}{f' and {len(todo) - 30} more' if len(todo) > 30 else ''}.",
            class_="note") if todo else None,
        [_run(run, own) for run in done[:DETAILED_RUNS]],
        tag("p", f"and {more} more: see their record.json.", class_="note") if more > 0 else None,
    ])  # fmt: skip


def _run(run: Run, own: Iterable[str]) -> Html:
    record, config = run.record, run.config
    assert record is not None
    environment = record.environment
    facts = [f"seed {config.seed}"]
    if commit := environment.get("commit"):
        facts.append(f"commit {str(commit)[:10]}")
    if record.timings:
        facts.append(f"{sum(record.timings.values()):,.0f} s")
    if alarms := record.training.get("alarms"):
        facts.append(f"{len(alarms)} alarms")
    title = [charts.key(config.label), f"{info(config.in_dist).title}, {title_of(config.label)} ",
             tag("small", " · ".join(facts))]  # fmt: skip
    values = flat(config.model_dump(mode="json"))
    images = {key: f"{seen.count:,} images, sha256 {seen.fingerprint[:16]}" for key, seen in record.data.items()}
    sections: dict[str, dict[str, Any]] = {
        "Identity": {"name": record.name, "run id": record.run_id, "recipe id": record.recipe_id},
        "Settings of its own": {key: values[key] for key in own if key in values} if _is_trained(config) else
                               {"method": config.method.name},
        "Machine": flat({key: value for key, value in environment.items() if key != "packages"}),
        "Packages": flat(environment.get("packages") or {}),
        "Seconds": {key: f"{value:,.1f}" for key, value in record.timings.items()},
        "Training": flat(record.training),
        "Images": images,
    }  # fmt: skip
    parts = [tag("div", tag("h4", name), _list(pairs)) for name, pairs in sections.items() if pairs]
    return _fold(title, tag("div", parts, class_="facts"), data_v=config.label)


def _is_trained(config: RunConfig) -> bool:
    return config.method.name not in REFERENCES


def _fold(title: Child, content: Html, open_: bool = False, **attributes: Any) -> Html:
    return tag("details", tag("summary", title), content, open=open_, **attributes)


def _list(pairs: dict[str, Any]) -> Html:
    return tag("dl", [[tag("dt", key), tag("dd", _value(value))] for key, value in pairs.items()], class_="pairs")


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return "not set" if value is None else str(value)
