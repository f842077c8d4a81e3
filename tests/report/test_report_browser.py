"""The pages in a real headless browser: what sorts, toggles, lights up and fits, and that nothing is fetched.

Needs Chromium (Debian: `apt-get install chromium`) and no Python package. Without one the tests are skipped, unless
BENCH_TEST_BROWSER=1 says that it must be there.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find
from page_fakes import HOSTILE, write_everything, write_page
from PIL import Image

from benchmark.report.page.gallery import GalleryItem, write_gallery

VIEWS = [(width, dark) for width in (1280, 400) for dark in (False, True)]
TABLE = "#table-2-0 .scroll.plain"

# The lowest contrast of any visible text with what lies behind it (WCAG 2), and the text it is of.
CONTRAST = """(() => {
  const rgb = (text) => { const c = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    c.fillStyle = text; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data]; };
  const cache = new Map(), parse = (t) => cache.get(t) ?? (cache.set(t, rgb(t)), cache.get(t));
  const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => { const v = c[i] / 255;
    return sum + w * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
  let worst = [99, ""];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let n; (n = walk.nextNode());) {
    const e = n.parentElement;
    if (!n.textContent.trim() || e.closest("script, option, .mark:not(.hot)") || !e.checkVisibility()) continue;
    const style = getComputedStyle(e), ink = parse(e.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    if (ratio < worst[0]) worst = [ratio, n.textContent.trim().slice(0, 60)];
  }
  return worst;
})()"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find()
    if program is None or shutil.which(program) is None:
        said = "no Chromium found: install Debian's package chromium, or name the program in BENCH_TEST_CHROMIUM"
        if os.environ.get("BENCH_TEST_BROWSER") == "1":
            pytest.fail(f"{said} (BENCH_TEST_BROWSER=1 asks for it)")
        pytest.skip(said)
    made = Browser(program)
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("page")
    return write_page(place, write_everything(place, ["dino", "imgn", "rot-imgn", "dti", "combined"], [0, 1], HOSTILE))


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    items = []
    for i in range(30):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(stream, "png")
        path = f"a-rather-long-folder-name-without-any-space/{HOSTILE}{(i * 7) % 30:02d}.png"
        items.append(GalleryItem(path, i / 10, i >= 20, 0.5, ("t/1.png", HOSTILE), stream.getvalue()))
    path = tmp_path_factory.mktemp("gallery") / "gallery.html"
    write_gallery(path, items, f"Images of {HOSTILE}", {"Detector": HOSTILE})
    return path


def column(browser: Browser, place: int, body: str = "tbody.ood", table: str = TABLE) -> list[str]:
    """The texts of a column, from the top, as they stand now."""
    script = f"[...document.querySelectorAll('{table} {body} tr')].map(r => r.cells[{place}].innerText.split('\\n')[0])"
    found: list[str] = browser.run(script)
    return found


def shown(browser: Browser, selector: str) -> bool:
    return bool(browser.run(f"document.querySelector({selector!r}).checkVisibility()"))


@pytest.mark.parametrize(("width", "dark"), VIEWS)
def test_it_fits_reads_and_fetches_nothing(browser, page, gallery, width, dark):
    for path in (page, gallery):
        browser.open(path, width, dark=dark)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("document.querySelectorAll('details').forEach(d => d.open = true)") is None
        assert browser.run("document.documentElement.scrollWidth") <= width, "with everything unfolded"
        ratio, text = browser.run(CONTRAST)
        assert 4.5 <= ratio < 99, text
        assert browser.complaints == [] and browser.requests == []
        assert browser.run("typeof window.pwned") == "undefined"


def test_contrast_holds_on_highlighted_cells(browser, page):
    for dark in (False, True):
        browser.open(page, dark=dark)
        browser.click("[data-switch=published]")
        browser.click(".keys [data-v=combined]")
        ratio, text = browser.run(CONTRAST)
        assert 4.5 <= ratio < 99, text


def test_dark_is_dark(browser, page):
    for dark, limit in ((False, lambda v: v > 200), (True, lambda v: v < 60)):
        browser.open(page, dark=dark)
        colour = browser.run("getComputedStyle(document.body).backgroundColor")
        assert limit(int(colour.split("(")[1].split(",")[0]))


def test_columns_sort_by_click_and_key(browser, page):
    browser.open(page)
    before = column(browser, 0)
    averages = column(browser, 0, "tbody.average")
    browser.click(f"{TABLE} thead th:nth-child(4) button")
    values = [float(text) for text in column(browser, 3)]
    assert values == sorted(values, reverse=True) and column(browser, 0) != before
    assert browser.run(f"document.querySelector('{TABLE} thead th:nth-child(4)').ariaSort") == "descending"
    browser.key("Enter")  # the button has the focus
    values = [float(text) for text in column(browser, 3)]
    assert values == sorted(values)
    assert browser.run(f"document.querySelector('{TABLE} thead th:nth-child(4)').ariaSort") == "ascending"
    browser.key(" ")
    assert column(browser, 0) == before
    browser.click(f"{TABLE} thead th:first-child button")
    assert column(browser, 0) == sorted(before, key=str.lower)
    assert browser.run(f"document.querySelector('{TABLE} thead th:nth-child(4)').ariaSort") == "none"
    assert column(browser, 0, "tbody.average") == averages  # what is not an OOD set stays below
    assert browser.complaints == []


