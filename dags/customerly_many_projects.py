"""Every night: the contacts of several Customerly projects, side by side on as many workers as there are.

Each project has its own connection, which holds its access token, and its own folder. List yours in
``PROJECTS``. The folders go below the Airflow Variable ``customerly_export_path``, a folder that all workers
see or a bucket, such as ``s3://my_aws_connection@my-bucket/customerly``.

To make it yours, copy the file and change ``dag_id``. The package brings this one along, and Airflow loads it
too unless ``[core] load_examples`` is off: of two DAGs with the same ``dag_id``, it silently keeps only one.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG

from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator

PROJECTS = [
    {
        "customerly_conn_id": f"customerly_{project}",
        "path": f"{{{{ var.value.get('customerly_export_path', '') }}}}/{project}",
    }
    for project in ("eu", "us", "labs")
]
# A pool bounds how many of these exports run at once, over all workers. Airflow comes with this one; make
# another with 'airflow pools set customerly 4 "requests to Customerly"' before you name it here: tasks of a
# pool that does not exist are never scheduled.
POOL = "default_pool"

with DAG(
    dag_id="customerly_many_projects",
    schedule="0 2 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    doc_md=__doc__,
    tags=["customerly"],
):
    for contact_type in ("users", "leads"):
        CustomerlyToParquetOperator.partial(
            task_id=f"export_{contact_type}",
            contact_type=contact_type,
            max_shrink=0.5,
            keep_days=90,
            pool=POOL,
            map_index_template="{{ task.customerly_conn_id }}",
        ).expand_kwargs(PROJECTS)
