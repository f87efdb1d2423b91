// Elements, numbers as text, and questions to the server. Text of a store is only ever text.

/** Make an element: properties, `on…` handlers, attributes with a dash or `role`, then children. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Make an element of SVG. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const $ = (id) => document.getElementById(id);

export const whole = (number) => number.toLocaleString("en-US");

/** A number of a drawing as text: the server has rounded it. */
export function short(number) {
  return Number.isInteger(number) && Math.abs(number) < 1e15 ? whole(number) : String(number);
}

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) {
    number /= 1000;
    unit += 1;
  }
  return `${unit ? number.toFixed(number < 100 ? 1 : 0) : number} ${units[unit]}`;
}

/** A name as a text that can be seen: an empty one has to have something to click on. */
export const shown = (name) => (name === "" ? "(no name)" : name);

export const route = (name, more = {}) => `#/array?${new URLSearchParams({ name, ...more })}`;

/** What the server answered if it was no answer. */
export class Failure extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/** Ask the server; parameters that are undefined are left out. */
export async function ask(what, parameters = {}, signal = undefined) {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined && value !== null);
  const response = await fetch(`api/${what}?${new URLSearchParams(given)}`, { signal });
  const answer = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer;
  throw new Failure(answer?.error?.message ?? `the server answers with ${response.status}`, response.status);
}

/** What answers depend on of what is told: it differs when the store has changed, has gone, and is back. */
export const sight = (data) => `${data.commit} ${data.error === null}`;

/** Pairs of a key and text, or of more pairs, as a tree. */
export function tree(pairs) {
  const list = h("dl", { className: "tree" });
  for (const [key, below] of pairs) {
    if (typeof below === "string") list.append(h("div", {}, h("dt", { textContent: key }), h("dd", { textContent: below })));
    else list.append(h("div", {}, h("details", { open: below.length <= 12 }, h("summary", { textContent: key }), tree(below))));
  }
  return list;
}

/** Say which store is looked at. */
export function name(path) {
  $("store").textContent = path.replace(/\/+$/, "").split("/").pop() || path;
  $("home").title = path;
  document.title = `${$("store").textContent} · ptrarray`;
}

/** Call a function once nothing has asked for it for so many milliseconds. */
export function later(milliseconds, call) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(call, milliseconds, ...given);
  };
}
