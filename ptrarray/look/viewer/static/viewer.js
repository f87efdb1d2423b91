// Which page is shown, the stream of what the store holds, and the keys.

import { $, ask, name } from "./dom.js";
import { Overview } from "./overview.js";
import { listen } from "./stream.js";

const main = $("main");
let page = null;
let search = null;
let latest = null;
let isFirst = true;

async function open() {
  const { hash } = location;
  const [path, parameters] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const isArray = path === "/array";
  // Not before it is needed, as the first page is to be there at once.
  const { ArrayPage } = isArray ? await import("./array.js") : {};
  if (location.hash !== hash) return; // somebody was faster
  page?.close();
  page = isArray ? new ArrayPage(main, new URLSearchParams(parameters)) : new Overview(main);
  if (latest) page.update(latest);
  // Who follows a link reads on at the new page; who opens it has not asked for a focus.
  if (!isFirst) page.heading.focus({ preventScroll: true });
  if (!isFirst) scrollTo(0, 0);
  isFirst = false;
}

function tell(text, state, title = "") {
  const element = $("state");
  if (element.dataset.state !== state || element.textContent !== text) {
    element.dataset.state = state;
    element.firstElementChild.textContent = text;
  }
  element.title = title;
}

listen((message) => {
  if (message.type === "waiting") {
    tell("reconnecting…", "waiting");
    whyNot();
    return;
  }
  latest = message.data;
  if (latest.error) tell(latest.error.status === 410 ? "not there" : "cannot be read", "failed", latest.error.message);
  else tell("live", "live");
  page?.update(latest);
  search?.goOn();
});

/** Look whether a server answers that does not know this address: it was started anew. */
async function whyNot() {
  const failure = await ask("store").then(() => null, (error) => error);
  if (failure?.status === 404 && $("state").dataset.state === "waiting") {
    tell("ended", "failed", "The server was started anew: open the address that it has printed.");
    $("spoken").textContent = $("state").title;
  }
}

function isTyping(element) {
  return element.matches("textarea, select, [contenteditable], input:not([type=range])");
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (event.key === "Escape") {
    // A dialog is closed by the browser.
    if (!$("help").open && !(page instanceof Overview)) location.hash = "#/";
    return;
  }
  if ($("help").open) return;
  if (event.key === "/") {
    $("query").focus();
    $("query").select();
  }
  else if (event.key === "?") $("help").showModal();
  else if (event.key === "j") page?.step(1);
  else if (event.key === "k") page?.step(-1);
  else if (!page?.key?.(event.key)) return;
  event.preventDefault();
});

$("ask-help").addEventListener("click", () => $("help").showModal());
$("help").addEventListener("click", (event) => event.target === $("help") && $("help").close());
addEventListener("hashchange", open);
$("query").addEventListener("focus", async () => {
  const { Search } = await import("./search.js");
  search ??= new Search();
}, { once: true });
// The overview tells itself which store it is.
if (location.hash.startsWith("#/array")) ask("store").then((facts) => name(facts.path), () => {});
if (!location.hash) history.replaceState(null, "", "#/");
open();
