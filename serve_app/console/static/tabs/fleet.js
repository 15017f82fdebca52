// Lanes and their replicas: load, queue, first tokens, speed, and what is loading.

import {bar, spark} from "../charts.js";
import {badge, el, fact, fill, say, table} from "../dom.js";
import {count, fixed, percent, rate, seconds} from "../format.js";
import {rowsOf, sum} from "../history.js";
import {throttles} from "../alarms.js";

export function mount(element, api) {
  const cards = el("div", {class: "cards"});
  const facts = el("dl", {class: "facts"});
  const window = el("p", {class: "muted"});
  fill(element, facts, cards, window);
  const lanes = new Map();
  return api.feed.subscribe((snapshot) => {
    const names = Object.keys(snapshot.status.lanes ?? {});
    for (const name of lanes.keys()) if (!names.includes(name)) { lanes.get(name).remove(); lanes.delete(name); }
    for (const name of names) {
      if (!lanes.has(name)) {
        lanes.set(name, laneCard(name));
        cards.append(lanes.get(name));
      }
      lanes.get(name).update(snapshot, api.history);
    }
    if (names.length === 0) fill(cards, el("p", {class: "empty"}, "The fleet file has no lane that is on."));
    drawFacts(facts, snapshot, api.history);
    const span = Math.round(api.history.span);
    say(window, `First tokens and speed are of the last ${Math.min(60, span)} seconds, lines of the last ten minutes that this page was open.`);
  });
}

function drawFacts(place, snapshot, history) {
  const status = snapshot.status;
  const codes = rowsOf(snapshot, "pointsman_requests_total");
  const failed = codes.filter((x) => FAILED.has(x.code)).map((x) => x.code);
  const bad = [...new Set(failed)].reduce((total, code) => total + (history.growth("pointsman_requests_total", {code}) ?? 0), 0);
  fill(place,
    fact("Ready", status.ready ? "Yes" : "No", status.ready ? "" : "a required lane is loading", status.ready ? "" : "warn"),
    fact("In flight", count(sum(snapshot, "pointsman_requests_in_flight"))),
    fact("Requests", rate(history.rate("pointsman_requests_total"))),
    fact("Refused or shed", rate(history.rate("pointsman_shed_total")), "", history.rate("pointsman_shed_total") > 0 ? "warn" : ""),
    fact("Failed", count(bad), "last minute", bad > 0 ? "bad" : ""),
    fact("Sessions, active", count(sum(snapshot, "pointsman_active_sessions"))));
}

const FAILED = new Set(["500", "broken", "no_replica", "deadline_exceeded"]);

/** Seconds to the first token that the objectives of a lane ask for; 0.8 is the usual target where there are none. */
function ttftGoal(snapshot, lane) {
  const told = (snapshot.status.slo ?? []).filter((x) => x.objective === "ttft" && x.lane === lane)
    .map((x) => x.target).filter((x) => typeof x === "number");
  return told.length > 0 ? {seconds: Math.min(...told), isSlo: true} : {seconds: 0.8, isSlo: false};
}

function laneCard(lane) {
  const state = el("span", {class: "row"});
  const model = el("span", {class: "muted"});
  const facts = el("dl", {class: "facts"});
  const progress = el("p", {class: "muted"});
  const sparks = {
    ttft: spark("First token, p95", {format: seconds, limit: 0.8}),
    tokens: spark("Tokens", {format: (x) => rate(x)}),
    running: spark("Running", {format: count}),
    waiting: spark("Waiting", {format: count}),
    kv: spark("KV cache, fullest", {format: (x) => percent(x), limit: 0.9}),
  };
  const replicas = table({
    caption: `Replicas of ${lane}`, hideCaption: true, columns: COLUMNS, empty: "No replica answers. It may be loading: see above, and the log of Serve.",
  });
  replicas.classList.add("narrows");
  const cards = el("div");
  const card = el("section", {class: "card", "aria-label": `Lane ${lane}`},
    el("header", null, el("h3", null, lane), state, model), facts, progress,
    el("div", {class: "sparks"}, Object.values(sparks)), replicas, cards);
  card.update = (snapshot, history) => {
    const row = snapshot.status.lanes[lane];
    const ttft = history.ttft(lane);
    const goal = ttftGoal(snapshot, lane);
    sparks.ttft.setLimit(goal.seconds);
    const waiting = history.waiting(snapshot, lane);
    const over = ttft.p95 !== null && ttft.p95 > goal.seconds;
    say(model, row.model);
    fill(state, ...laneStates(row, over, waiting));
    fill(facts,
      fact("Replicas", `${row.replicas.length} of ${row.replicas_wanted}`, "", row.replicas.length < row.replicas_wanted ? "bad" : ""),
      fact("First token, p95", seconds(ttft.p95), `${goal.isSlo ? "SLO" : "usual target"} ${seconds(goal.seconds)}, ${count(ttft.count)} requests`, over ? "bad" : ""),
      fact("Tokens", rate(history.rate("vllm:generation_tokens_total", {lane}))),
      fact("Waiting", count(waiting), `${count(sum(snapshot, "pointsman_queue_depth", {lane}) ?? 0)} here, ${count(sum(snapshot, "vllm:num_requests_waiting", {lane}) ?? 0)} in engines`, waiting > 4 ? "warn" : ""));
    for (const [name, one] of Object.entries(sparks)) one.update(history.points(`${lane}/${name}`));
    replicas.update(row.replicas.map((replica) => replicaRow(snapshot, history, lane, replica)));
    say(progress, progressWords(snapshot.deployments?.[`lane:${lane}`]));
    progress.hidden = progress.textContent === "";
    drawCards(cards, lane, row.replicas);
  };
  return card;
}

