"""Customerly's tags, teammates and help centre to Parquet datasets."""

from __future__ import annotations

from datetime import date  # noqa: TC003  (msgspec reads the annotations)
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from airflow.sdk import BaseOperator
from msgspec import Meta

from airflow_provider_customerly.export.streams import Stream, export_stream
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.transfers.checking import checked
from airflow_provider_customerly.transfers.context import name_of_task_instance, tell_outlets
from airflow_provider_customerly.transfers.export_arguments import EXPECTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context


class _Arguments(msgspec.Struct, frozen=True, kw_only=True):
    path: Annotated[str, Meta(pattern=r"\S")]
    path_conn_id: str | None
    stream: Stream
    snapshot_date: date
    min_rows: Annotated[int, Meta(ge=0)]
    max_shrink: Annotated[float, Meta(ge=0, le=1)] | None


class CustomerlyStreamToParquetOperator(BaseOperator):
    """Export one of the project's other lists to a Parquet dataset, committed in one step.

    The data goes to ``{path}/{stream}/snapshot_date={snapshot_date}/``; running a day again replaces it. Read
    it with ``airflow_provider_customerly.export.read_stream``. The columns are ``tag`` for tags;
    ``account_id``, ``email`` and ``extra`` (JSON text) for accounts; ``record`` (JSON text) for the help
    centre, whose shape the vendor does not document. Articles come in pages, so they are read until two
    readings agree.

    :param stream: ``tags``, ``accounts`` (teammates: has their emails), ``knowledge_collections`` or
        ``knowledge_articles``.
    :param path: folder or bucket, anything ``ObjectStoragePath`` takes.
    :param path_conn_id: Airflow connection for ``path``, unless the path names one.
    :param customerly_conn_id: connection of type ``customerly``.
    :param snapshot_date: day of the snapshot; by default the UTC day on which the run's data interval ends,
        or on which the run was made when it has none.
    :param min_rows: fail, and keep the last export, when there are fewer rows.
    :param max_shrink: fail, and keep the last export, when it would shrink by more than this share.
    """

    template_fields: Sequence[str] = (
        "stream",
        "path",
        "path_conn_id",
        "customerly_conn_id",
        "snapshot_date",
        "min_rows",
        "max_shrink",
    )
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

    @cached_property
    def hook(self) -> CustomerlyHook:
        """The hook; its client is made at first use."""
        return CustomerlyHook(self.customerly_conn_id)

    def execute(self, context: Context) -> dict[str, Any]:
        """Export the list and return what came of it."""
        with fail_at_once(ValueError):
            arguments = checked(_Arguments, EXPECTED, self)
            with self.hook.client as client:
                result = export_stream(
                    client,
                    find_location(arguments.path, arguments.path_conn_id),
                    arguments.stream,
                    snapshot_date=arguments.snapshot_date,
                    min_rows=arguments.min_rows,
                    max_shrink=arguments.max_shrink,
                    owner=name_of_task_instance(context),
                )
        tell_outlets(self.outlets, context, result)
        return result

    def on_kill(self) -> None:
        """Give up waiting for requests, so that the export ends and cleans up."""
        self.hook.client.stop()
