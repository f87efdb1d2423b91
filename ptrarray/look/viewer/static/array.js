// The page of one array: ways to look at it, rows to look at, statistics, metadata, files.

import { ask, bytes, h, later, route, shown as seen, sight, tree, whole } from "./dom.js";
import { Plot } from "./plot.js";

const LABELS = { line: "Line", lines: "Lines", heatmap: "Heat map", image: "Image", images: "Images", text: "Text", tokens: "Tokens", table: "Table", values: "Values", nothing: "Empty" };
const DRAWN = new Set(["line", "lines", "heatmap", "image", "images"]);
const LOOK_AGAIN = 3000; // milliseconds

export class ArrayPage {
  constructor(main, asked) {
    this.name = asked.get("name") ?? "";
    this.asked = { view: asked.get("view") ?? undefined };
    for (const key of ["start", "stop", "at"]) if (/^\d+$/.test(asked.get(key) ?? "")) this.asked[key] = Number(asked.get(key));
    this.ending = new AbortController();
    this.build(main);
    this.panTo = later(40, (start) => this.pan(start));
    this.stackTo = later(40, (at) => this.go({ at }));
    this.resized = new ResizeObserver(later(250, () => this.resize()));
    this.resized.observe(this.figure);
    this.load();
  }

  build(main) {
    this.heading = h("h1", { tabIndex: -1, textContent: seen(this.name) });
    this.before = h("a", { className: "button", textContent: "‹ Previous", title: "Previous array (k)" });
    this.after = h("a", { className: "button", textContent: "Next ›", title: "Next array (j)" });
    this.position = h("span", { className: "quiet" });
    this.summary = h("p", { id: "summary", className: "quiet", textContent: "\u00a0" });
    this.tabs = h("div", { role: "tablist", "aria-label": "Ways to look at it" });
    this.tabs.addEventListener("keydown", (event) => this.tabKey(event));
    this.figure = h("div", { id: "view", role: "tabpanel", "aria-busy": "true" });
    this.plot = new Plot(this.name, (start, stop) => this.go({ start, stop }));
    this.buildControls();
    this.notice = h("p", { className: "notice", role: "status", hidden: true });
    this.statistics = h("dl", { className: "tree", id: "statistics" }, h("div", { className: "quiet", textContent: "reading…" }));
    this.meta = h("div", { id: "meta" });
    const api = (more) => `api/npy?${new URLSearchParams({ name: this.name, ...more })}`;
    this.mask = h("a", { className: "button", href: api({ mask: "1" }), download: "", textContent: "Mask (.npy)", hidden: true });
    main.replaceChildren(
      h("nav", { className: "around", "aria-label": "Neighbours" }, this.before, this.position, this.after),
      this.heading, this.summary, this.notice, this.tabs,
      h("div", { className: "columns array" },
        h("div", {}, this.figure, this.controls),
        h("div", {},
          h("section", {}, h("h2", { textContent: "Statistics" }), this.statistics),
          h("section", {}, h("h2", { textContent: "Metadata" }), this.meta),
          h("section", {}, h("h2", { textContent: "Download" }), h("p", { className: "buttons" }, h("a", { className: "button", href: api({}), download: "", textContent: "Array (.npy)" }), this.mask)))));
  }

