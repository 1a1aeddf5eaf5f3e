"""The operator that compares a warehouse with the newest export."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.operators.base import CustomerlyOperator, checked
from airflow_provider_customerly.reconcile import ReconcileLimitError, ReconcileOptions, reconcile
from airflow_provider_customerly.transfers.context import tell_outlets
from airflow_provider_customerly.transfers.sql_source import SqlSource
from airflow_provider_customerly.transfers.sync_arguments import (
    check_parameters,
    check_query_text,
    check_source,
    check_tables,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_customerly.storage import Location


def _check_given(arguments: ReconcileArguments) -> None:
    if arguments.sql is None and arguments.table is None:
        raise ValueError("Set sql or table to the rows to compare with the export.")


class ReconcileArguments(ReconcileOptions, frozen=True, kw_only=True):
    """The arguments of a reconciliation: its options, the source of the rows, and the export."""

    export_path: Annotated[str, Meta(pattern=r"\S")]
    sql_conn_id: Annotated[str, Meta(pattern=r"\S")]
    export_conn_id: str | None = None
    sql: str | None = None
    table: str | None = None
    parameters: dict[str, Any] | list[Any] | None = None
    chunk_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    state_path: str | None = None
    state_conn_id: str | None = None
    customerly_conn_id: str = CustomerlyHook.default_conn_name

    expected = {
        **ReconcileOptions.expected,
        "export_path": "must not be blank; if it is a template, check the variable it is rendered from",
        "sql_conn_id": "must not be blank: name the Airflow connection of the warehouse",
        "parameters": "must be a list or a dictionary of values, or None",
    }
    rules = (
        *ReconcileOptions.rules,
        check_source,
        _check_given,
        check_query_text,
        check_tables,
        check_parameters,
    )


class CustomerlyReconcileOperator(CustomerlyOperator):
    """Compare a warehouse with the newest export, row by row and field by field.

    Rows are mapped as in ``SqlToCustomerlyOperator``, so use the same query and mapping. Each row is
    ``equal`` to its contact, ``differing`` (in which fields), ``only_warehouse`` or ``invalid``. Each contact
    without a row is ``only_customerly``. Nulls in the warehouse are not compared, because a sync does not
    send them. No request is sent to Customerly: the export shows what it held.

    The result (XCom, and the event of each asset in ``outlets``) has counts, shares, and the path of the
    differences. If a limit is exceeded, the task pushes its result, then **fails without retries**.

    A limit is a number, such as 5, or a share from 0.0 to 1.0 of the rows (of the contacts for
    ``max_only_customerly``). 1.0 allows all.

    :param export_path: the ``path`` of the export, any path that ``ObjectStoragePath`` takes.
    :param export_conn_id: Airflow connection for ``export_path``, unless the path names one.
    :param sql_conn_id: Airflow connection of the warehouse, of any type with an SQL hook.
    :param sql: a query, or the name of a ``.sql`` file.
    :param table: a table or view to read as a whole, instead of ``sql``.
    :param parameters: values for the placeholders in ``sql``, in the style of the database driver. Airflow
        does not show their rendered values, but it does show what you write in the DAG file.
    :param chunk_size: rows read and compared at a time.
    :param state_path: folder or bucket for the differences, such as the ``state_path`` of the sync. They are
        written to ``<dag_id>.<task_id>/differences/<run>.parquet`` there, and **contain personal data**. By
        default they are not written.
    :param state_conn_id: Airflow connection for ``state_path``, unless the path names one.
    :param contact_type: ``users`` or ``leads``.
    :param customerly_conn_id: connection of type ``customerly``. The export must be of the same project.
    :param field_mapping: column to field, as in ``SqlToCustomerlyOperator``.
    :param tags: as in ``SqlToCustomerlyOperator``. Tags are not compared, because exports do not have them.
    :param booleans: columns whose 0 and 1 mean false and true.
    :param timezone: time zone of timestamps without one, such as ``Europe/Rome``.
    :param null_as_empty: compare null names and attributes with ``""``.
    :param truncate_text: truncate attributes of more than 128 characters instead of counting the row as
        invalid.
    :param min_rows: fail if the source has fewer rows.
    :param max_differing: fail if more rows differ from their contact.
    :param max_only_warehouse: fail if more rows have no contact.
    :param max_only_customerly: fail if more contacts have no row; no limit by default.
    :param max_invalid: fail if more rows break one of Customerly's rules, or share a contact with another
        row.
    :param max_export_age: fail if the export is older, such as ``PT36H``.
    :param keep_days: remove differences that are older; all are kept by default.
    """

    template_fields: Sequence[str] = (
        "export_path",
        "export_conn_id",
        "sql_conn_id",
        "sql",
        "table",
        "parameters",
        "state_path",
        "state_conn_id",
        "contact_type",
        "customerly_conn_id",
        "field_mapping",
        "tags",
        "booleans",
        "timezone",
        "min_rows",
        "max_differing",
        "max_only_warehouse",
        "max_only_customerly",
        "max_invalid",
        "max_export_age",
        "keep_days",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "field_mapping": "json"}
    arguments = ReconcileArguments
    private_fields = ("parameters",)
    ui_color = "#e3f0d8"

    def __init__(
        self,
        *,
        export_path: str,
        sql_conn_id: str,
        export_conn_id: str | None = None,
        sql: str | None = None,
        table: str | None = None,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        chunk_size: int = 10_000,
        state_path: str | None = None,
        state_conn_id: str | None = None,
        contact_type: str = "users",
        customerly_conn_id: str = CustomerlyHook.default_conn_name,
        field_mapping: Mapping[str, str | None] | None = None,
        tags: Sequence[str] = (),
        booleans: Sequence[str] = (),
        timezone: str | None = None,
        null_as_empty: bool = False,
        truncate_text: bool = False,
        min_rows: int | str = 1,
        max_differing: float | str = 0,
        max_only_warehouse: float | str = 0,
        max_only_customerly: float | str | None = None,
        max_invalid: float | str = 0,
        max_export_age: Any = None,
        keep_days: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.export_path = export_path
        self.sql_conn_id = sql_conn_id
        self.export_conn_id = export_conn_id
        self.sql = sql
        self.table = table
        self.parameters = parameters
        self.chunk_size = chunk_size
        self.state_path = state_path
        self.state_conn_id = state_conn_id
        self.contact_type = contact_type
        self.customerly_conn_id = customerly_conn_id
        self.field_mapping = field_mapping
        self.tags = tags
        self.booleans = booleans
        self.timezone = timezone
        self.null_as_empty = null_as_empty
        self.truncate_text = truncate_text
        self.min_rows = min_rows
        self.max_differing = max_differing
        self.max_only_warehouse = max_only_warehouse
        self.max_only_customerly = max_only_customerly
        self.max_invalid = max_invalid
        self.max_export_age = max_export_age
        self.keep_days = keep_days
        self.check_literals()

    @cached_property
    def hook(self) -> CustomerlyHook:
        """The hook, which only identifies the project of the export."""
        return CustomerlyHook(self.connection_id)

    def carry_out(self, context: Context) -> dict[str, Any]:
        """Compare, and return the result."""
        with fail_at_once(ValueError, ReconcileLimitError):
            arguments = checked(ReconcileArguments, self)
            try:
                with self.hook.client as client, SqlSource.of(arguments).open() as rows:
                    result = reconcile(
                        rows,
                        find_location(arguments.export_path, arguments.export_conn_id),
                        client.base_url,
                        arguments,
                        differences=self._differences(arguments),
                    )
            except ReconcileLimitError as error:
                self.keep(error.result)
                raise
        self.keep(result)
        tell_outlets(self.outlets, context, result)
        return result

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the lineage of this run. The OpenLineage provider calls this if it is installed."""
        from airflow_provider_customerly.transfers.lineage import reconcile_lineage

        arguments = checked(ReconcileArguments, self)
        export = find_location(arguments.export_path, arguments.export_conn_id)
        return reconcile_lineage(SqlSource.of(arguments), export.join(arguments.contact_type), self._result)

    def _differences(self, arguments: ReconcileArguments) -> Location | None:
        if arguments.state_path is None:
            return None
        return find_location(arguments.state_path, arguments.state_conn_id).join(
            f"{self.dag_id}.{self.task_id}"
        )
