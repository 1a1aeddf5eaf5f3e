// What results mean, in words.

const STATES = {
  success: ["good", "✓", "Success"],
  failed: ["bad", "✕", "Failed"],
  upstream_failed: ["bad", "✕", "Not started: a task before it failed"],
  running: ["running", "…", "Running"],
  up_for_retry: ["warn", "↻", "Failed, and waits for its next try"],
  up_for_reschedule: ["running", "…", "Waits to go on"],
  deferred: ["running", "…", "Waits to go on"],
  awaiting_input: ["running", "…", "Waits for a person"],
  queued: ["neutral", "…", "Queued"],
  scheduled: ["neutral", "…", "Scheduled"],
  restarting: ["running", "…", "Restarting"],
  skipped: ["neutral", "–", "Skipped"],
  removed: ["neutral", "–", "Removed from the DAG"],
};

export const UNFINISHED = new Set([
  "running", "up_for_retry", "up_for_reschedule", "deferred", "awaiting_input", "queued", "scheduled", "restarting", null,
]);

// Kind, sign and words of a task's state; the sign is there for those who see no colours.
export function stateOf(state) {
  return STATES[state] ?? ["neutral", "–", "Not scheduled yet"];
}

const REASONS = {
  missing_email: "No email",
  malformed_email: "Malformed email",
  duplicate_email: "Same email as another row",
  duplicate_user_id: "Same user_id as another row",
  bad_value: "Value that Customerly cannot hold",
  text_too_long: "Text too long",
  nested_value: "List or object where one value is needed",
  refused: "Refused by Customerly",
  unexplained: "Not accepted by Customerly, without a reason",
  unknown: "Answer lost; the next run sends it again",
};

// "bad_value in attributes.seats" -> {name, field, words}
export function reasonOf(text) {
  const [, name, field] = /^(\S+?)(?: in (.*))?$/s.exec(text) ?? [null, text, undefined];
  const implied = /^(?:missing|malformed|duplicate)_(.*)$/.exec(name);
  return { name, field: field ?? implied?.[1] ?? "", words: REASONS[name] ?? name.replaceAll("_", " ") };
}

const GUARDS = {
  min_rows: "Fewest rows",
  max_shrink: "Shrinks by at most",
  max_vanished: "Vanished contacts, at most",
  max_null_share: "Nulls, at most",
  max_coercion_failures: "Values that do not fit their type, at most",
  max_changes: "Rows to send, at most",
  max_rejects: "Rows not delivered, at most",
  max_differing: "Differing rows, at most",
  max_only_warehouse: "Rows only in the warehouse, at most",
  max_only_customerly: "Contacts only in Customerly, at most",
  max_invalid: "Invalid rows, at most",
};

export function guardName(guard) {
  const of = guard.column ? ` in ${guard.column}` : "";
  return `${GUARDS[guard.name] ?? guard.name}${of}`;
}

const ADVICE = {
  CustomerlyAuthError: "Store a new access token in the connection, then clear the task.",
  CustomerlyRateLimited: "Clear the task later. If it happens often, set requests_per_second in the connection.",
  CustomerlyUnavailable: "Customerly could not be reached. Clear the task once it answers; nothing is lost.",
  CustomerlyRequestError: "Correct what the message names, then clear the task.",
  CustomerlyProtocolError: "Check the connection's base URL. If it is right, try again later.",
  SyncRejectsError: "Fix the rows in the warehouse, or raise max_rejects if that many bad rows are fine.",
  SyncGuardError: "Nothing was sent. Look at the query and the table. If the figures are right, raise the limit for one run.",
  ExportGuardError: "The last export is still in place. If the figures are right, raise the limit for one run.",
  UnprovenError: "The last export is still in place. Clear the task at a quieter hour.",
  LockedError: "Another run of this sync is at work. Wait for it, then clear the task.",
  LockLostError: "Another run has taken over. Look at that one.",
  CommitConflictError: "Another run has committed meanwhile. Clear the task: it then starts from the new state.",
};

export function adviceFor(kind) {
  return ADVICE[kind] ?? "";
}

// What is known when a task left no result, or none that can be read here.
export function withoutResult(state, isElsewhere = false) {
  if (isElsewhere && !UNFINISHED.has(state)) {
    return ["The result is kept outside Airflow's database", "Airflow's XCom backend has put it elsewhere, such as an object store, and its API returns only where it is. So this page cannot show the figures; the task's log has them. Results have less than 20 KB: with [common.io] xcom_objectstorage_threshold = 20000 those of later runs stay in the database."];
  }
  switch (state) {
    case "success":
      return ["This run left no result", "The task has succeeded, but its return_value is not among Airflow's XComs: XCom is off for it (do_xcom_push=False), or the entry was removed since. The task's log has the figures."];
    case "failed":
      return ["This run left no result", "The task ended before it could say why: it was stopped, ran out of time, or XCom is off for it (do_xcom_push=False). The task's log says more."];
    case "up_for_retry":
      return ["The next try is to come", "The last try failed and left no result. Its log says why."];
    case "upstream_failed":
      return ["This task did not start", "A task before it failed. Fix that one, then clear it together with those behind it."];
    case "skipped":
      return ["This task was skipped", "Nothing was read or sent."];
    case "removed":
      return ["This task is no longer in the DAG", "There is nothing to show for it."];
    case "running":
    case "restarting":
      return ["The task is running", "The figures appear here when it has finished. This page looks again by itself."];
    default:
      return ["The task has not started yet", "This page looks again by itself."];
  }
}

// Our operators, and what each of them does.
export const KINDS = {
  CustomerlyToParquetOperator: "export",
  CustomerlyStreamToParquetOperator: "stream",
  SqlToCustomerlyOperator: "sync",
  CustomerlyReconcileOperator: "reconcile",
  CustomerlyDeleteContactsOperator: "erase",
  CustomerlyTagContactsOperator: "tag",
};

// Which of our tasks a result or an operator belongs to; "" for what is not ours.
export function kindOf(result, operator) {
  if (KINDS[operator]) {
    return KINDS[operator];
  }
  // The operator may be derived from one of ours.
  if (result && ["path", "record", "contacts"].some((name) => name in result)) {
    if ("sync_name" in result) {
      return "sync";
    }
    if ("only_warehouse" in result) {
      return "reconcile";
    }
    if ("stream" in result) {
      return "stream";
    }
    if ("verdict" in result && "contact_type" in result) {
      return "export";
    }
    if ("named_by" in result) {
      return "tag" in result ? "tag" : "erase";
    }
  }
  return "";
}

export function titleOf(kind, result) {
  const what = result?.contact_type ? ` of ${result.contact_type === "both" ? "users and leads" : result.contact_type}` : "";
  switch (kind) {
    case "export":
      return `Export${what}`;
    case "stream":
      return `Export of ${result?.stream?.replaceAll("_", " ") ?? "a list"}`;
    case "sync":
      return result?.outcome === "planned" ? `Plan of a sync${result.contact_type ? ` to ${result.contact_type}` : ""}` : `Sync${result?.contact_type ? ` to ${result.contact_type}` : ""}`;
    case "reconcile":
      return `Reconciliation${what}`;
    case "erase":
      return `Erasure${what}`;
    case "tag":
      return `Tagging${what}`;
    default:
      return "Customerly run";
  }
}
