// Asking the deployment. The key is kept for this browser tab alone and goes out as a header.

const STORE = "pointsman-key";

export class ApiError extends Error {
  constructor(status, code, message, headers) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.headers = headers ?? new Headers();
    const wait = Number.parseFloat(this.headers.get("retry-after") ?? "");
    this.retryAfter = Number.isFinite(wait) ? wait : null;
  }
}

function stored() {
  try { return sessionStorage.getItem(STORE) ?? ""; } catch { return ""; }
}

class Key {
  #value = stored();
  #listeners = new Set();

  get isSet() { return this.#value !== ""; }

  set(text) {
    this.#value = text.trim();
    try {
      if (this.#value) sessionStorage.setItem(STORE, this.#value);
      else sessionStorage.removeItem(STORE);
    } catch { /* The browser keeps nothing: the key lives as long as the page. */ }
    for (const listener of this.#listeners) listener();
  }

  clear() { this.set(""); }

  onChange(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  headers() {
    // Only what a header can hold: a browser refuses the rest with words that help nobody.
    return this.isSet && /^[\x21-\x7e]+$/.test(this.#value) ? {authorization: `Bearer ${this.#value}`} : {};
  }
}

export const key = new Key();

async function ask(method, path, body, {headers, signal} = {}) {
  const isRead = method === "GET" || method === "HEAD";
  const all = {"x-pointsman-console": "1", ...key.headers(), ...headers};
  if (!isRead && body !== undefined && body !== null) all["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {
      method, signal, headers: all, cache: "no-store", credentials: "omit", redirect: "error",
      body: isRead || body === undefined || body === null ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", "Nothing answers at this address: is the deployment running?");
  }
  if (answer.ok) return answer;
  const text = await answer.text().catch(() => "");
  let code = `http_${answer.status}`;
  let message = `The deployment answered ${answer.status}.`;
  try {
    const error = JSON.parse(text).error;
    code = String(error.code ?? code);
    message = String(error.message ?? message);
  } catch { /* A proxy in between says it in its own form. */ }
  throw new ApiError(answer.status, code, message, answer.headers);
}

async function read(answer) {
  if (answer.status === 204) return null;
  const text = await answer.text();
  if (!(answer.headers.get("content-type") ?? "").includes("json")) return text;
  return JSON.parse(text);
}

export async function send(method, path, body, options) {
  return read(await ask(method, path, body, options));
}

export const get = (path, options) => send("GET", path, null, options);
export const post = (path, body, options) => send("POST", path, body, options);

/** Read server-sent events of an answer; `onEvent({event, data})` for each. */
export async function stream(path, body, onEvent, options = {}) {
  const answer = await ask(body === null || body === undefined ? "GET" : "POST", path, body, options);
  options.onHead?.(answer.headers, answer.status);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const {value, done} = await reader.read();
      if (done) return;
      const parts = (rest + value).split(/\r?\n\r?\n/);
      rest = parts.pop();
      for (const part of parts) {
        const event = parsed(part);
        if (event !== null) onEvent(event);
      }
    }
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    if (!(error instanceof TypeError)) throw error;
    throw new ApiError(0, "broken_off", "The connection broke off.");
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(part) {
  let event = "message";
  const data = [];
  for (const line of part.split(/\r?\n/)) {
    if (line.startsWith("event:")) event = line.slice(6).trim();
    else if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
  }
  return data.length > 0 ? {event, data: data.join("\n")} : null;
}
