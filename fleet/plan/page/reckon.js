// The formulas of fleet/plan (reckoning/, plan.py), for the page: same names, same order.
// tests/unit/fleet/plan/test_plan_page.py compares both.
const HALVINGS = 24, ROUNDS = 12, MOST_SESSIONS = 4096, P95 = 1.6449;
const SLOW_STEPS = [1.1, 2.2], QUEUED_PREFILL = 3.0;
const HOUR_S = 3600, DAY_S = 86400, HOURS_A_MONTH = 720, START_S = 120;

function interpolated(points, x) {
  let index = points.findIndex(([at]) => at >= x);
  if (index === 0 || points.length === 1) return points[0][1];
  if (index < 0) index = points.length - 1;
  const [low, lowMs] = points[index - 1], [high, highMs] = points[index];
  return lowMs + ((highMs - lowMs) * (x - low)) / (high - low);
}

// Seconds of one step: of kernel times or data sheets (`linear_ms`), or of a fitted profile.
function stepSeconds(t, prefill, pairs, batch, context) {
  if (t.linear_ms) {
    const contextNs = prefill ? t.mixed_context_ns : t.context_ns;
    const ms = t.fixed_ms + interpolated(t.linear_ms, prefill + batch) + (t.sequence_us * batch) / 1e3;
    return (ms + (t.prefill_pair_ns * pairs + contextNs * context) / 1e6) / 1e3;
  }
  let decode = 0, read = 0;
  if (batch) {
    const past = ((context - batch * t.reference_context) * t.context_ns_per_token) / 1e6;
    decode = interpolated(t.decode_step_ms, batch) + Math.max(0, past);
  }
  if (prefill) read = t.prefill_step_ms + t.prefill_ms_per_token * prefill;
  return (Math.max(decode, read) + t.interference * Math.min(decode, read)) / 1000;
}

function between(t, tokens, pairs, batch, context) {
  const low = Math.floor(batch), part = batch - low;
  const at = (b) => stepSeconds(t, Math.round(tokens), pairs, b, Math.round(context));
  return part ? at(low) + part * (at(low + 1) - at(low)) : at(low);
}

function lengthP95(x) {
  if (!x.sigma) return x.mean;
  return Math.min(x.most, Math.max(x.least, x.mean * Math.exp(P95 * x.sigma - x.sigma ** 2 / 2)));
}

function talkOf(w) {
  const rounds = w.stages.map((s) => ({
    requests: s.requests, new: s.input.mean, newP95: lengthP95(s.input), cold: 0, coldP95: 0,
    output: s.output.mean, outputP95: lengthP95(s.output), wait: s.wait_s,
  }));
  const sum = (f) => rounds.reduce((total, x) => total + f(x), 0);
  const tokens = sum((x) => x.requests * (x.new + x.output)), more = w.turns - 1;
  const history = ((more ** 2 / 2 + more) / w.turns) * tokens;
  return {
    rounds, sum, tokens, history, turns: w.turns, think: w.think_s, system: w.system_tokens,
    tenants: w.tenants, context: w.system_tokens + history + tokens / 2, longest: w.system_tokens + w.turns * tokens,
  };
}

// `quality` reads histories that another lane has answered, and is given more time.
const STRONGER = "quality", MOVED = 1 / 3, PATIENCE = 2.5;

function talkFor(name, talk) {
  if (name !== STRONGER) return talk;
  const said = talk.system + talk.history;
  const rounds = talk.rounds.map((x) => ({ ...x, cold: MOVED * said, coldP95: said }));
  return { ...talk, rounds, sum: (f) => rounds.reduce((total, x) => total + f(x), 0) };
}

function promiseFor(name, promise) {
  if (name !== STRONGER) return promise;
  return Object.fromEntries(Object.entries(promise).map(([x, bound]) => [x, bound && PATIENCE * bound]));
}

function cachedShare(pool, talk, sessions) {
  if (pool === Infinity) return 1;
  const wanted = sessions * (talk.history + talk.tokens);
  const room = pool - Math.min(talk.tenants, sessions) * talk.system;
  return wanted ? Math.min(1, Math.max(0, room / wanted)) : 1;
}

