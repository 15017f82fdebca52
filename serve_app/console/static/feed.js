// The figures of every second: one connection for all tabs, taken up again when it ends.

import {ApiError, key, stream} from "./api.js";

const OLD_MS = 4000;
const LONGEST_WAIT_MS = 10000;

export const WORDS = {
  connecting: "Connecting…",
  live: "Live",
  old: "No news: the last figures are old",
  gone: "The deployment does not answer; trying again",
  denied: "A key is needed",
  full: "Too many pages watch; trying again",
};

export class Feed {
  #listeners = new Set();
  #stateListeners = new Set();
  #abort = null;
  #wait = 1000;
  #timer = 0;
  #at = 0;
  state = "connecting";
  last = null;
  why = "";

  start() {
    key.onChange(() => this.restart());
    setInterval(() => {
      if (this.state === "live" && performance.now() - this.#at > OLD_MS) this.#become("old");
    }, 1000);
    addEventListener("online", () => this.restart());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && this.state === "gone") this.restart();
    });
    this.restart();
  }

  restart() {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#wait = 1000;
    this.#become("connecting");
    void this.#run();
  }

  subscribe(listener) {
    this.#listeners.add(listener);
    if (this.last !== null) listener(this.last);
    return () => this.#listeners.delete(listener);
  }

  onState(listener) {
    this.#stateListeners.add(listener);
    listener(this.state, this.why);
    return () => this.#stateListeners.delete(listener);
  }

  #become(state, why = "") {
    if (state === this.state && why === this.why) return;
    this.state = state;
    this.why = why;
    if (state === "denied") this.last = null;
    for (const listener of this.#stateListeners) listener(state, why);
  }

  async #run() {
    const abort = this.#abort = new AbortController();
    // A connection that says nothing at all is given up: a host that is gone closes none.
    let watch = 0;
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort("silent"), 4 * OLD_MS);
    };
    let pause = 0;
    try {
      alive();
      await stream("/console/feed", null, (event) => {
        alive();
        this.#take(event);
      }, {signal: abort.signal});
      // It ends by itself now and then, so that a replica that is replaced can go.
      pause = this.state === "live" ? 50 : this.#wait;
    } catch (error) {
      if (abort.signal.aborted && abort.signal.reason !== "silent") return;
      pause = this.#fault(error);
    } finally {
      clearTimeout(watch);
    }
    if (abort !== this.#abort || pause < 0) return;
    this.#timer = setTimeout(() => void this.#run(), pause);
  }

  #fault(error) {
    const isApi = error instanceof ApiError;
    if (isApi && (error.status === 401 || error.status === 403)) {
      this.#become("denied", error.message);
      return -1;
    }
    if (isApi && error.status === 429) {
      this.#become("full", error.message);
      return Math.max(1, error.retryAfter ?? 5) * 1000;
    }
    this.#become("gone", isApi ? error.message : "");
    this.#wait = Math.min(LONGEST_WAIT_MS, this.#wait * 1.6);
    return this.#wait;
  }

  #take({event, data}) {
    if (event !== "snapshot") return;
    this.last = JSON.parse(data);
    this.#at = performance.now();
    this.#wait = 1000;
    this.#become("live");
    for (const listener of this.#listeners) {
      try { listener(this.last); } catch (error) { console.error(error); }
    }
  }
}
