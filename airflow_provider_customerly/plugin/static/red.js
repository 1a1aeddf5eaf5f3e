// Why a task is red, and what to do.

import { loginAddress, taskPage } from "./api.js";
import { copyable, el, number } from "./dom.js";
import { limitsOf } from "./reconcile_view.js";
import { shell } from "./sync_view.js";
import { adviceFor, withoutResult } from "./words.js";

export function whyRed(result, context) {
  const error = result?.error ?? null;
  const legacy = !error && result?.outcome === "rejects";
  const title = legacy || error?.kind === "SyncRejectsError" ? "Too many rows were not delivered" : error ? "This run failed" : "This run failed, and left these figures";
  const lines = (error?.message ?? "").split("\n").filter(Boolean);
  const known = lines.length > 0; // our own messages say what to do
  const advice = known ? "" : adviceFor(error?.kind ?? (legacy ? "SyncRejectsError" : ""));
  const ways = waysOut(result, context);
  return el(
    "section",
    { class: "red", "aria-labelledby": "why" },
    el("h2", { id: "why" }, el("span", { class: "sign", "aria-hidden": "true" }, "✕"), title),
    ...lines.map((line) => el("p", {}, line)),
    error && !error.message ? el("p", {}, el("code", {}, error.kind), ". Its text may name contacts, so it is in the task's log only.") : null,
    advice || ways.length ? el("h3", {}, "What to do") : null,
    advice ? el("p", {}, advice) : null,
    ...ways,
    el("p", {}, el("a", { href: taskPage(context.run), target: "_top" }, "Open the task's log in Airflow"), ", or clear the task there to run it again."),
  );
}

function waysOut(result, context) {
  const found = [];
  const breached = (result?.guards ?? limitsOf(result ?? {})).filter((guard) => guard.breached);
  for (const guard of breached) {
    const value = looser(guard);
    const inDag = guard.name in context.parameters;
    found.push(
      el("p", {}, inDag ? `If the figures are right, run it once with a looser ${guard.name}:` : `If the figures are right, loosen ${guard.name} in the DAG for one run:`),
      inDag
        ? copyable(`airflow dags trigger ${shell(context.run.dag_id)} --conf ${shell(JSON.stringify({ [guard.name]: asParameter(value, context.parameters[guard.name]) }))}`, "the command")
        : copyable(guard.column ? `${guard.name}={${JSON.stringify(guard.column)}: ${value}}` : `${guard.name}=${value}`, "the argument"),
    );
  }
  if (result?.rejects) {
    found.push(
      el("p", {}, "List the rows that were not delivered, with names and reasons:"),
      copyable(`airflow customerly state rejects ${shell(result.path)} ${shell(result.rejects)}`, "the command"),
    );
  }
  return found;
}

// The tightest limit, rounded up, that this run would have kept.
function looser(guard) {
  if (typeof guard.of === "number" && guard.of > 0) {
    return Math.min(1, Math.ceil((100 * guard.value) / guard.of) / 100);
  }
  return guard.value;
}

// A parameter may want its number as text.
function asParameter(value, parameter) {
  const types = [parameter?.schema?.type ?? []].flat();
  return types.includes("string") && !types.includes("number") ? String(Number.isInteger(value) && value <= 1 ? value.toFixed(1) : value) : value;
}

// What a page shows in place of figures.
export function nothingToShow(instance, context) {
  const [title, text] = withoutResult(instance.state, context.isElsewhere);
  return el(
    "section",
    { class: "empty" },
    el("h2", {}, title),
    el("p", {}, text),
    context.usual ? el("p", {}, `The last runs took about ${context.usual}.`) : null,
    context.progress ? el("p", { class: "progress" }, el("code", {}, context.progress)) : null,
    el("p", {}, el("a", { href: taskPage(context.run), target: "_top" }, "Open the task's log in Airflow")),
  );
}

// Airflow's refusal, in words.
export function refusal(error) {
  const link = (href, text) => el("p", {}, el("a", { href, target: "_top" }, text));
  const said = error.message && !error.message.startsWith("HTTP") ? el("p", { class: "muted" }, `Airflow says: ${error.message}`) : null;
  switch (error.status) {
    case 401:
      return el("section", { class: "empty" }, el("h2", {}, "You are not logged in"), el("p", {}, "This page shows what Airflow lets you see. Log in, and come back."), link(loginAddress(), "Log in to Airflow"));
    case 403:
      return el("section", { class: "empty" }, el("h2", {}, "You may not see this"), el("p", {}, "Your Airflow user has no access to this DAG's task instances or XComs. Ask whoever runs this Airflow."), said);
    case 404:
      return el("section", { class: "empty" }, el("h2", {}, "There is no such run"), el("p", {}, "It may have been deleted, or the address is cut short."), said);
    case 0:
      return el("section", { class: "empty" }, el("h2", {}, "Airflow does not answer"), el("p", {}, "Check your connection, then reload this page."));
    default:
      return el("section", { class: "empty" }, el("h2", {}, "Airflow answered with an error"), el("p", {}, `HTTP ${number(error.status)}. Reload this page; if it stays so, the API server's log says more.`), said);
  }
}
