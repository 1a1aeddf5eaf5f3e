"""One export with one retry and no pause before it."""

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator

with DAG(
    "export_twice_tried",
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    default_args={"retries": 1, "retry_delay": timedelta(0)},
):
    CustomerlyToParquetOperator(task_id="export", path="{{ var.value.customerly_export_path }}")
