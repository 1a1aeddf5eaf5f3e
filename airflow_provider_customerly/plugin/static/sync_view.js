// What became of every row of a sync, or would become of it.

import { bars, stackedBar } from "./charts.js";
import { card, copyable, count, el, moment, number, orZero, seconds, table } from "./dom.js";
import { costTiles, countsCard, guardsCard, historyCard, lead, placesCard, tiles, took } from "./parts.js";
import { reasonOf } from "./words.js";

export function syncView(result, context) {
  const isPlan = result.outcome === "planned";
  const isAhead = isPlan || result.outcome === "stopped"; // by a guard: nothing was sent
  return [
    context.failed ? null : isPlan ? planLead(result) : syncLead(result),
    rowsCard(result, isAhead),
    tiles([
      { name: "To send", value: number(orZero(result.new) + orZero(result.changed) + orZero(result.again)), note: parts(result) },
      typeof result.contacts === "number" && { name: "Contacts known", value: number(result.contacts), note: "to this sync" },
      ...costTiles(result, null),
    ]),
    isPlan ? applyCard(result, context) : null,
    previewCard(result.preview, result.comparison),
    countsCard(isAhead ? "Fields that would change" : "Fields that changed", result.changed_fields, {
      kind: "sent",
      text: orZero(result.new) ? `In changed rows. ${count(orZero(result.new), "new row")} come on top, with all of their fields.` : null,
      label: "Changed rows by field",
    }),
    comparisonCard(result.comparison),
    reasonsCard(result),
    vanishedCard(result),
    guardsCard(result.guards),
    undoCard(result, context),
    countsCard("Texts that were cut", result.truncated, { kind: "warn", text: "They were longer than Customerly keeps, and truncate_text allows to cut them." }),
    placesCard([
      { name: "State of the sync", value: result.path },
      { name: "Record of the run", value: result.record },
      { name: "Rows not delivered", value: result.rejects },
      { name: "Plan", value: result.plan },
      result.rejects && { name: "List the rows, with names", value: `airflow customerly state rejects ${shell(result.path)} ${shell(result.rejects)}` },
    ]),
    historyCard(context.runs, context.run.run_id, [
      { title: "Rows read", of: (one) => one.rows_read, parts: (one) => outcomeParts(one, one.outcome === "planned" || one.outcome === "stopped") },
      { title: "Sent", of: (one) => (one.outcome === "planned" ? null : one.sent) },
      { title: "Not delivered", kind: "refused", of: (one) => (typeof one.rows_read === "number" && one.outcome !== "planned" ? orZero(one.refused) + orZero(one.invalid) : null) },
      took,
    ]),
  ];
}

function parts(result) {
  return `${number(orZero(result.new))} new, ${number(orZero(result.changed))} changed, ${number(orZero(result.again))} again`;
}

export function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${String(text).replaceAll("'", "'\\''")}'`;
}

function syncLead(result) {
  const bad = orZero(result.refused) + orZero(result.invalid);
  const undone = result.undoes ? el("p", {}, `It put back what the run ${result.undoes} had changed.`) : null;
  const said = [
    `${number(orZero(result.sent))} of ${number(orZero(result.rows_read))} rows sent`,
    `${number(orZero(result.unchanged))} had not changed`,
  ];
  if (bad) {
    return lead("warn", "!", el("span", {}, el("b", {}, said[0]), `, ${said[1]}, `, el("b", {}, `${number(bad)} not delivered`), "."), el("p", { class: "muted" }, "That is within max_rejects, so the task is green. The reasons are below."), undone);
  }
  return lead("good", "✓", el("span", {}, el("b", {}, said[0]), `, ${said[1]}. Every row is accounted for.`), undone);
}

function planLead(result) {
  const sending = orZero(result.new) + orZero(result.changed) + orZero(result.again);
  const breach = result.breach;
  return lead(
    breach ? "warn" : "plan",
    breach ? "!" : "◇",
    el("span", {}, "A plan; nothing was sent. It would send ", el("b", {}, `${number(sending)} of ${number(orZero(result.rows_read))} rows`), `: ${parts(result)}.`),
    breach ? el("p", {}, `Applied as it is, it would stop: ${breach}`) : null,
    result.undoes ? el("p", {}, `It undoes the run ${result.undoes}.`) : null,
  );
}

