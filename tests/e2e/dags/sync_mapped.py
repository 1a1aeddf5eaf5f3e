"""Syncs of mapped tasks: without names, and with one for each."""

from datetime import datetime, timezone

from airflow.sdk import DAG

from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

with DAG("sync_mapped", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    SqlToCustomerlyOperator.partial(
        task_id="unnamed",
        sql_conn_id="warehouse_default",
        state_path="{{ var.value.customerly_state_path }}",
        retries=1,
    ).expand(table=["eu", "us"])
    SqlToCustomerlyOperator.partial(
        task_id="named",
        sql_conn_id="warehouse_default",
        state_path="{{ var.value.customerly_state_path }}",
    ).expand_kwargs([{"table": "eu", "sync_name": "eu"}, {"table": "us", "sync_name": "us"}])
