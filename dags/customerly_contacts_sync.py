"""Every night: the customers of the warehouse to Customerly's users, only those that are new or changed.

It needs the connections ``customerly_default`` and ``warehouse_default`` (any SQL database with a table
``customers``), and in the Airflow Variable ``customerly_state_path`` a folder or a bucket for what the sync
remembers, such as ``/data/customerly_state``.

To make it yours, copy the file and change ``dag_id``. The package brings this one along, and Airflow loads it
too unless ``[core] load_examples`` is off: of two DAGs with the same ``dag_id``, it silently keeps only one.
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
            "0.1",
            type="string",
            title="Most contacts that may vanish",
            description="Send nothing if more contacts are gone: a number such as 5, or a share such as 0.1.",
        ),
        "retry_rejects": Param(
            False,
            type="boolean",
            title="Retry rejects",
            description="Send rows again that Customerly refused.",
        ),
        "full_resync": Param(
            False, type="boolean", title="Send all", description="Send all rows again, changed or not."
        ),
        "dry_run": Param(
            False,
            type="boolean",
            title="Plan only",
            description="Send nothing: the result names a plan, to be looked at and sent by plan_path.",
        ),
        "plan_path": Param(
            None,
            type=["null", "string"],
            title="Apply a plan (optional)",
            description="Send exactly this plan and read no table: the 'plan' of a dry run's result.",
        ),
    },
    doc_md=__doc__,
    tags=["customerly"],
):
    SqlToCustomerlyOperator(
        task_id="sync_customers",
        sql_conn_id="warehouse_default",
        table="{{ '' if params.plan_path else 'customers' }}",
        # Other columns go to fields and attributes of their own names.
        field_mapping={"customer_id": "user_id", "internal_note": None},
        state_path="{{ var.value.get('customerly_state_path', '') }}",
        tags=["warehouse"],
        # A few bad rows can wait until tomorrow; more than that turn the task red.
        max_rejects=0.01,
        max_vanished="{{ params.max_vanished }}",
        retry_rejects="{{ params.retry_rejects }}",
        full_resync="{{ params.full_resync }}",
        dry_run="{{ params.dry_run }}",
        plan_path="{{ params.plan_path }}",
        keep_days=90,
        outlets=[Asset(name="customers_in_customerly", uri="customerly://customers")],
    )
