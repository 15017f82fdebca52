// Sliders, figures and plots of the page.
const state = JSON.parse(document.getElementById("facts").textContent);
const told = (x) => x.toLocaleString("en-US", { maximumFractionDigits: x >= 100 ? 0 : x >= 10 ? 1 : 2 });
const money = (x) => `$${Math.round(x).toLocaleString("en-US")}`;
const stage = state.workload.stages[state.workload.stages.length - 1];
const who = ["active", "turns_per_s", "daily", "monthly"].find((name) => state.users[name] !== null);
const WHO = {
  active: "Sessions at once, busiest hour", turns_per_s: "Turns a second, busiest hour",
  daily: "Users a day", monthly: "Users a month",
};
const complex = state.workload.complex_share;

function element(tag, attributes = {}, ...children) {
  const made = tag === "svg" || SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
const SVG = new Set(["svg", "rect", "text", "path", "line"]);

// `scale` spreads a slider over decades.
function slider(into, label, { at, from, to, step = 1, unit = "", decades = false, set }) {
  const value = element("output"), input = element("input", { type: "range" });
  const show = (x) => { value.textContent = `${told(x)}${unit}`; };
  const read = () => (decades ? Number((10 ** Number(input.value)).toPrecision(3)) : Number(input.value));
  Object.assign(input, decades
    ? { min: Math.log10(from), max: Math.log10(to), step: 0.01, value: Math.log10(at) }
    : { min: from, max: to, step, value: at });
  show(at);
  input.addEventListener("input", () => { set(read()); show(read()); draw(); });
  // Else the label would be the output's, which may be labelled, too.
  input.id = `slider-${document.querySelectorAll("input").length}`;
  document.getElementById(into).append(element("label", { for: input.id }, label, value, input));
  return { input, show };
}

function check(into, label, on, set) {
  const input = element("input", { type: "checkbox" });
  input.checked = on;
  input.addEventListener("change", () => { set(input.checked); draw(); });
  document.getElementById(into).append(element("label", { class: "check" }, input, label));
}

function share(free) {
  state.users.free_ratio = free;
  for (const lane of state.lanes) {
    if (lane.name === "free") lane.share = free;
    if (lane.name === "chat") lane.share = (1 - free) * (1 - complex);
    if (lane.name === "quality") lane.share = (1 - free) * complex;
  }
}

function inputs() {
  const { users, workload, promise } = state;
  slider("users", WHO[who], {
    at: users[who], from: 1, to: Math.max(1e6, 10 * users[who]), decades: true, set: (x) => { users[who] = x; },
  });
  slider("users", "Turns of a session", { at: workload.turns, from: 1, to: 30, step: 0.1, set: (x) => { workload.turns = x; } });
  slider("users", "Pause between turns", { at: workload.think_s, from: 0, to: 120, step: 0.25, unit: " s", set: (x) => { workload.think_s = x; } });
  slider("users", "New prompt tokens of a turn", { at: stage.input.mean, from: 10, to: 8000, decades: true, set: (x) => { stage.input.mean = x; } });
  slider("users", "Tokens of an answer", { at: stage.output.mean, from: 10, to: 4000, decades: true, set: (x) => { stage.output.mean = x; } });
  slider("users", "System prompt, tokens", { at: workload.system_tokens, from: 0, to: 8000, step: 50, set: (x) => { workload.system_tokens = x; } });
  slider("users", "Tenants (a system prompt each)", { at: workload.tenants, from: 1, to: 1000, decades: true, set: (x) => { workload.tenants = Math.round(x); } });
  if (state.lanes.some((x) => x.name === "free")) {
    slider("users", "Free tier's share of sessions", { at: users.free_ratio, from: 0, to: 1, step: 0.01, set: share });
  }
  slider("users", "Busiest hour over the quietest", { at: users.swing, from: 1, to: 30, step: 0.5, unit: "×", set: (x) => { users.swing = x; } });

  const rent = { handle: null }, cards = element("select");
  for (const kind of Object.keys(state.rents)) cards.append(element("option", kind === state.card ? { selected: "" } : {}, kind));
  cards.addEventListener("change", () => {
    state.card = cards.value;
    state.rent_per_h = state.rents[cards.value];
    rent.handle.input.value = Math.log10(state.rent_per_h);
    rent.handle.show(state.rent_per_h);
    draw();
  });
  document.getElementById("fleet").append(element("label", {}, "Card", cards));
  const models = element("select"), [first] = state.lanes;
  for (const model of Object.keys(state.engines)) models.append(element("option", model === first.model ? { selected: "" } : {}, model));
  models.addEventListener("change", () => { first.model = models.value; draw(); });
  document.getElementById("fleet").append(element("label", {}, `Model of ${first.name}`, models));
  check("fleet", "8-bit KV cache, where the model has it", state.kv_8bit, (on) => { state.kv_8bit = on; });
  check("fleet", "Replicas follow the day", state.autoscale, (on) => { state.autoscale = on; });
  rent.handle = slider("fleet", "Rent of a card an hour, $", { at: state.rent_per_h, from: 0.05, to: 20, decades: true, set: (x) => { state.rent_per_h = x; } });
  slider("fleet", "Room for growth", { at: 100 * users.headroom, from: 0, to: 200, unit: " %", set: (x) => { users.headroom = x / 100; } });
  for (const [name, label, to] of [["ttft_p95_s", "First token, p95", 10], ["first_30_p95_s", "First 30 tokens, p95", 15], ["turn_p95_s", "Whole turn, p95", 60]]) {
    if (promise[name] !== null) slider("fleet", label, { at: promise[name], from: 0.1, to, step: 0.05, unit: " s", set: (x) => { promise[name] = x; } });
  }
}

function figure(name, value, more = "") {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value), element("small", {}, more));
}