  buildControls() {
    const button = (label, title, call) => h("button", { type: "button", textContent: label, title, "aria-label": title, onclick: call });
    this.slider = h("input", { type: "range", min: 0, step: 1, id: "rows", "aria-label": "First row" });
    this.slider.addEventListener("input", () => this.panTo(Number(this.slider.value)));
    this.stack = h("input", { type: "range", min: 0, step: 1, id: "stack", "aria-label": "Picture of the stack" });
    this.stack.addEventListener("input", () => this.stackTo(Number(this.stack.value)));
    this.which = h("output", { id: "window" });
    this.whichPicture = h("output", { id: "picture" });
    this.zooms = h("span", { className: "buttons" },
      button("−", "More rows (−)", () => this.zoom(2)), button("+", "Fewer rows (+)", () => this.zoom(0.5)), button("All", "All rows (0)", () => this.whole()));
    this.pages = h("span", { className: "buttons" },
      button("‹", "Rows before ([)", () => this.turn(-1)), button("›", "Rows after (])", () => this.turn(1)));
    this.rowControls = h("div", { className: "controls" }, this.pages, this.slider, this.zooms, this.which);
    this.stackControls = h("div", { className: "controls" },
      h("span", { className: "buttons" }, button("‹", "Picture before ([)", () => this.turn(-1)), button("›", "Picture after (])", () => this.turn(1))), this.stack, this.whichPicture);
    this.columnControls = h("div", { className: "controls" }, h("span", { className: "buttons" },
      button("‹", "Columns before", () => this.columns(-50)), button("›", "Columns after", () => this.columns(50))), h("output", { id: "columns" }));
    this.controls = h("div", {}, this.stackControls, this.rowControls, this.columnControls);
    for (const part of this.controls.children) part.hidden = true;
  }

  /** Look at other rows, another picture or in another way, and remember it in the address. */
  go(change) {
    this.asked = { ...this.asked, ...change };
    const kept = Object.fromEntries(Object.entries(this.asked).filter(([, value]) => value !== undefined));
    history.replaceState(null, "", route(this.name, kept));
    this.load();
  }

  async load() {
    this.asking?.abort();
    const asking = new AbortController();
    this.asking = asking;
    this.figure.setAttribute("aria-busy", "true");
    const padding = Number.parseFloat(getComputedStyle(this.figure).paddingLeft);
    const width = Math.max(50, Math.round(this.figure.clientWidth - 2 * padding));
    this.width = this.figure.clientWidth;
    try {
      const answer = await ask("array", { name: this.name, ...this.asked, width }, asking.signal);
      if (!asking.signal.aborted) this.show(answer);
    } catch (failure) {
      if (!asking.signal.aborted) this.fail(failure);
    }
  }

  fail(failure) {
    this.isCut = failure.status === undefined;
    if (this.asked.view && failure.status === 422) {
      this.go({ view: undefined });
      return;
    }
    this.figure.setAttribute("aria-busy", "false");
    this.notice.hidden = false;
    this.notice.textContent = failure.status === 404 ? `There is no array of this name now. ${failure.message}` : failure.message;
    if (!this.answer) {
      this.statistics.replaceChildren();
      this.figure.replaceChildren();
    }
  }

  show(answer) {
    const isFirst = !this.answer;
    const isNew = isFirst || this.isPart || identity(this.answer) !== identity(answer);
    this.answer = answer;
    this.isCut = false;
    this.notice.hidden = true;
    this.showFacts(answer);
    this.showTabs(answer);
    this.showRows(answer);
    if (DRAWN.has(answer.view)) {
      this.plot.show(answer);
      if (this.plot.element.parentNode !== this.figure) this.figure.replaceChildren(this.plot.element);
    } else this.figure.replaceChildren(CONTENT[answer.view](answer));
    this.figure.setAttribute("aria-busy", "false");
    this.figure.setAttribute("aria-labelledby", `tab-${answer.view}`);
    if (isNew) this.loadRest();
  }

  showFacts(answer) {
    const shape = answer.shape.length ? answer.shape.map(whole).join(" × ") : "a single value";
    this.summary.textContent = [shape, answer.dtype, bytes(answer.nbytes), answer.masked ? "with a mask" : "", `at row ${whole(answer.first_row)}`].filter(Boolean).join(" · ");
    this.position.textContent = `${whole(answer.position + 1)} of ${whole(answer.n_arrays)}`;
    this.mask.hidden = !answer.masked;
    for (const [link, name] of [[this.before, answer.previous], [this.after, answer.next]]) {
      if (name === null) link.removeAttribute("href");
      else link.href = route(name);
      link.setAttribute("aria-disabled", name === null);
    }
    if (this.pending) this.step(this.pending);
    this.pending = 0;
  }

