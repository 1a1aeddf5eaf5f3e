// Asks Airflow's REST API with the session of the person who looks: it decides what that person may see.

import { KINDS } from "./words.js";

const ROOT = new URL("../", document.baseURI); // Airflow's own address, which may lie below a path
export const MANY_RUNS = 30;
export const MOST_RUNS = 500; // in the list of all
const PAGE_SIZE = 100;
const AT_ONCE = 6;

// Airflow has refused, or could not be reached (status 0).
export class Refused extends Error {
  constructor(status, detail) {
    super(detail || `HTTP ${status}`);
    this.status = status;
  }
}

export function address(path) {
  return new URL(path, ROOT).href;
}

export function loginAddress() {
  const next = new URL(window.location.href);
  return address(`auth/login?next=${encodeURIComponent(next.href)}`);
}

async function ask(path) {
  let answer;
  try {
    answer = await fetch(address(`api/v2/${path}`), {
      credentials: "same-origin",
      headers: { Accept: "application/json" },
    });
  } catch {
    throw new Refused(0, "Airflow could not be reached.");
  }
  const text = await answer.text();
  let content = null;
  try {
    content = JSON.parse(text);
  } catch {
    // A proxy's own page, for one.
  }
  if (!answer.ok || content === null) {
    const detail = content?.detail;
    throw new Refused(answer.ok ? 0 : answer.status, typeof detail === "string" ? detail : "");
  }
  return content;
}

const part = encodeURIComponent;

function pathOf(run) {
  return `dags/${part(run.dag_id)}/dagRuns/${part(run.run_id)}/taskInstances/${part(run.task_id)}`;
}

// The names in the address of a page. Not URLSearchParams: Airflow 3.1 leaves the + of a run id as it is.
export function namedInAddress() {
  const named = {};
  for (const pair of window.location.search.slice(1).split("&")) {
    const [name, ...rest] = pair.split("=");
    try {
      named[name] = decodeURIComponent(rest.join("="));
    } catch {
      named[name] = rest.join("=");
    }
  }
  const index = Number.parseInt(named.map_index ?? "-1", 10); // of a task that is not mapped, "{MAP_INDEX}"
  return { ...named, map_index: Number.isNaN(index) ? -1 : index };
}

export function pageOf(run) {
  const named = ["dag_id", "run_id", "task_id", "map_index"];
  return `run.html?${named.map((name) => `${name}=${part(run[name])}`).join("&")}`;
}

export function taskPage(run, tab = "") {
  const mapped = run.map_index >= 0 ? `/mapped/${run.map_index}` : "";
  return address(`dags/${part(run.dag_id)}/runs/${part(run.run_id)}/tasks/${part(run.task_id)}${mapped}${tab}`);
}

function asRun(instance) {
  return { ...instance, run_id: instance.dag_run_id ?? instance.run_id };
}

export async function taskInstance(run) {
  const mapped = run.map_index >= 0 ? `/${run.map_index}` : "";
  return asRun(await ask(`${pathOf(run)}${mapped}`));
}

// What the task returned, or left when it failed: its value, null if there is none. A result is elsewhere if an XCom
// backend keeps it outside Airflow's database: then the API has only a text that says where.
// Looked for in the list first: asking for one that is not there would leave a red line in the browser's console.
export async function resultOf(run) {
  const query = `map_index=${run.map_index}`;
  const listed = await ask(`${pathOf(run)}/xcomEntries?xcom_key=return_value&${query}`);
  if (!listed.xcom_entries.length) {
    return { value: null, isElsewhere: false };
  }
  const entry = await ask(`${pathOf(run)}/xcomEntries/return_value?${query}&deserialize=false`);
  const value = decoded(entry.value);
  return { value, isElsewhere: value === null && typeof entry.value === "string" };
}

function decoded(value) {
  while (typeof value === "string") {
    try {
      value = JSON.parse(value);
    } catch {
      return null;
    }
  }
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
}

// The task's last runs, the oldest first, each with its result under "result".
export async function history(run) {
  const query = `task_id=${part(run.task_id)}&map_index=${run.map_index}&order_by=-run_after&limit=${MANY_RUNS}`;
  const found = await ask(`dags/${part(run.dag_id)}/dagRuns/~/taskInstances?${query}`);
  const runs = found.task_instances.map(asRun).filter((one) => one.task_id === run.task_id).reverse();
  await withResults(runs);
  return runs;
}

// Results of tries that have ended: a page that looks again asks only for the others.
const known = new Map();

export async function withResults(runs) {
  const keyOf = (one) => [one.dag_id, one.run_id, one.task_id, one.map_index, one.try_number, one.state, one.end_date].join("\n");
  const waiting = runs.filter((one) => {
    one.result ??= known.get(keyOf(one));
    return one.result === undefined;
  });
  async function work() {
    for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) {
      one.result = await resultOf(one).then((found) => found.value, () => null);
      if (one.state === "success" || one.state === "failed") {
        known.set(keyOf(one), one.result);
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

// The newest runs of our tasks in all DAGs that the person may see, the newest first, and whether there are more.
export async function latestRuns() {
  const operators = Object.keys(KINDS).map((name) => `operator=${name}`).join("&");
  const runs = [];
  let all = 0;
  do {
    const query = `${operators}&order_by=-run_after&limit=${PAGE_SIZE}&offset=${runs.length}`;
    const some = await ask(`dags/~/dagRuns/~/taskInstances?${query}`);
    runs.push(...some.task_instances.map(asRun));
    all = some.task_instances.length < PAGE_SIZE ? runs.length : some.total_entries;
  } while (runs.length < all && runs.length < MOST_RUNS);
  return { runs, isCut: runs.length < all };
}

// The parameters that a person can set for one run of the DAG, by name; none if that cannot be seen.
export async function parameters(run) {
  try {
    const details = await ask(`dags/${part(run.dag_id)}/details`);
    return details.params ?? {};
  } catch {
    return {};
  }
}

// How far this try has come: the newer of the line in the task state store, which Airflow has since 3.3, and the last
// line of the log. Null if neither can be had.
export async function progressOf(run) {
  const [kept, logged] = await Promise.all([keptLine(run), loggedLine(run)]);
  return (kept && logged && Date.parse(logged.at) > Date.parse(kept.at) ? logged : (kept ?? logged))?.text ?? null;
}

let hasStore = null; // an Airflow without the store is not asked for it: browsers report each answer of 404

async function keptLine(run) {
  try {
    hasStore ??= isAtLeast((await ask("version")).version, 3, 3);
    if (!hasStore) {
      return null;
    }
    const { task_state_store: kept } = await ask(`${pathOf(run)}/state-store?map_index=${run.map_index}`);
    const found = kept.find((one) => one.key === "customerly_progress");
    return found?.value?.try === run.try_number ? { text: found.value.line, at: found.updated_at } : null;
  } catch {
    return null;
  }
}

function isAtLeast(version, major, minor) {
  const [first, second] = version.split(".").map(Number);
  return first > major || (first === major && second >= minor);
}

// The last line that one of our modules has logged in this try.
async function loggedLine(run) {
  try {
    const query = `map_index=${run.map_index}&full_content=true`;
    const log = await ask(`${pathOf(run)}/logs/${run.try_number}?${query}`);
    const lines = (log.content ?? []).filter((line) => /airflow_provider_customerly/.test(line?.logger ?? ""));
    const last = lines.at(-1);
    return last ? { text: last.event, at: last.timestamp } : null;
  } catch {
    return null;
  }
}
