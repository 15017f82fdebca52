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
    caption: "Objectives (SLO)", empty: "None yet: slo: of the fleet file names them, and requests have to come.",
    columns: [
      {title: "Objective", key: "objective"}, {title: "Lane", key: "lane"}, {title: "Tier", key: "tier"},
      {title: "Verdict", cell: (x) => badge(x.verdict, {ok: "good", burning: "bad"}[x.verdict] ?? "")},
      {title: "Target", number: true, cell: (x) => typeof x.target === "number" ? seconds(x.target) : "–"},
      {title: "Bad", number: true, cell: (x) => `${count(x.bad)} of ${count(x.good + x.bad)}`},
      {title: "Budget left", number: true, cell: (x) => percent(x.budget_left_ratio)},
      {title: "Burn rates", cell: (x) => Object.entries(x.burn_rates ?? {}).map(([window, rate]) => `${window}: ${rate}`).join(", ")},
      {title: "Why", key: "why"},
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
    el("section", {class: "card"}, faults),
    el("section", {class: "card", "aria-labelledby": "triggers"}, el("h3", {id: "triggers"}, "Triggers and advice"), triggers),
    el("div", {class: "two"},
      el("section", {class: "card", "aria-labelledby": "warnings"}, el("h3", {id: "warnings"}, "Warnings"), noWarnings, warnings),
      el("section", {class: "card"}, starting)),
    el("section", {class: "card"}, log), el("section", {class: "card"}, objectives));
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
    objectives.update(snapshot.status.slo ?? []);
    faults.update(grouped(snapshot.recent.faults ?? [], ["lane", "replica", "what"]).map((x) => ({...x, now: snapshot.at})));
    log.update((snapshot.recent.log ?? []).slice(0, 30));
  });
}

let triggersTold = "";

function drawTriggers(place, snapshot) {
  const firing = rowsOf(snapshot, "pointsman_trigger_firing").filter((x) => x.value > 0).map((x) => x.trigger);
  const advice = (snapshot.status.advice ?? []).filter((x) => x.state === "firing");
  const told = JSON.stringify([firing, advice]);
  // Left as it is while it says the same: somebody may be reading it.
  if (told === triggersTold && place.firstChild) return;
  triggersTold = told;
  const advised = new Set(advice.map((x) => x.trigger));
  const rows = [...advice, ...firing.filter((x) => !advised.has(x)).map((trigger) => ({trigger}))];
  if (rows.length === 0) {
    fill(place, el("p", {class: "empty"}, "No trigger fires. Each watches a signal over a time; what it advises stands here."));
    return;
  }
  fill(place, el("ul", {class: "plain"}, rows.map(trigger)));
}

const SEVERITY = {now: "users feel it", soon: "users will feel it", save: "something is spent for nothing"};

function trigger(row) {
  const line = (name, text) => text ? el("div", null, el("span", {class: "muted"}, `${name}: `), text) : null;
  const unit = row.unit ? ` ${row.unit}` : "";
  return el("li", {class: "decision"},
    el("div", {class: "row"}, badge("fires", row.severity === "now" ? "bad" : "warn"), el("strong", null, row.trigger),
      row.subject ? el("span", null, row.subject) : null,
      row.severity ? el("span", {class: "muted"}, SEVERITY[row.severity] ?? row.severity) : null),
    line("Seen", row.condition && `${row.condition}; now ${words(row.value)}${unit}`),
    line("Do", row.remedy), line("Price", words(row.price)), line("Expected", words(row.expected)),
    line("Undo", row.undo), line("Confidence", words(row.confidence)));
}

/** A value of any kind in words; empty where there is none. */
function words(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(Math.round(value * 1000) / 1000);
  if (typeof value !== "object") return String(value);
  if (typeof value.says === "string") return value.says;
  return Object.entries(value).map(([name, x]) => `${name.replaceAll("_", " ")} ${words(x)}`).join(", ");
}
