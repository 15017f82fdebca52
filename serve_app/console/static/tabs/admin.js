// Keys, ceilings, replicas, files, and who did what. Every change is asked about once before it is made.

import {badge, clear, el, fill, say, table} from "../dom.js";
import {ago, clock, count} from "../format.js";

export const css = true;

export function mount(element, api) {
  const leaving = new AbortController();
  const desk = new Desk(api, leaving.signal);
  const place = el("div", {class: "tab admin"});
  fill(element, place, desk.dialog.element);
  element.classList.add("admin");
  void desk.open(place);
  return () => leaving.abort();
}

class Desk {
  constructor(api, signal) {
    this.api = api;
    this.signal = signal;
    this.dialog = new Confirm();
    this.parts = [new Keys(this), new Ceilings(this), new Replicas(this), new Files(this), new Audit(this)];
  }

  async open(place) {
    fill(place, el("p", {class: "empty"}, "Loading…"));
    try {
      await this.api.get("/admin/replicas", {signal: this.signal});
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(place, el("p", {class: "error", role: "alert"}, words(error)),
        el("p", {class: "muted"}, "This part needs an admin key: set one at the top. At the machine of the deployment, the file ",
          el("code", null, "admin-key"), " of its state directory has one."));
      return;
    }
    fill(place, this.parts.map((x) => x.element));
    for (const part of this.parts) void part.read();
  }

  get(path) { return this.api.get(path, {signal: this.signal}); }

  /** Ask, do, tell; returns what was answered, or null. */
  async act({title, text, verb, danger = false, told, method = "POST", path, body, headers, done}) {
    if (!await this.dialog.ask(title, text, verb, danger)) return null;
    fill(told, "Working…");
    try {
      // Not ended when the tab is left: what was begun is done.
      const answer = await this.api.send(method, path, body, {headers});
      fill(told, done ? done(answer) : "Done.");
      return answer;
    } catch (error) {
      fill(told, el("span", {class: "error"}, words(error)));
      return null;
    } finally {
      void this.parts.at(-1).read();
    }
  }
}

const words = (error) => `${error.message} (${error.status ? `${error.status} ` : ""}${error.code})`;

/** What each ingress replica made of it. */
function everywhere(rows) {
  const bad = (rows ?? []).filter((x) => !x.ok);
  if (bad.length === 0) return el("span", null, badge("in force", "good"), rows?.length === 1 ? " on the ingress replica." : ` on all ${count(rows?.length)} ingress replicas.`);
  return el("span", null, badge("not everywhere", "bad"), " ", bad.map((x) => `${x.replica ?? "a replica"}: ${x.error || "refused"}`).join("; "));
}

class Confirm {
  constructor() {
    this.title = el("h3", {id: "confirm-title"});
    this.text = el("p", {id: "confirm-text"});
    this.yes = el("button", {type: "button"}, "Do it");
    const no = el("button", {type: "button", autofocus: true}, "Leave it");
    this.element = el("dialog", {"aria-labelledby": "confirm-title", "aria-describedby": "confirm-text"},
      this.title, this.text, el("div", {class: "row"}, this.yes, no));
    no.addEventListener("click", () => this.element.close(""));
    this.yes.addEventListener("click", () => this.element.close("yes"));
  }

  ask(title, text, verb, danger) {
    say(this.title, title);
    say(this.text, text);
    say(this.yes, verb);
    this.yes.className = danger ? "danger" : "primary";
    this.element.returnValue = "";
    this.element.showModal();
    return new Promise((answer) => {
      this.element.addEventListener("close", () => answer(this.element.returnValue === "yes"), {once: true});
    });
  }
}

class Part {
  constructor(desk, title) {
    this.desk = desk;
    this.told = el("p", {role: "status"});
    this.body = el("div", {class: "tab"});
    const id = `admin-${title.toLowerCase().replaceAll(" ", "-")}`;
    this.element = el("section", {class: "card", "aria-labelledby": id}, el("h3", {id}, title), this.body);
  }

