// Charts by hand: SVG and a few boxes. Each says in words what it shows, and none needs its colours.

import { count, el, moment, number, seconds, share, svg } from "./dom.js";

// One bar whose parts add up to a whole. Parts: {name, value, kind, hint}.
export function stackedBar(parts, label) {
  const shown = parts.filter((part) => part.value > 0);
  const whole = shown.reduce((sum, part) => sum + part.value, 0);
  const said = shown.map((part) => `${part.name} ${number(part.value)}`).join(", ") || "nothing";
  const bar = el("div", { class: "stack", role: "img", "aria-label": `${label}: ${said}` });
  for (const part of shown) {
    const box = el("span", { class: `part ${part.kind}`, title: `${part.name}: ${number(part.value)}` });
    box.style.flexGrow = String(Math.max(part.value, whole / 150)); // a single row of a million shows, too
    bar.append(box);
  }
  const legend = el(
    "ul",
    { class: "legend" },
    ...parts.map((part) =>
      el(
        "li",
        { class: part.value ? null : "none" },
        el("span", { class: `key ${part.kind}`, "aria-hidden": "true" }),
        el("span", { class: "what" }, el("b", {}, number(part.value)), ` ${part.name}`),
        el("span", { class: "hint" }, part.value ? share(part.value, whole) : "", part.hint ? ` ${part.hint}` : ""),
      ),
    ),
  );
  return el("div", { class: "stacked" }, bar, legend);
}

// Bars side by side, the longest first: {name, value, note}.
export function bars(rows, { kind = "neutral", label, whole = null } = {}) {
  const most = Math.max(1, ...rows.map((row) => row.value));
  return el(
    "dl",
    { class: "bars", "aria-label": label },
    ...rows.map((row) => {
      const fill = el("span", { class: `fill ${row.kind ?? kind}`, "aria-hidden": "true" });
      fill.style.width = `${Math.max(0.5, (100 * row.value) / most)}%`;
      const said = whole ? `${number(row.value)} (${share(row.value, whole)})` : number(row.value);
      return el(
        "div",
        {},
        el("dt", {}, row.name, row.note ? el("small", {}, row.note) : null),
        el("dd", {}, el("span", { class: "track" }, fill), el("span", { class: "value" }, said)),
      );
    }),
  );
}

// How far a figure is from its limit.
export function meter(value, most, breached) {
  const box = el("span", { class: "meter", "aria-hidden": "true" });
  const fill = el("span", { class: breached ? "fill bad" : "fill neutral" });
  fill.style.width = `${most > 0 ? Math.min(100, (100 * value) / most) : value > 0 ? 100 : 0}%`;
  box.append(fill);
  return box;
}

// Overlapping windows of a list that moves while it is read; what two of them share is drawn darker.
export function windows({ total, bridges = 0, catchUps = 0 }) {
  const shown = Math.max(1, Math.min(total, 12));
  const gapAt = bridges > 0 && shown > 3 ? Math.floor(shown / 2) : -1;
  const width = 640, rowHeight = 13, thick = 9, top = 24;
  const last = catchUps > 0 ? rowHeight + 6 : 0;
  const step = (width - 30) / (shown + 0.5), shared = step * 0.38;
  const height = top + shown * rowHeight + last;
  const drawing = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img", class: "windows",
    "aria-label": `${count(total, "window")} of the list, each overlapping the one before, so that no contact can be missed between them`,
  });
  drawing.append(
    svg("text", { x: 2, y: 12, class: "axis" }, "changed longest ago"),
    svg("text", { x: width - 2, y: 12, class: "axis", "text-anchor": "end" }, "changed last"),
    svg("line", { x1: 0, x2: width, y1: 18, y2: 18, class: "axis-line" }),
  );
  for (let at = 0; at < shown; at += 1) {
    const x = 2 + at * step, y = top + at * rowHeight;
    if (at > 0) {
      drawing.append(svg("rect", { x, y: y - rowHeight, width: shared, height: rowHeight + thick, class: "overlap" }));
    }
  }
  for (let at = 0; at < shown; at += 1) {
    const x = 2 + at * step, y = top + at * rowHeight;
    const wide = Math.min(step + shared, width - 2 - x);
    drawing.append(svg("rect", { x, y, width: wide, height: thick, rx: 2, class: at === gapAt ? "window bridge" : "window" }));
    if (at > 0) {
      drawing.append(svg("rect", { x, y, width: shared, height: thick, rx: 2, class: "shared" }));
    }
    if (at < shown - 1) {
      drawing.append(svg("rect", { x: x + step, y, width: shared, height: thick, rx: 2, class: "shared" }));
    }
  }
  if (gapAt > 0) {
    drawing.append(svg("text", { x: 2 + (gapAt + 1) * step + shared + 8, y: top + gapAt * rowHeight + thick - 1, class: "axis" }, "read again"));
  }
  if (catchUps > 0) {
    const y = top + shown * rowHeight + 5;
    drawing.append(
      svg("rect", { x: width - 172, y, width: 170, height: thick, rx: 2, class: "window again" }),
      svg("text", { x: width - 180, y: y + thick - 1, class: "axis", "text-anchor": "end" }, "once more at the end"),
    );
  }
  return drawing;
}

