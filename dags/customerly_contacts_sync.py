"""Every night: the customers of the warehouse to Customerly's users, only those that are new or changed.

It needs the connections ``customerly_default`` and ``warehouse_default`` (any SQL database with a table
``customers``), and in the Airflow Variable ``customerly_state_path`` a folder or a bucket for what the sync
remembers, such as ``/data/customerly_state``.

To make it yours, copy the file and change ``dag_id``. The package brings this one along, and Airflow loads it
too unless ``[core] load_examples`` is off: of two DAGs with one ``dag_id`` it keeps either, without a word.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, Param

from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

with DAG(
    dag_id="customerly_contacts_sync",
    schedule="0 4 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    # What a person may choose for one run, with 'Trigger' or 'airflow dags trigger --conf'.
    params={
        # As text, since 1 is one contact and 1.0 all of them, which JSON does not tell apart.
        "max_vanished": Param(
            "0.1", type="string", description="send nothing if more contacts are gone: a number, or a share"
        ),
        "retry_rejects": Param(False, type="boolean", description="send refused rows again"),
        "full_resync": Param(False, type="boolean", description="send all rows again"),
        "dry_run": Param(False, type="boolean", description="send nothing; the result names a plan"),
    },
    doc_md=__doc__,
    tags=["customerly"],
):
    SqlToCustomerlyOperator(
        task_id="sync_customers",
        sql_conn_id="warehouse_default",
        table="customers",
        # Other columns go to fields and attributes of their own names.
        field_mapping={"customer_id": "user_id", "internal_note": None},
        state_path="{{ var.value.get('customerly_state_path', '') }}",
        tags=["warehouse"],
        # A few bad rows are somebody's work tomorrow; more than that turn the task red.
        max_rejects=0.01,
        max_vanished="{{ params.max_vanished }}",
        retry_rejects="{{ params.retry_rejects }}",
        full_resync="{{ params.full_resync }}",
        dry_run="{{ params.dry_run }}",
        keep_days=90,
        outlets=[Asset(name="customers_in_customerly", uri="customerly://customers")],
    )
