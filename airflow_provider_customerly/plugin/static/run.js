// The page of one task instance.

import * as api from "./api.js";
import "./frame.js";
import { strip } from "./charts.js";
import { eraseView, tagView } from "./contacts_view.js";
import { el, moment, seconds, time } from "./dom.js";
import { exportView } from "./export_view.js";
import { kept } from "./kept.js";
import { reconcileView } from "./reconcile_view.js";
import { nothingToShow, refusal, whyRed } from "./red.js";
import { syncView } from "./sync_view.js";
import { kindOf, stateOf, titleOf, UNFINISHED } from "./words.js";

const LOOK_AGAIN_AFTER = 4000; // milliseconds
const VIEWS = { export: exportView, stream: exportView, sync: syncView, reconcile: reconcileView, erase: eraseView, tag: tagView };
const page = document.getElementById("page");
const named = api.namedInAddress();
let isShown = false;

async function show() {
  if (!named.dag_id || !named.run_id || !named.task_id) {
    put(el("section", { class: "empty" }, el("h2", {}, "No run is named"), el("p", {}, "Follow the link ", el("b", {}, "Customerly run"), " of a task, or choose one from the list."), el("p", {}, el("a", { href: "index.html" }, "All exports and syncs"))));
    return;
  }
  try {
    await showRun();
  } catch (error) {
    if (isShown && error instanceof api.Refused && (error.status === 0 || error.status >= 500)) {
      window.setTimeout(show, LOOK_AGAIN_AFTER); // the server may be back soon
      return;
    }
    put(refusal(error instanceof api.Refused ? error : new api.Refused(500, "")));
    if (!(error instanceof api.Refused)) {
      throw error;
    }
  }
}

async function showRun() {
  const run = await api.taskInstance(named);
  const { value: result, isElsewhere } = await api.resultOf(run);
  const kind = kindOf(result, run.operator_name ?? run.operator);
  if (!kind) {
    put(heading(run, "", null), notOurs(run));
    return;
  }
  const isOver = !UNFINISHED.has(run.state);
  const runs = await api.history(run);
  // A run that failed and was marked as a success by hand did fail.
  const failed = run.state === "failed" || run.state === "up_for_retry" || (run.state === "success" && Boolean(result?.error));
  const context = {
    run,
    runs,
    failed,
    isElsewhere,
    parameters: await api.parameters(run),
    usual: usual(runs, run),
    progress: run.state === "running" ? await api.progressOf(run) : null,
  };
  document.title = `${titleOf(kind, result)} · ${run.dag_id}`;
  // Airflow removes the result of a try only when the next one starts.
  const isOfThisTry = result !== null && ["success", "failed", "up_for_retry"].includes(run.state);
  put(
    heading(run, kind, result),
    strip(runs, api.pageOf, run.run_id),
    failed && result ? whyRed(result, context) : null,
    isOfThisTry ? arranged(VIEWS[kind](result, context).flat().filter(Boolean)) : nothingToShow(run, context),
  );
  isShown = true;
  if (!isOver) {
    window.setTimeout(show, LOOK_AGAIN_AFTER);
  }
}

// Cards go in two columns, but for those that want the whole width.
function arranged(parts) {
  const rows = [];
  let columns = [];
  for (const part of parts) {
    if (part.matches(".card:not(.wide)")) {
      columns.push(part);
      continue;
    }
    rows.push(columns, part);
    columns = [];
  }
  rows.push(columns);
  const isMany = (one) => Array.isArray(one);
  return el("div", { class: "cards" }, ...rows.map((one) => (!isMany(one) ? one : one.length ? el("div", { class: one.length === 1 ? "pair single" : "pair" }, ...one.map((part) => el("div", {}, part))) : null)));
}

function usual(runs, run) {
  const taken = runs.filter((one) => one.state === "success" && one.run_id !== run.run_id && one.duration).map((one) => one.duration).sort((one, other) => one - other);
  return taken.length ? seconds(taken[Math.floor(taken.length / 2)]) : "";
}

function heading(run, kind, result) {
  const [stateKind, sign, words] = stateOf(run.state);
  const mapped = run.map_index >= 0 ? ` [${run.rendered_map_index ?? run.map_index}]` : "";
  return el(
    "header",
    {},
    el(
      "nav",
      { "aria-label": "Where this is" },
      el("a", { href: "index.html" }, "Customerly"),
      " / ",
      el("a", { href: api.address(`dags/${encodeURIComponent(run.dag_id)}`), target: "_top" }, run.dag_display_name ?? run.dag_id),
      " / ",
      el("a", { href: api.taskPage(run), target: "_top" }, `${run.task_display_name ?? run.task_id}${mapped}`),
    ),
    el("div", { class: "title" }, el("h1", {}, titleOf(kind, result)), el("span", { class: `state ${stateKind}`, role: "status" }, el("span", { "aria-hidden": "true" }, sign), ` ${words}`)),
    el(
      "p",
      { class: "muted" },
      "Run of ",
      time(run.run_after),
      run.start_date ? [", started ", moment(run.start_date)] : null,
      run.duration ? `, took ${seconds(run.duration)}` : null,
      run.try_number > 1 ? `, try ${run.try_number}` : null,
    ),
  );
}

function notOurs(run) {
  return el(
    "section",
    { class: "empty" },
    el("h2", {}, "Not a Customerly task"),
    el("p", {}, "This tab shows what exports to and syncs with Customerly have done. ", el("b", {}, run.task_id), " is another kind of task", run.operator_name ? [" (", el("code", {}, run.operator_name), ")"] : null, ", so there is nothing to show here."),
    el("p", { class: "muted" }, "Airflow puts the tab on every task. Whoever runs this Airflow can take it away with [customerly] run_tab = False."),
  );
}

// What a person has opened, scrolled and focused stays so: a page that looks again must not take it away.
function put(...parts) {
  const restore = kept(page);
  page.replaceChildren(...parts.flat(Infinity).filter(Boolean));
  page.setAttribute("aria-busy", "false");
  restore();
}

show();