function draw() {
  const found = reckon(state), figures = document.getElementById("figures"), note = document.getElementById("note");
  document.body.dataset.reckoned = "1";
  if (found.missing.length) {
    figures.replaceChildren();
    note.className = "missing";
    note.textContent = `No number of ${state.card} cards keeps the promise for ${found.missing.join(" and ")}: another card, a smaller model or a looser promise.`;
    for (const id of ["walls", "day", "lanes"]) document.getElementById(id).replaceChildren();
    return;
  }
  const bill = state.autoscale ? found.scaled : found.bill;
  figures.replaceChildren(
    figure("Sessions at once", told(found.peak), "in the busiest hour"),
    figure("Sessions a card", told(found.sessionsACard), `of ${found.lanes[0].name}`),
    figure("Cards", told(found.cards), state.card),
    figure("A month", money(bill), state.autoscale ? `${money(found.bill)} at the peak all day` : `${money(found.scaled)} following the day`),
    figure("Binds first", found.wall, `in lane ${found.tightest}`),
  );
  note.className = "";
  note.textContent = NOTES[found.wall];
  walls(found);
  day(found);
  lanes(found);
}

const NOTES = {
  decode: "Tokens come too slowly for more sessions: a card with more bandwidth, fewer bytes of weights, or a looser promise gives more of them.",
  prefill: "The first token is late for more sessions: shorter prompts, a larger share from the prefix cache, or a card with more arithmetic.",
  "KV cache": "Histories no longer fit beyond this: 8-bit KV, a smaller model for the free tier, shorter histories, or a card with more memory.",
};

function walls(found) {
  const lane = found.lanes.find((x) => x.name === found.tightest), entries = Object.entries(lane.held.walls);
  const top = Math.max(...entries.map(([, n]) => Math.log10(n + 1)));
  const svg = element("svg", { viewBox: "0 0 480 150", role: "img", "aria-label": entries.map(([wall, n]) => `${wall} at ${n}`).join(", ") });
  entries.forEach(([wall, n], i) => {
    const y = 12 + i * 46, width = Math.max(2, (Math.log10(n + 1) / top) * 300);
    svg.append(
      element("text", { x: 0, y: y + 20 }, wall),
      element("rect", { x: 80, y, width, height: 30, rx: 3, class: n === lane.held.sessions ? "bar first" : "bar" }),
      element("text", { x: 88 + width, y: y + 20 }, n >= MOST_SESSIONS ? `over ${told(n)}` : told(n)),
    );
  });
  document.getElementById("walls").replaceChildren(svg, element("p", { class: "muted" }, `Lane ${lane.name}, ${lane.engine.cards} card${lane.engine.cards > 1 ? "s" : ""} a replica; bars on a logarithmic scale.`));
}

function day(found) {
  const trough = 1 / state.users.swing, height = 130, width = 440;
  const at = (h) => trough + ((1 - trough) * (1 + Math.cos(((h - 15) / 12) * Math.PI))) / 2;
  const y = (x) => 15 + height * (1 - x), x = (h) => 36 + (h / 24) * (width - 8);
  const hours = [...Array(97).keys()].map((i) => i / 4);
  const path = (f) => hours.map((h, i) => `${i ? "L" : "M"}${x(h).toFixed(1)} ${y(f(h)).toFixed(1)}`).join("");
  const has = state.autoscale ? (h) => Math.min(1, at(h) + found.ready) : () => 1;
  const svg = element("svg", { viewBox: "0 0 480 180", role: "img", "aria-label": "cards needed and cards paid for over a day" });
  svg.append(
    element("line", { x1: 36, x2: width + 28, y1: y(0), y2: y(0), class: "axis" }),
    element("text", { x: 30, y: y(1) + 5, "text-anchor": "end", class: "muted" }, found.cards.toLocaleString("en-US", { notation: "compact" })),
    element("text", { x: 30, y: y(0) + 5, "text-anchor": "end", class: "muted" }, "0"),
    element("path", { d: path(at), class: "need" }), element("path", { d: path(has), class: "has" }),
    ...[0, 6, 12, 18, 24].map((h) => element("text", { x: x(h), y: y(0) + 20, "text-anchor": "middle", class: "muted" }, `${h}h`)),
  );
  document.getElementById("day").replaceChildren(svg, element("p", { class: "muted" }, "Solid: needed by a day from trough to peak. Dashed: paid for."));
}

function lanes(found) {
  const head = ["Lane", "Model", "Cards", "Replicas", "Holds", "Come", "Tokens/s per user", "First 30, p95"];
  const rows = found.lanes.map((x) => [
    x.name, state.lanes.find((lane) => lane.name === x.name).model.split("/").pop(), told(x.cards), told(x.replicas),
    told(x.replicas * x.held.sessions), told(x.peak), told(x.now.tokensPerS), `${(x.now.ttftP95 + x.now.next29P95).toFixed(2)} s`,
  ]);
  document.getElementById("lanes").replaceChildren(
    element("thead", {}, element("tr", {}, ...head.map((x) => element("th", { scope: "col" }, x)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map((x) => element("td", {}, x))))),
  );
}

document.getElementById("name").textContent = state.name;
inputs();
draw();
