// All exports and syncs that the person may see, with their last runs.

import * as api from "./api.js";
import "./frame.js";
import { strip } from "./charts.js";
import { el, number, seconds, time } from "./dom.js";
import { refusal } from "./red.js";
import { kindOf, stateOf, titleOf, UNFINISHED } from "./words.js";

const page = document.getElementById("page");

async function show() {
  try {
    const { runs, isCut } = await api.latestRuns();
    const tasks = grouped(runs);
    await api.withResults(tasks.map((task) => task.newest));
    put(tasks, isCut);
  } catch (error) {
    page.replaceChildren(heading(), refusal(error instanceof api.Refused ? error : new api.Refused(500, "")));
    if (!(error instanceof api.Refused)) {
      throw error;
    }
  } finally {
    page.setAttribute("aria-busy", "false");
  }
}

function grouped(runs) {
  const tasks = new Map();
  for (const run of runs) {
    const key = [run.dag_id, run.task_id, run.map_index].join("\n");
    const task = tasks.get(key) ?? { newest: run, runs: [] };
    if (task.runs.length < api.MANY_RUNS) {
      task.runs.unshift(run);
    }
    tasks.set(key, task);
  }
  return [...tasks.values()];
}

function heading(isCut = false) {
  return el(
    "header",
    {},
    el("h1", {}, "Customerly"),
    el("p", { class: "muted" }, `Exports and syncs of the DAGs that you may see, and their last ${api.MANY_RUNS} runs.`),
    isCut ? el("p", { class: "muted" }, `These are the tasks among the newest ${number(api.MOST_RUNS)} task runs. A task that ran before them is not listed: its page is the link Customerly run on the task.`) : null,
  );
}

function put(tasks, isCut) {
  if (!tasks.length) {
    page.replaceChildren(
      heading(),
      el("section", { class: "empty" }, el("h2", {}, "No runs yet"), el("p", {}, "When a task with one of the Customerly operators has run, it is listed here. The example DAG customerly_contacts_export is a way to begin.")),
    );
    return;
  }
  page.replaceChildren(heading(isCut), el("ul", { class: "tasks" }, ...tasks.map(row)));
}

function row({ newest, runs }) {
  const kind = kindOf(newest.result, newest.operator_name ?? newest.operator);
  const [stateKind, sign, words] = stateOf(newest.state);
  const mapped = newest.map_index >= 0 ? ` [${newest.rendered_map_index ?? newest.map_index}]` : "";
  return el(
    "li",
    { class: "card" },
    el(
      "div",
      { class: "what" },
      el("h2", {}, el("a", { href: api.pageOf(newest) }, titleOf(kind, newest.result))),
      el("p", { class: "muted" }, `${newest.dag_display_name ?? newest.dag_id} / ${newest.task_display_name ?? newest.task_id}${mapped}`),
    ),
    el("p", { class: "figures" }, summary(kind, newest), el("span", { class: "muted" }, time(newest.run_after), newest.duration ? `, ${seconds(newest.duration)}` : "")),
    el("span", { class: `state ${stateKind}` }, el("span", { "aria-hidden": "true" }, sign), ` ${words}`),
    strip(runs, api.pageOf, null),
  );
}

function summary(kind, { result, state }) {
  if (!result) {
    return el("b", {}, UNFINISHED.has(state) ? "no figures yet" : "left no figures");
  }
  const figure = (value) => number(value ?? 0);
  switch (kind) {
    case "export":
    case "stream":
      return el("b", {}, typeof result.rows === "number" ? `${figure(result.rows)} rows, ${result.verdict ?? "?"}` : "nothing committed");
    case "sync":
      return el("b", {}, result.outcome === "planned" ? `${figure(result.new + result.changed + result.again)} of ${figure(result.rows_read)} rows would be sent` : `${figure(result.sent)} of ${figure(result.rows_read)} rows sent, ${figure((result.refused ?? 0) + (result.invalid ?? 0))} not delivered`);
    case "reconcile":
      return el("b", {}, `${figure(result.equal)} equal, ${figure((result.differing ?? 0) + (result.only_customerly ?? 0) + (result.only_warehouse ?? 0))} not`);
    default:
      return el("b", {}, `${figure(result.contacts)} contacts`);
  }
}

show();
