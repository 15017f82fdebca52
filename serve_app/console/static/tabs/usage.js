// What the holder of the key has used, what is left of each limit, the last requests.

import {bar} from "../charts.js";
import {badge, el, fact, fill, say, table} from "../dom.js";
import {clock, count, percent, seconds} from "../format.js";

const EVERY_MS = 10_000;

const NAMES = {
  requests_per_minute: "Requests a minute",
  tokens_per_minute: "Tokens a minute",
  tokens_per_second: "Tokens a second",
  tokens_per_day: "Tokens a day",
  tokens_per_month: "Tokens a month",
  concurrent_requests: "Requests at once",
};
const nameOf = (limit) => NAMES[limit] ?? limit;

export function mount(element, api) {
  const leaving = new AbortController();
  let timer = null;
  const who = el("p", null, "Loading…");
  const fault = el("p", {class: "error", role: "alert", hidden: true});
  const near = el("div", {role: "status"});
  const facts = el("dl", {class: "facts"});
  const limits = table({
    caption: "Limits", empty: "Nothing limits this key's tenant.",
    columns: [
      {title: "Limit", cell: (x) => nameOf(x.limit)},
      {title: "Used", cell: (x) => x.remaining === null ? "each answer is paced" : bar(x.used_ratio, percent(x.used_ratio), {warn: 0.8, bad: 1})},
      {title: "Left", number: true, cell: (x) => x.remaining === null ? "–" : count(x.remaining)},
      {title: "Of", number: true, cell: (x) => count(x.most)},
      {title: "Whole again in", number: true, cell: (x) => x.resets_s === null ? "–" : seconds(x.resets_s)},
    ],
  });
  const models = table({
    caption: "This month by model", empty: "Nothing has been used this month.",
    columns: [
      {title: "Model", cell: (x) => x.model ?? x.lane}, {title: "Lane", key: "lane"},
      {title: "Requests", number: true, cell: (x) => count(x.requests)},
      {title: "Read", number: true, cell: (x) => count(x.prompt)},
      {title: "of it cached", number: true, cell: (x) => count(x.cached)},
      {title: "Written", number: true, cell: (x) => count(x.completion)},
      {title: "Requests today", number: true, cell: (x) => count(x.today)},
    ],
  });
  const last = table({
    caption: "Your last requests", empty: "No request since the deployment started.",
    columns: [
      {title: "At", cell: (x) => el("time", {datetime: x.time, title: x.time}, clock(Date.parse(x.time) / 1000))},
      {title: "Outcome", cell: (x) => badge(x.code, x.code === "200" ? "good" : "bad")},
      {title: "Lane", key: "lane"}, {title: "Reason", key: "reason"},
      {title: "Read", number: true, cell: (x) => count(x.prompt_tokens)},
      {title: "Written", number: true, cell: (x) => count(x.completion_tokens)},
      {title: "First token", number: true, cell: (x) => seconds(x.ttft_s)},
      {title: "Took", number: true, cell: (x) => seconds(x.duration_s)},
      {title: "Request id", cell: (x) => el("code", null, x.request_id)},
    ],
  });
  for (const each of [limits, models, last]) each.classList.add("narrows");
  const whole = el("div", {class: "tab", hidden: true},
    el("section", {class: "card", "aria-label": "In short"}, facts),
    el("section", {class: "card"}, limits), el("section", {class: "card"}, models), el("section", {class: "card"}, last));
  fill(element, el("div", null, who, near, fault), whole);

  function show(told) {
    fill(who, "Tenant ", el("strong", null, told.tenant), ", tier ", el("strong", null, told.tier), " ",
      el("span", {class: "muted"}, `as of ${clock(Date.parse(told.at) / 1000)}; days and months in UTC`));
    const lines = told.near.map((x) => `${nameOf(x.limit)}: ${percent(x.used_ratio)} are used${x.resets_s === null ? "" : `; whole again in ${seconds(x.resets_s)}`}.`);
    const text = lines.join("\n");
    // A live region: what has not changed is not said again.
    if (near.dataset.told !== text.replace(/in .*/g, "")) {
      near.dataset.told = text.replace(/in .*/g, "");
      fill(near, lines.map((x) => el("p", null, badge("Near a limit", "warn"), " ", x)));
    }
    const today = told.today.total;
    const month = told.month.total;
    fill(facts,
      fact("Requests today", count(today.requests)), fact("Tokens today", count(today.prompt + today.completion), `${count(today.cached)} from the cache`),
      fact("Requests this month", count(month.requests)), fact("Tokens this month", count(month.prompt + month.completion), `${count(month.cached)} from the cache`),
      told.cost ? fact("Cost this month", String(told.cost.month ?? "–"), String(told.cost.currency ?? "")) : null);
    const of = new Map(told.today.by_model.map((x) => [x.lane, x.requests]));
    limits.update(told.limits);
    models.update(told.month.by_model.map((x) => ({...x, today: of.get(x.lane) ?? 0})));
    last.update(told.requests);
    whole.hidden = false;
  }

  async function read() {
    try {
      show(await api.get("/v1/usage", {signal: leaving.signal}));
      fault.hidden = true;
    } catch (error) {
      if (error.name === "AbortError") return;
      if (whole.hidden) fill(who, api.key.isSet ? "" : "Set a key at the top to see what its tenant has used.");
      say(fault, `${error.message} (${error.code})`);
      fault.hidden = false;
    }
    if (!leaving.signal.aborted) timer = setTimeout(() => void read(), EVERY_MS);
  }

  void read();
  return () => { leaving.abort(); clearTimeout(timer); };
}
