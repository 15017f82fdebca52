// Shares of the stronger lanes against their targets, the last decisions, and where time goes.

import {spark} from "../charts.js";
import {badge, el, fact, fill, say, table} from "../dom.js";
import {features, tipping, why} from "../explain.js";
import {ago, count, fixed, percent, seconds} from "../format.js";
import {rowsOf, sum} from "../history.js";

const SHOWN = 15;

export function mount(element, api) {
  const levels = el("div", {class: "cards"});
  const stages = table({
    caption: "Where time goes, last minute", empty: "No request has ended in the last minute.",
    columns: [
      {title: "Stage", key: "stage"},
      {title: "Median", number: true, cell: (x) => seconds(x.p50)},
      {title: "95 %", number: true, cell: (x) => seconds(x.p95)},
      {title: "Requests", number: true, cell: (x) => count(x.count)},
    ],
  });
  const reasons = table({
    caption: "Reasons among the last decisions", empty: "No request has been decided yet.",
    columns: [
      {title: "Lane", key: "lane"},
      {title: "Reason", cell: (x) => el("span", null, badge(x.reason ?? "none"), " ", el("span", {class: "muted"}, why(x.reason)))},
      {title: "Requests", number: true, cell: (x) => count(x.count)},
    ],
  });
  const list = el("ul", {class: "plain"});
  const pause = el("button", {type: "button", "aria-pressed": "false"}, "Hold the list");
  let isHeld = false;
  pause.addEventListener("click", () => {
    isHeld = !isHeld;
    pause.setAttribute("aria-pressed", String(isHeld));
    say(pause, isHeld ? "Go on" : "Hold the list");
  });
  const nothing = el("p", {class: "empty"}, "No decisions yet: send a request, from the Playground for example.");
  fill(element, levels,
    el("div", {class: "two"}, el("section", {class: "card"}, stages), el("section", {class: "card"}, reasons)),
    el("section", {class: "card", "aria-labelledby": "decisions"},
      el("header", null, el("h3", {id: "decisions"}, "Last decisions"), pause,
        el("span", {class: "muted"}, "What made a score up is worked out for a few a second, while this page is open.")),
      nothing, list));
  const cards = new Map();
  return api.feed.subscribe((snapshot) => {
    drawLevels(levels, cards, snapshot, api.history);
    stages.update(stageRows(snapshot, api.history));
    reasons.update(reasonRows(snapshot.recent.decisions ?? []));
    const rows = (snapshot.recent.decisions ?? []).slice(0, SHOWN);
    nothing.hidden = rows.length > 0;
    // Who reads or has opened one keeps it.
    if (!isHeld && !list.contains(document.activeElement)) drawDecisions(list, rows, snapshot);
  });
}

function drawLevels(place, cards, snapshot, history) {
  const lanes = snapshot.status.escalation?.lanes ?? {};
  if (Object.keys(lanes).length === 0) {
    fill(place, el("p", {class: "empty"}, "No stronger lane: routing.complex of the fleet file names one."));
    cards.clear();
    return;
  }
  if (cards.size === 0) fill(place);
  for (const [lane, row] of Object.entries(lanes)) {
    if (!cards.has(lane)) {
      const facts = el("dl", {class: "facts"});
      const line = spark("Share of scored requests", {format: (x) => percent(x, 1), limit: row.target_share});
      const words = el("p", {class: "muted"});
      cards.set(lane, {facts, line, words});
      place.append(el("section", {class: "card", "aria-label": `Escalation to ${lane}`},
        el("header", null, el("h3", null, `To ${lane}`)), facts, line, words));
    }
    const card = cards.get(lane);
    const share = sum(snapshot, "pointsman_escalation_share", {lane}) ?? row.share;
    const threshold = sum(snapshot, "pointsman_escalation_threshold", {lane}) ?? row.threshold;
    const yields = sum(snapshot, "pointsman_escalation_yield", {lane}) ?? row.yield;
    const fires = rowsOf(snapshot, "pointsman_trigger_firing", {trigger: "escalation_share"}).some((x) => x.value > 0);
    fill(card.facts,
      fact("Share", percent(share, 1), `target ${percent(row.target_share, 1)}`, fires ? "bad" : ""),
      fact("Threshold", fixed(threshold, 4), "score"),
      fact("Yield", percent(yields), yields > 0 ? "kept below: the lane is full" : "", yields > 0 ? "warn" : ""));
    card.line.update(history.points(`${lane}/share`), share);
    say(card.words, yields > 0
      ? `${lane} has no room: ${percent(yields)} of what is meant for it stays on the default lane.`
      : "The threshold follows the traffic so that the share meets its target; the dashed line is the target.");
  }
}

