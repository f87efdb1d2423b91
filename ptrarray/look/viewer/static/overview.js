// The first page: what the store is, how it grows, its newest names, how long its arrays are.

import { $, ask, bytes, h, name, route, shown, sight, svg, tree, whole } from "./dom.js";

const SPOKEN_EVERY = 15_000; // milliseconds
const WIDTH = 600;
const HEIGHT = 96;

export class Overview {
  constructor(main) {
    this.counts = {};
    const count = (key, label) => {
      this.counts[key] = { number: h("output", { id: `n-${key}`, textContent: "–", "aria-live": "off" }), rate: h("span", { className: "rate", textContent: "\u00a0" }) };
      return h("div", { className: "count" }, h("h2", { textContent: label }), this.counts[key].number, this.counts[key].rate);
    };
    this.growth = h("figure", { id: "growth" });
    this.newest = h("ol", { id: "newest", className: "names" });
    this.lengths = h("figure", { id: "lengths" });
    this.facts = h("dl", { id: "facts", className: "tree" });
    this.attrs = h("section", { hidden: true });
    this.heading = h("h1", { tabIndex: -1, textContent: "Overview" });
    main.replaceChildren(
      this.heading,
      h("section", { className: "counts", "aria-label": "Counts" }, count("arrays", "arrays"), count("rows", "rows"), count("nbytes", "size")),
      h("div", { className: "columns" },
        h("div", {}, section("Growth", this.growth), section("Lengths", this.lengths)),
        h("div", {}, section("Newest names", this.newest), section("Facts", this.facts), this.attrs)),
    );
    this.asking = new AbortController();
    this.load();
  }

  async load() {
    try {
      const facts = await ask("store", {}, this.asking.signal);
      this.isCut = false;
      this.showFacts(facts);
    } catch (failure) {
      this.isCut = failure.status === undefined;
      if (!this.asking.signal.aborted) this.facts.replaceChildren(h("div", { className: "failure", textContent: failure.message }));
    }
  }

  /** Show what an event says. */
  update(data) {
    const { arrays, rows, nbytes, rates } = data;
    this.set("arrays", whole(arrays), rates.arrays ? `${rates.arrays > 0 ? "+" : ""}${rates.arrays.toFixed(1)} /s` : "");
    this.set("rows", whole(rows), "");
    this.set("nbytes", bytes(nbytes), rates.megabytes ? `${rates.megabytes > 0 ? "+" : ""}${rates.megabytes.toFixed(2)} MB/s` : "");
    this.showNewest(data.newest);
    this.growth.replaceChildren(...growth(data.history));
    this.say(`${whole(arrays)} arrays, ${bytes(nbytes)}`);
    const seen = sight(data);
    if ((this.seen && this.seen !== seen) || this.isCut) this.refresh();
    this.seen = seen;
  }

  /** Ask for the facts again, now and then. */
  refresh() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = 0;
      if (this.facts.isConnected) this.load();
    }, 2000);
  }

  set(key, number, rate) {
    this.counts[key].number.textContent = number;
    this.counts[key].rate.textContent = rate || "\u00a0";
  }

  say(text) {
    const now = performance.now();
    if (text === this.said || now - (this.saidAt ?? -SPOKEN_EVERY) < SPOKEN_EVERY) return;
    [this.said, this.saidAt] = [text, now];
    $("spoken").textContent = text;
  }

  showNewest(names) {
    const before = [...this.newest.children].map((item) => item.firstChild.title);
    if (names.length === before.length && names.every((name, at) => name === before[at])) return;
    const focused = document.activeElement?.closest("#newest li")?.firstChild.title;
    this.newest.replaceChildren(...names.map((name) => h("li", {}, h("a", { href: route(name), title: name, textContent: shown(name) }))));
    if (!names.length) this.newest.replaceChildren(h("li", { className: "quiet" }, h("span", { textContent: "none yet" })));
    if (focused !== undefined) [...this.newest.querySelectorAll("a")].find((link) => link.title === focused)?.focus();
  }

  showFacts(facts) {
    const known = { path: "path", layout: "layout", dtype: "dtype", row_shape: "shape of a row", masked: "masks", sealed: "sealed", shards: "shards", shard_nbytes: "shards of at most", generation: "generation", helper_arrays: "helper arrays" };
    const text = (key, value) => (key.endsWith("nbytes") ? bytes(value) : typeof value === "number" ? whole(value) : typeof value === "string" ? value : JSON.stringify(value).slice(0, 500));
    const words = { true: "yes", false: "no", null: "each its own" };
    if (facts.layout === "mixed") facts.dtype = null;
    const pairs = Object.entries(known).filter(([key]) => key in facts).map(([key, label]) => [label, words[String(facts[key])] ?? text(key, facts[key])]);
    if (facts.lengths?.hole_rows) pairs.push(["holes", `${facts.lengths.sample ? "about " : ""}${whole(facts.lengths.hole_rows)} ${facts.lengths.unit}`]);
    this.facts.replaceChildren(...tree(pairs).children);
    name(facts.path);
    const attrs = facts.attrs ?? [];
    this.attrs.hidden = !attrs.length;
    if (attrs.length) this.attrs.replaceChildren(h("h2", { textContent: "Attributes" }), tree(attrs));
    this.lengths.replaceChildren(...lengths(facts.lengths));
  }

  step(by) {
    const links = [...this.newest.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at + by))]?.focus();
  }

  close() {
    this.asking.abort();
    clearTimeout(this.timer);
  }
}