const GOOD = new Set(["success"]);
const BAD = new Set(["failed", "upstream_failed"]);

export function stateKind(state) {
  return GOOD.has(state) ? "good" : BAD.has(state) ? "bad" : state === "running" ? "running" : "neutral";
}

// A strip of runs, the oldest first, each a link.
export function strip(runs, linkOf, current) {
  return el(
    "ol",
    { class: "strip", "aria-label": `Last ${runs.length} runs, oldest first` },
    ...runs.map((run) => {
      const state = run.state ?? "none";
      const said = `${moment(run.run_after)}: ${state.replaceAll("_", " ")}${run.duration ? `, ${seconds(run.duration)}` : ""}`;
      const isCurrent = run.run_id === current;
      return el(
        "li",
        {},
        el("a", {
          href: linkOf(run), class: `dot ${stateKind(state)}`, title: said, "aria-label": said,
          "aria-current": isCurrent ? "page" : null,
        }, BAD.has(state) ? "×" : state === "running" ? "…" : ""),
      );
    }),
  );
}

// Columns over runs: {label, value, parts: [{value, kind}], run}. Where there is no figure, a sign stands for it.
export function columns(points, { title, format = number, linkOf, current, from = 0, kind = "neutral" }) {
  const width = window.innerWidth < 560 ? 340 : 640, height = 128, bottom = 30, top = 14;
  const values = points.map((point) => point.value).filter((value) => value !== null);
  const most = Math.max(1e-9, ...values), fewest = Math.min(most, ...values);
  // A table of a million rows that grows by ten: from zero it would look as if nothing moved.
  const least = from === "auto" && fewest > 0.5 * most ? Math.max(0, fewest - (most - fewest) * 0.6 - most * 0.02) : 0;
  const slot = width / Math.max(points.length, 10), wide = Math.min(slot * 0.72, 44), room = height - top - bottom;
  const tall = (value) => (room * (value - least)) / (most - least || 1);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "columns", role: "group", "aria-label": `${title}, oldest run first` });
  drawing.append(
    svg("line", { x1: 0, x2: width, y1: top, y2: top, class: "grid" }),
    svg("line", { x1: 0, x2: width, y1: height - bottom, y2: height - bottom, class: "axis-line" }),
  );
  points.forEach((point, at) => {
    const x = at * slot + (slot - wide) / 2, middle = x + wide / 2, floor = height - bottom;
    const isCurrent = point.run.run_id === current, state = stateKind(point.run.state);
    const link = svg("a", { href: linkOf(point.run), "aria-label": point.label, class: isCurrent ? "current" : "" }, svg("title", {}, point.label));
    link.append(svg("rect", { x: at * slot, y: 0, width: slot, height, class: "hit" }));
    let y = floor;
    if (point.value !== null) {
      const parts = least > 0 || !point.parts ? [{ value: point.value, kind, whole: true }] : point.parts;
      for (const part of parts.filter((one) => one.value > 0)) {
        const high = part.whole ? Math.max(1.5, tall(part.value)) : (room * part.value) / most;
        y -= high;
        link.append(svg("rect", { x, y, width: wide, height: high, class: `column ${part.kind}` }));
      }
    }
    if (state === "bad" || point.value === null) {
      link.append(svg("text", { x: middle, y: Math.max(12, y - 3), class: `mark ${state}`, "text-anchor": "middle" }, state === "bad" ? "×" : "·"));
    }
    if (isCurrent) {
      link.append(svg("path", { d: `M${middle - 5} ${floor + 10} l5 -7 l5 7 z`, class: "pointer" }));
    }
    drawing.append(link);
  });
  const day = (point) => moment(point.run.run_after).split(",")[0];
  drawing.append(svg("text", { x: 0, y: height - 4, class: "axis" }, day(points[0])));
  if (points.length > 6) {
    drawing.append(svg("text", { x: Math.min(width, points.length * slot), y: height - 4, class: "axis", "text-anchor": "end" }, day(points.at(-1))));
  }
  const scale = values.length ? `${least > 0 ? `${format(Math.round(least))} to ` : "up to "}${format(most)}` : "";
  return el("figure", { class: "chart" }, el("figcaption", {}, el("b", {}, title), el("span", {}, scale)), drawing);
}
