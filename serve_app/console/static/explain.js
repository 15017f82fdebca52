// Decisions in words: why a lane was chosen, and what would have changed that.

import {fixed, percent} from "./format.js";

const REASONS = {
  default: "nothing called for another lane",
  complex: "its score reached the threshold",
  frontier: "its score reached the highest lane's threshold",
  sticky: "its conversation went up a few turns ago and stays there",
  pinned: "the client named the lane or its model",
  long_context: "it did not fit the default lane's window",
  tools: "it offers tools",
  planning: "it begins a hard turn of an agent",
  language: "the language of its conversation has a lane",
  sub_agent: "a sub-agent sends it",
  background: "nobody waits for it",
  tier: "its tier may not use, or has, another default lane",
  experiment: "it takes part in an experiment",
  cascade: "its lane had begun and was unsure of the first tokens, so the stronger one answered",
  yielded: "its score was high enough, but the stronger lane had no room or its budget was spent",
  validation_failed: "the first lane's tool call was not valid, a stronger one answered",
};

export function why(reason) {
  return REASONS[reason] ?? reason ?? "it had no lane yet";
}

/** What would have sent a scored request elsewhere; empty: it was not scored. */
export function tipping(row, yields = 0) {
  if (typeof row.margin !== "number") return "Not scored: its score would have changed nothing.";
  const apart = fixed(Math.abs(row.margin), 3);
  const level = `Score ${fixed(row.score, 3)}, threshold ${fixed(row.threshold, 3)}`;
  if (row.reason === "sticky") return `${level}. It stays with its conversation whatever this turn scores.`;
  if (row.reason === "cascade") return `${level}: ${apart} short of it, but the lane that had begun was unsure.`;
  if (row.reason === "yielded") {
    const part = yields > 0 ? ` The lane gives up ${percent(yields)} of its share now.` : "";
    return `${level}: over it by ${apart}. Room on the stronger lane, or budget of the tenant, would have tipped it.${part}`;
  }
  if (row.margin >= 0) return `${level}: over it by ${apart}. A score lower by more than that would have kept it on the default lane.`;
  return `${level}: ${apart} short of it. A score higher by that would have sent it up.`;
}

const HEADS = {kind: "kind of task", need: "need of the stronger model", prior: "tools, turns and system prompt", foreign: "share of words it does not know"};

/** Features by name, the parts of the score first, then what of the surface is not nothing. */
export function features(row) {
  if (!row.features) return [];
  const all = Object.entries(row.features);
  const heads = all.filter(([name]) => name in HEADS).map(([name, value]) => ({name: `${name}: ${HEADS[name]}`, value}));
  const rest = all.filter(([name, value]) => !(name in HEADS) && Math.abs(value) > 0)
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).map(([name, value]) => ({name: name.replaceAll("_", " "), value}));
  return [...heads, ...rest];
}
