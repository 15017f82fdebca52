// Who waits, and who was turned away and why.

import {bar, spark} from "../charts.js";
import {badge, el, fact, fill, grouped, table} from "../dom.js";
import {ago, count, rate, seconds} from "../format.js";
import {rowsOf, sum} from "../history.js";

export function mount(element, api) {
  const facts = el("dl", {class: "facts"});
  const shed = spark("Refused or shed", {format: (x) => rate(x)});
  const waiting = table({
    caption: "Waiting for a slot, by lane and tier", empty: "No lane counts its slots here (max_num_seqs of a lane).",
    columns: [
      {title: "Lane", key: "lane"}, {title: "Tier", key: "tier"},
      {title: "Waiting", number: true, cell: (x) => x.value > 0 ? el("strong", null, count(x.value)) : "0"},
    ],
  });
  const slots = table({
    caption: "Slots of the lanes", empty: "Seen with an admin key.",
    columns: [
      {title: "Lane", key: "lane"}, {title: "Ingress", cell: (x) => el("span", {class: "mono"}, x.ingress)},
      {title: "Used", cell: (x) => x.slots === null ? "not counted" : bar(x.slots > 0 ? x.used / x.slots : 0, `${count(x.used)} of ${count(x.slots)}`, {warn: 1, bad: 2})},
      {title: "Saturation", cell: (x) => badge(x.saturation, {normal: "good", none: "good"}[x.saturation] ?? "warn")},
      {title: "Over KV budget", number: true, cell: (x) => count(x.over_kv_budget)},
    ],
  });
  const totals = table({
    caption: "Turned away, by tier and code", empty: "Nobody has been turned away for want of room.",
    columns: [
      {title: "Tier", key: "tier"}, {title: "Code", cell: (x) => el("span", {class: "mono"}, x.code)},
      {title: "Last minute", number: true, cell: (x) => count(x.grown)}, {title: "In all", number: true, cell: (x) => count(x.value)},
    ],
  });
  const by = table({
    caption: "Refused most, by tenant", empty: "No tenant's request was refused.",
    columns: [
      {title: "Tenant", key: "tenant"}, {title: "Tier", key: "tier"},
      {title: "Code", cell: (x) => el("span", {class: "mono"}, x.code)}, {title: "Since start", number: true, cell: (x) => count(x.count)},
    ],
  });
  const last = table({
    caption: "The last refusals", empty: "None.",
    columns: [
      {title: "Tenant", key: "tenant"}, {title: "Times", number: true, cell: (x) => count(x.times)}, {title: "Last", cell: (x) => ago(x.time, x.now)}, {title: "Tier", key: "tier"},
      {title: "Lane", key: "lane"}, {title: "Code", cell: (x) => el("span", {class: "mono"}, x.code)},
      {title: "What it was told", key: "message"}, {title: "Waited", number: true, cell: (x) => seconds(x.waited_s)},
      {title: "Last request", cell: (x) => el("span", {class: "mono"}, x.request_id)},
    ],
  });
  for (const each of [slots, last, by]) each.classList.add("narrows");
  fill(element, el("section", {class: "card"}, facts, shed),
    el("div", {class: "two"}, el("section", {class: "card"}, waiting), el("section", {class: "card"}, slots),
      el("section", {class: "card"}, totals), el("section", {class: "card"}, by)),
    el("section", {class: "card"}, last));
  return api.feed.subscribe((snapshot) => {
    const history = api.history;
    const violations = sum(snapshot, "pointsman_shed_order_violations_total") ?? 0;
    fill(facts,
      fact("Waiting here", count(sum(snapshot, "pointsman_queue_depth") ?? 0), "for a slot"),
      fact("Waiting in engines", count(sum(snapshot, "vllm:num_requests_waiting") ?? 0)),
      fact("Turned away", rate(history.rate("pointsman_shed_total")), "last minute"),
      fact("Order violations", count(violations), "must stay 0", violations > 0 ? "bad" : ""),
      fact("Queue stage, 95 %", seconds(history.distribution("pointsman_stage_seconds", "queue").p95), "of those that waited"));
    shed.update(history.points("shed"));
    waiting.update([...rowsOf(snapshot, "pointsman_queue_depth")].sort((a, b) => b.value - a.value));
    slots.update((snapshot.status.ingress ?? []).flatMap((x) => Object.entries(x.admission ?? {}).map(([lane, row]) => ({lane, ingress: x.replica, ...row}))));
    totals.update(rowsOf(snapshot, "pointsman_shed_total").map((x) => ({...x, grown: history.growth("pointsman_shed_total", {tier: x.tier, code: x.code})})));
    by.update((snapshot.recent.refused_by ?? []).slice(0, 15));
    last.update(grouped(snapshot.recent.refusals ?? [], ["tenant", "tier", "lane", "code", "message"]).map((x) => ({...x, now: snapshot.at})));
  });
}
