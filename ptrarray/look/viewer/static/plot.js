// A drawing with axes and a crosshair. The drawing is the server's; what lies over it is made here.

import { ask, h, later, short, whole } from "./dom.js";

export class Plot {
  /** Of one array; `zoom(start, stop)` is called with rows that were dragged across. */
  constructor(name, zoom) {
    this.name = name;
    this.zoom = zoom;
    this.image = h("img", { alt: "", draggable: false });
    this.cross = h("div", { className: "cross", hidden: true });
    this.level = h("div", { className: "level", hidden: true });
    this.dragged = h("div", { className: "dragged", hidden: true });
    this.box = h("div", { className: "drawing", tabIndex: 0, role: "slider", "aria-orientation": "horizontal", "aria-label": "Crosshair" },
      this.image, this.cross, this.level, this.dragged);
    this.high = h("span");
    this.low = h("span");
    this.first = h("span");
    this.middle = h("span");
    this.last = h("span");
    this.readout = h("output", { className: "readout", "aria-live": "off", textContent: "\u00a0" });
    this.element = h("div", { className: "plot" },
      h("div", { className: "axis-y", "aria-hidden": "true" }, this.high, this.low), this.box,
      h("div", { className: "axis-x", "aria-hidden": "true" }, this.first, this.middle, this.last), this.readout);
    this.box.addEventListener("pointermove", (event) => this.move(event));
    this.box.addEventListener("pointerdown", (event) => this.press(event));
    this.box.addEventListener("pointerup", (event) => this.release(event));
    this.box.addEventListener("pointercancel", () => this.drop());
    this.box.addEventListener("pointerleave", () => this.leave());
    this.box.addEventListener("blur", () => this.leave());
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.askValue = later(120, () => this.value());
  }

  /** Show what the server has drawn. */
  show(shown) {
    const { picture, view, window: [start, stop] } = shown;
    this.shown = shown;
    this.isPicture = view === "image" || view === "images";
    this.element.classList.toggle("pixels", this.isPicture);
    this.image.src = `data:image/svg+xml,${encodeURIComponent(picture.svg)}`;
    this.image.width = picture.width;
    this.image.height = picture.height;
    this.image.alt = `${view} of rows ${whole(start)} to ${whole(stop - 1)}: ${picture.caption || `${shown.shape.join(" × ")} ${shown.dtype}`}`;
    this.size = this.isPicture ? shown.size : [Math.max(1, shown.shape.slice(1).reduce((a, b) => a * b, 1)), stop - start];
    const { marks } = shown;
    const known = (columns) => columns.flat().filter((value) => value !== null);
    const [lows, highs] = marks ? [known(marks.low), known(marks.high)] : [[], []];
    this.span = lows.length ? [lows.reduce((a, b) => Math.min(a, b)), highs.reduce((a, b) => Math.max(a, b))] : undefined;
    const isRows = !this.isPicture;
    const [left, right] = isRows ? [start, stop - 1] : [0, this.size[1] - 1];
    // The axes of lines and heat maps are drawn; those of an image are written around it.
    this.first.textContent = isRows ? "" : whole(left);
    this.middle.textContent = isRows ? "" : "column";
    this.last.textContent = isRows || right === left ? "" : whole(right);
    this.high.textContent = isRows ? "" : "0";
    this.low.textContent = isRows || this.size[0] < 2 ? "" : whole(this.size[0] - 1);
    this.first.parentNode.style.maxWidth = isRows ? "" : `${picture.width}px`;
    [this.cross.style.top, this.cross.style.bottom] = [this.down(0), `calc(100% - ${this.down(1)})`];
    [this.level.style.left, this.level.style.right] = [this.across(0), `calc(100% - ${this.across(1)})`];
    [this.dragged.style.top, this.dragged.style.bottom] = [this.cross.style.top, this.cross.style.bottom];
    this.box.setAttribute("aria-valuemin", left);
    this.box.setAttribute("aria-valuemax", right);
    this.leave();
  }

  /** Fractions of the drawing, from 0 to 1, where a pointer is. */
  place(event) {
    const seen = this.image.getBoundingClientRect();
    const { width, height, box: [left, top, wide, high] } = this.shown.picture;
    const within = (value) => Math.min(Math.max(value, 0), 1 - 1e-9);
    const x = ((event.clientX - seen.left) / seen.width) * width;
    const y = ((event.clientY - seen.top) / seen.height) * height;
    return [within((x - left) / wide), within((y - top) / high)];
  }

  /** Where a fraction of the drawing is in its picture, for a style. */
  across(x) {
    const { width, box: [left, , wide] } = this.shown.picture;
    return `${((left + x * wide) / width) * 100}%`;
  }

  down(y) {
    const { height, box: [, top, , high] } = this.shown.picture;
    return `${((top + y * high) / height) * 100}%`;
  }

  move(event) {
    const [x, y] = this.place(event);
    this.point(x, y);
    if (this.pressed !== undefined) this.stretch(this.pressed, x);
  }

