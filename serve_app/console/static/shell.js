// The frame: tabs, key, connection, alarms. A tab is a module of tabs/ that exports mount(element, api).

import {get, key, post, send, stream} from "./api.js";
import {el, fill, say} from "./dom.js";
import {Feed, WORDS} from "./feed.js";
import {alarmsOf} from "./alarms.js";
import {history} from "./history.js";

const TABS = [
  ["fleet", "Fleet", true],
  ["routing", "Routing", true],
  ["queue", "Queue", true],
  ["tenants", "Tenants", true],
  ["faults", "Faults", true],
  ["experiments", "Experiments", true],
  ["playground", "Playground", false],
  ["usage", "My usage", false],
  ["admin", "Admin", false],
];

const at = (id) => document.getElementById(id);
const feed = new Feed();
const api = {
  get, post, send, stream, feed, history,
  key: {
    get isSet() { return key.isSet; },
    set: (text) => key.set(text),
    clear: () => key.clear(),
    onChange: (listener) => key.onChange(listener),
  },
  announce: (text) => say(at("said"), text),
  goto: (name) => { location.hash = name; },
};

let unmount = null;
let shown = "";

function tabNow() {
  const name = location.hash.slice(1).split("/")[0];
  return TABS.find(([x]) => x === name) ?? TABS[0];
}

function drawTabs() {
  fill(at("tabs"), TABS.map(([name, title]) => el("li", null,
    el("a", {href: `#${name}`, id: `tab-${name}`}, title))));
}

async function show(force = false) {
  const [name, title, needsFeed] = tabNow();
  if (name === shown && !force) return;
  const changes = name !== shown && shown !== "";
  shown = name;
  leave();
  document.title = `${title} · Pointsman console`;
  for (const [x] of TABS) {
    if (x === name) at(`tab-${x}`).setAttribute("aria-current", "page");
    else at(`tab-${x}`).removeAttribute("aria-current");
  }
  at(`tab-${name}`).scrollIntoView({block: "nearest", inline: "nearest"});
  const place = el("section", {class: "tab", id: `part-${name}`, "aria-labelledby": "title"});
  fill(at("view"), el("h2", {id: "title"}, title), place);
  if (changes) at("view").focus({preventScroll: true});
  if (needsFeed && feed.last === null) {
    waitForFeed(place, name);
    return;
  }
  await mount(name, place);
}

function leave() {
  try { unmount?.(); } catch (error) { console.error(error); }
  unmount = null;
}

async function mount(name, place) {
  let part;
  try {
    part = await import(`./tabs/${name}.js`);
    if (part.css) await styles(name);
  } catch (error) {
    console.error(error);
    fill(place, el("p", {class: "empty"}, "This part of the console could not be loaded. Load the page again; "
      + "if that does not help, this build has been made without it."));
    return;
  }
  if (name !== shown || !place.isConnected) return;
  fill(place);
  try {
    unmount = part.mount(place, api) ?? null;
  } catch (error) {
    console.error(error);
    fill(place, el("p", {class: "error", role: "alert"}, `This part has failed: ${error.message}`));
  }
}

function styles(name) {
  const address = new URL(`./tabs/${name}.css`, import.meta.url).href;
  if (document.querySelector(`link[href="${CSS.escape(address)}"]`)) return null;
  return new Promise((done) => {
    const link = el("link", {rel: "stylesheet", href: address, onload: done, onerror: done});
    document.head.append(link);
  });
}

function waitForFeed(place, name) {
  const stops = [];
  const stop = () => stops.splice(0).forEach((x) => x());
  unmount = stop;
  stops.push(feed.onState((state, why) => fill(place, emptyState(state, why))));
  let has = false;
  stops.push(feed.subscribe(() => {
    if (has) return;
    has = true;
    queueMicrotask(() => { stop(); if (name === shown) void mount(name, place); });
  }));
}

function emptyState(state, why) {
  if (state === "denied") {
    return el("div", {class: "empty"}, el("p", null, why || "These figures need an admin key."),
      el("p", null, "At the machine of the deployment, the file 'admin-key' of its state directory has one."),
      el("p", null, el("button", {type: "button", class: "primary", onclick: () => openKey(true)}, "Enter a key"),
        " ", key.isSet ? el("a", {href: "#usage"}, "See what this key may see: My usage") : null));
  }
  if (state === "gone") {
    return el("div", {class: "empty"}, el("p", null, why || WORDS.gone),
      el("p", null, "Start it with 'make serve'; this page goes on by itself once it answers."));
  }
  return el("p", {class: "empty"}, WORDS[state] ?? "");
}

// -- key ----------------------------------------------------------------------------------------

function openKey(open) {
  at("key-panel").hidden = !open;
  at("key-button").setAttribute("aria-expanded", String(open));
  if (open) at("key-input").focus();
}

function drawKey() {
  say(at("key-button"), key.isSet ? "Key set" : "Set a key");
}

function startKey() {
  at("key-button").addEventListener("click", () => openKey(at("key-panel").hidden));
  at("key-panel").addEventListener("keydown", (event) => {
    if (event.key === "Escape") { openKey(false); at("key-button").focus(); }
  });
  at("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = at("key-input").value.trim();
    if (text === "") { say(at("key-told"), "Paste a key first."); return; }
    if (!/^[\x21-\x7e]+$/.test(text)) { say(at("key-told"), "A key is one word of plain characters."); return; }
    at("key-input").value = "";
    say(at("key-told"), "");
    key.set(text);
    openKey(false);
    at("key-button").focus();
  });
  at("key-forget").addEventListener("click", () => {
    at("key-input").value = "";
    key.clear();
    say(at("key-told"), "Forgotten.");
  });
  key.onChange(() => { history.clear(); feed.last = null; drawKey(); void show(true); });
  drawKey();
}

// -- connection and alarms ----------------------------------------------------------------------

function drawConnection(state, why) {
  const place = at("connection");
  place.dataset.state = state;
  say(place, WORDS[state] ?? state);
  place.title = why;
  document.body.dataset.feed = state;
  drawAlarms();
}

let alarmsShown = "";

function drawAlarms() {
  const alarms = alarmsOf(feed.last, feed.state, history);
  const told = JSON.stringify(alarms.map((x) => [x.kind, x.text]));
  // The region is live: what has not changed is not said again.
  if (told === alarmsShown) return;
  alarmsShown = told;
  fill(at("alarms"), alarms.length === 0 ? null : el("ul", null, alarms.map((x) => el("li", {class: x.kind},
    el("strong", null, x.kind === "bad" ? "Alarm: " : "Warning: "), x.text, " ",
    x.tab ? el("a", {href: `#${x.tab}`}, "Look") : null))));
}

drawTabs();
startKey();
feed.onState(drawConnection);
feed.subscribe((snapshot) => {
  history.add(snapshot);
  say(at("fleet"), snapshot.status.fleet ?? "");
  drawAlarms();
});
addEventListener("hashchange", () => void show());
feed.start();
void show();
