"""An export and a sync that are tried again until they get through."""

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

with DAG(
    "many_workers",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    default_args={"retries": 30, "retry_delay": timedelta(seconds=3)},
):
    CustomerlyToParquetOperator(
        task_id="export",
        customerly_conn_id="customerly_eu",
        path="{{ var.value.customerly_export_path }}",
    )
    SqlToCustomerlyOperator(
        task_id="sync",
        customerly_conn_id="customerly_us",
        sql_conn_id="warehouse_default",
        table="customers",
        batch_size=10,
        max_concurrency=4,
        state_path="{{ var.value.customerly_state_path }}",
    )