def test_published_values_and_rows_toggle(browser, page):
    browser.open(page)
    assert not shown(browser, f"{TABLE} i.published")
    browser.click("#table-2-0 [data-switch=published]")
    assert shown(browser, f"{TABLE} i.published")
    assert browser.run("[...document.querySelectorAll('[data-switch=published]')].every(box => box.checked)")
    browser.key(" ")  # the box has the focus
    assert not shown(browser, f"{TABLE} i.published")
    browser.click("#table-2-0 [data-switch=turned]")
    turned = "#table-2-0 .scroll.turned"
    assert shown(browser, turned) and not shown(browser, TABLE)
    assert column(browser, 0, "tbody.trained", turned)[:2] == ["DINO", "ImgN"]
    browser.click(f"{turned} thead th:nth-child(2) button")
    values = [float(text) for text in column(browser, 1, "tbody.trained", turned)]
    assert values == sorted(values, reverse=True)
    assert column(browser, 0, "tbody.references", turned) == ["untrained", "image statistics"]


def test_the_variant_under_the_pointer_lights_up_everywhere(browser, page):
    browser.open(page)
    browser.hover(f"{TABLE} tbody.ood tr:nth-child(2) td[data-v=rot-imgn]")
    hot = "[...new Set([...document.querySelectorAll('.hot')].map(e => e.dataset.v))]"
    assert browser.run(hot) == ["rot-imgn"]
    assert browser.run("document.querySelectorAll('#figures-0 figure').length") == 6
    assert browser.run("[...document.querySelectorAll('#figures-0 figure')].every(f => f.querySelector('.mark.hot'))")
    assert browser.run("document.querySelectorAll('#training-0 .mark.hot').length") == 6  # two seeds, three curves
    assert browser.run("+getComputedStyle(document.querySelector('.mark:not(.hot)')).opacity") < 1
    assert shown(browser, "#tip") and "seed 1:" in browser.run("tip.textContent")
    browser.hover("#figures-0 figure:last-of-type .mark[data-v=dti]")
    assert browser.run(hot) == ["dti"] and "DTI" in browser.run("tip.textContent")
    browser.hover("h1")
    assert browser.run(hot) == [] and not shown(browser, "#tip")


def test_the_keyboard_does_what_the_pointer_does(browser, page):
    browser.open(page)
    browser.key("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().top") >= 0
    browser.key("Enter")
    browser.run(f"document.querySelector('{TABLE} td[tabindex=\"0\"]').focus()")
    browser.key("ArrowDown")
    browser.key("ArrowRight")
    assert browser.run("document.activeElement.dataset.tip").startswith("ImgN, SVHN")
    assert shown(browser, "#tip") and "seed 0:" in browser.run("tip.textContent")
    assert browser.run("document.activeElement.getAttribute('aria-describedby')") == "tip"
    assert browser.run("document.querySelector('#figures-0 .mark.hot').dataset.v") == "imgn"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.key("Escape")
    assert not shown(browser, "#tip")
    browser.run("document.querySelector('#figures-0 .mark').focus()")
    browser.key("ArrowRight")
    browser.key("Enter")  # pins it
    name = browser.run("document.activeElement.dataset.v")
    browser.hover("h1")
    assert browser.run("document.querySelector('.keys [aria-pressed=true]').dataset.v") == name
    assert browser.run("document.querySelectorAll('#table-2-0 td.hot').length") > 5


def test_tab_stops_are_few(browser, page):
    browser.open(page)
    script = "[...document.querySelectorAll('a, button, input, select, summary, [tabindex]')].filter(e => e.tabIndex >= 0 && e.checkVisibility()).length"  # noqa: E501
    assert browser.run(script) < 100


def test_the_chosen_detector_shows_its_own_scores_and_images(browser, page):
    browser.open(page)
    loaded = "[...document.querySelectorAll('[data-block]:not([hidden]) img')].filter(i => i.complete && i.naturalWidth).length"  # noqa: E501
    wait = "Promise.all([...document.querySelectorAll('[data-block]:not([hidden]) img')].map(i => i.decode()))"
    browser.run(f"{wait}.then(() => 1)")
    assert browser.run(loaded) == 3 * 16
    first = browser.run("document.querySelector('[data-block]:not([hidden])').dataset.block")
    select = "document.querySelector('[data-chooses]')"
    other = browser.run(f"[...{select}.options].map(o => o.value).find(v => v !== {first!r})")
    browser.run(f"{select}.value = {other!r}, {select}.dispatchEvent(new Event('change', {{bubbles: true}})), 1")
    assert browser.run("[...document.querySelectorAll('[data-block]:not([hidden])')].map(b => b.dataset.block)") == [
        other
    ]
    browser.run(f"{wait}.then(() => 1)")
    assert browser.run(loaded) == 3 * 16
    browser.hover("[data-block]:not([hidden]) .strip img")
    assert "score" in browser.run("tip.textContent")


