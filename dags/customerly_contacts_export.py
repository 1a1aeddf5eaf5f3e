"""Every night: all Customerly users and leads as typed Parquet, one folder per day.

It needs a connection ``customerly_default``, and in the Airflow Variable ``customerly_export_path`` a folder
or a bucket, such as ``/data/customerly`` or ``s3://my_aws_connection@my-bucket/customerly``.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset

from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator

with DAG(
    dag_id="customerly_contacts_export",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    doc_md=__doc__,
    tags=["customerly"],
):
    for contact_type in ("users", "leads"):
        CustomerlyToParquetOperator(
            task_id=f"export_{contact_type}",
            contact_type=contact_type,
            path="{{ var.value.get('customerly_export_path', '') }}",
            # A night on which the list is suddenly half as long is a mistake somewhere, not the new truth.
            max_shrink=0.5,
            outlets=[Asset(name=f"customerly_{contact_type}", uri=f"customerly://{contact_type}")],
        )
