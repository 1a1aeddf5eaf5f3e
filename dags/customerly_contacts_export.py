"""Every night: all Customerly users and leads as typed Parquet, one folder per day.

It needs a connection ``customerly_default``, and in the Airflow Variable ``customerly_export_path`` a folder
or a bucket, such as ``/data/customerly`` or ``s3://my_aws_connection@my-bucket/customerly``.

Use this one or ``customerly_nightly_export``, not both: they write to the same place and announce the same
assets.

To make it yours, copy the file and change ``dag_id``. The package brings this one along, and Airflow loads it
too unless ``[core] load_examples`` is off: of two DAGs with the same ``dag_id``, it silently keeps only one.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, Param

from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator

with DAG(
    dag_id="customerly_contacts_export",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    # What a person may choose for one run, with 'Trigger' or 'airflow dags trigger --conf'.
    params={
        "max_shrink": Param(
            0.5,
            type=["null", "number"],
            minimum=0,
            maximum=1,
            title="Largest drop (optional)",
            description="Fail if a larger share of the contacts is gone, such as 0.5. Empty: no limit.",
        ),
    },
    doc_md=__doc__,
    tags=["customerly"],
):
    for contact_type in ("users", "leads"):
        CustomerlyToParquetOperator(
            task_id=f"export_{contact_type}",
            contact_type=contact_type,
            path="{{ var.value.get('customerly_export_path', '') }}",
            # A night on which the list is suddenly half as long is a mistake somewhere, not the new truth.
            max_shrink="{{ params.max_shrink }}",
            keep_days=90,
            outlets=[Asset(name=f"customerly_{contact_type}", uri=f"customerly://{contact_type}")],
        )
