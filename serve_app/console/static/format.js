// Figures as people read them. What is not known is a dash.

const NONE = "–";
const known = (x) => typeof x === "number" && Number.isFinite(x);
const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});
const short = new Intl.NumberFormat("en", {maximumFractionDigits: 1});
const compact = new Intl.NumberFormat("en", {notation: "compact", maximumFractionDigits: 1});

export function count(x) {
  if (!known(x)) return NONE;
  return Math.abs(x) >= 1e5 ? compact.format(x) : whole.format(x);
}

/** Seconds, from microseconds to hours. */
export function seconds(x) {
  if (!known(x)) return NONE;
  if (x === 0) return "0 s";
  if (x < 0.001) return `${short.format(x * 1e6)} µs`;
  if (x < 1) return `${x < 0.1 ? short.format(x * 1e3) : whole.format(x * 1e3)} ms`;
  if (x < 100) return `${short.format(x)} s`;
  if (x < 7200) return `${whole.format(x / 60)} min`;
  return `${short.format(x / 3600)} h`;
}

export function percent(x, digits = 0) {
  return known(x) ? `${(x * 100).toFixed(digits)} %` : NONE;
}

/** Of anything a second. */
export function rate(x, unit = "") {
  if (!known(x)) return NONE;
  const text = Math.abs(x) < 10 ? short.format(x) : count(x);
  return unit ? `${text} ${unit}/s` : `${text}/s`;
}

export function fixed(x, digits = 2) {
  return known(x) ? x.toFixed(digits) : NONE;
}

/** The time of day of Unix seconds. */
export function clock(unix) {
  return known(unix) ? new Date(unix * 1000).toLocaleTimeString("en-GB") : NONE;
}

/** How long ago, in words. */
export function ago(unix, now = Date.now() / 1000) {
  if (!known(unix)) return NONE;
  const gone = Math.max(0, now - unix);
  return gone < 1.5 ? "now" : `${seconds(Math.round(gone))} ago`;
}
