"""The arguments of a sync."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.sync import Options
from airflow_provider_customerly.transfers.sql_names import check_table_name
from airflow_provider_customerly.transfers.sql_source import check_query


def check_source(arguments: Any) -> None:
    """Raise ``ValueError`` if both a query and a table are set."""
    if arguments.sql is not None and arguments.table is not None:
        raise ValueError("Set either sql or table, not both: rows come from one query or one whole table.")


def _check_plan(arguments: SyncArguments) -> None:
    if arguments.plan_path is None:
        if arguments.sql is None and arguments.table is None and arguments.undo_run is None:
            raise ValueError(
                "Nothing to sync. Set sql or table to the rows to sync, plan_path to a plan to apply, or "
                "undo_run to a run to undo."
            )
    elif arguments.plan_only or arguments.sql is not None or arguments.table is not None:
        raise ValueError("plan_path applies a plan unchanged. Remove sql, table and dry_run.")


def _check_undo(arguments: SyncArguments) -> None:
    if arguments.undo_run is not None and (
        arguments.sql is not None or arguments.table is not None or arguments.plan_path is not None
    ):
        raise ValueError("undo_run restores what a run changed. Remove sql, table and plan_path.")


def _check_compare(arguments: SyncArguments) -> None:
    if arguments.compare_with is not None:
        if arguments.plan_path is not None:
            raise ValueError("plan_path applies a plan unchanged. Set compare_with when you make the plan.")
        return
    if arguments.skip_equal:
        raise ValueError(_NEEDS_COMPARE.format("skip_equal"))
    if arguments.on_edited != "overwrite":
        raise ValueError(_NEEDS_COMPARE.format("on_edited"))
    if arguments.plan_path is None and arguments.max_export_age is not None:
        raise ValueError(_NEEDS_COMPARE.format("max_export_age"))


_NEEDS_COMPARE = "{} only works with compare_with. Set compare_with to the path of an export."


def check_query_text(arguments: Any) -> None:
    """Raise ``ValueError`` unless ``sql`` is a query."""
    if arguments.sql is not None:
        check_query(arguments.sql)


def check_tables(arguments: Any) -> None:
    """Raise ``ValueError`` if the name of a table is invalid."""
    for table in (arguments.table, getattr(arguments, "log_table", None)):
        if table is not None:
            check_table_name(table)


def check_parameters(arguments: Any) -> None:
    """Raise ``ValueError`` if there are parameters without a query."""
    if arguments.parameters and arguments.sql is None:
        raise ValueError("parameters only work with sql, because a table has no placeholders. Remove them.")


def _check_connection(arguments: SyncArguments) -> None:
    has_source = arguments.plan_path is None and arguments.undo_run is None
    if arguments.sql_conn_id is None and (has_source or arguments.log_table is not None):
        raise ValueError("sql_conn_id is missing. Set it to the Airflow connection of the warehouse.")


class SyncArguments(Options, frozen=True, kw_only=True):
    """The arguments of a sync: its options, the source of its rows, and its state."""

    state_path: Annotated[str, Meta(pattern=r"\S")]
    sql_conn_id: str | None = None
    sql: str | None = None
    table: str | None = None
    parameters: dict[str, Any] | list[Any] | None = None
    chunk_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    state_conn_id: str | None = None
    sync_name: str | None = None
    customerly_conn_id: str = CustomerlyHook.default_conn_name
    plan_only: bool = False
    plan_path: str | None = None
    undo_run: str | None = None
    compare_with: str | None = None
    log_table: str | None = None

    expected = {
        **Options.expected,
        "state_path": "must not be blank; if it is a template, check the variable it is rendered from",
        "parameters": "must be a list or a dictionary of values, or None",
        "plan_only": "(dry_run) must be true or false",
    }
    rules = (
        *Options.rules,
        check_source,
        _check_plan,
        _check_undo,
        _check_compare,
        check_query_text,
        check_tables,
        check_parameters,
        _check_connection,
    )
