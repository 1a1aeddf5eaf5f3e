// How far Customerly and the warehouse agree.

import { stackedBar } from "./charts.js";
import { card, count, el, moment, number, orZero, seconds } from "./dom.js";
import { costTiles, countsCard, guardsCard, historyCard, lead, placesCard, tiles, took } from "./parts.js";

export function reconcileView(result, context) {
  const apart = orZero(result.differing) + orZero(result.only_warehouse) + orZero(result.only_customerly) + orZero(result.invalid);
  return [
    context.failed ? null : apart ? lead("warn", "!", el("span", {}, el("b", {}, `${number(orZero(result.equal))} of ${number(rowsOf(result))} rows agree`), `, ${number(apart)} rows and contacts do not. That is within the limits.`)) : lead("good", "✓", el("span", {}, el("b", {}, `All ${number(orZero(result.equal))} rows agree`), Object.keys(result.not_compared ?? {}).length ? " with Customerly in the fields that could be compared, and no contact is missing." : " with Customerly, and no contact is missing.")),
    card(
      "Each row of the warehouse",
      { class: "wide" },
      stackedBar(
        [
          { name: "equal", value: orZero(result.equal), kind: "sent" },
          { name: "differing", value: orZero(result.differing), kind: "refused" },
          { name: "only in the warehouse", value: orZero(result.only_warehouse), kind: "unsettled" },
          { name: "invalid", value: orZero(result.invalid), kind: "invalid" },
        ],
        `${number(rowsOf(result))} rows`,
      ),
      el("p", { class: "muted sum" }, `${count(rowsOf(result), "row")}. ${count(orZero(result.only_customerly), "contact")} of Customerly ${orZero(result.only_customerly) === 1 ? "has" : "have"} no row in the warehouse.`),
    ),
    tiles([
      typeof result.contacts === "number" && { name: "Contacts", value: number(result.contacts), note: "in the export" },
      { name: "Only in Customerly", value: number(orZero(result.only_customerly)), note: "no row in the warehouse", kind: orZero(result.only_customerly) ? "warn" : "" },
      typeof result.age_seconds === "number" && { name: "Age of the export", value: seconds(result.age_seconds), note: result.export_time ? `of ${moment(result.export_time)}` : "" },
      ...costTiles(result, null),
    ]),
    countsCard("Fields that differ", result.fields, { kind: "bad", label: "Differing rows by field" }),
    countsCard("Why rows are invalid", result.reasons, { kind: "warn", label: "Invalid rows by reason" }),
    notCompared(result.not_compared),
    guardsCard(limitsOf(result)),
    placesCard([{ name: "Differences, row by row, with names", value: result.differences }]),
    historyCard(context.runs, context.run.run_id, [
      { title: "Rows and contacts that do not agree", kind: "refused", of: (one) => ("equal" in one ? orZero(one.differing) + orZero(one.only_warehouse) + orZero(one.only_customerly) + orZero(one.invalid) : null) },
      took,
    ]),
  ];
}

function notCompared(reasons) {
  const lines = Object.entries(reasons ?? {}).map(([field, reason]) => el("p", { class: "muted" }, el("code", {}, field), ` is not compared: ${reason}`));
  return lines.length ? card("Fields that were not compared", {}, ...lines) : null;
}

function rowsOf(result) {
  return result.rows ?? orZero(result.equal) + orZero(result.differing) + orZero(result.only_warehouse) + orZero(result.invalid);
}

// The limits of a reconciliation, in the form in which exports and syncs have their guards.
export function limitsOf(result) {
  const breached = new Set(result.breached ?? []);
  return Object.entries(result.limits ?? {})
    .filter(([, limit]) => limit !== null)
    .map(([name, limit]) => {
      const isShare = !/^\+?\d+$/.test(String(limit).trim());
      const value = name === "min_rows" ? rowsOf(result) : orZero(result[name.replace(/^max_/, "")]);
      const whole = name === "max_only_customerly" ? orZero(result.contacts) : rowsOf(result);
      return { name, limit, value, of: isShare ? whole : null, breached: breached.has(name) };
    });
}
