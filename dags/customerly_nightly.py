"""Every night: contacts to Parquet, scores made of them in the warehouse, and the scores back to Customerly.

Two DAGs, joined by assets: the second runs whenever both exports of the first have ended well, however they
were started. They need the connections ``customerly_default`` and ``warehouse_default`` (a SQL database such
as PostgreSQL, MySQL or SQLite), and folders or buckets in the Airflow Variables ``customerly_export_path``
and ``customerly_state_path``.

Use these or ``customerly_contacts_export``, not both: they write to the same place and announce the same
assets.

To make them yours, copy the file and change both ``dag_id``. The package brings this one along, and Airflow
loads it too unless ``[core] load_examples`` is off: of two DAGs with the same ``dag_id``, Airflow silently
keeps only one.
"""

from __future__ import annotations

from contextlib import closing
from datetime import datetime, timedelta, timezone

from airflow.sdk import DAG, Asset, BaseHook, ObjectStoragePath, Param, task

from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

EXPORT_PATH = "{{ var.value.get('customerly_export_path', '') }}"
STATE_PATH = "{{ var.value.get('customerly_state_path', '') }}"
EXPORTS = {
    contact_type: Asset(name=f"customerly_{contact_type}", uri=f"customerly://{contact_type}")
    for contact_type in ("users", "leads")
}
COMMON = {
    "start_date": datetime(2026, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "max_active_runs": 1,
    "default_args": {"retries": 3, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
    "doc_md": __doc__,
    "tags": ["customerly"],
}

# What a person may choose for one run, with 'Trigger' or 'airflow dags trigger --conf'.
EXPORT_PARAMS = {
    "max_shrink": Param(
        0.5,
        type=["null", "number"],
        minimum=0,
        maximum=1,
        title="Largest drop (optional)",
        description="Fail if a larger share of the contacts is gone, such as 0.5. Empty: no limit.",
    ),
}
SYNC_PARAMS = {
    # As text, since 1 is one contact and 1.0 all of them, which JSON does not tell apart.
    "max_vanished": Param(
        "0.1",
        type="string",
        title="Most contacts that may vanish",
        description="Send nothing if more contacts have no score any more: a number, or a share such as 0.1.",
    ),
    "full_resync": Param(
        False, type="boolean", title="Send all", description="Send all scores again, changed or not."
    ),
}

with DAG(dag_id="customerly_nightly_export", schedule="0 2 * * *", params=EXPORT_PARAMS, **COMMON):
    for contact_type, asset in EXPORTS.items():
        CustomerlyToParquetOperator(
            task_id=f"export_{contact_type}",
            contact_type=contact_type,
            path=EXPORT_PATH,
            max_shrink="{{ params.max_shrink }}",
            keep_days=90,
            outlets=[asset],
        )

with DAG(dag_id="customerly_nightly_scores", schedule=list(EXPORTS.values()), params=SYNC_PARAMS, **COMMON):

    @task
    def build_scores(contact_type: str, path: str) -> int:
        """Score contacts by their visits, from the newest committed export; your own model goes here."""
        from airflow_provider_customerly.export import read_contacts

        contacts = read_contacts(ObjectStoragePath(path), contact_type)
        frame = contacts.to_table(columns=["email", "web_session"]).to_pandas()
        frame = frame[frame["email"].notna() & (frame["web_session"] > 0)]
        frame["score"] = (frame["web_session"] // 5).clip(upper=100).astype(int)
        frame["level"] = frame["score"].map(lambda score: "hot" if score >= 70 else "warm")

        table = f"customerly_{contact_type}_scores"
        hook = BaseHook.get_connection("warehouse_default").get_hook()
        with closing(hook.get_conn()) as warehouse, closing(warehouse.cursor()) as cursor:
            cursor.execute(
                f"create table if not exists {table} (email varchar(254), score integer, level varchar(10))"
            )
            # One transaction, so that nobody meets an empty table. Not hook.insert_rows: when it fails, it
            # logs the rows.
            cursor.execute(f"delete from {table}")  # noqa: S608
            marks = ", ".join([hook.placeholder] * 3)
            rows = frame[["email", "score", "level"]].itertuples(index=False, name=None)
            cursor.executemany(f"insert into {table} values ({marks})", list(rows))  # noqa: S608
            warehouse.commit()
        return len(frame)

    for contact_type in EXPORTS:
        scores = build_scores.override(task_id=f"build_{contact_type}_scores")(contact_type, EXPORT_PATH)
        scores >> SqlToCustomerlyOperator(
            task_id=f"sync_{contact_type}_scores",
            sql_conn_id="warehouse_default",
            table=f"customerly_{contact_type}_scores",
            contact_type=contact_type,
            field_mapping={"score": "attributes.engagement_score", "level": "attributes.engagement_level"},
            state_path=STATE_PATH,
            max_vanished="{{ params.max_vanished }}",
            full_resync="{{ params.full_resync }}",
            keep_days=90,
        )
