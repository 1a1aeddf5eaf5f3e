"""One sync with one retry and no pause before it."""

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

with DAG(
    "sync_twice_tried",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    default_args={"retries": 1, "retry_delay": timedelta(0)},
):
    SqlToCustomerlyOperator(
        task_id="sync",
        sql_conn_id="warehouse_default",
        sql="select email, plan from customers where email like '%@warehouse.test'",
        batch_size=5,
        state_path="{{ var.value.customerly_state_path }}",
    )
