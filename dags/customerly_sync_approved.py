"""Every night: plan what would be sent to Customerly, ask a person if it is much, and send exactly that.

* `plan` compares the table `customers` of the warehouse with what was delivered before, and sends nothing.
* A plan that touches few contacts, or none, passes by itself, unless a guard would stop it.
* Otherwise `approve` waits for a person: *Browse > Required Actions* shows the figures. Approving overrules
  the guard that the summary names. Rejecting sends nothing.
* `apply` sends what was planned, whatever the table holds by then. A plan that was altered is refused, as is
  one that another run of the same sync has overtaken.
* `tell` says what came of it.

In the Airflow Variable `customerly_compare_with` you may name the path of an export, such as
`/data/customerly`. Then the plan shows what Customerly holds now and what people have edited there, and its
application can be undone.

It needs the connections `customerly_default` and `warehouse_default` (any SQL database with a table
`customers`), and in the Airflow Variable `customerly_state_path` a folder or a bucket for what the sync
remembers, such as `/data/customerly_state`.

To make it yours, copy the file and change `dag_id`. The package brings this one along, and Airflow loads it
too unless `[core] load_examples` is off: of two DAGs with the same `dag_id`, Airflow silently keeps only one.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Asset, Param, task

from airflow_provider_customerly.transfers.plan_summary import needs_approval, plan_summary
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

log = logging.getLogger(__name__)

# What both the plan and its application must agree on.
SYNC = {
    "sql_conn_id": "warehouse_default",
    "state_path": "{{ var.value.get('customerly_state_path', '') }}",
    "sync_name": "customers_approved",
    # Other columns go to fields and attributes of their own names.
    "field_mapping": {"customer_id": "user_id", "internal_note": None},
    "tags": ["warehouse"],
    # A few bad rows can wait until tomorrow; more than that turn the task red.
    "max_rejects": 0.01,
}

with DAG(
    dag_id="customerly_sync_approved",
    schedule="0 4 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    # What a person may choose for one run, with 'Trigger' or 'airflow dags trigger --conf'.
    params={
        "approve_above": Param(
            100,
            type="integer",
            minimum=0,
            title="Ask above",
            description="Plans that touch more contacts than this wait for a person. 0: all that touch any.",
        ),
        # As text, since 1 is one contact and 1.0 all of them, which JSON does not tell apart.
        "max_vanished": Param(
            "0.1",
            type="string",
            title="Most contacts that may vanish",
            description="Ask if more contacts left the table: a number such as 5, or a share such as 0.1.",
        ),
    },
    user_defined_macros={"plan_summary": plan_summary},
    doc_md=__doc__,
    tags=["customerly"],
):
    plan = SqlToCustomerlyOperator(
        task_id="plan",
        table="customers",
        compare_with="{{ var.value.get('customerly_compare_with', '') }}",
        max_vanished="{{ params.max_vanished }}",
        dry_run=True,
        **SYNC,
    )

    @task.branch(task_id="is_small")
    def choose(planned: dict[str, Any], at_most: str) -> str:
        """Name the task that comes next."""
        return "approve" if needs_approval(planned, int(at_most)) else "apply"

    approve = ApprovalOperator(
        task_id="approve",
        subject="Send {{ ti.xcom_pull(task_ids='plan')['sync_name'] }} to Customerly?",
        body=(
            "{{ plan_summary(ti.xcom_pull(task_ids='plan'), "
            "ti.xcom_pull(task_ids='plan', key='_link_CustomerlyRunLink')) }}"
        ),
        # Until somebody answers, later runs wait. With version 1.12.3 of the standard provider or newer, add
        # response_timeout=timedelta(hours=20), defaults="Reject" to give up after a while.
    )
    apply = SqlToCustomerlyOperator(
        task_id="apply",
        plan_path="{{ ti.xcom_pull(task_ids='plan')['plan'] }}",
        # Whoever approved the plan has seen the guard that speaks against it; no other such plan comes here.
        min_rows=0,
        max_vanished=1.0,
        keep_days=90,
        outlets=[Asset(name="customers_in_customerly", uri="customerly://customers")],
        trigger_rule="none_failed_min_one_success",
        **SYNC,
    )

    @task(trigger_rule="none_failed")
    def tell(synced: dict[str, Any] | None) -> str:
        """Say what came of the plan."""
        if synced is None:
            said = "Nothing was sent: the plan was rejected."
        else:
            said = f"{synced['sent']} of {synced['rows_read']} rows were sent."
        log.info(said)
        return said

    is_small = choose(plan.output, "{{ params.approve_above }}")
    is_small >> [approve, apply]
    approve >> apply
    tell(apply.output)
