// What became of contacts that were named one by one: erased or tagged.

import { stackedBar } from "./charts.js";
import { card, number, orZero } from "./dom.js";
import { costTiles, historyCard, lead, placesCard, tiles, took } from "./parts.js";

export function eraseView(result, context) {
  const verb = result.dry_run ? "found" : "deleted";
  const done = result.dry_run ? orZero(result.found) : orZero(result.deleted);
  return [
    context.failed ? null : lead(result.dry_run ? "plan" : "good", result.dry_run ? "◇" : "✓", `${number(done)} of ${number(orZero(result.contacts))} contacts ${verb}, ${number(orZero(result.already_gone))} were not there.${result.dry_run ? " A dry run: nothing was deleted." : ""}`),
    card("What became of each contact", { class: "wide" }, stackedBar(
      [
        { name: verb, value: done, kind: "sent" },
        { name: "already gone", value: orZero(result.already_gone), kind: "same" },
        { name: "failed", value: orZero(result.failed), kind: "refused" },
        { name: "not tried", value: Math.max(0, orZero(result.contacts) - done - orZero(result.already_gone) - orZero(result.failed)), kind: "unsettled" },
      ],
      `${number(orZero(result.contacts))} contacts`,
    )),
    tiles(costTiles(result, null)),
    placesCard([{ name: "Record", value: result.record }]),
    historyCard(context.runs, context.run.run_id, [{ title: "Contacts", of: (one) => one.contacts }, took]),
  ];
}

export function tagView(result, context) {
  const verb = result.untag ? "untagged" : "tagged";
  return [
    context.failed ? null : lead("good", "✓", `${number(orZero(result.sent))} of ${number(orZero(result.contacts))} contacts ${verb}: ${result.tag}`),
    card("What became of each contact", { class: "wide" }, stackedBar(
      [
        { name: verb, value: orZero(result.sent), kind: "sent" },
        { name: "already gone", value: orZero(result.already_gone), kind: "same" },
        { name: "refused", value: orZero(result.refused), kind: "refused" },
      ],
      `${number(orZero(result.contacts))} contacts`,
    )),
    tiles(costTiles(result, null)),
    historyCard(context.runs, context.run.run_id, [{ title: "Contacts", of: (one) => one.contacts }, took]),
  ];
}
