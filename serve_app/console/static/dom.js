// Elements made of data. Every text goes in as a text node: names of tenants are chosen by others.

const SVG = "http://www.w3.org/2000/svg";

function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") node.setAttribute("class", value);
    else if (name.startsWith("on") && typeof value === "function") node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((x) => x !== null && x !== undefined && x !== false));
  return node;
}

/** An element: `el("p", {class: "muted"}, "text", node, …)`. Children that are null or false are left out. */
export function el(tag, props, ...children) {
  return build(document.createElement(tag), props, children.map(textOrNode));
}

/** The same of SVG. */
export function svg(tag, props, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function textOrNode(child) {
  if (Array.isArray(child)) return child.map(textOrNode);
  return typeof child === "number" ? String(child) : child;
}

export function clear(element) {
  element.replaceChildren();
}

/** Replace what is in an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((x) => x !== null && x !== undefined && x !== false)
    .map(textOrNode));
  return element;
}

/** Set an element's text, only where it changes: a screen reader hears nothing of what stays. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

let tables = 0;

/**
 * A table with its title, in a region that scrolls by itself.
 * columns: [{title, key?, number?, cell?: row => text or node}]; rows: objects; empty: what to say without rows.
 * Returns the element, with `update(rows)`.
 */
export function table({caption, columns, rows = [], empty = "Nothing to show.", hideCaption = false}) {
  const id = `table-${++tables}`;
  const body = el("tbody");
  const grid = el("table", {"aria-labelledby": id},
    el("thead", null, el("tr", null, columns.map((x) => el("th", {scope: "col", class: x.number ? "number" : null}, x.title)))),
    body);
  const nothing = el("p", {class: "empty"}, empty);
  const holder = el("div", {class: "scroll", role: "region", "aria-labelledby": id}, grid);
  const whole = el("div", {class: "table"}, el("h3", {id, class: hideCaption ? "visually-hidden" : null}, caption), holder, nothing);
  const cell = (column, row, index) => {
    const made = column.cell ? column.cell(row) : row[column.key];
    const shown = made === null || made === undefined || made === "" ? "–" : made;
    const props = {class: column.number ? "number" : null, "data-title": column.title};
    return index === 0 ? el("th", {...props, scope: "row"}, shown) : el("td", props, shown);
  };
  whole.update = (next) => {
    const holds = body.contains(document.activeElement);
    body.replaceChildren(...next.map((row) => el("tr", null, columns.map((x, i) => cell(x, row, i)))));
    holder.hidden = next.length === 0;
    nothing.hidden = next.length > 0;
    // Only what scrolls has to be reached by keyboard.
    if (holder.scrollWidth > holder.clientWidth) holder.tabIndex = 0;
    else holder.removeAttribute("tabindex");
    if (holds) holder.focus({preventScroll: true});
  };
  whole.update(rows);
  return whole;
}

/** A word with a colour that only repeats what the word says: kind is good, warn, bad or empty. */
export function badge(text, kind = "") {
  return el("span", {class: `badge ${kind}`.trim()}, text);
}

/** A figure with its name: `fact("Queue", "3", "requests")`. */
export function fact(name, value, note = "", kind = "") {
  return el("div", {class: `fact ${kind}`.trim()}, el("dt", null, name), el("dd", null, value), note ? el("dd", {class: "note"}, note) : null);
}

/** Rows that are alike in these members as one: the first of them, with `times`; order stays. */
export function grouped(rows, members) {
  const found = new Map();
  for (const row of rows) {
    const key = JSON.stringify(members.map((x) => row[x]));
    const known = found.get(key);
    if (known) known.times += 1;
    else found.set(key, {...row, times: 1});
  }
  return [...found.values()];
}
