"""The arguments of exports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from airflow_provider_customerly.client.settings import MaxConcurrency
from airflow_provider_customerly.export.options import Count, ExportOptions, Share, TableFormat
from airflow_provider_customerly.export.streams import Stream
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.reading.windows import PageSize
from airflow_provider_customerly.values.arguments import Arguments

_PLACE = {"path": "must not be blank; if it is a template, check the variable it is rendered from"}


class ExportArguments(ExportOptions, frozen=True, kw_only=True):
    """The arguments of an export: its options, and where it reads and writes."""

    path: Annotated[str, Meta(pattern=r"\S")]
    path_conn_id: str | None = None
    customerly_conn_id: str = CustomerlyHook.default_conn_name
    page_size: PageSize | None = None
    max_concurrency: MaxConcurrency | None = None

    expected: ClassVar[Mapping[str, str]] = {
        **ExportOptions.expected,
        **_PLACE,
        "page_size": "must be a whole number from 20 to 100, or None for the connection's",
        "max_concurrency": "must be a whole number from 1 to 64, or None for the connection's",
    }

    @property
    def options(self) -> dict[str, Any]:
        """The options of the export itself."""
        names = [name for name in ExportOptions.__struct_fields__ if name != "contact_type"]
        return {name: getattr(self, name) for name in names}


class StreamArguments(Arguments, frozen=True, kw_only=True):
    """The arguments for an export of one of the project's other lists."""

    stream: Stream
    path: Annotated[str, Meta(pattern=r"\S")]
    path_conn_id: str | None = None
    customerly_conn_id: str = CustomerlyHook.default_conn_name
    snapshot_date: date
    min_rows: Count = 0
    max_shrink: Share | None = None
    table_format: TableFormat = "parquet"

    expected: ClassVar[Mapping[str, str]] = {
        **_PLACE,
        "max_shrink": ExportOptions.expected["max_shrink"],
    }
