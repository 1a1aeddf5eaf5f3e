// Parts that the pages of several kinds of runs share.

import { bars, columns, meter } from "./charts.js";
import { card, copyable, count, el, moment, number, seconds, share, table } from "./dom.js";
import { pageOf } from "./api.js";
import { guardName } from "./words.js";

// Big figures: [{name, value, note, kind}].
export function tiles(figures) {
  return el(
    "dl",
    { class: "tiles" },
    ...figures.filter(Boolean).map((figure) =>
      el(
        "div",
        { class: `tile ${figure.kind ?? ""}` },
        el("dt", {}, figure.name),
        el("dd", {}, el("span", { class: "big" }, figure.value), figure.note ? el("span", { class: "note" }, figure.note) : null),
      ),
    ),
  );
}

export function lead(kind, sign, text, ...more) {
  return el("div", { class: `lead ${kind}` }, el("span", { class: "sign", "aria-hidden": "true" }, sign), el("div", {}, el("p", {}, text), ...more));
}

export function guardsCard(guards) {
  if (!guards?.length) {
    return null;
  }
  const rows = guards.map((guard) => {
    const isShare = typeof guard.of === "number";
    const most = guard.allowed ?? (isShare ? Math.floor(guard.limit * guard.of) : guard.limit);
    const isFewest = guard.name === "min_rows";
    const limit = isShare ? `${share(Number(guard.limit), 1)} of ${number(guard.of)}` : number(Number(guard.limit));
    return [
      el("span", {}, guardName(guard), el("code", { class: "small" }, guard.name)),
      limit,
      el("span", { class: "with-meter" }, el("b", {}, number(guard.value)), isFewest ? null : meter(guard.value, most, guard.breached)),
      el("span", { class: `verdict ${guard.breached ? "bad" : "good"}` }, guard.breached ? "✕ breached" : "✓ holds"),
    ];
  });
  return card("Guards", {}, table(["Guard", "Limit", "This run", "Verdict"], rows, { label: "Guards with limit and value" }));
}

export function countsCard(title, counts, { text, label, whole, kind } = {}) {
  const rows = Object.entries(counts ?? {}).filter(([, value]) => value > 0).sort((one, other) => other[1] - one[1]);
  if (!rows.length) {
    return null;
  }
  return card(
    title,
    {},
    text ? el("p", {}, text) : null,
    bars(rows.map(([name, value]) => ({ name, value })), { label: label ?? title, whole, kind }),
  );
}

export function costTiles(result, rows) {
  const waits = result.waits;
  return [
    typeof result.requests === "number" && { name: "Requests", value: number(result.requests), note: rows && result.requests ? `${number(Math.round(rows / result.requests))} rows each` : "" },
    waits && { name: "Waits", value: waits.retries ? seconds(waits.seconds) : "none", note: waits.retries ? count(waits.retries, "retry", "retries") : "no request had to be repeated" },
    typeof result.seconds === "number" && { name: "Time", value: seconds(result.seconds), note: rows && result.seconds ? `${number(Math.round(rows / result.seconds))} rows/s` : "" },
  ];
}

export function placesCard(places) {
  const rows = places.filter((place) => place?.value);
  if (!rows.length) {
    return null;
  }
  return card(
    "Where it is",
    {},
    el("dl", { class: "places" }, ...rows.map((place) => el("div", {}, el("dt", {}, place.name), el("dd", {}, copyable(place.value, place.name))))),
  );
}

// Charts over the last runs. Measures: [{title, of(result, run), format, parts(result), from}].
export function historyCard(runs, current, measures) {
  const known = runs.filter((run) => run.result || run.duration);
  if (known.length < 2) {
    return card("Last runs", { class: "wide" }, el("p", { class: "muted" }, "With the next run this shows how the figures develop."));
  }
  const charts = measures.map((measure) => {
    const points = runs.map((run) => {
      const value = measure.of(run.result ?? {}, run);
      const known = typeof value === "number";
      const said = known ? (measure.format ?? number)(value) : "no figure";
      return { run, value: known ? value : null, parts: known && measure.parts ? measure.parts(run.result) : null, label: `${moment(run.run_after)}: ${said}, ${(run.state ?? "not started").replaceAll("_", " ")}` };
    });
    return columns(points, { ...measure, linkOf: pageOf, current });
  });
  const rows = [...runs].reverse().map((run) => [
    el("a", { href: pageOf(run) }, moment(run.run_after)),
    (run.state ?? "–").replaceAll("_", " "),
    ...measures.map((measure) => {
      const value = measure.of(run.result ?? {}, run);
      return typeof value === "number" ? (measure.format ?? number)(value) : "–";
    }),
  ]);
  return card(
    "Last runs",
    { class: "wide" },
    el("div", { class: "charts" }, ...charts),
    el("details", {}, el("summary", {}, "As a table"), table(["Run", "State", ...measures.map((measure) => measure.title)], rows, { label: "Last runs" })),
  );
}

export const took = {
  title: "Seconds",
  of: (result, run) => (typeof result.seconds === "number" ? result.seconds : run.duration),
  format: seconds,
};