function laneStates(row, over, waiting) {
  const states = [];
  if (row.replicas.length === 0) states.push(badge("down", "bad"));
  else if (row.replicas.length < row.replicas_wanted) states.push(badge("short of replicas", "bad"));
  if (row.replicas.some((x) => x.stalled)) states.push(badge("stalled", "bad"));
  if (row.sleep && !row.sleep.awake) states.push(badge(row.sleep.waiting > 0 ? `asleep, ${row.sleep.waiting} wait` : "asleep", "warn"));
  if (over) states.push(badge("slow first tokens", "bad"));
  if (waiting > 4) states.push(badge("queueing", "warn"));
  if (states.length === 0) states.push(badge("fine", "good"));
  return states;
}

function replicaRow(snapshot, history, lane, replica) {
  const of = (family) => sum(snapshot, family, {lane, replica: replica.replica});
  return {
    replica: replica.replica, in_flight: replica.in_flight, stalled: replica.stalled, phase: replica.phase, cards: replica.cards ?? [],
    running: of("vllm:num_requests_running"), waiting: of("vllm:num_requests_waiting"), kv: of("vllm:kv_cache_usage_perc"),
    tokens: history.rate("vllm:generation_tokens_total", {lane, replica: replica.replica}),
    preemptions: history.growth("vllm:num_preemptions_total", {lane, replica: replica.replica}),
    isEjected: (snapshot.status.ingress ?? []).some((x) => (x.ejected?.[lane] ?? []).includes(replica.replica)),
  };
}

const COLUMNS = [
  {title: "Replica", cell: (x) => el("span", {class: "mono"}, x.replica)},
  {title: "State", cell: (x) => x.phase !== undefined && x.phase !== "awake" ? badge(x.phase, "warn") : x.stalled ? badge("stalled", "bad") : x.isEjected ? badge("failing, left aside", "bad") : badge("answers", "good")},
  {title: "Running", number: true, cell: (x) => count(x.running)},
  {title: "Waiting", number: true, cell: (x) => count(x.waiting)},
  {title: "Tokens/s", number: true, cell: (x) => count(x.tokens)},
  {title: "Preempted", number: true, cell: (x) => count(x.preemptions)},
  {title: "KV cache", cell: (x) => bar(x.kv, percent(x.kv))},
];

function progressWords(state) {
  if (!state) return "";
  const starting = (state.states.STARTING ?? 0) + (state.states.UPDATING ?? 0) + (state.states.RECOVERING ?? 0);
  const parts = [];
  if (starting > 0) parts.push(`${starting} replica${starting > 1 ? "s are" : " is"} loading or warming, for ${seconds(state.for_s)} so far.`);
  if ((state.states.STOPPING ?? 0) > 0) parts.push(`${state.states.STOPPING} on the way out.`);
  if (state.message) parts.push(`Serve says: ${state.message}`);
  return parts.join(" ");
}

function drawCards(place, lane, replicas) {
  const rows = replicas.flatMap((x) => (x.cards ?? []).map((card) => ({...card, replica: x.replica})));
  if (rows.length === 0) { fill(place); return; }
  if (!place.firstChild) {
    place.append(table({caption: "Cards", columns: CARD_COLUMNS, rows}));
    place.firstChild.classList.add("narrows");
  } else place.firstChild.update(rows);
}

const CARD_COLUMNS = [
  {title: "Replica", cell: (x) => el("span", {class: "mono"}, x.replica)},
  {title: "Card", cell: (x) => x.name ?? x.card},
  {title: "Power", number: true, cell: (x) => `${count(x.power_watts)} of ${count(x.power_limit_watts)} W`},
  {title: "Temperature", number: true, cell: (x) => `${fixed(x.temperature_celsius, 0)} °C`},
  {title: "Memory", cell: (x) => bar(x.memory_used_bytes / x.memory_total_bytes, percent(x.memory_used_bytes / x.memory_total_bytes), {warn: 0.97, bad: 0.99})},
  {title: "Throttled", cell: (x) => throttles(x).length > 0 ? badge(throttles(x).join(", "), "bad") : "no"},
];
