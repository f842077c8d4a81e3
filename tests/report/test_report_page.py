"""The page without a browser: its numbers, its escaping, its size, and what it says about what is missing."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from jinja2 import UndefinedError
from page_fakes import HOSTILE, OODS, rendered, write_everything, write_images, write_page, write_run
from PIL import Image
from report_fakes import VARIANTS10, config, record_of, write_runs, write_sweep

from benchmark.data.images import load
from benchmark.errors import BenchError
from benchmark.plan import sweep as sweeps
from benchmark.report.figures.panels import Histogram
from benchmark.report.grouping import group_runs
from benchmark.report.page import charts, compose, document, scores
from benchmark.report.page import tables as page_tables
from benchmark.report.page.gallery import GalleryItem, write_gallery
from benchmark.report.tables.auroc import table1, table2
from benchmark.store.folders import RunFolder
from benchmark.store.measurements import load_records


class Reader(HTMLParser):
    """Every element with its attributes and the text within it."""

    VOID = {"meta", "link", "img", "input", "br", "path", "rect"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[int] = []
        self.feed(text)
        assert not self._open, f"not closed: {[self.elements[i][0] for i in self._open]}"

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes), []))
        if name not in self.VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, name, attributes):
        self.elements.append((name, dict(attributes), []))

    def handle_endtag(self, name):
        assert self.elements[self._open[-1]][0] == name, f"</{name}> closes {self.elements[self._open[-1]][0]}"
        self._open.pop()

    def handle_data(self, data):
        for i in self._open:
            self.elements[i][2].append(data)

    def all(self, name: str, **attributes: str) -> list[tuple[dict[str, str | None], str]]:
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        return [(given, "".join(text)) for element, given, text in self.elements
                if element == name and wanted.items() <= given.items()]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, Path]:
    """The place, the sweep and the page of three variants with two seeds each."""
    place = tmp_path_factory.mktemp("page")
    sweep = write_everything(place, ["dino", "rot-imgn", "combined"], [0, 1], title=f"T {HOSTILE}")
    return place, sweep, write_page(place, sweep)


def images_in(text: str) -> list[str]:
    return json.loads(Reader(text).all("script", id="data")[0][1])["images"]


def test_the_tables_hold_the_numbers_of_the_records(made):
    place, _, path = made
    cells = Reader(path.read_text()).all("td")
    shown = [(given["data-v"], given.get("data-n"), text) for given, text in cells if "data-n" in given]
    records = load_records(place / "results")
    for label in ("dino", "rot-imgn", "combined"):
        values = [r.own_score.ood["svhn"].auroc for r in records if r.run_config.label == label]
        assert len(values) == 2
        mean = sum(values) / 2
        matching = [text for column, number, text in shown if column == label and abs(float(number) - mean) < 1e-9]
        assert len(matching) >= 4  # Tables 1 and 2, each both ways
        assert all(text.startswith(f"{mean:.2f}") for text in matching)
    tips = [given["data-tip"] for given, _ in cells if given.get("data-v") == "rot-imgn" and "data-tip" in given]
    (tip,) = {tip for tip in tips if tip.startswith("Rot. ImgN, SVHN")}
    # Student-t with one degree of freedom: 12.706 x s / sqrt(2), s of two values 1.25 apart.
    assert f"± {12.706 * 1.25 / 2:.2f}" in tip and "seed 0: 99.69, seed 1: 98.44" in tip
    assert "published 99.69, ours -0.62" in tip


def test_what_is_not_measured_has_no_number_to_sort_by(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (group,) = group_runs(configs := [config(variant="dino"), config(variant="imgn")], [record_of(configs[0])])
    (table,) = table2(group)
    row = next(row for row in table.rows if row.key == "svhn")
    made = page_tables._cells(table, row)
    assert made["imgn"]["ours"] == "—" and made["imgn"]["number"] is None and made["dino"]["number"] is not None


def test_every_cell_of_the_report_is_on_the_page(made):
    place, sweep, path = made
    (group,) = group_runs([run.config for run in sweeps.load(sweep).runs], load_records(place / "results"))
    reader = Reader(path.read_text())
    numbers = [(given["data-v"], float(given["data-n"])) for given, _ in reader.all("td") if given.get("data-n")]
    for table in [*table1(group), *table2(group)]:
        for row in table.rows:
            for column, cell in row.cells.items():
                if cell.ours:
                    assert numbers.count((column, cell.ours.mean)) >= 2, (table.number, row.key, column)


def test_untrusted_text_stays_text(made):
    text = made[2].read_text()
    reader = Reader(text)
    assert len(reader.all("script")) == 2 and "pwned" not in "".join(
        given.get(key) or "" for _, given, _ in reader.elements for key in given if key.startswith("on")
    )
    assert not [given for name, given, _ in reader.elements if any(key.startswith("on") for key in given)]
    assert reader.all("h1")[0][1] == f"T {HOSTILE}"
    assert any(text == HOSTILE for _, text in reader.all("dd"))  # the hardware
    assert any(HOSTILE in (given["alt"] or "").replace("\n", ", ") for given, _ in reader.all("img"))


def test_embedded_json_cannot_end_its_block():
    value = {"a": "</script><!--\u2028&"}
    text = document.environment().from_string("{{ value|tojson }}").render(value=value)
    assert "</script>" not in text and "<!--" not in text and json.loads(text) == value


def test_a_name_that_a_template_asks_for_and_nobody_gives_is_an_error():
    with pytest.raises(UndefinedError):
        rendered("claims", {"claims": [], "symbols": {}})


def test_nothing_points_outside(made, tmp_path):
    write_gallery(tmp_path / "g.html", [GalleryItem("https://a.b/c.png", 1, True, 0.1, (), pixel())], "t", {})
    for path in (made[2], tmp_path / "g.html"):
        text = path.read_text()
        for _, given, _ in Reader(text).elements:
            for key in ("src", "href", "srcset", "action", "data", "poster", "xlink:href"):
                assert re.match(r"(#|data:|$)", given.get(key) or ""), given
        assert not re.search(r"@import|url\(|importScripts|fetch\(|XMLHttp|WebSocket", text)
        policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
        assert policy and policy[1].startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy[1]


def test_thumbnails_are_the_extreme_images(made):
    place, _, path = made
    text = path.read_text()
    sources, reader = images_in(text), Reader(text)
    record = next(r for r in load_records(place / "results") if r.run_config.label == "dino" and not r.run_config.seed)
    found = np.load(place / "results" / record.name / "scores.npz")["svhn/test"]
    stored = load(place / "data", "svhn", "test")
    ranked = sorted(range(len(found)), key=lambda i: -found[i])
    for end, expected in (("most", ranked[0]), ("least", ranked[-1])):
        tip = f"score {found[expected]:.3f}\nimage {expected} of SVHN"
        (given,) = [g for g, _ in reader.all("img") if (g.get("data-tip") or "").endswith(tip)]
        before = text[: text.index(tip.replace("\n", ", "))]
        assert re.findall(r">(most|least) OOD<", before)[-1] == end
        content = base64.b64decode(sources[int(given["data-i"])].partition(",")[2])
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), stored.images[expected])
    middle = f"image {ranked[12]} of SVHN"  # 24 images, eight at each end
    tips = [g.get("data-tip") or "" for g, _ in reader.all("img")]
    assert not any(f"score {found[ranked[12]]:.3f}" in tip and middle in tip for tip in tips)


def test_thumbnails_keep_to_their_room(made):
    place = made[0]
    thumbnails = scores.Thumbnails(place / "data", room=150_000)
    images = load(place / "data", "svhn", "test")
    assert thumbnails.add([(images, i) for i in range(20)]) == list(range(20))
    assert thumbnails.add([(images, i) for i in range(5, 10)]) == list(range(5, 10))  # each once
    other = load(place / "data", "texture", "test")
    assert thumbnails.add([(other, i) for i in range(24)]) is None and len(thumbnails.sources) <= 24
    assert sum(map(len, thumbnails.sources)) < 150_000


def test_many_runs_stay_small(tmp_path, monkeypatch):
    sweep = write_everything(tmp_path, VARIANTS10, list(range(4)), count=40)
    assert write_page(tmp_path, sweep).stat().st_size < 5_000_000
    monkeypatch.setattr("benchmark.report.page.compose.IMAGE_BYTES", 250_000)
    text = write_page(tmp_path, sweep).read_text()
    sources = images_in(text)
    assert sources and sum(map(len, sources)) < 250_000 and "left out to keep this page small" in text


def test_large_images_are_shrunk():
    big = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert Image.open(io.BytesIO(scores.thumbnail(big))).size == (64, 64)


def test_what_is_missing_is_said(tmp_path):
    sweep = write_sweep(tmp_path, variant=["dino", "imgn"], name="mine.yaml")
    write_runs(tmp_path / "results", sweep, lambda c: record_of(c) if c.variant == "dino" else None)
    text = write_page(tmp_path, sweep).read_text()
    assert "No training curves" in text and "no scores.npz" in text


def test_images_that_are_not_the_runs_own_are_not_shown(tmp_path):
    sweep = write_everything(tmp_path, ["dino"], [0])
    manifest = tmp_path / "data" / "svhn" / "test" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"sha256": "0" * 64}))
    (tmp_path / "data" / "texture" / "test" / "manifest.json").unlink()
    text = write_page(tmp_path, sweep).read_text()
    assert "not those that the run saw" in text and "not on this machine" in text
    assert not any("of SVHN" in (g.get("data-tip") or "") for g, _ in Reader(text).all("img"))
    assert any("of CIFAR100" in (g.get("data-tip") or "") for g, _ in Reader(text).all("img"))


def test_foregrounds_are_shown_where_runs_tell_them(tmp_path):
    shown = {}
    for variant in ("rot-in-dist", "background-in-dist"):
        sweep = write_everything(tmp_path / variant, ["dino", variant], [0])
        shown[variant] = write_page(tmp_path / variant, sweep).read_text()
    assert "Foregrounds in built-in images" not in shown["rot-in-dist"]
    assert "Foregrounds in built-in images" in shown["background-in-dist"]


def test_broken_scores_name_the_file(tmp_path):
    sweep = write_everything(tmp_path, ["dino"], [0])
    broken = next((tmp_path / "results").glob("cifar10-dino-*")) / "scores.npz"
    broken.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(BenchError, match=re.escape(str(broken))):
        write_page(tmp_path, sweep)


def test_curves_are_those_of_the_metrics(made):
    place, _, path = made
    reader = Reader(path.read_text())
    tips = [given["data-tip"] for given, _ in reader.all("g") if "data-tip" in given]
    assert "Rot. ImgN, seed 1\nLoss: 8.889 at first, 5.667 at the end" in tips
    kl = 9.0 - 30 / 50 - np.log(4096)
    assert f"Combined, seed 0\nNegative term less ln K: KL from uniform: {8.98 - np.log(4096):.3f} at first, {kl:.3f} at the end" in tips  # fmt: skip # noqa: E501
    assert len([t for t in tips if t.startswith("DINO, seed")]) == 4  # two seeds: loss and the positive term, no KL
    assert not any("untrained, seed" in t for t in tips)
    assert charts._curve(next((place / "results").glob("*dino*")) / "metrics.jsonl")[-1]["step"] == 30


def test_thinned_curves_keep_the_mean():
    values = [float(v) for v in range(1000)]
    few = charts._thinned(values, 100)
    assert len(few) == 100 and few[0] == pytest.approx(4.5) and sum(few) / 100 == pytest.approx(499.5)


def test_claims_stand_as_the_report_judges_them(made):
    place, sweep, path = made
    (group,) = group_runs([run.config for run in sweeps.load(sweep).runs], load_records(place / "results"))
    from benchmark.report.claims.paper import check

    rows = [text for _, text in Reader(path.read_text()).all("tr")]
    for claim in check(group):
        (row,) = [row for row in rows if row.startswith(claim.text)]
        assert row.endswith(
            f"{claim.published}{claim.ours_text}{claim.n}{compose.SYMBOLS[claim.verdict]}{claim.verdict}"
        )


def test_settings_and_fingerprints_are_there(made):
    place, _, path = made
    text = path.read_text()
    for record in load_records(place / "results"):
        assert record.run_id in text and record.recipe_id in text and record.name in text
        assert all(seen.fingerprint[:16] in text for seen in record.data.values())


def test_histogram_bins_against_a_loop():
    rng = np.random.default_rng(1)
    a, b = rng.normal(0, 1, 300), rng.normal(1, 2, 200)
    low, high = -2.0, 2.0
    *shares, edges = Histogram("t", a, b, (low, high)).shares()
    assert len(edges) == 37 and (edges[0], edges[-1]) == (low, high)
    for values, share in zip((a, b), shares, strict=True):
        counts = [0] * 36
        for value in values:
            counts[min(35, max(0, int((value - low) / (high - low) * 36)))] += 1
        assert share == pytest.approx([100 * count / len(values) for count in counts])


def test_why_there_are_no_thumbnails_is_said_once_where_it_is_one_reason(tmp_path):
    sweep = write_everything(tmp_path, ["dino", "imgn"], [0])
    shutil.rmtree(tmp_path / "data")
    text = write_page(tmp_path, sweep).read_text()
    assert text.count("No thumbnails: its images are not on this machine") == len(re.findall("data-block=", text)) == 4


def test_a_set_stands_once_above_its_rows_and_columns(made):
    text = made[2].read_text()
    table = text[text.index('id="table-1-0"') : text.index('id="table-2-0"')]
    plain, turned = re.findall(r"<table.*?</table>", table, re.DOTALL)
    assert plain.count("CIFAR10 →</th>") == turned.count("CIFAR10 →</span>") == 1
    assert "CIFAR10 → " not in re.sub(r'data-tip="[^"]*"', "", plain + turned)
    assert '<th scope="row">CIFAR100</th>' in plain and 'data-tip="DINO, CIFAR10 → CIFAR100\n' in plain
    columns = [int(count) for count in re.findall(r'colspan="(\d+)"', turned)]
    assert sum(columns) + 1 == turned[: turned.index("<tbody")].count("data-sort=")


def test_two_settings_and_two_sets_share_a_page(tmp_path):
    sweep = write_sweep(tmp_path, variant=["dino", "imgn"], in_dist=["cifar10", "cifar100"], name="mine.yaml",
                        protocol=["paper", "authors"])  # fmt: skip
    write_runs(tmp_path / "results", sweep)
    reader = Reader(write_page(tmp_path, sweep).read_text())
    headings = [text for _, text in reader.all("h2", class_="heading")]
    assert len(headings) == 2 and headings[0].startswith("protocol = paper")
    ids = [given["id"] for _, given, _ in reader.elements if given.get("id")]
    assert len(ids) == len(set(ids))
    links = [given["href"] for given, _ in reader.all("a")]
    assert len(links) == 15 and {link.removeprefix("#") for link in links} <= set(ids)


def test_the_page_needs_neither_torch_nor_matplotlib():
    code = "import sys; import benchmark.report.page.compose, benchmark.report.page.gallery; print({'torch', 'matplotlib'} & set(sys.modules))"  # fmt: skip # noqa: E501
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def pixel() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(stream, "png")
    return stream.getvalue()


def test_the_gallery_lists_the_highest_scores_first_with_all_that_is_known(tmp_path):
    items = [GalleryItem(f"a/{HOSTILE}{i}.png", i / 10, i > 5, 0.25, (f"near & {i}",), pixel()) for i in range(9)]
    write_gallery(tmp_path / "g.html", iter(items), f"In {HOSTILE}", {"Detector <x>": "d & e"})
    reader = Reader((tmp_path / "g.html").read_text())
    scores = [float(given["data-score"]) for given, _ in reader.all("figure")]
    assert scores == [i / 10 for i in range(8, -1, -1)]
    assert reader.all("figure")[0][0]["data-path"] == f"a/{HOSTILE}8.png"
    assert len(reader.all("script")) == 1 and reader.all("h1")[0][1] == f"In {HOSTILE}"
    assert "near & 8" in reader.all("figure")[0][1] and "0.25" in reader.all("figure")[0][1]
    assert any("OOD only (3)" in text for _, text in reader.all("label"))


def test_an_empty_gallery_says_so(tmp_path):
    write_gallery(tmp_path / "g.html", [], "Nothing", {})
    ((given, text),) = Reader((tmp_path / "g.html").read_text()).all("p", id="nothing")
    assert "hidden" not in given and "No image" in text


def test_runs_that_scored_a_random_part_get_no_thumbnails(tmp_path):
    extra = f"base: {{eval: {{ood: [{', '.join(OODS)}]}}, data: {{test_limit: 10}}}}"
    sweep = write_sweep(tmp_path, variant=["dino"], extra=extra, name="mine.yaml")
    prints = write_images(tmp_path / "data")
    for run in sweeps.load(sweep).runs:
        record = write_run(tmp_path / "results", run.config, prints)
        assert RunFolder(tmp_path / "results" / record.name).scores.exists()
    text = write_page(tmp_path, sweep).read_text()
    assert "random part" in text and images_in(text) == []
