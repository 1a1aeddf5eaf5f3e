"""The operator that exports tags, teammates and the help centre to Parquet datasets."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.export.streams import export_stream
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.operators.base import CustomerlyOperator, checked
from airflow_provider_customerly.storage import RefusedError
from airflow_provider_customerly.transfers.context import day_of_run, tell_outlets
from airflow_provider_customerly.transfers.export_arguments import StreamArguments
from airflow_provider_customerly.values.arguments import is_given

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class CustomerlyStreamToParquetOperator(CustomerlyOperator):
    """Export one of the project's other lists to a Parquet dataset, in an atomic commit.

    The data is written to ``{path}/{stream}/snapshot_date={snapshot_date}/``. Running a day again replaces
    it. Read it with ``airflow_provider_customerly.export.read_stream``. The columns are ``tag`` for tags;
    ``account_id``, ``email`` and ``extra`` (JSON text) for accounts; ``record`` (JSON text) for the help
    centre, whose shape the vendor does not document. A list is read until it is the same twice.

    :param stream: ``tags``, ``accounts`` (teammates, with their emails), ``knowledge_collections`` or
        ``knowledge_articles``.
    :param path: folder or bucket, any path that ``ObjectStoragePath`` takes.
    :param path_conn_id: Airflow connection for ``path``, unless the path names one.
    :param customerly_conn_id: connection of type ``customerly``.
    :param snapshot_date: day of the snapshot; by default the UTC day on which the run's data interval ends,
        or of the run if it has no interval.
    :param min_rows: fail, and keep the last export, if there are fewer rows.
    :param max_shrink: fail, and keep the last export, if the list shrinks by more than this share.
    :param table_format: ``parquet``, or ``delta`` to also publish each commit as a version of a Delta table
        at ``{path}/{stream}``. This needs the extra ``[delta]`` and a local disk or S3.
    """

    template_fields: Sequence[str] = (
        "stream",
        "path",
        "path_conn_id",
        "customerly_conn_id",
        "snapshot_date",
        "min_rows",
        "max_shrink",
        "table_format",
    )
    arguments = StreamArguments
    ui_color = "#e0f0ff"

    def __init__(
        self,
        *,
        stream: str,
        path: str,
        path_conn_id: str | None = None,
        customerly_conn_id: str = CustomerlyHook.default_conn_name,
        snapshot_date: str = "{{ data_interval_end | default(dag_run.run_after, true) | ds }}",
        min_rows: int | str = 0,
        max_shrink: float | str | None = None,
        table_format: str = "parquet",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.stream = stream
        self.path = path
        self.path_conn_id = path_conn_id
        self.customerly_conn_id = customerly_conn_id
        self.snapshot_date = snapshot_date
        self.min_rows = min_rows
        self.max_shrink = max_shrink
        self.table_format = table_format
        self.check_literals()

    @cached_property
    def hook(self) -> CustomerlyHook:
        """The hook, whose client is created at first use."""
        return CustomerlyHook(self.connection_id)

    def carry_out(self, context: Context) -> dict[str, Any]:
        """Export the list and return the result."""
        with fail_at_once(ValueError):
            if not is_given(self.snapshot_date):  # a parameter that is not set
                self.snapshot_date = day_of_run(context).isoformat()
            arguments = checked(StreamArguments, self)
            location = find_location(arguments.path, arguments.path_conn_id)
            client = self.hook.client
        with client, fail_at_once(RefusedError):
            result = export_stream(
                client,
                location,
                arguments.stream,
                snapshot_date=arguments.snapshot_date,
                min_rows=arguments.min_rows,
                max_shrink=arguments.max_shrink,
                table_format=arguments.table_format,
            )
        self.keep(result)
        tell_outlets(self.outlets, context, result)
        return result

    def on_kill(self) -> None:
        """Cancel waiting requests, so that the export ends and cleans up."""
        self.hook.client.stop()
