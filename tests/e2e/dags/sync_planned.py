"""A sync that is planned by one task and applied by the next; its query has parameters."""

import os
from datetime import datetime, timezone

from airflow.sdk import DAG

from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

with DAG(
    "sync_planned",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    user_defined_macros={"excluded": lambda: os.environ["EXCLUDED"]},
):
    shared = {
        "state_path": "{{ var.value.customerly_state_path }}",
        "sync_name": "planned",
        "max_rejects": 1.0,
    }
    plan = SqlToCustomerlyOperator(
        task_id="plan",
        sql_conn_id="warehouse_default",
        sql="select * from customers where email <> :excluded",
        parameters={"excluded": "{{ excluded() }}"},
        field_mapping={"customer_id": "user_id", "internal_note": None},
        dry_run=True,
        **shared,
    )
    apply = SqlToCustomerlyOperator(
        task_id="apply",
        plan_path="{{ task_instance.xcom_pull(task_ids='plan')['plan'] }}",
        field_mapping={"customer_id": "user_id", "internal_note": None},
        **shared,
    )
    plan >> apply
