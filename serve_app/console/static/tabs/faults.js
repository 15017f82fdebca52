// What went wrong, what was done about it, and what to do.

import {badge, el, fact, fill, grouped, table} from "../dom.js";
import {ago, clock, count, percent, seconds} from "../format.js";
import {rowsOf, sum} from "../history.js";

export function mount(element, api) {
  const facts = el("dl", {class: "facts"});
  const triggers = el("div");
  const warnings = el("ul", {class: "plain"});
  const noWarnings = el("p", {class: "empty"}, "None.");
  const starting = table({
    caption: "Deployments", empty: "Serve's controller has not been asked, or does not answer.",
    columns: [
      {title: "Deployment", cell: (x) => el("span", {class: "mono"}, x.name)},
      {title: "Serve says", cell: (x) => badge(x.status, {HEALTHY: "good"}[x.status] ?? (x.status.includes("FAIL") || x.status === "UNHEALTHY" ? "bad" : "warn"))},
      {title: "Replicas", cell: (x) => Object.entries(x.states).map(([state, n]) => `${n} ${state.toLowerCase()}`).join(", ")},
      {title: "For", number: true, cell: (x) => seconds(x.for_s)},
      {title: "Cause", cell: (x) => x.message || "–"},
    ],
  });
  const objectives = table({
    caption: "Objectives (SLO)", empty: "The fleet file names none under slo:, or it is too early to tell.",
    columns: [
      {title: "Objective", cell: (x) => x.objective}, {title: "Lane", key: "lane"}, {title: "Tier", key: "tier"},
      {title: "Error budget left", number: true, cell: (x) => percent(x.left)},
      {title: "Burn rates", cell: (x) => x.burns.map((b) => `${b.window}: ${b.value.toFixed(1)}×`).join(", ")},
    ],
  });
  const faults = table({
    caption: "Last faults of replicas", empty: "No replica has failed under a request.",
    columns: [
      {title: "Replica", cell: (x) => el("span", {class: "mono"}, x.replica)}, {title: "Lane", key: "lane"},
      {title: "Times", number: true, cell: (x) => count(x.times)}, {title: "Last", cell: (x) => ago(x.time, x.now)},
      {title: "What", key: "what"}, {title: "Tokens passed on", number: true, cell: (x) => count(x.tokens_passed_on)},
      {title: "Last request", cell: (x) => el("span", null, `${x.tenant} `, el("span", {class: "mono"}, x.request_id))},
    ],
  });
  const log = table({
    caption: "Last warnings and errors in the log of the ingress replicas", empty: "None.",
    columns: [
      {title: "When", cell: (x) => clock(x.time)},
      {title: "Level", cell: (x) => badge(x.level.toLowerCase(), x.level === "WARNING" ? "warn" : "bad")},
      {title: "Said", cell: (x) => x.count > 1 ? `${x.text} (${count(x.count)} times)` : x.text},
    ],
  });
  for (const each of [faults, log, starting, objectives]) each.classList.add("narrows");
  fill(element, el("section", {class: "card"}, facts),
    el("section", {class: "card", "aria-labelledby": "triggers"}, el("h3", {id: "triggers"}, "Triggers and advice"), triggers),
    el("section", {class: "card", "aria-labelledby": "warnings"}, el("h3", {id: "warnings"}, "Warnings"), noWarnings, warnings),
    el("section", {class: "card"}, starting), el("section", {class: "card"}, objectives),
    el("section", {class: "card"}, faults), el("section", {class: "card"}, log));
  return api.feed.subscribe((snapshot) => {
    const {history} = api;
    const recovered = (outcome) => history.growth("pointsman_stream_recoveries_total", {outcome});
    fill(facts,
      fact("Retried", count(recovered("retried")), "last minute"),
      fact("Resumed", count(recovered("resumed")), "last minute"),
      fact("Failed", count(recovered("failed")), "last minute", recovered("failed") > 0 ? "bad" : ""),
      fact("Recoveries in all", count(sum(snapshot, "pointsman_stream_recoveries_total") ?? 0)),
      fact("Breakers opened", count(sum(snapshot, "pointsman_breakers_opened_total") ?? 0), "since start"));
    drawTriggers(triggers, snapshot);
    const told = snapshot.status.warnings ?? [];
    noWarnings.hidden = told.length > 0;
    if (warnings.dataset.told !== JSON.stringify(told)) {
      warnings.dataset.told = JSON.stringify(told);
      fill(warnings, told.map((x) => el("li", null, x)));
    }
    starting.update(Object.entries(snapshot.deployments ?? {}).map(([name, x]) => ({name, ...x})));
    objectives.update(objectiveRows(snapshot));
    faults.update(grouped(snapshot.recent.faults ?? [], ["lane", "replica", "what"]).map((x) => ({...x, now: snapshot.at})));
    log.update((snapshot.recent.log ?? []).slice(0, 30));
  });
}

let triggersTold = "";

function drawTriggers(place, snapshot) {
  const firing = rowsOf(snapshot, "pointsman_trigger_firing").filter((x) => x.value > 0).map((x) => x.trigger);
  const advice = adviceRows(snapshot.status.advice);
  const told = JSON.stringify([firing, advice]);
  if (told === triggersTold && place.firstChild) return;
  triggersTold = told;
  if (firing.length === 0 && advice.length === 0) {
    fill(place, el("p", {class: "empty"}, "No trigger fires. Each watches a signal over a time; what it advises stands here."));
    return;
  }
  const advised = new Set(advice.map((x) => x.trigger));
  const rows = [...advice, ...firing.filter((x) => !advised.has(x)).map((trigger) => ({trigger}))];
  fill(place, el("ul", {class: "plain"}, rows.map((row) => el("li", {class: "decision"},
    el("div", {class: "row"}, badge("fires", "warn"), el("strong", null, row.trigger), row.lane ? el("span", null, `lane ${row.lane}`) : null),
    Object.entries(row).filter(([name]) => name !== "trigger" && name !== "lane").map(([name, value]) =>
      el("div", null, el("span", {class: "muted"}, `${name.replaceAll("_", " ")}: `), words(value)))))));
}

/** Rows of advice of triggers that fire, whichever of the two shapes /status has them in. */
function adviceRows(advice) {
  const rows = Array.isArray(advice) ? advice : advice?.rows ?? advice?.advice ?? [];
  return Array.isArray(rows) ? rows.filter((x) => x && x.firing !== false).map((x) => ({trigger: String(x.trigger ?? x.name ?? "advice"), ...x})) : [];
}

function words(value) {
  if (typeof value === "number") return String(Math.round(value * 1000) / 1000);
  if (value === null || value === undefined) return "–";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function objectiveRows(snapshot) {
  const found = new Map();
  const of = (x) => {
    const key = JSON.stringify([x.objective, x.lane, x.tier]);
    if (!found.has(key)) found.set(key, {objective: x.objective, lane: x.lane, tier: x.tier, left: null, burns: []});
    return found.get(key);
  };
  for (const row of rowsOf(snapshot, "pointsman_slo_budget_left_ratio")) of(row).left = row.value;
  for (const row of rowsOf(snapshot, "pointsman_slo_burn_rate")) of(row).burns.push(row);
  return [...found.values()].sort((a, b) => (a.left ?? 1) - (b.left ?? 1));
}
