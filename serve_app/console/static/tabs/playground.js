// A chat with what was decided about each answer; two lanes side by side.

import {badge, clear, el, fact, fill, say, table} from "../dom.js";
import {count, fixed, rate, seconds} from "../format.js";

export const css = true;

const CHAT = "/v1/chat/completions";

export function mount(element, api) {
  const panes = [];
  const running = new AbortController();
  let sending = null;

  const model = el("select", {id: "pg-model"}, el("option", {value: "auto"}, "auto: the router decides"));
  const other = el("select", {id: "pg-other"}, el("option", {value: ""}, "nothing"));
  const system = el("textarea", {id: "pg-system", rows: "2"});
  const tokens = el("input", {id: "pg-tokens", type: "number", min: "1", max: "32768", value: "256", inputmode: "numeric"});
  const heat = el("input", {id: "pg-heat", type: "number", min: "0", max: "2", step: "0.1", value: "0.7", inputmode: "decimal"});
  const prompt = el("textarea", {id: "pg-prompt", rows: "4", required: true, "aria-describedby": "pg-keys"});
  const send = el("button", {class: "primary", type: "submit"}, "Send");
  const stop = el("button", {type: "button", disabled: true}, "Stop");
  const dry = el("button", {type: "button"}, "Where would it go?");
  const fresh = el("button", {type: "button"}, "New conversation");
  const told = el("p", {class: "muted", role: "status"});
  const place = el("div", {class: "panes"});
  const decision = el("div", {"aria-live": "polite"});

  const field = (label, input, className = "") => el("div", {class: `field ${className}`.trim()},
    el("label", {for: input.id}, label), input);
  const form = el("form", {class: "card playground", autocomplete: "off"},
    el("div", {class: "fields"}, field("Model", model), field("Compare with", other),
      field("Longest answer, tokens", tokens), field("Temperature", heat)),
    el("details", null, el("summary", null, "System prompt"), field("System prompt", system)),
    field("Prompt", prompt, "wide"),
    el("p", {id: "pg-keys", class: "muted"}, "Ctrl or ⌘ and Enter sends, Escape stops."),
    el("div", {class: "row"}, send, stop, dry, fresh), told);
  fill(element, form, decision, place);

  function begin() {
    const wanted = other.value === "" ? [model.value] : [model.value, other.value];
    panes.splice(0);
    panes.push(...wanted.map((name, index) => new Pane(name, index, wanted.length)));
    fill(place, panes.map((x) => x.element));
    place.dataset.panes = String(panes.length);
    clear(decision);
  }

  async function go() {
    const text = prompt.value.trim();
    if (text === "" || sending !== null) { prompt.focus(); return; }
    sending = new AbortController();
    busy(true);
    clear(decision);
    const asked = {system: system.value.trim(), most: whole(tokens.value, 256), heat: Number.parseFloat(heat.value)};
    const outcomes = await Promise.all(panes.map((x) => x.ask(api, text, asked, sending.signal)));
    if (running.signal.aborted) return;
    sending = null;
    busy(false);
    // What was answered anywhere is said; what failed everywhere can be sent again.
    if (outcomes.some((x) => x)) prompt.value = "";
    api.announce(panes.map((x) => x.summary).join(" "));
    prompt.focus();
  }

  function busy(is) {
    send.disabled = dry.disabled = fresh.disabled = model.disabled = other.disabled = is;
    stop.disabled = !is;
    say(told, is ? "Answering…" : "");
  }

  async function route() {
    const text = prompt.value.trim();
    if (text === "") { prompt.focus(); return; }
    const messages = [...head(system.value.trim()), ...(panes[0]?.turns ?? []), {role: "user", content: text}];
    try {
      fill(decision, explained(await api.post("/v1/route", {model: model.value, messages}, {signal: running.signal})));
    } catch (error) {
      if (error.name !== "AbortError") fill(decision, trouble(error));
    }
  }

  async function models() {
    try {
      const found = (await api.get("/v1/models", {signal: running.signal})).data.map((x) => x.id);
      const lanes = found.filter((x) => x !== "auto");
      for (const [select, first] of [[model, 1], [other, 1]]) {
        while (select.options.length > first) select.lastChild.remove();
        select.append(...lanes.map((x) => el("option", {value: x}, x)));
      }
      other.append(el("option", {value: "auto"}, "auto"));
    } catch (error) {
      if (error.name !== "AbortError") fill(told, `${error.message} (${error.code})`);
    }
  }

  form.addEventListener("submit", (event) => { event.preventDefault(); void go(); });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); void go(); }
    if (event.key === "Escape") sending?.abort();
  });
  stop.addEventListener("click", () => sending?.abort());
  dry.addEventListener("click", () => void route());
  fresh.addEventListener("click", () => { begin(); prompt.focus(); });
  for (const select of [model, other]) select.addEventListener("change", begin);
  begin();
  void models();
  return () => { running.abort(); sending?.abort(); };
}