  async read() {
    try {
      await this.load();
    } catch (error) {
      if (error.name !== "AbortError") fill(this.told, el("span", {class: "error"}, words(error)));
    }
  }
}

// -- keys -------------------------------------------------------------------------------------------

class Keys extends Part {
  constructor(desk) {
    super(desk, "Keys");
    this.tenant = el("input", {id: "key-tenant", required: true, list: "key-tenants", autocomplete: "off", maxlength: "128"});
    this.tenants = el("datalist", {id: "key-tenants"});
    this.tier = el("select", {id: "key-tier"});
    this.days = el("input", {id: "key-days", type: "number", min: "1", max: "3650", inputmode: "numeric", placeholder: "until it is revoked"});
    this.admin = el("input", {id: "key-admin", type: "checkbox"});
    this.proxy = el("input", {id: "key-proxy", type: "checkbox"});
    this.once = el("div");
    const form = el("form", {autocomplete: "off"},
      el("div", {class: "fields"},
        field("Tenant", this.tenant), field("Tier, of a new tenant", this.tier), field("Days it is valid", this.days),
        check("Admin: may do what this page does", this.admin), check("Proxy: may act for every tenant", this.proxy)),
      el("div", {class: "row"}, el("button", {class: "primary", type: "submit"}, "Make a key")));
    form.addEventListener("submit", (event) => { event.preventDefault(); void this.make(); });
    this.shown = el("input", {id: "key-all", type: "checkbox"});
    this.shown.addEventListener("change", () => this.draw());
    this.table = table({
      caption: "Keys, by their ids", empty: "There is no key.",
      columns: [
        {title: "Id", cell: (x) => el("code", null, x.id)}, {title: "Tenant", key: "tenant"},
        {title: "State", cell: (x) => badge(x.state, x.state === "valid" ? "good" : "bad")},
        {title: "Rights", cell: (x) => [x.admin ? "admin" : "", x.proxy ? "proxy" : ""].filter(Boolean).join(", ") || "–"},
        {title: "Made", cell: (x) => x.made ? day(x.made) : `in the ${x.kept_in}`},
        {title: "Expires", cell: (x) => x.expires ? day(x.expires) : "–"},
        {title: "Last used", cell: (x) => x.used_at === null ? "not in the last day" : ago(x.used_at)},
        {title: "Revoke", cell: (x) => x.state === "revoked" ? "–" : el("button", {class: "danger", type: "button", "aria-label": `Revoke ${x.id} of ${x.tenant}`, onclick: () => void this.revoke(x)}, "Revoke")},
      ],
    });
    this.table.classList.add("narrows");
    fill(this.body, this.table, check("Revoked and expired ones, too", this.shown), this.told, this.once, form, this.tenants);
  }

  async load() {
    this.all = await this.desk.get("/admin/keys");
    const chosen = this.tier.value;
    fill(this.tier, el("option", {value: ""}, "as it is"), this.all.tiers.map((x) => el("option", {value: x}, x)));
    this.tier.value = chosen;
    fill(this.tenants, Object.keys(this.all.tenants).map((x) => el("option", {value: x})));
    this.draw();
  }

  draw() {
    this.table.update(this.all.keys.filter((x) => this.shown.checked || x.state === "valid"));
  }

  async make() {
    const tenant = this.tenant.value.trim();
    const body = {tenant, tier: this.tier.value || null, admin: this.admin.checked, proxy: this.proxy.checked};
    const days = Number.parseInt(this.days.value, 10);
    if (Number.isFinite(days)) body.days = days;
    const rights = [body.admin ? "It may do all that this page does." : "", body.proxy ? "It may act for every tenant." : ""].filter(Boolean);
    const isNew = !(tenant in this.all.tenants);
    const answer = await this.desk.act({
      title: `Make a key of ${tenant}?`, verb: "Make the key", path: "/admin/keys", body, told: this.told,
      text: [isNew ? "This tenant is new: it is written into the tenants file." : "", ...rights, "The key is shown once."].filter(Boolean).join(" "),
      done: (x) => el("span", null, `Key ${x.id} of ${x.tenant} is made: `, everywhere(x.ingress)),
    });
    if (answer === null) return;
    this.show(answer);
    void this.read();
    void this.desk.parts[1].read();
  }