  showTabs({ views, view }) {
    if (this.tabs.children.length !== views.length || this.views !== views.join()) {
      this.views = views.join();
      this.tabs.replaceChildren(...views.map((each, at) => h("button", { type: "button", role: "tab", id: `tab-${each}`, textContent: LABELS[each] ?? each, title: `${LABELS[each] ?? each} (${at + 1})`, "aria-controls": "view",
        onclick: () => this.go({ view: each, start: undefined, stop: undefined, at: undefined }) })));
    }
    for (const tab of this.tabs.children) {
      const isChosen = tab.id === `tab-${view}`;
      tab.setAttribute("aria-selected", isChosen);
      tab.tabIndex = isChosen ? 0 : -1;
    }
  }

  showRows(answer) {
    const { view, window: [start, stop], n_rows: n, stack, table, picture } = answer;
    const isRows = !stack && view !== "image" && view !== "nothing";
    this.stackControls.hidden = !stack;
    if (stack) {
      this.stack.max = stack.n - 1;
      if (document.activeElement !== this.stack) this.stack.value = stack.at;
      this.whichPicture.textContent = `picture ${whole(stack.at)}, ${whole(stack.n)} in all`;
    }
    this.rowControls.hidden = !isRows || (n < 2 && stop - start >= n);
    this.zooms.hidden = !DRAWN.has(view);
    this.slider.hidden = stop - start >= n;
    this.pages.hidden = stop - start >= n;
    this.slider.max = Math.max(n - (stop - start), 0);
    if (document.activeElement !== this.slider) this.slider.value = start;
    this.slider.setAttribute("aria-valuetext", `row ${start}`);
    const sample = picture?.sampled ? `; a sample of them is drawn, up to ${whole(answer.limit_rows)} are drawn whole` : "";
    this.which.textContent = `rows ${whole(start)} to ${whole(stop - 1)} of ${whole(n)}${sample}`;
    this.columnControls.hidden = !table || table.n_columns <= table.columns.length;
    if (table) this.columnControls.lastChild.textContent = `columns ${whole(table.column)} to ${whole(table.column + table.columns.length - 1)} of ${whole(table.n_columns)}`;
  }

  async loadRest() {
    const { signal } = this.ending;
    this.isPart = false;
    ask("meta", { name: this.name }, signal)
      .then((meta) => this.meta.replaceChildren(meta.length ? tree(meta) : h("p", { className: "quiet", textContent: "none" })))
      .catch((failure) => this.failPart(this.meta, failure));
    try {
      const pairs = await ask("statistics", { name: this.name }, signal);
      this.statistics.replaceChildren(...(pairs.length ? tree(pairs).children : [h("div", { className: "quiet", textContent: "There are no numbers." })]));
    } catch (failure) {
      this.failPart(this.statistics, failure);
    }
  }

  failPart(part, failure) {
    if (this.ending.signal.aborted) return;
    this.isCut ||= failure.status === undefined;
    this.isPart ||= failure.status !== 500; // which it would be once more
    part.replaceChildren(h("div", { className: "failure", textContent: failure.message }));
  }

  /** Something was committed: look whether this is still the same array, not too often. */
  update(data) {
    const now = sight(data);
    const isOther = this.sight !== undefined && this.sight !== now;
    if ((isOther || this.isCut) && !this.timer) this.timer = setTimeout(() => this.again(), LOOK_AGAIN);
    this.sight = now;
  }

  async again() {
    this.timer = 0;
    if (!this.answer) {
      this.load();
      return;
    }
    try {
      const view = this.answer.views.includes("values") ? "values" : this.answer.views[0];
      const now = await ask("array", { name: this.name, view, start: 0, stop: 1 }, this.ending.signal);
      if (identity(now) !== identity(this.answer) || !this.notice.hidden || this.isPart) this.load();
      else this.showFacts(now);
    } catch (failure) {
      if (!this.ending.signal.aborted) this.fail(failure);
    }
  }

  // rows ------------------------------------------------------------------------------------

  get window() {
    return this.answer?.window ?? [0, 1];
  }

  pan(start) {
    const [from, to] = this.window;
    this.go({ start, stop: start + (to - from) });
  }