  /** Put the crosshair somewhere, and tell what is there. */
  point(x, y) {
    this.at = [x, y];
    const { marks, window: [start] } = this.shown;
    this.cross.hidden = false;
    this.cross.style.left = this.across(x);
    this.level.hidden = true;
    if (marks) return this.tell(mark(marks, this.size[1], start, x));
    const n = this.size;
    const column = Math.floor(x * n[1]);
    const row = this.isPicture ? Math.floor(y * n[0]) : Math.floor((1 - y) * n[0]);
    this.level.hidden = false;
    this.level.style.top = this.down(y);
    // What is to the right is a row of the array, but of an image as it is looked at.
    this.cell = this.isPicture ? [row, column] : [start + column, row];
    this.say(`row ${whole(this.cell[0])}, column ${whole(this.cell[1])}`, this.isPicture ? column : this.cell[0]);
    this.askValue();
    return undefined;
  }

  /** Tell a mark of a line: its rows, and the numbers there. */
  tell({ at, first, last }) {
    const { marks, window: [start] } = this.shown;
    if (first === last && this.size[1] > 1) this.cross.style.left = this.across((first - start) / (this.size[1] - 1));
    const rows = first === last ? `row ${whole(first)}` : `rows ${whole(first)} to ${whole(last)}`;
    const told = marks.low.map((column, k) => {
      const [low, high] = [column[at], marks.high[k][at]];
      if (low === null) return "left out";
      if (marks.texts) return low === high ? marks.texts[0][at] : `${marks.texts[0][at]} to ${marks.texts[1][at]}`;
      return low === high ? short(low) : `${short(low)} to ${short(high)}`;
    });
    this.say(`${rows}: ${told.join(" · ")}`, first);
    const only = marks.low.length === 1 ? marks.high[0][at] : null;
    if (only === null || !this.span) return;
    const [low, high] = this.span;
    const share = high > low ? (high - only) / (high - low) : 0.5;
    this.level.hidden = false;
    this.level.style.top = this.down(share);
  }

  say(text, now) {
    this.readout.textContent = text;
    this.box.setAttribute("aria-valuetext", text);
    this.box.setAttribute("aria-valuenow", now);
  }

  /** Ask for the value under the crosshair, exactly as it is kept. */
  async value() {
    const { cell, shown } = this;
    if (!cell || this.cross.hidden) return;
    const stack = shown.stack ? shown.stack.at : undefined;
    const channels = this.isPicture ? shown.shape.slice(shown.stack ? 3 : 2).reduce((a, b) => a * b, 1) : 1;
    const start = stack ?? cell[0];
    const at = stack === undefined ? cell[1] * channels : (cell[0] * shown.size[1] + cell[1]) * channels;
    const answer = await ask("array", { name: this.name, view: "values", start, stop: start + 1, at }).catch(() => null);
    if (!answer || this.cell !== cell || this.cross.hidden) return;
    const { column, rows } = answer.table;
    const values = rows[0].slice(at - column, at - column + channels).map((value) => value ?? "masked");
    this.say(`row ${whole(cell[0])}, column ${whole(cell[1])}: ${values.join(", ")}`, this.isPicture ? cell[1] : cell[0]);
  }

  leave() {
    if (this.pressed !== undefined) return;
    this.cross.hidden = this.level.hidden = true;
    this.cell = undefined;
    this.readout.textContent = this.shown ? this.shown.picture.caption || "\u00a0" : "\u00a0";
  }

  press(event) {
    if (event.button || this.isPicture) return;
    this.box.setPointerCapture(event.pointerId);
    [this.pressed] = this.place(event);
  }

  stretch(from, to) {
    const { width, box: [, , wide] } = this.shown.picture;
    const [low, high] = [Math.min(from, to), Math.max(from, to)];
    this.dragged.hidden = high - low < 0.01;
    this.dragged.style.left = this.across(low);
    this.dragged.style.width = `${((high - low) * wide * 100) / width}%`;
  }

  release(event) {
    if (this.pressed === undefined) return;
    const [to] = this.place(event);
    const [low, high] = [Math.min(this.pressed, to), Math.max(this.pressed, to)];
    this.drop();
    const { window: [start, stop] } = this.shown;
    if (high - low >= 0.01) this.zoom(start + Math.floor(low * (stop - start)), start + Math.ceil(high * (stop - start)));
  }

  drop() {
    this.pressed = undefined;
    this.dragged.hidden = true;
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -20, PageUp: 20 };
    const upDown = { ArrowUp: -1, ArrowDown: 1 };
    if (!this.shown || event.ctrlKey || event.metaKey || event.altKey) return;
    const n = this.shown.marks ? this.shown.marks.low[0].length : Math.min(this.size[1], 400);
    const m = Math.min(this.size[0], 200);
    let [x, y] = this.at ?? [0, 0.5];
    if (event.key in steps) x = (Math.floor(x * n + 1e-6) + steps[event.key] * (event.shiftKey ? 10 : 1) + 0.5) / n;
    else if (event.key in upDown && !this.shown.marks) y = (Math.floor(y * m + 1e-6) + upDown[event.key] + 0.5) / m;
    else if (event.key === "Home") x = 0;
    else if (event.key === "End") x = 1;
    else return;
    const within = (value) => Math.min(Math.max(value, 0), 1 - 1e-9);
    this.point(within(x), within(y));
    event.preventDefault();
  }
}

/** Which mark is at a fraction of the rows, and which rows it has. */
function mark(marks, nRows, start, x) {
  const row = start + Math.round(x * (nRows - 1)); // as rows are drawn from edge to edge
  let [low, high] = [0, marks.edges.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (marks.edges[middle] <= row) low = middle;
    else high = middle;
  }
  return { at: low, first: marks.edges[low], last: Math.max(marks.edges[low], marks.edges[low + 1] - 1) };
}