  show(answer) {
    const key = el("output", {class: "output mono", tabindex: "0", "aria-label": "The new key"}, answer.key);
    const copied = el("span", {role: "status"});
    fill(this.once, el("div", {class: "once"},
      el("strong", null, `The key of ${answer.tenant}. It is not shown again.`), key,
      el("div", {class: "row"},
        el("button", {type: "button", onclick: () => void copy(answer.key, key, copied)}, "Copy"),
        el("button", {type: "button", onclick: () => { clear(this.once); this.tenant.focus(); }}, "I have kept it"), copied)));
    key.focus();
  }

  async revoke(row) {
    const answer = await this.desk.act({
      title: `Revoke ${row.id} of ${row.tenant}?`, verb: "Revoke it", danger: true, told: this.told,
      text: "It opens nothing any more, on every ingress replica, and for good. Requests under way end as they began.",
      path: `/admin/keys/${encodeURIComponent(row.id)}/revoke`, body: {},
      done: (x) => el("span", null, `${x.id} is revoked: `, everywhere(x.ingress), x.note ? ` ${x.note}` : ""),
    });
    if (answer !== null) void this.read();
  }
}

async function copy(text, element, told) {
  try {
    await navigator.clipboard.writeText(text);
    say(told, "Copied.");
  } catch {
    // Off https and localhost there is no clipboard: the key is marked, to be copied by hand.
    getSelection().selectAllChildren(element);
    say(told, "Marked: copy it by keyboard.");
  }
}

// -- ceilings ---------------------------------------------------------------------------------------

const LIMITS = [
  ["tokens_per_second", "Tokens a second"], ["tokens_per_minute", "Tokens a minute"],
  ["requests_per_minute", "Requests a minute"], ["concurrent_requests", "Requests at once"],
  ["tokens_per_day", "Tokens a day"], ["tokens_per_month", "Tokens a month"],
];

class Ceilings extends Part {
  constructor(desk) {
    super(desk, "Ceilings");
    this.search = el("input", {id: "ceil-search", type: "search", autocomplete: "off"});
    this.search.addEventListener("change", () => void this.read());
    this.table = table({
      caption: "Tenants and their own ceilings", empty: "No tenant has such a name.",
      columns: [
        {title: "Tenant", key: "tenant"}, {title: "Tier", key: "tier"},
        {title: "Its own", cell: (x) => Object.entries(x.own).map(([k, v]) => `${k}: ${v === null ? "none" : typeof v === "object" ? JSON.stringify(v) : v}`).join(", ") || "as its tier"},
        {title: "Change", cell: (x) => el("button", {type: "button", "aria-label": `Change the ceilings of ${x.tenant}`, onclick: () => void this.edit(x.tenant)}, "Change")},
      ],
    });
    this.table.classList.add("narrows");
    this.note = el("p", {class: "muted"});
    this.form = el("div");
    fill(this.body, field("Find a tenant", this.search), this.note, this.table, this.told, this.form);
  }

  async load() {
    const told = await this.desk.get(`/admin/ceilings?search=${encodeURIComponent(this.search.value.trim())}&limit=50`);
    this.table.update(told.tenants);
    say(this.note, told.cannot_write || (told.left_out > 0 ? `${count(told.left_out)} more have such a name: search for less.` : ""));
  }

