// What the last ten minutes were like, kept in the page: a point a second of each series, and
// cumulative histograms of the last minute, whose difference is what that minute saw.

const KEEP_S = 600;
const WINDOW_S = 60;

/** Sum of the samples of a family that fit: `sum(snapshot, "pointsman_queue_depth", {lane: "chat"})`. */
export function sum(snapshot, family, labels = {}) {
  const rows = rowsOf(snapshot, family, labels);
  return rows.length === 0 ? null : rows.reduce((total, row) => total + row.value, 0);
}

/** The samples of a family that fit. */
export function rowsOf(snapshot, family, labels = {}) {
  const wanted = Object.entries(labels);
  return (snapshot?.samples?.[family] ?? []).filter((row) => wanted.every(([name, value]) => row[name] === value));
}

/**
 * A quantile of cumulative counts below each bound, linear in its bucket, as Prometheus has it.
 * null: nothing was seen. The last bound is infinite; what lies above the last finite one is said as that.
 */
export function quantile(q, bounds, counts) {
  const total = counts.at(-1);
  if (!total) return null;
  const rank = q * total;
  const found = counts.findIndex((x) => x >= rank);
  if (found >= bounds.length - 1) return bounds.at(-2) ?? null;
  const low = found === 0 ? 0 : bounds[found - 1];
  const below = found === 0 ? 0 : counts[found - 1];
  const inside = counts[found] - below;
  return inside === 0 ? bounds[found] : low + (bounds[found] - low) * (rank - below) / inside;
}

export class History {
  #points = new Map();
  #frames = [];
  #ingresses = "";

  clear() {
    this.#points.clear();
    this.#frames = [];
  }

  add(snapshot) {
    const at = snapshot.at;
    const ingresses = JSON.stringify(snapshot.ingresses);
    // One that came, went, or was late once: sums with and without it do not compare.
    if (ingresses !== this.#ingresses) this.#frames = [];
    this.#ingresses = ingresses;
    this.#frames.push({at, histograms: snapshot.histograms, counters: snapshot.samples});
    while (this.#frames.length > 2 && this.#frames[1].at <= at - WINDOW_S) this.#frames.shift();
    for (const lane of Object.keys(snapshot.status.lanes ?? {})) {
      this.#note(`${lane}/ttft`, at, this.ttft(lane).p95);
      this.#note(`${lane}/tokens`, at, this.rate("vllm:generation_tokens_total", {lane}));
      this.#note(`${lane}/running`, at, sum(snapshot, "vllm:num_requests_running", {lane}));
      this.#note(`${lane}/waiting`, at, this.waiting(snapshot, lane));
      const kv = rowsOf(snapshot, "vllm:kv_cache_usage_perc", {lane}).map((x) => x.value);
      this.#note(`${lane}/kv`, at, kv.length > 0 ? Math.max(...kv) : null);
      const share = snapshot.status.escalation?.lanes?.[lane]?.share;
      if (share !== undefined) this.#note(`${lane}/share`, at, share);
    }
    this.#note("shed", at, this.rate("pointsman_shed_total"));
    this.#note("requests", at, this.rate("pointsman_requests_total"));
  }

  /** Requests of a lane that wait: for a slot in the ingress, and inside its engines. */
  waiting(snapshot, lane) {
    return (sum(snapshot, "pointsman_queue_depth", {lane}) ?? 0) + (sum(snapshot, "vllm:num_requests_waiting", {lane}) ?? 0);
  }

  #note(series, at, value) {
    const points = this.#points.get(series) ?? [];
    points.push([at, value]);
    while (points[0][0] < at - KEEP_S) points.shift();
    this.#points.set(series, points);
  }

  /** [[Unix seconds, value or null], …] of the last ten minutes, oldest first. */
  points(series) { return this.#points.get(series) ?? []; }

  /** Seconds that the figures "of the last minute" are of: fewer right after the page was opened. */
  get span() {
    return this.#frames.length < 2 ? 0 : this.#frames.at(-1).at - this.#frames[0].at;
  }

  /** What a counter grew by over the window; a series of the ingress that was not there began at nothing. null: too early to say. */
  growth(family, labels = {}) {
    if (this.#frames.length < 2) return null;
    const wanted = Object.entries(labels);
    const fits = (row) => wanted.every(([name, value]) => row[name] === value);
    const before = new Map();
    // An engine's figures may be late once, or have begun long before they were first seen.
    const frames = family.startsWith("vllm:") ? this.#frames : [this.#frames[0]];
    for (const frame of frames) {
      for (const row of (frame.counters[family] ?? []).filter(fits)) {
        if (!before.has(identity(row))) before.set(identity(row), row.value);
      }
    }
    const now = (this.#frames.at(-1).counters[family] ?? []).filter(fits);
    return now.reduce((total, row) => {
      const grown = row.value - (before.get(identity(row)) ?? 0);
      return total + (grown < 0 ? row.value : grown);
    }, 0);
  }

  /** The same a second. */
  rate(family, labels = {}) {
    const grown = this.growth(family, labels);
    return grown === null || this.span === 0 ? null : grown / this.span;
  }

  /** {p50, p95, count, span} of a histogram over the window; what is not known is null. */
  distribution(family, name) {
    const none = {p50: null, p95: null, count: 0, span: this.span};
    const now = this.#frames.at(-1)?.histograms?.[family]?.[name];
    if (this.#frames.length < 2 || now === undefined) return none;
    const before = this.#frames[0].histograms?.[family]?.[name];
    let counts = now.counts.map((x, i) => x - (before?.counts[i] ?? 0));
    if (counts.some((x) => x < 0)) counts = now.counts;
    return {p50: quantile(0.5, now.bounds, counts), p95: quantile(0.95, now.bounds, counts), count: counts.at(-1), span: this.span};
  }

  ttft(lane) { return this.distribution("pointsman_time_to_first_token_seconds", lane); }
}

function identity(row) {
  return JSON.stringify(Object.entries(row).filter(([name]) => name !== "value").sort());
}

export const history = new History();
