// What an export read, and the proof that nothing was skipped.

import { windows } from "./charts.js";
import { bytes, card, count, el, moment, number } from "./dom.js";
import { costTiles, countsCard, guardsCard, historyCard, lead, placesCard, tiles, took } from "./parts.js";

export function exportView(result, { runs, run, failed }) {
  const rows = result.rows ?? null;
  const changes = result.changes ?? {};
  return [
    failed ? null : verdictLead(result),
    tiles([
      rows !== null && { name: "Rows", value: number(rows), note: sinceBefore(result) },
      rows === null && typeof result.rows_read === "number" && { name: "Rows read", value: number(result.rows_read), note: "not committed" },
      "new" in changes && { name: "New", value: number(changes.new), note: "since the last export" },
      "changed" in changes && { name: "Changed", value: number(changes.changed), note: "since the last export" },
      "gone" in changes && { name: "Gone", value: number(changes.gone), note: "not in the list any more" },
      typeof result.bytes === "number" && { name: "Size", value: bytes(result.bytes), note: typeof result.files === "number" ? count(result.files, "file") : "" },
      ...costTiles(result, rows),
    ]),
    certificateCard(result),
    deletionsCard(result.deletions),
    guardsCard(result.guards),
    countsCard("Values that did not fit", result.misfits, {
      kind: "warn",
      text: "They are null in their column and kept whole as text in the column extra.",
      label: "Misfits by column",
    }),
    placesCard([
      { name: "Folder", value: result.path },
      { name: "Commit", value: result.manifest },
      result.manifest && result.path && result.contact_type && { name: "Read it with", value: readCode(result) },
      result.manifest && result.path && result.stream && { name: "Read it with", value: streamCode(result) },
    ]),
    historyCard(runs, run.run_id, [
      { title: "Rows", of: (one) => one.rows, from: "auto" },
      took,
    ]),
  ];
}

function verdictLead(result) {
  const what = result.contact_type ?? result.stream?.replaceAll("_", " ") ?? "rows";
  const rows = number(result.rows);
  if (result.verdict === "complete") {
    const how = result.mode === "incremental" ? `Read what changed since ${moment(result.since)} and merged it into the last table.` : "Read the whole list.";
    return lead("good", "✓", el("span", {}, el("b", {}, `${rows} ${what}`), " exported, and proven complete."), el("p", { class: "muted" }, how));
  }
  if (result.verdict) {
    const reason = result.certificate?.reason;
    return lead("warn", "!", el("span", {}, el("b", {}, `${rows} ${what}`), " exported, but it is not proven that none was skipped."), reason ? el("p", {}, `${reason[0].toUpperCase()}${reason.slice(1)}.`) : null);
  }
  return lead("good", "✓", el("span", {}, el("b", {}, `${rows} ${what}`), " exported."));
}

function sinceBefore(result) {
  if (typeof result.rows_before !== "number") {
    return result.rows_before === null ? "the first export" : "";
  }
  const more = result.rows - result.rows_before;
  return more === 0 ? "as many as last time" : `${more > 0 ? "+" : "−"}${number(Math.abs(more))} since the last export`;
}

function certificateCard(result) {
  const proof = result.certificate;
  if (!proof || typeof proof.windows !== "number") {
    return null;
  }
  const facts = [
    [proof.bridges, (n) => `${count(n, "gap")} between two windows ${n === 1 ? "was" : "were"} read again.`],
    [proof.tie_groups, (n) => `${count(n, "large group")} of contacts with the same last_update ${n === 1 ? "was" : "were"} proven by counting.`],
    [proof.duplicates, (n) => `${count(n, "contact")} came more than once. The table has only the newest version of each.`],
    [proof.empty_answers, (n) => `${count(n, "empty response")} came where rows were expected, and ${n === 1 ? "was" : "were"} requested again.`],
    [proof.end_moved, (n) => `The list grew ${count(n, "time")} while its end was read. The new rows are in the table.`],
    [proof.catch_ups, (n) => `At the end, everything that may have changed during the read was read again (${count(n, "pass", "passes")}). That found ${proof.catch_up_found ? count(proof.catch_up_found, "newer version") : "nothing new"}.`],
    [proof.tries > 1 ? proof.tries : 0, (n) => `It took ${number(n)} tries; each resumed where the last one stopped.`],
  ];
  const isComplete = result.verdict === "complete";
  return card(
    "How it is known that nothing was skipped",
    { class: "certificate" },
    windows({ total: Math.max(1, proof.links || proof.windows), bridges: proof.bridges, catchUps: proof.catch_ups }),
    el(
      "p",
      {},
      `A contact that changes during the read moves to the end of Customerly's list. So the export reads `,
      el("b", {}, count(proof.windows, "window")),
      ` that overlap. The shared rows show that no contact is missing between two windows.`,
    ),
    el("ul", { class: "facts" }, ...facts.filter(([n]) => n > 0).map(([n, say]) => el("li", {}, say(n)))),
    isComplete ? null : el("p", { class: "warn-text" }, `Not proven: ${proof.reason ?? "the export gives no reason"}.`),
  );
}

const FATES = {
  deleted: "deleted in Customerly",
  became_user: "became users",
  still_there: "still found by look-up",
  unconfirmed: "not confirmed yet",
  failed: "look-up failed; the next full read asks again",
};

function deletionsCard(deletions) {
  const known = Object.fromEntries(Object.entries(deletions ?? {}).map(([name, value]) => [FATES[name] ?? name, value]));
  return countsCard("What became of vanished contacts", known, { label: "Vanished contacts by what became of them" });
}

function quoted(text) {
  return JSON.stringify(text);
}

function readCode(result) {
  const folder = result.path.replace(new RegExp(`/${result.contact_type}/?$`), "");
  return `from airflow_provider_customerly.export import read_contacts\nread_contacts(${quoted(folder)}, ${quoted(result.contact_type)}).to_table()`;
}

function streamCode(result) {
  const folder = result.path.replace(new RegExp(`/${result.stream}/?$`), "");
  return `from airflow_provider_customerly.export import read_stream\nread_stream(${quoted(folder)}, ${quoted(result.stream)}).to_table()`;
}