  async edit(tenant) {
    clear(this.told);
    let found;
    try {
      found = await this.desk.get(`/admin/ceilings/${encodeURIComponent(tenant)}`);
    } catch (error) {
      if (error.name !== "AbortError") fill(this.told, el("span", {class: "error"}, words(error)));
      return;
    }
    const rows = LIMITS.map(([name, title]) => limitField(name, title, found));
    const enforce = el("select", {id: "ceil-enforce"},
      el("option", {value: ""}, `as the tier (${found.of_tier.enforce ?? "always"})`), el("option", {value: "always"}, "always"), el("option", {value: "contended"}, "contended: only in busy lanes"));
    enforce.value = found.own.enforce ?? "";
    const form = el("form", {autocomplete: "off", "aria-label": `Ceilings of ${tenant}`},
      el("h4", null, `Ceilings of ${tenant}`),
      el("div", {class: "fields wide"}, rows.map((x) => x.element), field("Tokens a second bind", enforce)),
      el("div", {class: "row"}, el("button", {class: "primary", type: "submit"}, "Set them"),
        el("button", {type: "button", onclick: () => clear(this.form)}, "Leave them")));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const body = {...found.own};
      for (const row of rows) row.into(body);
      if (enforce.value) body.enforce = enforce.value; else delete body.enforce;
      void this.set(tenant, body, found);
    });
    fill(this.form, form);
    form.querySelector("select").focus();
  }

  async set(tenant, body, found) {
    const changes = difference(found.own, body);
    if (changes.length === 0) { fill(this.told, "Nothing is different."); return; }
    const answer = await this.desk.act({
      title: `Set the ceilings of ${tenant}?`, verb: "Set them", told: this.told, method: "PUT",
      text: `${changes.join("; ")}. They are written into the tenants file and hold at once.`,
      path: `/admin/ceilings/${encodeURIComponent(tenant)}`, body, headers: {"if-match": `"${found.etag}"`},
      done: (x) => el("span", null, `The file is written. ${x.tenant}: `, everywhere(x.ingress)),
    });
    if (answer === null) return;
    clear(this.form);
    void this.read();
  }
}

function limitField(name, title, found) {
  const tiers = found.of_tier[name];
  const mode = el("select", {"aria-label": `${title}: which`},
    el("option", {value: "tier"}, `as the tier (${tiers ?? "none"})`), el("option", {value: "own"}, "its own"), el("option", {value: "none"}, "no limit"));
  const number = el("input", {type: "number", min: "0", step: "any", inputmode: "decimal", "aria-label": `${title}: how many`});
  if (name in found.own) {
    mode.value = found.own[name] === null ? "none" : "own";
    number.value = found.own[name] ?? "";
  }
  const sync = () => { number.disabled = mode.value !== "own"; number.required = mode.value === "own"; };
  mode.addEventListener("change", () => { sync(); if (mode.value === "own") number.focus(); });
  sync();
  return {
    element: el("fieldset", {class: "limit"}, el("legend", null, title), el("div", null, mode, number)),
    into(body) {
      if (mode.value === "tier") delete body[name];
      else body[name] = mode.value === "none" ? null : Number(number.value);
    },
  };
}

function difference(before, after) {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])];
  const told = (of, name) => !(name in of) ? "as the tier" : of[name] === null ? "no limit" : typeof of[name] === "object" ? JSON.stringify(of[name]) : String(of[name]);
  return names.filter((x) => told(before, x) !== told(after, x)).map((x) => `${x}: ${told(before, x)} → ${told(after, x)}`);
}

// -- replicas, files, the trail ----------------------------------------------------------------------

class Replicas extends Part {
  constructor(desk) {
    super(desk, "Replicas");
    this.end = el("input", {id: "drain-end", type: "checkbox"});
    this.force = el("input", {id: "drain-force", type: "checkbox"});
    this.table = table({
      caption: "Replicas of lanes", empty: "No replica answers.",
      columns: [
        {title: "Replica", cell: (x) => el("code", null, x.replica)}, {title: "Lane", key: "lane"},
        {title: "State", cell: (x) => x.draining ? badge("draining", "warn") : badge("takes turns", "good")},
        {title: "Requests open", number: true, cell: (x) => count(x.in_flight)},
        {title: "Drain", cell: (x) => el("button", {type: "button", "aria-label": `${x.draining ? "Have take turns again" : "Drain"}: ${x.replica} of ${x.lane}`, onclick: () => void this.drain(x)}, x.draining ? "Take back" : "Drain")},
      ],
    });
    this.table.classList.add("narrows");
    fill(this.body, el("p", {class: "muted"}, "A replica that is drained gets no new requests; its sessions move to the others, its streams go on to their end."),
      check("End it when it is empty: Serve starts another", this.end), check("Even the last one of a required lane", this.force),
      this.table, this.told, el("div", {class: "row"}, el("button", {type: "button", onclick: () => void this.read()}, "Look again")));
  }

