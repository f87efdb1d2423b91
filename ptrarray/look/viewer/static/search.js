// The box for names: a list that goes on by itself, and the keyboard stays in the box.

import { $, ask, h, later, route, shown, whole } from "./dom.js";

const PAGE = 100;
const NEAR_END = 300; // pixels

export class Search {
  constructor() {
    this.box = $("query");
    this.list = $("results");
    this.panel = $("found");
    this.progress = $("progress");
    this.at = -1;
    this.box.addEventListener("input", () => (this.isEager = false));
    this.box.addEventListener("input", later(20, () => this.begin()));
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("focus", () => this.box.value && this.list.children.length && (this.unfold(true), this.goOn()));
    this.panel.addEventListener("scroll", () => this.more());
    document.addEventListener("pointerdown", (event) => $("search").contains(event.target) || this.unfold(false));
    if (this.box.value) this.begin(); // typed before this was here
  }

  unfold(isOpen) {
    this.panel.hidden = !isOpen;
    this.box.setAttribute("aria-expanded", isOpen);
    if (!isOpen) this.stop();
  }

  stop() {
    this.asking?.abort();
    this.asking = undefined;
  }

  /** Search anew. */
  begin() {
    this.unfold(Boolean(this.box.value));
    if (this.box.value === this.typed) {
      this.goOn();
      return;
    }
    this.stop();
    this.query = this.typed = this.box.value;
    // What is no pattern is looked for where names begin, and if none does, anywhere.
    this.anywhere = /[*?]|\[.*\]/s.test(this.query) ? undefined : `*${this.query}*`;
    this.after = undefined;
    this.isDone = !this.query;
    this.list.replaceChildren();
    this.choose(-1);
    this.progress.textContent = this.query ? "searching…" : "";
    this.more();
  }

  /** Look for names that came since. */
  goOn() {
    if (!this.asking) this.isDone = !this.query;
    this.more();
  }

  /** Ask for more names, until the list is full or there are none. */
  async more() {
    const isFull = () => this.panel.scrollHeight - this.panel.scrollTop - this.panel.clientHeight > NEAR_END;
    if (this.asking || this.isDone || this.panel.hidden) return;
    const asking = new AbortController();
    this.asking = asking;
    try {
      while (!this.isDone && !isFull()) {
        const found = await ask("names", { q: this.query, after: this.after, limit: PAGE }, asking.signal);
        if (asking.signal.aborted) return;
        this.add(found);
      }
    } catch (failure) {
      if (!asking.signal.aborted) this.progress.textContent = failure.message;
    } finally {
      if (this.asking === asking) this.asking = undefined;
    }
  }

  add(found) {
    if (found.anew) {
      this.list.replaceChildren(); // the store was replaced meanwhile
      this.choose(-1);
    }
    const first = this.list.children.length;
    const items = found.names.map((name, number) => {
      const link = h("a", { href: route(name), textContent: shown(name), tabIndex: -1 });
      link.addEventListener("click", () => this.unfold(false));
      return h("li", { role: "option", id: `name-${first + number}`, "aria-selected": "false" }, link);
    });
    this.list.append(...items);
    this.after = found.after;
    this.isDone = found.done;
    const count = this.list.children.length;
    if (found.done && !count && this.anywhere) {
      [this.query, this.anywhere, this.after, this.isDone] = [this.anywhere, undefined, undefined, false];
      return;
    }
    const what = count === 1 ? "1 name" : `${whole(count)} names`;
    if (found.done) this.progress.textContent = count ? `${what} found` : "no name matches";
    else this.progress.textContent = `${count ? `${what} so far` : "searching…"}, ${whole(found.seen)} looked at`;
    if (this.at < 0 && count) this.choose(0);
    if (this.isEager && count) this.enter();
    if (found.done) this.isEager = false;
  }

  choose(at) {
    this.list.children[this.at]?.setAttribute("aria-selected", "false");
    this.at = at;
    const chosen = this.list.children[at];
    chosen?.setAttribute("aria-selected", "true");
    chosen?.scrollIntoView({ block: "nearest" });
    this.box.setAttribute("aria-activedescendant", chosen?.id ?? "");
  }

  enter() {
    this.isEager = false;
    this.list.children[this.at].firstChild.click();
    this.box.blur();
  }

  key(event) {
    const last = this.list.children.length - 1;
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 };
    if (event.key in steps && last >= 0) {
      this.unfold(true);
      this.choose(Math.max(0, Math.min(last, this.at + steps[event.key])));
      this.more();
      event.preventDefault();
    } else if (event.key === "Enter") {
      // Who is faster than the search gets the first name that it finds.
      if (this.at >= 0 && this.box.value === this.typed) this.enter();
      else this.isEager = !this.isDone || this.box.value !== this.typed;
    } else if (event.key === "Escape") {
      if (this.panel.hidden) this.box.blur();
      this.unfold(false);
      event.stopPropagation();
      event.preventDefault();
    }
  }
}
