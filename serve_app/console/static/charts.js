// Small pictures of figures. Each says in words what it shows.

import {el, say, svg} from "./dom.js";

const WIDTH = 300;
const HEIGHT = 40;
const LEAST_S = 60;
const MOST_S = 600;

/**
 * A line of the last minutes with its newest value: `spark("Queue", {format, limit, unitWords})`.
 * Returns a figure with `update(points, newest)`; points: [[Unix seconds, value or null], …].
 */
export function spark(title, {format, limit = null} = {}) {
  const value = el("strong", null, "–");
  const line = svg("path", {class: "line"});
  const area = svg("path", {class: "area"});
  const edge = limit === null ? null : svg("line", {class: "limit", x1: 0, x2: WIDTH});
  const picture = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img"},
    svg("line", {class: "base", x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5}), area, line, edge);
  const whole = el("figure", {class: "spark"}, el("figcaption", null, el("span", null, title), value), picture);
  let last = "";
  whole.setLimit = (next) => { limit = next; };
  whole.update = (points, newest = points.at(-1)?.[1] ?? null) => {
    say(value, format(newest));
    const known = points.filter((x) => x[1] !== null && x[1] !== undefined);
    const most = Math.max(limit === null ? 0 : limit * 1.1, ...known.map((x) => x[1]), 1e-9);
    const end = points.at(-1)?.[0] ?? 0;
    // A page that was just opened does not draw nine empty minutes.
    const span = Math.min(MOST_S, Math.max(LEAST_S, end - (points[0]?.[0] ?? end)));
    const x = (at) => WIDTH - (end - at) / span * WIDTH;
    const y = (v) => HEIGHT - 2 - v / most * (HEIGHT - 5);
    const parts = runs(points);
    const lines = parts.map((part) => `M${part.map(([at, v]) => `${x(at).toFixed(1)} ${y(v).toFixed(1)}`).join("L")}`);
    line.setAttribute("d", lines.join(""));
    area.setAttribute("d", parts.map((part, i) =>
      `${lines[i]}L${x(part.at(-1)[0]).toFixed(1)} ${HEIGHT}L${x(part[0][0]).toFixed(1)} ${HEIGHT}Z`).join(""));
    if (edge) { edge.setAttribute("y1", y(limit)); edge.setAttribute("y2", y(limit)); }
    const peak = known.length > 0 ? Math.max(...known.map((p) => p[1])) : null;
    const words = `${title}: now ${format(newest)}; most in the last ${minutes(points)}: ${format(peak)}`;
    if (words !== last) picture.setAttribute("aria-label", last = words);
  };
  return whole;
}

function minutes(points) {
  const span = points.length < 2 ? 0 : points.at(-1)[0] - points[0][0];
  return span < 90 ? `${Math.round(span)} seconds` : `${Math.round(span / 60)} minutes`;
}

function runs(points) {
  const found = [];
  let open = null;
  for (const [at, value] of points) {
    if (value === null || value === undefined) { open = null; continue; }
    if (open === null || at - open.at(-1)[0] > 5) found.push(open = []);
    open.push([at, value]);
  }
  return found;
}

/** A part of a whole, as a bar with its number; from `warn` and `bad` on it says so in words, too. */
export function bar(part, text, {warn = 0.8, bad = 0.9} = {}) {
  const known = typeof part === "number" && Number.isFinite(part);
  const kind = !known ? "" : part >= bad ? "bad" : part >= warn ? "warn" : "";
  const fill = el("span", {class: "fill"});
  fill.style.width = `${known ? Math.min(100, Math.max(0, part * 100)) : 0}%`;
  return el("span", {class: `bar ${kind}`.trim()},
    el("span", {class: "track", "aria-hidden": "true"}, fill),
    el("span", {class: "value"}, text, kind ? el("span", {class: "visually-hidden"}, kind === "bad" ? " (too high)" : " (high)") : null));
}