function loadAt(engine, talk, inFlight, cached, others) {
  const { rounds, sum } = talk, batch = Math.max(1, inFlight), context = batch * talk.context;
  const decode = between(engine.step, 0, 0, batch, context);
  const missed = (1 - cached) * talk.history, known = talk.system + talk.history - missed;
  const prefill = (fresh) => {
    const chunk = Math.round(fresh + missed);
    const pairs = chunk * (Math.round(known) + (chunk + 1) / 2);
    return between(engine.step, fresh + missed, pairs, batch, context) - decode;
  };
  const reads = sum((x) => x.requests * prefill(x.new + x.cold));
  const steps = sum((x) => x.requests * Math.max(1, x.output - 1));
  const turnsPerS = inFlight / (steps * decode + inFlight * reads * others);
  const busy = turnsPerS * reads * others, itl = decode / (1 - busy), slow = SLOW_STEPS[0] + SLOW_STEPS[1] * busy;
  const first = rounds.map((x) => engine.overhead_s + itl / 2 + (decode + x.requests * prefill(x.new + x.cold)) / (1 - busy));
  const queued = 1 + QUEUED_PREFILL * busy;
  const ttftP95 = Math.max(...rounds.map((x) =>
    engine.overhead_s + itl + (decode + x.requests * queued * prefill(x.newP95 + x.coldP95)) / (1 - busy)));
  const waits = sum((x) => x.wait);
  const turn = rounds.reduce((total, x, i) => total + first[i] + (x.output - 1) * itl, waits);
  const answers = rounds.map((x, i) => first[i] + Math.max(x.outputP95, slow * x.output) * itl);
  return {
    sessions: turnsPerS * (turn + talk.think), inFlight, turnsPerS, turn, tokensPerS: 1 / itl, ttftP95,
    next29P95: 29 * slow * itl, answerP95: Math.max(...answers),
    turnP95: answers.reduce((total, x) => total + x, waits), cached,
  };
}

function load(engine, talk, sessions) {
  const cached = cachedShare(engine.pool, talk, sessions), others = 1 - 1 / Math.max(1, sessions);
  let low = 0, high = sessions * Math.max(...talk.rounds.map((x) => x.requests));
  for (let i = 0; i < HALVINGS; i += 1) {
    const middle = (low + high) / 2;
    if (loadAt(engine, talk, middle, cached, others).sessions < sessions) low = middle;
    else high = middle;
  }
  return loadAt(engine, talk, high, cached, others);
}

function keeps(x, promise) {
  const within = (seen, bound) => bound === null || seen <= bound;
  return within(x.ttftP95, promise.ttft_p95_s) && within(x.ttftP95 + x.next29P95, promise.first_30_p95_s)
    && within(x.answerP95, promise.answer_p95_s) && within(x.turnP95, promise.turn_p95_s);
}

function most(test) {
  let low = 0, high = 1;
  while (high <= MOST_SESSIONS && test(high)) { low = high; high *= 2; }
  high = Math.min(high, MOST_SESSIONS + 1);
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (test(middle)) low = middle;
    else high = middle;
  }
  return low;
}

function kvSessions(pool, talk) {
  const each = talk.history + talk.tokens, room = Math.max(0, pool), own = room / (each + talk.system);
  return Math.floor(own <= talk.tenants ? own : (room - talk.tenants * talk.system) / each);
}

function capacity(engine, talk, promise) {
  const warm = { ...engine, pool: Infinity }, alone = load(warm, talk, 1);
  const at = (n) => load(warm, talk, n);
  let decode = most((n) => keeps({ ...at(n), ttftP95: alone.ttftP95 }, promise));
  let prefill = most((n) => keeps({ ...alone, ttftP95: at(n).ttftP95 }, promise));
  const both = most((n) => keeps(at(n), promise));
  if (decode <= prefill) decode = both;
  else prefill = both;
  const walls = { decode, prefill, "KV cache": kvSessions(engine.pool, talk) };
  const sessions = Math.min(...Object.values(walls));
  return { walls, sessions, at: sessions ? load(engine, talk, sessions) : null };
}