function outcomeParts(result, isPlan) {
  if (isPlan) {
    return [
      { name: "new", value: orZero(result.new), kind: "sent" },
      { name: "changed", value: orZero(result.changed), kind: "sent-2" },
      { name: "again", value: orZero(result.again), kind: "sent-3" },
      { name: "unchanged", value: orZero(result.unchanged), kind: "same" },
      { name: "still refused", value: orZero(result.still_refused), kind: "refused" },
      { name: "invalid", value: orZero(result.invalid), kind: "invalid" },
    ];
  }
  const unsettled = orZero(result.rows_read) - orZero(result.sent) - orZero(result.unchanged) - orZero(result.refused) - orZero(result.invalid);
  return [
    { name: "sent", value: orZero(result.sent), kind: "sent" },
    { name: "unchanged", value: orZero(result.unchanged), kind: "same" },
    { name: "refused", value: orZero(result.refused), kind: "refused", hint: "by Customerly" },
    { name: "invalid", value: orZero(result.invalid), kind: "invalid", hint: "not sent" },
    ...(unsettled > 0 ? [{ name: "not settled", value: unsettled, kind: "unsettled", hint: "the run ended before" }] : []),
  ];
}

function rowsCard(result, isAhead) {
  if (typeof result.rows_read !== "number") {
    return null;
  }
  const all = outcomeParts(result, isAhead);
  const sum = all.reduce((total, part) => total + part.value, 0);
  const addsUp = sum === result.rows_read;
  return card(
    result.outcome === "stopped" ? "What would have become of each row" : isAhead ? "What would become of each row" : "What became of each row",
    { class: "wide" },
    stackedBar(all, `${number(result.rows_read)} rows read`),
    el("p", { class: "muted sum" }, `${all.filter((part) => part.value).map((part) => number(part.value)).join(" + ") || "0"} = ${number(sum)} ${addsUp ? "rows read" : `of ${number(result.rows_read)} rows read`}`),
  );
}

function reasonsCard(result) {
  const reasons = Object.entries(result.reasons ?? {});
  if (!reasons.length) {
    return null;
  }
  const byField = new Map();
  const rows = reasons.sort((one, other) => other[1] - one[1]).map(([text, value]) => {
    const reason = reasonOf(text);
    byField.set(reason.field || "the row as a whole", orZero(byField.get(reason.field || "the row as a whole")) + value);
    return [el("span", {}, reason.words, el("code", { class: "small" }, reason.name)), reason.field || "the row as a whole", value];
  });
  return card(
    "Rows that are not delivered",
    {},
    bars([...byField].map(([name, value]) => ({ name, value })).sort((one, other) => other.value - one.value), { kind: "bad", label: "Rows not delivered, by column" }),
    table(["Reason", "Column", "Rows"], rows),
  );
}

const ON_VANISHED = { keep: "left as they are", untag: "to be untagged", unsubscribe: "to be unsubscribed", delete: "to be deleted" };
const HANDLED = { keep: "left as they are", untag: "untagged", unsubscribe: "unsubscribed", delete: "deleted" };

function vanishedCard(result) {
  const all = orZero(result.vanished);
  if (!all) {
    return null;
  }
  const handled = orZero(result.vanished_handled), missing = orZero(result.not_found), users = orZero(result.became_users);
  const waiting = all - handled - missing - users;
  return card(
    "Contacts that are no longer in the source",
    {},
    stackedBar(
      [
        { name: HANDLED[result.on_vanished] ?? "handled", value: handled, kind: "sent" },
        { name: "not found in Customerly", value: missing, kind: "invalid" },
        { name: "users by now, left alone", value: users, kind: "same" },
        { name: result.on_vanished && result.outcome === "planned" ? ON_VANISHED[result.on_vanished] : "left as they are", value: waiting, kind: "same" },
      ].filter((part) => part.value),
      `${number(all)} vanished`,
    ),
  );
}

function old(change, comparison) {
  if (change && "old" in change) {
    return change.old === null ? el("i", {}, "empty") : el("del", {}, String(change.old));
  }
  return comparison ? el("i", {}, "unknown") : null;
}

