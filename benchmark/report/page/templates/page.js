"use strict";
const all = (what, within = document) => [...within.querySelectorAll(what)];
const tip = document.getElementById("tip");
const images = JSON.parse(document.getElementById("data").textContent).images;

/* One variant at a time is highlighted, wherever it stands: under the pointer, at the focus, or else the pinned one. */
let pinned = null, lit = null;
const marks = new Map();
for (const element of all("[data-v]")) {
  if (!marks.has(element.dataset.v)) marks.set(element.dataset.v, []);
  marks.get(element.dataset.v).push(element);
}
function light(name) {
  if (name === lit) return;
  for (const element of marks.get(lit) ?? []) element.classList.remove("hot");
  for (const element of marks.get(name) ?? []) element.classList.add("hot");
  document.body.classList.toggle("lit", name !== null);
  lit = name;
}
const variantAt = (target) => target?.closest?.("[data-v]:not(details)")?.dataset.v ?? null;
const focused = () => (document.activeElement?.matches(":focus-visible") ? document.activeElement : null);
function pin(name) {
  pinned = pinned === name ? null : name;
  for (const button of all(".keys button")) button.setAttribute("aria-pressed", button.dataset.v === pinned);
  light(pinned);
}
for (const button of all(".keys button")) button.addEventListener("click", () => pin(button.dataset.v));

/* The tip: the numbers behind whatever is under the pointer or at the focus. */
let described = null;
function tell(element, x, y) {
  if (described) described.removeAttribute("aria-describedby");
  described = element;
  tip.hidden = !element;
  if (!element) return;
  tip.textContent = element.dataset.tip;
  if (!element.hasAttribute("aria-label") && !element.alt) element.setAttribute("aria-describedby", "tip");
  const box = element.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const left = (x ?? box.left + box.width / 2) - size.width / 2;
  const above = (y ?? box.top) - size.height - 10;
  tip.style.left = Math.max(8, Math.min(left, document.documentElement.clientWidth - size.width - 8)) + "px";
  tip.style.top = (above > 8 ? above : Math.min((y ?? box.bottom) + 14, innerHeight - size.height - 8)) + "px";
}
const withTip = (target) => target?.closest?.("[data-tip]") ?? null;
document.addEventListener("pointerover", (event) => {
  light(variantAt(event.target) ?? pinned);
  const element = withTip(event.target);
  tell(element, ...(element?.matches(".mark") ? [event.clientX, event.clientY] : []));
});
document.documentElement.addEventListener("pointerleave", () => { light(pinned); tell(null); });
document.addEventListener("focusin", () => { light(variantAt(focused()) ?? pinned); tell(withTip(focused())); });
document.addEventListener("focusout", () => { light(pinned); tell(null); });
// Moving the focus scrolls: its tip goes along. One of the pointer goes away.
const follow = () => { if (described) tell(described === withTip(focused()) ? described : null); };
document.addEventListener("scroll", follow, { capture: true, passive: true });
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (tip.hidden && pinned) pin(pinned);
  tell(null);
});
for (const mark of all(".mark")) mark.addEventListener("click", () => pin(mark.dataset.v));

/* Arrow keys: each table, chart, strip and the legend is one stop of the Tab key, and arrows move within it. */
function stops(box) {
  const items = box.matches(".keys") ? all("button", box) : all("[data-tip]", box);
  return items.filter((item) => item.checkVisibility?.() ?? true);
}
for (const box of all("[data-roving]")) {
  const items = box.matches(".keys") ? all("button", box) : all("[data-tip]", box);
  items.forEach((item, place) => item.setAttribute("tabindex", place ? -1 : 0));
  if (box.matches("table")) box.setAttribute("role", "grid");
  box.addEventListener("keydown", (event) => {
    const from = event.target.closest("[tabindex]");
    if (!box.contains(from) || event.target.closest("thead")) return;
    const to = box.matches("table") ? besideInTable(from, event.key) : besideInList(stops(box), from, event.key);
    if (event.key === "Enter" && from.matches(".mark")) pin(from.dataset.v);
    if (!to) return;
    event.preventDefault();
    from.setAttribute("tabindex", -1);
    to.setAttribute("tabindex", 0);
    to.focus();
    to.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
}
function besideInList(items, from, key) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[key];
  if (key === "Home") return items[0];
  if (key === "End") return items.at(-1);
  return step && items[(items.indexOf(from) + step + items.length) % items.length];
}
function besideInTable(cell, key) {
  const [down, right] = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[key] ?? [0, 0];
  if (!down && !right) return null;
  const rows = all("tbody:not(.of) tr", cell.closest("table"));
  let row = rows.indexOf(cell.parentElement), column = cell.cellIndex;
  for (;;) {
    row += down;
    column += right;
    const next = rows[row]?.cells[column];
    if (!next) return null;
    if (next.dataset.tip) return next;
  }
}

/* Sorting: numbers from the highest, names from the first letter, then the other way, then as it was. */
for (const body of all("tbody")) [...body.rows].forEach((row, place) => { row.dataset.place = place; });
for (const button of all("[data-sort]")) button.addEventListener("click", () => {
  const heading = button.closest("th"), table = heading.closest("table"), column = heading.cellIndex;
  const order = button.dataset.sort === "text" ? ["ascending", "descending", "none"] : ["descending", "ascending", "none"];
  const next = order[(order.indexOf(heading.getAttribute("aria-sort")) + 1) % 3];
  for (const other of all("thead tr:last-child th", table)) other.setAttribute("aria-sort", other === heading ? next : "none");
  const sign = next === "ascending" ? 1 : -1;
  const key = (row) => {
    const cell = row.cells[column];
    return cell.matches("th") ? cell.textContent : cell.dataset.n === undefined ? null : Number(cell.dataset.n);
  };
  const compare = (a, b) => {
    const [left, right] = [key(a), key(b)];
    if (left === null || right === null) return (left === null) - (right === null); // what is missing stays last
    return sign * (typeof left === "string" ? left.localeCompare(right) : left - right);
  };
  for (const body of all("[data-sorts]", table)) {
    const rows = [...body.rows].sort((a, b) => a.dataset.place - b.dataset.place);
    body.append(...(next === "none" ? rows : rows.sort(compare)));
  }
});

/* Switches hold for all tables of the page. On a narrow one variants stand as rows unless somebody turns them. */
function turn(what, on) {
  for (const box of all(`[data-switch=${what}]`)) box.checked = on;
  if (what === "published") document.body.classList.toggle("show-published", on);
  if (what === "turned") for (const grid of all(".frame")) grid.hidden = grid.matches(".turned") !== on;
  shade();
}
for (const box of all("[data-switch]")) box.addEventListener("change", () => turn(box.dataset.switch, box.checked));

/* A shadow where a table goes on to the right. */
function shade() {
  for (const frame of all(".frame")) {
    const box = frame.firstElementChild;
    frame.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
  }
}
for (const box of all(".frame > *")) box.addEventListener("scroll", shade, { passive: true });
addEventListener("resize", shade);
const narrow = matchMedia("(max-width: 700px)");
narrow.addEventListener("change", () => turn("turned", narrow.matches));
turn("turned", narrow.matches);

/* Scores: one detector's block is shown; its thumbnails are put in when it is. */
function choose(select) {
  for (const block of all("[data-block]", select.closest(".chooser"))) {
    block.hidden = block.dataset.block !== select.value;
    if (!block.hidden) for (const image of all("img[data-i]", block)) image.src = images[image.dataset.i];
  }
}
for (const select of all("[data-chooses]")) {
  select.addEventListener("change", () => choose(select));
  choose(select);
}