function stageRows(snapshot, history) {
  const order = ["auth", "queue", "classify", "choose", "engine", "relay"];
  const names = Object.keys(snapshot.histograms.pointsman_stage_seconds ?? {});
  return [...names].sort((a, b) => (order.indexOf(a) + 99) % 99 - (order.indexOf(b) + 99) % 99)
    .map((stage) => ({stage, ...history.distribution("pointsman_stage_seconds", stage)})).filter((x) => x.count > 0);
}

function reasonRows(decisions) {
  const counts = new Map();
  for (const {lane, reason} of decisions) {
    const key = JSON.stringify([lane, reason]);
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts].map(([key, total]) => {
    const [lane, reason] = JSON.parse(key);
    return {lane, reason, count: total};
  }).sort((a, b) => b.count - a.count);
}

const drawn = new Map();

function drawDecisions(list, rows, snapshot) {
  const open = new Set([...list.querySelectorAll("details[open]")].map((x) => x.dataset.of));
  const keys = new Set(rows.map(keyOf));
  for (const key of drawn.keys()) if (!keys.has(key)) drawn.delete(key);
  const nodes = rows.map((row) => {
    const key = keyOf(row);
    const known = drawn.get(key);
    const node = known && known.isConnected ? known : decision(row, snapshot, key, open.has(key));
    drawn.set(key, node);
    say(node.when, ago(row.time, snapshot.at));
    return node;
  });
  if (nodes.length !== list.children.length || nodes.some((x, i) => x !== list.children[i])) list.replaceChildren(...nodes);
}

const keyOf = (row) => `${row.request_id}/${row.time}`;

function decision(row, snapshot, key, isOpen) {
  const yields = sum(snapshot, "pointsman_escalation_yield", {lane: row.lane}) ?? 0;
  const when = el("span", {class: "muted"});
  const made = features(row);
  const stages = Object.entries(row.stages ?? {});
  const node = el("li", {class: "decision"},
    el("div", {class: "head"}, el("strong", null, row.lane), badge(row.reason ?? "none"),
      row.code === "200" ? null : badge(row.code, row.code === "499" ? "warn" : "bad"),
      row.recoveries.length > 0 ? badge(row.recoveries.join(", "), "warn") : null,
      el("span", null, `${row.tenant} (${row.tier})`), when, scale(row)),
    el("div", null, `Because ${why(row.reason)}. `, el("span", {class: "muted"}, tipping(row, yields))),
    el("details", {open: isOpen, "data-of": key}, el("summary", null,
      `First token ${seconds(row.ttft_s)}, whole ${seconds(row.duration_s)}`),
    el("dl", {class: "facts"},
      fact("Request", "", row.request_id),
      fact("Replica", row.replica ?? "–"),
      fact("Tokens read", count(row.prompt_tokens)), fact("Tokens written", count(row.completion_tokens)),
      stages.map(([name, value]) => fact(`Stage ${name}`, seconds(value)))),
    made.length > 0 ? table({
      caption: "What made the score up", rows: made,
      columns: [{title: "Feature", key: "name"}, {title: "Value", number: true, cell: (x) => fixed(x.value, 3)}],
    }) : null));
  node.when = when;
  return node;
}

/** Score and threshold on a line from 0 to 1; the words beside it say the same. */
function scale(row) {
  if (typeof row.score !== "number") return null;
  const mark = el("i");
  const dot = el("i", {class: "score"});
  // Most scores are small: the root spreads them.
  mark.style.left = `${Math.sqrt(Math.min(1, Math.max(0, row.threshold ?? 1))) * 100}%`;
  dot.style.left = `${Math.sqrt(Math.min(1, Math.max(0, row.score))) * 100}%`;
  return el("div", {class: "scale", "aria-hidden": "true"}, mark, dot);
}
