// Experiments: their arms, what was rated, what the test that may be looked at at any time says.

import {badge, el, fact, fill, say, table} from "../dom.js";
import {count, fixed, percent, seconds} from "../format.js";

const KINDS = {running: "good", stopped: "bad", ended: "", waiting: ""};
const day = (unix) => new Date(unix * 1000).toISOString().slice(0, 10);
const moment = (unix) => new Date(unix * 1000).toISOString().slice(0, 16).replace("T", " ");

export function mount(element, api) {
  const nothing = el("p", {class: "empty"});
  fill(element, nothing);
  const cards = new Map();
  return api.feed.subscribe((snapshot) => {
    const rows = snapshot.status.experiments;
    nothing.hidden = (rows ?? []).length > 0;
    say(nothing, rows === undefined
      ? "Experiments are shown to an admin key."
      : "No experiment: experiments of the fleet file describes them (docs/experiments.md).");
    const names = new Set((rows ?? []).map((x) => x.name));
    for (const [name, card] of cards) {
      if (names.has(name)) continue;
      card.element.remove();
      cards.delete(name);
    }
    for (const row of rows ?? []) {
      if (!cards.has(row.name)) {
        cards.set(row.name, made(row));
        element.append(cards.get(row.name).element);
      }
      update(cards.get(row.name), row);
    }
  });
}

function made(row) {
  const head = el("header");
  const verdict = el("p");
  const facts = el("dl", {class: "facts"});
  const arms = row.kind === "shadow" ? copiesOf(row) : armsOf(row);
  const tests = table({
    caption: `Tests of ${row.name}`, empty: "Nobody has rated anything yet.",
    columns: [
      {title: "Rated by", key: "metric"},
      {title: "Ratings", number: true, cell: (x) => count(x.n)},
      {title: "Estimate", number: true, cell: (x) => fixed(x.estimate, 3)},
      {title: "Confidence sequence", cell: (x) => `${fixed(x.low, 3)} to ${fixed(x.high, 3)}`},
      {title: "E-value", number: true, cell: (x) => evidence(x)},
      {title: "Decided after", number: true, cell: (x) => count(x.decided_at)},
    ],
  });
  const element = el("section", {class: "card", "aria-label": `Experiment ${row.name}`},
    head, verdict, facts, arms, tests);
  return {element, head, verdict, facts, arms, tests};
}

function armsOf(row) {
  return table({
    caption: `Arms of ${row.name}`, empty: "No request yet.",
    columns: [
      {title: "Arm", key: "arm"},
      {title: "Lane", key: "lane"},
      {title: "Requests", number: true, cell: (x) => count(x.requests)},
      {title: "Failed", number: true, cell: (x) => count(x["ended:failed"] ?? 0)},
      {title: "Left", number: true, cell: (x) => count(x["ended:left"] ?? 0)},
      {title: "First token, mean", number: true, cell: (x) => seconds(x.ttft_mean_s)},
      {title: "Late first tokens", number: true, cell: (x) => late(x)},
      {title: "Cost, mean", number: true, cell: (x) => fixed(x.cost_mean || null, 5)},
    ],
  });
}

// What became of a shadow's copies; nobody waits for one, so most outcomes are no fault.
const ENDS = [
  ["answered", "answered"], ["failed", "failed"], ["late", "not in time"],
  ["dropped:full", "dropped: no free slot"], ["dropped:at_once", "dropped: too many at once"],
  ["unfit", "not copied: the lane cannot take it"],
];

function copiesOf(row) {
  return table({
    caption: `Copies of ${row.name}`, empty: "No copy yet.",
    columns: [
      {title: "What became of it", key: "end"},
      {title: "Copies", number: true, cell: (x) => count(x.copies)},
      {title: "Share", number: true, cell: (x) => percent(x.copies / x.all, 1)},
    ],
  });
}

function copies(arm) {
  const all = ENDS.reduce((sum, [key]) => sum + (arm[key] ?? 0), 0);
  return ENDS.filter(([key]) => arm[key]).map(([key, end]) => ({end, copies: arm[key], all}));
}

function ofShadow(arm) {
  if (!arm.answered) return [];
  return [
    fact("Whole answer, mean", seconds(arm.duration_mean_s), `its requests: ${seconds(arm.control_duration_mean_s)}`),
    fact("Tokens of an answer, mean", fixed(arm.completion_tokens / arm.answered, 1),
      `its requests: ${fixed(arm.control_completion_tokens / arm.answered, 1)}`),
  ];
}

function update(card, row) {
  fill(card.head, el("h3", null, row.name), badge(row.state, KINDS[row.state] ?? ""),
    el("span", {class: "muted"}, `${row.kind}: ${row.control} against ${row.treatment}, ${percent(row.share)}`));
  say(card.verdict, row.stopped_why ? `Stopped: ${row.stopped_why}` : row.report?.verdict ?? "Nothing is known yet.");
  const enough = row.report?.enough ?? {};
  fill(card.facts,
    fact("From", day(row.begins), row.since > row.begins + 60 ? `divided so since ${moment(row.since)} UTC` : ""),
    fact("Until", day(row.ends)),
    fact("Decided by", row.metric, `error ${percent(row.alpha)}`),
    enough.enough ? fact("Ratings it takes", count(enough.enough), `for ${percent(enough.preference)}, in ${percent(enough.power)} of such experiments`) : null,
    enough.fixed ? fact("Looked at once", count(enough.fixed), "ratings of a test of fixed size") : null,
    ...ofShadow(row.arms.shadow ?? {}));
  card.arms.update(row.kind === "shadow" ? copies(row.arms.shadow ?? {}) : divided(row));
  card.tests.update(Object.entries(row.report?.tests ?? {}).map(([metric, x]) => ({metric, ...x})));
}

function late(arm) {
  const bad = arm["bad:ttft"] ?? 0;
  const all = bad + (arm["good:ttft"] ?? 0);
  return all > 0 ? percent(bad / all, 1) : null;
}

function divided(row) {
  return Object.entries(row.arms).filter(([, x]) => Object.keys(x).length > 0)
    .map(([arm, x]) => ({arm, lane: row[arm], ...x}));
}

function evidence(test) {
  return test.e_value >= 1e6 ? "over a million" : fixed(test.e_value, 2);
}