const meanOfSwing = (swing) => (1 + 1 / swing) / 2;

function demand(users, talk, turn) {
  const cycle = turn + talk.think;
  let peak, perDay = null, mean = meanOfSwing(users.swing);
  if (users.active !== null) peak = users.active;
  else if (users.turns_per_s !== null) peak = users.turns_per_s * cycle;
  else {
    const daily = users.daily !== null ? users.daily : users.monthly * users.daily_ratio;
    perDay = (daily - users.power) * users.sessions + users.power * users.power_sessions;
    peak = ((perDay * users.busy_hour_ratio) / HOUR_S) * talk.turns * cycle;
    mean = Math.min(1, 1 / (24 * users.busy_hour_ratio));
  }
  const turnsPerS = peak / cycle;
  return {
    peak, burst: peak * users.burst, planned: peak * (1 + users.headroom), turnsPerS, mean,
    turnsADay: perDay !== null ? perDay * talk.turns : turnsPerS * mean * DAY_S,
  };
}

function laneOn(state, lane, talk) {
  const blocks = Math.ceil(Math.round(talk.context) / 16) * 16;
  for (const facts of state.engines[lane.model][state.card][state.kv_8bit ? "8bit" : "16bit"]) {
    const engine = { ...facts, pool: (facts.pool_tokens / blocks) * talk.context };
    const held = capacity(engine, talk, promiseFor(lane.name, state.promise));
    if (!held.sessions || facts.pool_tokens < talk.longest) continue;
    const first = demand(state.users, talk, held.at.turn), planned = first.planned * lane.share;
    const replicas = Math.max(1, Math.ceil(planned / held.sessions - 1e-9));
    let now = load(engine, talk, (first.peak * lane.share) / replicas), whole = first;
    for (let i = 0; i < ROUNDS; i += 1) {
      whole = demand(state.users, talk, now.turn);
      now = load(engine, talk, (whole.peak * lane.share) / replicas);
    }
    return {
      name: lane.name, engine, held, replicas, now, cards: replicas * engine.cards, mean: whole.mean,
      peak: whole.peak * lane.share, turnsADay: whole.turnsADay * lane.share,
    };
  }
  return { name: lane.name, cards: 0 };
}

// What the page shows of a state; null sessions where no card of this kind does it.
function reckon(state) {
  const talk = talkOf(state.workload);
  const lanes = state.lanes.filter((x) => x.share > 0).map((x) => laneOn(state, x, talkFor(x.name, talk)));
  const missing = lanes.filter((x) => !x.cards).map((x) => x.name);
  if (missing.length) return { missing, lanes: [] };
  const total = (f) => lanes.reduce((sum, x) => sum + f(x), 0);
  const cards = total((x) => x.cards), monthly = state.rent_per_h * HOURS_A_MONTH;
  const steepest = ((Math.PI / 2) * (1 - 1 / state.users.swing)) / 12, ready = (steepest * START_S) / HOUR_S;
  const ratio = Math.min(1, lanes[0].mean + ready), least = total((x) => x.cards / x.replicas) * monthly;
  const bill = cards * monthly, scaled = Math.max(bill * ratio, least);
  const tightest = lanes.reduce((a, b) => {
    const used = (x) => x.peak / (x.replicas * x.held.sessions);
    return used(b) > used(a) ? b : a;
  });
  const wall = Object.entries(tightest.held.walls).reduce((a, b) => (b[1] < a[1] ? b : a))[0];
  return {
    missing, lanes, cards, bill, scaled, ready, wall, tightest: tightest.name,
    peak: total((x) => x.peak), sessionsACard: lanes[0].held.sessions / lanes[0].engine.cards,
    tokensAMonth: 30 * total((x) => x.turnsADay) * (talk.sum((x) => x.requests) * (talk.system + talk.history) + talk.tokens),
  };
}
