// What must be seen whichever tab is open.

import {rowsOf} from "./history.js";
import {WORDS} from "./feed.js";

const MOST = 6;

/** [{kind: "bad" or "warn", text, tab}], the worst first. */
export function alarmsOf(snapshot, state, history) {
  const found = [];
  const bad = (text, tab) => found.push({kind: "bad", text, tab});
  const warn = (text, tab) => found.push({kind: "warn", text, tab});
  if (snapshot !== null && (state === "gone" || state === "old")) bad(`${WORDS[state]}. What is shown is of before.`, "");
  if (snapshot === null) return found;
  const status = snapshot.status;
  for (const [lane, row] of Object.entries(status.lanes ?? {})) {
    const up = row.replicas.length;
    if (up === 0) bad(`Lane ${lane}: no replica answers (${row.replicas_wanted} wanted).`, "fleet");
    else if (up < row.replicas_wanted) warn(`Lane ${lane}: ${up} of ${row.replicas_wanted} replicas answer.`, "fleet");
    if (queues(history.points(`${lane}/waiting`))) warn(`Lane ${lane}: requests queue.`, "queue");
    for (const replica of row.replicas) {
      if (replica.stalled) bad(`Lane ${lane}, replica ${replica.replica}: its engine is stalled.`, "fleet");
      for (const card of replica.cards ?? []) {
        if (throttles(card).length > 0) warn(`Lane ${lane}, replica ${replica.replica}: a card is throttled.`, "fleet");
      }
    }
  }
  for (const row of status.slo ?? []) {
    if (row.verdict !== "burning") continue;
    found.push({kind: row.severity === "page" ? "bad" : "warn", tab: "faults",
      text: `Objective ${row.objective} of lane ${row.lane} (${row.tier}) is missed too often.`});
  }
  if (fails(history)) bad("Requests failed in the last minute.", "faults");
  for (const row of rowsOf(snapshot, "pointsman_trigger_firing")) {
    if (row.value > 0) warn(`Trigger fires: ${row.trigger}.`, "faults");
  }
  for (const row of rowsOf(snapshot, "pointsman_shed_order_violations_total")) {
    if (row.value > 0) bad("Protected work was shed while sheddable work was held.", "queue");
  }
  if ((status.tenants_near_limit ?? []).length > 0) {
    warn(`${status.tenants_near_limit.length} tenant${status.tenants_near_limit.length > 1 ? "s are" : " is"} near a limit.`, "tenants");
  }
  if ((status.warnings ?? []).length > 0) {
    warn(`${status.warnings.length} warning${status.warnings.length > 1 ? "s" : ""} about the deployment.`, "faults");
  }
  const ordered = [...found.filter((x) => x.kind === "bad"), ...found.filter((x) => x.kind === "warn")];
  if (ordered.length <= MOST) return ordered;
  const rest = ordered.length - MOST + 1;
  return [...ordered.slice(0, MOST - 1), {kind: "warn", text: `${rest} more.`, tab: "faults"}];
}

const FAILED = ["500", "broken", "no_replica", "deadline_exceeded"];
const QUEUE = 4;
const QUEUE_S = 10;

/** More than four wait, and have for ten seconds: a burst is no alarm. Without numbers, which would be said anew each second. */
function queues(points) {
  const end = points.at(-1)?.[0] ?? 0;
  const lately = points.filter((x) => x[0] >= end - QUEUE_S);
  return lately.length >= QUEUE_S - 2 && lately.every((x) => x[1] > QUEUE);
}

function fails(history) {
  return FAILED.some((code) => (history.growth("pointsman_requests_total", {code}) ?? 0) > 0);
}

/** Why a card runs below its clocks: the reasons' names; none while it does not. */
export function throttles(card) {
  return (card.throttled_by ?? []).map(String);
}