/** One conversation with one model: what was said, and the way to say more. */
class Pane {
  constructor(name, index, panes) {
    this.name = name;
    this.turns = [];
    this.session = randomName();
    this.summary = "";
    const id = `pane-${index}`;
    this.list = el("ol", {class: "turns"});
    this.nothing = el("p", {class: "empty"}, "Nothing has been said yet.");
    this.element = el("section", {class: "card pane", "aria-labelledby": id},
      el("h3", {id}, panes > 1 ? `${name} (${index + 1} of ${panes})` : name), this.nothing, this.list);
  }

  /** Ask; returns whether anything was answered. */
  async ask(api, text, {system, most, heat}, signal) {
    this.nothing.hidden = true;
    const shown = new Answer();
    this.list.append(el("li", {class: "said"}, el("strong", null, "You"), el("p", {class: "output"}, text)), shown.element);
    const messages = [...head(system), ...this.turns, {role: "user", content: text}];
    const body = {model: this.name, messages, max_tokens: most, stream: true, stream_options: {include_usage: true}};
    if (Number.isFinite(heat)) body.temperature = heat;
    shown.begin();
    try {
      await api.stream(CHAT, body, (event) => shown.take(event), {
        signal, headers: {"x-session-id": this.session, "x-pointsman-debug": "1"}, onHead: (headers) => shown.head(headers),
      });
      shown.end();
    } catch (error) {
      if (error.name === "AbortError") shown.end("stopped");
      else shown.fail(error);
    }
    this.summary = shown.summary(this.name);
    if (shown.text !== "") this.turns.push({role: "user", content: text}, {role: "assistant", content: shown.text});
    return shown.text !== "";
  }
}

/** One answer while it comes, and what is known of it. */
class Answer {
  constructor() {
    this.text = "";
    this.thoughts = "";
    this.headers = new Headers();
    this.usage = null;
    this.output = el("p", {class: "output"});
    this.thinking = el("p", {class: "output muted", hidden: true});
    this.facts = el("div");
    this.mark = el("span");
    this.element = el("li", {class: "answered", "aria-busy": "true"},
      el("div", {class: "row"}, el("strong", null, "Answer"), this.mark), this.thinking, this.output, this.facts);
  }

  begin() { this.since = performance.now(); }

  head(headers) {
    this.headers = headers;
    const reason = headers.get("x-pointsman-reason");
    fill(this.mark, badge(headers.get("x-pointsman-lane") ?? "?", "good"), " ", reason ? badge(reason) : null);
  }

