"""A sync of sellers that compares, a reconciliation of what it left, and the undoing of it all."""

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_provider_customerly.operators.reconcile import CustomerlyReconcileOperator
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

EXPORT = "{{ var.value.customerly_export_path }}_for_sellers"
SYNC = {
    "sql_conn_id": "warehouse_default",
    "state_path": "{{ var.value.customerly_state_path }}",
    "sync_name": "sellers",
    "max_rejects": 1.0,
}

with DAG(
    "sync_undone",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    # A machine that is too busy to start a worker in time costs a try.
    default_args={"retries": 3, "retry_delay": timedelta(seconds=5)},
):
    before, after = (
        CustomerlyToParquetOperator(task_id=f"export_{when}", path=EXPORT) for when in ("before", "after")
    )
    sync = SqlToCustomerlyOperator(task_id="sync", table="sellers", compare_with=EXPORT, **SYNC)
    reconcile = CustomerlyReconcileOperator(
        task_id="reconcile",
        export_path=EXPORT,
        sql_conn_id="warehouse_default",
        # One of them has moved since.
        sql=(
            "select email, name, case email when 'new1@seller.test' then 'Oslo' else town end as town "
            "from sellers"
        ),
        max_differing=0.5,
        max_invalid=1,
    )
    plan = SqlToCustomerlyOperator(
        task_id="plan_undo",
        undo_run="{{ ti.xcom_pull(task_ids='sync')['undo'] }}",
        compare_with=EXPORT,
        preview_fields=["town"],
        dry_run=True,
        **{name: value for name, value in SYNC.items() if name != "sql_conn_id"},
    )
    undo = SqlToCustomerlyOperator(
        task_id="undo", plan_path="{{ ti.xcom_pull(task_ids='plan_undo')['plan'] }}", **SYNC
    )
    before >> sync >> after >> reconcile >> plan >> undo
