// What must be seen whichever tab is open.

import {rowsOf} from "./history.js";
import {WORDS} from "./feed.js";

const MOST = 6;

/** [{kind: "bad" or "warn", text, tab}], the worst first. */
export function alarmsOf(snapshot, state) {
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
    for (const replica of row.replicas) {
      if (replica.stalled) bad(`Lane ${lane}, replica ${replica.replica}: its engine is stalled.`, "fleet");
      for (const card of replica.cards ?? []) {
        if (throttles(card).length > 0) warn(`Lane ${lane}, replica ${replica.replica}: a card is throttled.`, "fleet");
      }
    }
  }
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

/** Why a card runs below its clocks: the reasons' names; none while it does not. */
export function throttles(card) {
  const told = card.throttled ?? card.throttle_reasons ?? [];
  if (Array.isArray(told)) return told.map(String);
  if (typeof told === "object" && told !== null) return Object.keys(told).filter((x) => told[x]);
  return told ? ["throttled"] : [];
}