function section(title, content) {
  return h("section", {}, h("h2", { textContent: title }), content);
}

const clock = (milliseconds) => new Date(milliseconds).toLocaleTimeString("en-GB");

/** How many arrays there were at which time, as a line. */
function growth(points) {
  const first = points[0];
  const last = points.at(-1);
  if (!first || points.length < 2) return [h("p", { className: "quiet", textContent: "It has not changed since this server began to look." })];
  const span = Math.max(last[0] - first[0], 1);
  const counts = points.map((point) => point[1]);
  const low = Math.min(...counts);
  const high = Math.max(...counts, low + 1);
  const x = (point) => (((point[0] - first[0]) / span) * WIDTH).toFixed(1);
  const y = (count) => (HEIGHT - 4 - ((count - low) / (high - low)) * (HEIGHT - 8)).toFixed(1);
  const steps = points.map((point, at) => (at ? `H${x(point)}V${y(point[1])}` : `M0 ${y(point[1])}`)).join("");
  const label = `Arrays from ${whole(counts[0])} at ${clock(first[0])} to ${whole(last[1])} at ${clock(last[0])}`;
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("path", { d: `${steps}V${HEIGHT}H0z`, class: "area" }), svg("path", { d: steps, class: "line" }));
  const caption = h("figcaption", {}, h("span", { textContent: `${clock(first[0])} · ${whole(counts[0])}` }), h("span", { textContent: `${clock(last[0])} · ${whole(last[1])}` }));
  return [drawing, caption];
}

/** How many arrays are how long, as bars. */
function lengths(counted) {
  if (!counted || !counted.counted) return [h("p", { className: "quiet", textContent: "There are no arrays." })];
  const { unit, counts, labels, empty } = counted;
  const bars = [...(empty ? [[empty, "0", "bar empty"]] : []), ...counts.map((count, at) => [count, labels[at], "bar"])];
  const most = Math.max(...bars.map(([count]) => count), 1);
  const wide = WIDTH / Math.max(bars.length, 8);
  const drawing = svg("svg", { viewBox: `0 0 ${Math.max(bars.length, 8) * wide} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `Lengths of ${whole(counted.counted)} arrays` });
  const note = h("p", { className: "readout quiet", textContent: counted.sample ? `a sample of ${whole(counted.counted)} of ${whole(counted.arrays)} arrays` : `${whole(counted.counted)} arrays` });
  const plain = note.textContent;
  bars.forEach(([count, label, kind], at) => {
    const height = count ? Math.max((count / most) * (HEIGHT - 2), 1.5) : 0;
    const told = `${label} ${label === "1" ? unit.slice(0, -1) : unit}: ${whole(count)} ${count === 1 ? "array" : "arrays"}`;
    const bar = svg("g", {}, svg("rect", { x: at * wide, y: 0, width: wide, height: HEIGHT, class: "catch" }),
      svg("rect", { x: at * wide + 1, y: HEIGHT - height, width: Math.max(wide - 2, 1), height, class: kind }), svg("title", {}, told));
    bar.addEventListener("pointerenter", () => (note.textContent = told));
    bar.addEventListener("pointerleave", () => (note.textContent = plain));
    drawing.append(bar);
  });
  const caption = h("figcaption", {}, h("span", { textContent: `${bars[0][1].split(" to ")[0]} ${unit}` }), h("span", { textContent: counted.logarithmic ? "logarithmic" : "" }), h("span", { textContent: `${bars.at(-1)[1].split(" to ").pop()} ${unit}` }));
  return [drawing, caption, note];
}