  take({data}) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) { this.broken = chunk.error; return; }
    if (chunk.usage) this.usage = chunk.usage;
    const delta = chunk.choices?.[0]?.delta ?? {};
    const finish = chunk.choices?.[0]?.finish_reason;
    if (finish) this.finish = finish;
    const thought = delta.reasoning_content ?? delta.reasoning ?? "";
    if (!delta.content && !thought) return;
    this.last = performance.now();
    this.first ??= this.last;
    this.thoughts += thought;
    this.text += delta.content ?? "";
    if (thought) { this.thinking.hidden = false; this.thinking.textContent = this.thoughts; }
    if (delta.content) this.output.append(delta.content);
  }

  end(how = "") {
    this.element.removeAttribute("aria-busy");
    this.how = this.broken ? "broken" : how;
    if (how) this.mark.append(" ", badge(how, "warn"));
    fill(this.facts, this.broken ? el("p", {class: "error", role: "alert"}, words(this.broken)) : null, this.figures());
  }

  fail(error) {
    this.element.removeAttribute("aria-busy");
    this.how = "failed";
    this.why = error.message;
    if (error.headers?.get("x-pointsman-lane")) this.head(error.headers);
    fill(this.facts, trouble(error), this.text ? this.figures() : null);
  }

  get ttft() { return this.first === undefined ? null : (this.first - this.since) / 1000; }

  get speed() {
    const tokens = this.usage?.completion_tokens;
    if (!tokens || tokens < 2 || !(this.last > this.first)) return null;
    return (tokens - 1) / ((this.last - this.first) / 1000);
  }

  figures() {
    const of = (name) => this.headers.get(`x-pointsman-${name}`);
    const score = of("score");
    const facts = el("dl", {class: "facts"},
      fact("Model", of("model") ?? "–"),
      fact("Reason", of("reason") ?? "–"),
      fact("Score", score === null ? "–" : fixed(Number(score), 3), of("threshold") === null ? "was not scored" : `threshold ${fixed(Number(of("threshold")), 3)}`),
      fact("First token", seconds(this.ttft), "seen here"),
      fact("Tokens", rate(this.speed), `${count(this.usage?.completion_tokens)} written, ${count(this.usage?.prompt_tokens)} read`),
      fact("Replica", of("replica") ?? "–", this.finish ? `ended: ${this.finish}` : ""));
    const rows = timings(this.headers.get("server-timing"));
    return [facts, rows.length === 0 ? null : el("details", null, el("summary", null, "Stages"), stages(rows))];
  }

  summary(name) {
    if (this.how === "failed") return `${name}: ${this.why}`;
    return `${name}: ${count(this.usage?.completion_tokens)} tokens, first after ${seconds(this.ttft)}${this.how ? `, ${this.how}` : ""}.`;
  }
}

function stages(rows) {
  return table({
    caption: "Where the time went until the answer began", hideCaption: true,
    columns: [{title: "Stage", key: "name"}, {title: "Time", number: true, cell: (x) => seconds(x.seconds)}], rows,
  });
}

/** `queue;dur=1.5, engine;dur=80` as rows in seconds. */
export function timings(header) {
  return (header ?? "").split(",").map((part) => {
    const [name, ...values] = part.trim().split(";");
    const found = values.map((x) => x.trim()).find((x) => x.startsWith("dur="));
    return {name, seconds: Number.parseFloat((found ?? "").slice(4)) / 1000};
  }).filter((x) => x.name && Number.isFinite(x.seconds));
}

function explained(told) {
  const features = Object.entries(told.features ?? {}).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 12);
  const admitted = told.would_admit;
  const isIn = admitted === true || admitted?.admit === true;
  return el("section", {class: "card", "aria-labelledby": "pg-dry"},
    el("h3", {id: "pg-dry"}, "Where it would go"),
    el("dl", {class: "facts"},
      fact("Lane", told.lane), fact("Model", told.model), fact("Reason", told.reason),
      fact("Score", told.score === null ? "–" : fixed(told.score, 3), told.threshold === null ? "is not scored" : `threshold ${fixed(told.threshold, 3)}`),
      fact("Prompt", count(told.prompt_tokens_estimate), "tokens, estimated"),
      fact("Let in", isIn ? "yes" : "no", isIn || admitted === false ? "" : String(admitted?.code ?? admitted ?? ""))),
    features.length === 0 ? null : el("details", null, el("summary", null, "What the score was made of"), table({
      caption: "Features", hideCaption: true, rows: features.map(([name, value]) => ({name, value})),
      columns: [{title: "Feature", key: "name"}, {title: "Value", number: true, cell: (x) => fixed(x.value, 3)}],
    })));
}

function trouble(error) {
  return el("p", {class: "error", role: "alert"}, words(error),
    error.retryAfter ? ` Again in ${seconds(error.retryAfter)}.` : "");
}

function words(error) {
  const code = error.code ? ` (${error.status ? `${error.status} ` : ""}${error.code})` : "";
  return `${error.message}${code}`;
}

const head = (system) => (system === "" ? [] : [{role: "system", content: system}]);

function whole(text, otherwise) {
  const found = Number.parseInt(text, 10);
  return Number.isFinite(found) && found > 0 ? found : otherwise;
}

/** A name that nobody guesses; `randomUUID` is there on https and localhost alone. */
function randomName() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `playground-${[...bytes].map((x) => x.toString(16).padStart(2, "0")).join("")}`;
}
