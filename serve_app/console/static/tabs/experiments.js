// Experiments: their arms, what was rated, what the test that may be looked at at any time says.

import {badge, el, fact, fill, say, table} from "../dom.js";
import {count, fixed, percent, seconds} from "../format.js";

const KINDS = {running: "good", stopped: "bad", ended: "", waiting: ""};
const day = (unix) => new Date(unix * 1000).toISOString().slice(0, 10);

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
  const arms = table({
    caption: `Arms of ${row.name}`, empty: "No request yet.",
    columns: [
      {title: "Arm", key: "arm"},
      {title: "Requests", number: true, cell: (x) => count(x.requests ?? x.answered ?? 0)},
      {title: "Failed", number: true, cell: (x) => count(x["ended:failed"] ?? x.failed ?? 0)},
      {title: "First token, mean", number: true, cell: (x) => seconds(x.ttft_mean_s)},
      {title: "Late first tokens", number: true, cell: (x) => late(x)},
      {title: "Cost, mean", number: true, cell: (x) => fixed(x.cost_mean, 5)},
      {title: "Whole copy, mean", number: true, cell: (x) => x.duration_mean_s === undefined ? null : `${seconds(x.duration_mean_s)} (its request ${seconds(x.control_duration_mean_s)})`},
      {title: "Dropped copies", number: true, cell: (x) => x.requests === undefined ? count(dropped(x)) : null},
    ],
  });
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

function update(card, row) {
  fill(card.head, el("h3", null, row.name), badge(row.state, KINDS[row.state] ?? ""),
    el("span", {class: "muted"}, `${row.kind}: ${row.control} against ${row.treatment}, ${percent(row.share)}`));
  say(card.verdict, row.stopped_why ? `Stopped: ${row.stopped_why}` : row.report?.verdict ?? "Nothing is known yet.");
  const enough = row.report?.enough ?? {};
  fill(card.facts,
    fact("From", day(row.begins)), fact("Until", day(row.ends)),
    fact("Decided by", row.metric, `error ${percent(row.alpha)}`),
    enough.enough ? fact("Ratings it takes", count(enough.enough), `for ${percent(enough.preference)}, in ${percent(enough.power)} of such experiments`) : null,
    enough.fixed ? fact("Looked at once", count(enough.fixed), "ratings of a test of fixed size") : null);
  card.arms.update(Object.entries(row.arms).filter(([, x]) => Object.keys(x).length > 0).map(([arm, x]) => ({arm, ...x})));
  card.tests.update(Object.entries(row.report?.tests ?? {}).map(([metric, x]) => ({metric, ...x})));
}

function late(arm) {
  const bad = arm["bad:ttft"] ?? 0;
  const all = bad + (arm["good:ttft"] ?? 0);
  return all > 0 ? percent(bad / all, 1) : null;
}

function dropped(arm) {
  return (arm["dropped:full"] ?? 0) + (arm["dropped:at_once"] ?? 0);
}

function evidence(test) {
  return test.e_value >= 1e6 ? "over a million" : fixed(test.e_value, 2);
}