  turn(by) {
    if (!this.answer) return;
    const { stack, n_rows: n } = this.answer;
    if (stack) {
      this.go({ at: Math.max(0, Math.min(stack.n - 1, stack.at + by)) });
      return;
    }
    const [start, stop] = this.window;
    const step = DRAWN.has(this.answer.view) ? Math.max(1, Math.floor((stop - start) / 2)) : stop - start;
    const first = Math.max(0, Math.min(Math.max(0, n - (DRAWN.has(this.answer.view) ? stop - start : 1)), start + by * step));
    if (first === start) return;
    this.go({ start: first, stop: DRAWN.has(this.answer.view) ? first + (stop - start) : undefined });
  }

  zoom(factor) {
    if (!this.answer || !DRAWN.has(this.answer.view) || this.rowControls.hidden) return;
    const [start, stop] = this.window;
    const span = Math.max(2, Math.min(this.answer.n_rows, Math.round((stop - start) * factor)));
    const at = this.plot.at && !this.plot.cross.hidden ? this.plot.at[0] : 0.5;
    const first = Math.max(0, Math.min(this.answer.n_rows - span, Math.round(start + (stop - start) * at - span * at)));
    this.go({ start: first, stop: first + span });
  }

  whole() {
    if (this.answer && DRAWN.has(this.answer.view)) this.go({ start: 0, stop: this.answer.n_rows });
  }

  columns(by) {
    const { table } = this.answer;
    this.go({ at: Math.max(0, Math.min(table.n_columns - 1, table.column + by)) });
  }

  resize() {
    if (this.answer && DRAWN.has(this.answer.view) && Math.abs(this.figure.clientWidth - this.width) > 24) this.load();
  }

  // keys ------------------------------------------------------------------------------------

  tabKey(event) {
    const tabs = [...this.tabs.children];
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
    event.preventDefault();
  }

  key(key) {
    const calls = { "+": () => this.zoom(0.5), "=": () => this.zoom(0.5), "-": () => this.zoom(2), "−": () => this.zoom(2), 0: () => this.whole(), "[": () => this.turn(-1), "]": () => this.turn(1) };
    if (key in calls) calls[key]();
    else if (/^[1-9]$/.test(key)) this.tabs.children[Number(key) - 1]?.click();
    else return false;
    return true;
  }

  step(by) {
    if (!this.answer) this.pending = by; // for when it is known who the neighbours are
    const link = by > 0 ? this.after : this.before;
    if (link.href) location.hash = link.getAttribute("href");
  }

  close() {
    this.asking?.abort();
    this.ending.abort();
    this.resized.disconnect();
    clearTimeout(this.timer);
  }
}

/** What an array is, as far as an answer tells: it differs when the array was replaced or moved. */
const identity = ({ shape, dtype, first_row: first, crc, masked }) => JSON.stringify([shape, dtype, first, crc, masked]);

// views that are text -------------------------------------------------------------------------

const cell = (tag, value) => h(tag, value === null ? { className: "masked", textContent: "masked" } : { textContent: value });

function table({ table: { columns, rows, first } }) {
  const head = h("tr", {}, h("th", { scope: "col", textContent: "row" }), ...columns.map((column) => h("th", { scope: "col", textContent: column })));
  const body = rows.map((row, at) => h("tr", {}, h("th", { scope: "row", textContent: whole(first + at) }), ...row.map((value) => cell("td", value))));
  return h("div", { className: "scroll", tabIndex: 0, role: "region", "aria-label": "Values" }, h("table", {}, h("thead", {}, head), h("tbody", {}, ...body)));
}

function text({ lines }) {
  if (lines.text !== undefined) return h("pre", { className: "scroll", tabIndex: 0, textContent: lines.text });
  const items = lines.lines.map((cells) => h("li", {}, ...cells.map((value) => cell("span", value))));
  return h("ol", { className: "scroll lines", tabIndex: 0, start: lines.first }, ...items);
}

function tokens({ ids }) {
  const items = ids.ids.map((value, at) => {
    const item = cell("span", value);
    item.title = `row ${whole(ids.first + at)}`;
    return item;
  });
  return h("div", { className: "scroll ids", tabIndex: 0 }, ...items);
}

const CONTENT = { table, values: table, text, tokens, nothing: () => h("p", { className: "quiet", textContent: "This array has no values." }) };