@pytest.mark.parametrize("width", [760, 400])
def test_tables_scroll_in_their_own_box_with_the_first_column_in_view(browser, page, width):
    browser.open(page, width)
    browser.run("document.querySelectorAll('[data-switch=turned]').forEach(box => box.checked && box.click())")
    table = "#table-1-0 .scroll.plain"
    box = f"document.querySelector('{table}')"
    assert browser.run(f"{box}.scrollWidth > {box}.clientWidth")
    browser.run(f"{box}.scrollLeft = 150")
    left = browser.run(f"document.querySelector('{table} tbody.ood th').getBoundingClientRect().left")
    assert left == browser.run(f"{box}.getBoundingClientRect().left")
    column = browser.run(f"document.querySelector('{table} tbody.ood th').getBoundingClientRect().width")
    assert column <= 0.36 * browser.run(f"{box}.clientWidth") or column < 190


def test_a_shadow_says_that_a_table_goes_on_to_the_right(browser, page):
    browser.open(page, 400)
    frame = "document.querySelector('#table-1-0 .frame.turned')"
    shadow = f"getComputedStyle({frame}, '::after').content !== 'none'"
    assert browser.run(shadow)
    frames = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    browser.run(f"{frame}.firstElementChild.scrollLeft = 1e6, {frames}")
    assert not browser.run(shadow)
    browser.run(f"{frame}.firstElementChild.scrollLeft = 0, {frames}")
    assert browser.run(shadow)


@pytest.mark.parametrize(("width", "rows"), [(1280, False), (699, True), (400, True)])
def test_variants_are_rows_by_default_on_a_narrow_page(browser, page, width, rows):
    browser.open(page, width)
    for kind, seen in (("turned", rows), ("plain", not rows)):
        assert shown(browser, f"#table-1-0 .scroll.{kind}") == shown(browser, f"#table-2-0 .scroll.{kind}") == seen
    assert browser.run("document.querySelector('[data-switch=turned]').checked") == rows
    browser.click("#table-1-0 [data-switch=turned]")
    assert shown(browser, TABLE) == rows


def test_the_policy_lets_nothing_out(browser, page):
    browser.open(page)
    script = """new Promise(done => {
      document.addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
      new Image().src = "https://nowhere.invalid/x.png";
      setTimeout(() => done("none"), 2000);
    })"""
    assert browser.run(script) == "img-src"
    browser.run("document.body.insertAdjacentHTML('beforeend', '<img src=\"data:,\" onerror=\"window.pwned=3\">')")
    browser.run("new Promise(done => setTimeout(done, 100))")
    assert browser.run("typeof window.pwned") == "undefined"


def test_it_prints_without_the_controls(browser, page):
    browser.open(page, media="print")
    assert not shown(browser, "aside") and not shown(browser, ".switches")
    assert shown(browser, f"{TABLE} i.half")  # intervals, which no pointer can ask for on paper


def test_the_gallery_filters_sorts_and_enlarges(browser, gallery):
    browser.open(gallery)
    paths = "[...document.querySelectorAll('#grid figure')].map(f => f.dataset.path)"
    everything = browser.run(paths)
    assert len(everything) == 30
    browser.click("input[value=ood]")
    assert len(browser.run(paths)) == 10 and browser.run("shown.textContent") == "10 of 30 images"
    browser.run("sort.value = 'path', sort.dispatchEvent(new Event('change', {bubbles: true})), 1")
    assert browser.run(paths) == sorted(browser.run(paths)) != everything[:10]
    browser.click("input[value=all]")
    browser.run("sort.value = 'score', sort.dispatchEvent(new Event('change', {bubbles: true})), 1")
    assert browser.run(paths) == everything
    browser.click("#grid figure:nth-child(2) button")
    assert shown(browser, "#detail") and browser.run("large.naturalWidth") == 32
    assert HOSTILE in browser.run("facts.textContent") and "2.8" in browser.run("facts.textContent")
    browser.key("ArrowRight")
    assert "2.7" in browser.run("facts.textContent")
    first_row = "offsetTop === grid.querySelector('button').offsetTop"
    row = browser.run(f"[...document.querySelectorAll('#grid button')].filter(b => b.{first_row}).length")
    browser.key("ArrowDown")
    assert f"{(27 - row) / 10:.4f}" in browser.run("facts.textContent")
    browser.key("Escape")
    assert not shown(browser, "#detail")
    assert browser.run("document.activeElement.tagName") == "BUTTON"  # where one was
    assert browser.run("[...document.querySelectorAll('#grid button')].filter(b => b.tabIndex === 0).length") == 1
    assert browser.complaints == []


def test_the_driver_hears_complaints_and_requests(browser, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<script>console.error('oh'); undefined_name</script><img src='other.png'>")
    browser.open(path)
    said = " ".join(browser.complaints)
    assert "oh" in said and "undefined_name" in said
    assert any(url.endswith("other.png") for url in browser.requests)
