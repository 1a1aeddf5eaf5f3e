// Builds elements. Text goes in as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) {
      continue;
    }
    if (name.startsWith("on")) {
      element.addEventListener(name.slice(2), value);
    } else {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const NUMBER = new Intl.NumberFormat("en-US", { maximumFractionDigits: 2 });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

// Older results lack figures.
export function orZero(value) {
  return typeof value === "number" ? value : 0;
}

export function number(value) {
  return typeof value === "number" && Number.isFinite(value) ? NUMBER.format(value) : "–";
}

export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

export function share(part, whole) {
  if (!whole) {
    return "0%";
  }
  const percent = (100 * part) / whole;
  if (percent > 0 && percent < 0.1) {
    return "under 0.1%";
  }
  return `${NUMBER.format(Math.round(percent * 10) / 10)}%`;
}

export function seconds(value) {
  if (typeof value !== "number") {
    return "–";
  }
  if (value < 60) {
    return `${NUMBER.format(Math.round(value * 10) / 10)} s`;
  }
  const whole = Math.round(value);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${whole % 60} s`;
}

export function bytes(value) {
  if (typeof value !== "number") {
    return "–";
  }
  const units = ["bytes", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1000;
    at += 1;
  }
  return `${NUMBER.format(at ? Math.round(value * 10) / 10 : value)} ${units[at]}`;
}

export function moment(text) {
  const date = new Date(text);
  return text && !Number.isNaN(date.getTime()) ? MOMENT.format(date) : "–";
}

export function time(text) {
  return el("time", { datetime: text }, moment(text));
}

// A text to take along, with a button that copies it.
export function copyable(text, label) {
  const said = el("span", { class: "said", role: "status" });
  const code = el("code", { tabindex: "0" }, text);
  const button = el("button", { type: "button", "aria-label": `Copy ${label}`, onclick: copy }, "Copy");

  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "Copied";
    } catch {
      // Not allowed here, as in a frame without https: mark it, so that a key copies it.
      const range = document.createRange();
      range.selectNodeContents(code);
      const selection = window.getSelection();
      selection.removeAllRanges();
      selection.addRange(range);
      said.textContent = document.execCommand("copy") ? "Copied" : "Marked: press Ctrl-C";
    }
    window.setTimeout(() => { said.textContent = ""; }, 3000);
  }

  return el("div", { class: "copyable" }, code, button, said);
}

export function card(title, attributes, ...children) {
  const id = `card-${title.toLowerCase().replaceAll(/[^a-z]+/g, "-")}`;
  return el(
    "section",
    { ...attributes, class: `card ${attributes.class ?? ""}`, "aria-labelledby": id },
    el("h2", { id }, title),
    ...children,
  );
}

export function table(headings, rows, attributes = {}) {
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": attributes.label ?? headings.join(", ") },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...headings.map((heading) => el("th", { scope: "col" }, heading)))),
      el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((cell, at) => cellOf(cell, at))))),
    ),
  );
}

function cellOf(cell, at) {
  const isNumber = typeof cell === "number";
  const name = at === 0 ? "th" : "td";
  const scope = at === 0 ? "row" : null;
  return el(name, { scope, class: isNumber ? "number" : null }, isNumber ? number(cell) : cell);
}
