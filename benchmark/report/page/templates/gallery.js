"use strict";
const $ = (id) => document.getElementById(id);
const figures = [...document.querySelectorAll("#grid figure")];
const detail = $("detail");

/* Filter and sort. */
function arrange() {
  const only = document.querySelector("input[name=show]:checked").value === "ood";
  const shown = figures.filter((figure) => !only || "ood" in figure.dataset);
  const byPath = (a, b) => (a.dataset.path < b.dataset.path ? -1 : a.dataset.path > b.dataset.path ? 1 : 0);
  const byScore = (a, b) => b.dataset.score - a.dataset.score || byPath(a, b);
  shown.sort($("sort").value === "path" ? byPath : byScore);
  $("grid").replaceChildren(...shown);
  $("shown").textContent = `${shown.length.toLocaleString("en")} of ${figures.length.toLocaleString("en")} images`;
  $("nothing").hidden = shown.length > 0;
  if (shown.length && !shown.some((figure) => figure.firstChild.tabIndex === 0)) stop(shown[0].firstChild);
}
document.querySelector(".tools").addEventListener("change", (event) => { if (event.target.id !== "where") arrange(); });
document.querySelector(".tools").addEventListener("submit", (event) => event.preventDefault());

/* The chosen image, large, with what is said about it: on a click, and at the keyboard's focus. */
function choose(button) {
  $("grid").querySelector("[aria-current]")?.removeAttribute("aria-current");
  detail.hidden = !button;
  if (!button) return;
  button.setAttribute("aria-current", "true");
  $("large").src = button.querySelector("img").src;
  $("large").alt = button.getAttribute("aria-label");
  const where = button.querySelector(".where");
  $("large-where").hidden = !where;
  if (where) $("large-where").src = where.src;
  const facts = button.nextSibling.cloneNode(true);
  facts.hidden = false;
  $("facts").replaceChildren(facts);
}
$("grid").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) { stop(button); choose(button); }
});
$("grid").addEventListener("focusin", (event) => { if (event.target.matches(":focus-visible")) choose(event.target); });
function close() {
  const button = $("grid").querySelector("[aria-current]");
  choose(null);
  button?.focus({ focusVisible: false });
  choose(null);
}
$("close").addEventListener("click", close);
document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !detail.hidden) close(); });

/* The grid is one stop of the Tab key; arrows move in it, up and down by a row. */
function stop(button) {
  for (const figure of figures) figure.firstChild.tabIndex = figure.firstChild === button ? 0 : -1;
}
$("grid").addEventListener("keydown", (event) => {
  const buttons = [...$("grid").querySelectorAll("button")], from = buttons.indexOf(event.target);
  if (from < 0) return;
  const top = buttons[0].offsetTop;
  const columns = Math.max(1, buttons.findIndex((button) => button.offsetTop > top) < 0 ? buttons.length : buttons.findIndex((button) => button.offsetTop > top));
  const to = { ArrowRight: from + 1, ArrowLeft: from - 1, ArrowDown: from + columns, ArrowUp: from - columns, Home: 0, End: buttons.length - 1 }[event.key];
  if (to === undefined || !buttons[to]) return;
  event.preventDefault();
  stop(buttons[to]);
  buttons[to].focus();
  buttons[to].scrollIntoView({ block: "nearest" });
});
arrange();