  async load() {
    this.table.update((await this.desk.get("/admin/replicas")).replicas);
  }

  async drain(row) {
    const ends = this.end.checked;
    const way = row.draining
      ? {title: `Have ${row.replica} take turns again?`, verb: "Take it back", text: `It gets requests of lane ${row.lane} again.`, body: {}}
      : {
        title: `Drain ${row.replica} of ${row.lane}?`, verb: "Drain it", danger: true, body: {end: ends, force: this.force.checked},
        text: `${count(row.in_flight)} requests are open there. ${ends ? "It ends when they have ended, or after 15 minutes." : "It stays, and can be taken back."}`,
      };
    const verb = row.draining ? "undrain" : "drain";
    const answer = await this.desk.act({
      ...way, told: this.told, path: `/admin/replicas/${encodeURIComponent(row.replica)}/${verb}`,
      done: (x) => el("span", null, `${x.replica} ${x.draining ? "drains" : "takes turns"}: `, everywhere(x.ingress)),
    });
    if (answer !== null) void this.read();
  }
}

class Files extends Part {
  constructor(desk) {
    super(desk, "Files");
    fill(this.body, el("p", {class: "muted"}, "Fleet and tenants files are read by themselves when they have changed. This reads them now, on every ingress replica."),
      el("div", {class: "row"}, el("button", {type: "button", onclick: () => void this.reload()}, "Read the files again")), this.told);
  }

  async load() { /* Nothing to show before it is asked for. */ }

  async reload() {
    await this.desk.act({
      title: "Read the files again?", verb: "Read them", path: "/admin/reload", told: this.told,
      text: "Requests under way keep what they began with. A file that is not valid is refused, and what is in force stays.",
      done: (x) => x.replicas.map((one, index) => el("span", {class: one.ok ? "" : "error"}, `Ingress ${index + 1}: ${one.error || "reloaded"}. ${(one.warnings ?? []).join(" ")} `)),
    });
  }
}

class Audit extends Part {
  constructor(desk) {
    super(desk, "Who did what");
    this.table = table({
      caption: "The last 50 entries", empty: "Nothing has been done yet.",
      columns: [
        {title: "At", cell: (x) => el("time", {datetime: x.at}, day(x.at), " ", clock(Date.parse(x.at) / 1000))},
        {title: "What", key: "action"}, {title: "Of", key: "target"},
        {title: "Outcome", cell: (x) => badge(x.outcome, x.outcome === "done" ? "good" : "bad")},
        {title: "Key", cell: (x) => x.who?.key ? el("code", null, x.who.key) : "nobody's"},
        {title: "From", cell: (x) => x.client?.forwarded_for || x.client?.address || "–"},
        {title: "Change", cell: (x) => x.before || x.after ? `${JSON.stringify(x.before ?? {})} → ${JSON.stringify(x.after ?? {})}` : x.why ?? "–"},
      ],
    });
    this.table.classList.add("narrows");
    fill(this.body, this.told, this.table, el("div", {class: "row"}, el("button", {type: "button", onclick: () => void this.read()}, "Look again")));
  }

  async load() {
    const told = await this.desk.get("/admin/audit?limit=50");
    this.table.update(told.entries);
    fill(this.told, told.is_whole ? "" : el("span", {class: "error"}, "Not every ingress replica answered: some entries may be missing."));
  }
}

function field(label, input) {
  return el("div", {class: "field"}, el("label", {for: input.id}, label), input);
}

function check(label, input) {
  return el("div", {class: "check"}, input, el("label", {for: input.id}, label));
}

const day = (iso) => iso.slice(0, 10);