function previewCard(preview, comparison) {
  if (!preview?.length) {
    return null;
  }
  const rows = preview.map((one) => [
    el("span", {}, typeof one.row === "number" ? `row ${number(one.row)}` : "no longer in the query"),
    el("span", { class: `action ${one.action}` }, one.action),
    el(
      "ul",
      { class: "changes" },
      ...Object.entries(one.fields ?? {}).map(([field, change]) =>
        el(
          "li",
          {},
          el("code", {}, field),
          change === null
            ? el("span", { class: "muted" }, one.action === "create" ? " is set; not shown" : " changes; not shown")
            : el("span", {}, " ", one.action === "create" ? null : [old(change, comparison), comparison ? " → " : ""], change.new === null || change.new === undefined ? el("i", {}, "empty") : el("ins", {}, String(change.new))),
        ),
      ),
    ),
  ]);
  return card(
    "Some of the rows",
    { class: "wide" },
    el("p", { class: "muted" }, "By their position in the query. Values are shown for the fields in preview_fields only."),
    table(["Row", "What", "Fields"], rows, { label: "Preview of the rows" }),
  );
}

function applyCard(result, context) {
  if (!result.plan) {
    return null;
  }
  const byParameter = "plan_path" in context.parameters;
  return card(
    "How to apply it",
    {},
    el("p", {}, byParameter ? "Trigger the DAG with this plan. It sends exactly these rows, unless another run has synced meanwhile." : "Give the plan to the same sync. It sends exactly these rows, unless another run has synced meanwhile."),
    byParameter
      ? copyable(`airflow dags trigger ${shell(context.run.dag_id)} --conf ${shell(JSON.stringify({ plan_path: result.plan }))}`, "the command")
      : copyable(`plan_path=${JSON.stringify(result.plan)}`, "the argument"),
    el("p", {}, "See every row first, with names:"),
    copyable(`airflow customerly state plan ${shell(result.path)} ${shell(result.plan)}`, "the command"),
  );
}

function comparisonCard(comparison) {
  if (!comparison) {
    return null;
  }
  const decided = { overwrite: "overwritten", keep: "kept", reject: "rejected" }[comparison.on_edited] ?? comparison.on_edited;
  return card(
    "Compared with Customerly",
    {},
    tiles([
      { name: "Already so", value: number(orZero(comparison.already_so)), note: "Customerly holds these values" },
      { name: "Edited by people", value: number(orZero(comparison.edited_in_customerly)), note: decided ? `in Customerly since the last delivery; ${decided}` : "since the last delivery", kind: orZero(comparison.edited_in_customerly) ? "warn" : "" },
      typeof comparison.age_seconds === "number" && { name: "Age of the export", value: seconds(comparison.age_seconds), note: comparison.export_time ? `of ${moment(comparison.export_time)}` : "" },
      orZero(comparison.partly_unknown) > 0 && { name: "Partly unknown", value: number(comparison.partly_unknown), note: "rows with a field whose old value is not known: not exported, or delivered too close to the export" },
    ]),
    Object.keys(comparison.edited_fields ?? {}).length
      ? bars(Object.entries(comparison.edited_fields).map(([name, value]) => ({ name, value })), { kind: "warn", label: "Edited rows by field" })
      : null,
    ...Object.entries(comparison.not_compared ?? {}).map(([field, reason]) => el("p", { class: "muted" }, el("code", {}, field), ` is not compared: ${reason}`)),
  );
}

function undoCard(result, context) {
  const cannot = Object.entries(result.cannot_undo ?? {}).filter(([, value]) => value > 0);
  if (!result.undo && !cannot.length) {
    return null;
  }
  const names = {
    created: "contacts that were created",
    deleted: "contacts that were deleted",
    unsubscribed: "contacts that were unsubscribed",
    tags: "rows with tags",
    empty: "rows with a value that was empty",
    unknown: "rows with a value that is not known",
  };
  const byParameter = result.undo && "undo_run" in context.parameters;
  return card(
    result.undo ? "How to undo it" : "What cannot be undone",
    {},
    result.undo ? el("p", {}, "This makes a plan that puts the values back. Look at it, then apply it like any other.") : null,
    result.undo ? copyable(`airflow customerly undo ${shell(result.path)} ${shell(result.undo)}`, "the command") : null,
    byParameter ? copyable(`airflow dags trigger ${shell(context.run.dag_id)} --conf ${shell(JSON.stringify({ undo_run: result.undo }))}`, "the command for the DAG") : null,
    cannot.length ? el("p", { class: "warn-text" }, `Not put back: ${cannot.map(([name, value]) => `${number(value)} ${names[name] ?? name}`).join(", ")}.`) : null,
  );
}
