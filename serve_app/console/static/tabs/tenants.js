// Who uses what, who is near a limit, who is refused.

import {bar} from "../charts.js";
import {el, fill, table} from "../dom.js";
import {count, percent, rate} from "../format.js";
import {rowsOf} from "../history.js";

export function mount(element, api) {
  const near = table({
    caption: "Near a limit: less than a fifth of the minute's tokens left", empty: "No tenant is near its limit.",
    columns: [
      {title: "Tenant", key: "tenant"},
      {title: "Used of the minute", cell: (x) => bar(1 - x.remaining_tokens / x.limit_tokens, percent(1 - x.remaining_tokens / x.limit_tokens))},
      {title: "Left", number: true, cell: (x) => `${count(x.remaining_tokens)} tokens`},
      {title: "Limit", number: true, cell: (x) => `${count(x.limit_tokens)} a minute`},
    ],
  });
  const use = table({
    caption: "Tokens, as the engines count", empty: "No tenant has used any tokens yet.",
    columns: [
      {title: "Tenant", key: "tenant"},
      {title: "Share, last minute", cell: (x) => bar(x.share, percent(x.share), {warn: 2, bad: 2})},
      {title: "Read", number: true, cell: (x) => rate(x.prompt)},
      {title: "From cache", number: true, cell: (x) => percent(x.prompt > 0 ? x.cached / x.prompt : null)},
      {title: "Written", number: true, cell: (x) => rate(x.completion)},
      {title: "In all", number: true, cell: (x) => count(x.total)},
    ],
  });
  const asks = table({
    caption: "Requests among the last that ended, and refusals", empty: "No request has ended yet.",
    columns: [
      {title: "Tenant", key: "tenant"}, {title: "Tier", key: "tier"},
      {title: "Answered", number: true, cell: (x) => count(x.answered)},
      {title: "Refused", number: true, cell: (x) => x.refused > 0 ? el("strong", null, count(x.refused)) : "0"},
      {title: "Refused since start", number: true, cell: (x) => count(x.since)},
    ],
  });
  for (const each of [near, use, asks]) each.classList.add("narrows");
  fill(element, el("section", {class: "card"}, near), el("section", {class: "card"}, use), el("section", {class: "card"}, asks),
    el("p", {class: "muted"}, "Metrics name the first 50 tenants that were seen; the others are counted together as “other”."));
  return api.feed.subscribe((snapshot) => {
    near.update([...(snapshot.status.tenants_near_limit ?? [])].sort((a, b) => a.remaining_tokens / a.limit_tokens - b.remaining_tokens / b.limit_tokens));
    use.update(useRows(snapshot, api.history));
    asks.update(askRows(snapshot.recent));
  });
}

function useRows(snapshot, history) {
  const names = [...new Set(rowsOf(snapshot, "pointsman_tokens_total").map((x) => x.tenant))];
  const rows = names.map((tenant) => {
    const of = (kind) => history.rate("pointsman_tokens_total", {tenant, kind}) ?? 0;
    const total = rowsOf(snapshot, "pointsman_tokens_total", {tenant}).filter((x) => x.kind !== "cached").reduce((t, x) => t + x.value, 0);
    return {tenant, prompt: of("prompt"), completion: of("completion"), cached: of("cached"), total};
  });
  const all = rows.reduce((total, x) => total + x.prompt + x.completion, 0);
  return rows.map((x) => ({...x, share: all > 0 ? (x.prompt + x.completion) / all : 0})).sort((a, b) => b.share - a.share || b.total - a.total);
}

function askRows(recent) {
  const found = new Map();
  const of = (row) => {
    if (!found.has(row.tenant)) found.set(row.tenant, {tenant: row.tenant, tier: row.tier, answered: 0, refused: 0, since: 0});
    return found.get(row.tenant);
  };
  for (const row of recent.decisions ?? []) of(row).answered += 1;
  for (const row of recent.refusals ?? []) of(row).refused += 1;
  for (const row of recent.refused_by ?? []) of(row).since += row.count;
  return [...found.values()].sort((a, b) => b.refused - a.refused || b.answered - a.answered);
}
