"""Customerly contacts to a Parquet dataset."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_customerly.export import export_contacts
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.transfers.checking import checked
from airflow_provider_customerly.transfers.context import name_of_task_instance, tell_outlets
from airflow_provider_customerly.transfers.export_arguments import EXPECTED, ExportArguments

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context


class CustomerlyToParquetOperator(BaseOperator):
    """Export users or leads to a Parquet dataset, and prove that none was lost while they were read.

    The data goes to ``{path}/{contact_type}/snapshot_date={snapshot_date}/``, or, if only what changed was
    read, to ``change_date={snapshot_date}/``; the commit is a manifest, written last, so that a reader sees
    the last complete export or this one, never half of it. Running a day again replaces it. Read it with
    ``airflow_provider_customerly.export.read_contacts``: the newest version of each contact, over whole lists
    and changes.

    A try that dies leaves what it has read in ``{path}/{contact_type}/_staging/``, and the next try of the
    same task instance goes on from there.

    The result (XCom, and the event of each asset among ``outlets``) has the counts, the path, the verdict and
    the watermark. A wrong argument, setting or token fails the task at once, without retries.

    :param path: folder or bucket, anything ``ObjectStoragePath`` takes: ``/data/crm`` or
        ``s3://conn_id@bucket/crm``.
    :param path_conn_id: Airflow connection for ``path``, unless the path names one.
    :param contact_type: ``users`` or ``leads``.
    :param customerly_conn_id: connection of type ``customerly``.
    :param mode: ``snapshot`` reads the whole list; ``incremental`` reads what changed since the last export,
        and the whole list when there is none to add to, when its columns were others or when it was not
        proven complete. Only whole lists tell which contacts were deleted.
    :param snapshot_date: day of the export; by default the UTC day on which the run's data interval ends, or
        on which the run was made when it has none.
    :param lookback: how far before the newest change known an incremental export starts to read, as a
        duration such as ``PT10M`` or a ``timedelta``; an hour for clocks that are set back comes on top.
    :param full_refresh_every: let an incremental export read the whole list when the last time is so long
        ago, such as ``P7D``.
    :param full_refresh: read the whole list in this run; ``{{ params.full_refresh }}`` lets a person decide.
    :param compact: fold changes into a new base once they have passed a quarter of it or are in 100 commits.
    :param columns: the columns wanted; all by default.
    :param attributes: contact properties to have as typed columns, such as ``{"plan": "string"}``:
        ``string``, ``int64``, ``float64``, ``bool``, ``timestamp`` or ``date``.
    :param drop_columns: columns to leave out.
    :param hash_columns: columns to replace by a SHA-256 that is keyed with ``hash_secret``, a field of the
        connection.
    :param min_rows: fail, and keep the last export, when a whole list has fewer contacts.
    :param max_shrink: fail, and keep the last export, when a whole list is shorter by more than this share.
    :param max_vanished: fail, and keep the last export, when more than this share of the contacts known so
        far are missing from a whole list.
    :param max_null_share: fail, and keep the last export, when a column has a larger share of nulls than
        given for it, such as ``{"email": 0.2}``.
    :param max_coercion_failures: fail, and keep the last export, when more values of a column do not fit its
        type.
    :param on_unproven: ``fail``, or ``warn`` to keep an export whose completeness could not be proven.
    :param page_size: contacts in one request, 20 to 100; the connection's by default.
    :param max_concurrency: most requests at once; the connection's by default.
    :param compression: ``zstd``, ``snappy``, ``gzip``, ``lz4`` or ``none``.
    :param row_group_size: rows in a row group.
    :param keep_manifests: keep so many of the newest commits, and what they rest on, and remove the others;
        all are kept by default.
    :param keep_days: keep each state of so many days; what either of the two keeps is kept.
    """

    template_fields: Sequence[str] = (
        "path",
        "path_conn_id",
        "contact_type",
        "customerly_conn_id",
        "mode",
        "snapshot_date",
        "lookback",
        "full_refresh_every",
        "full_refresh",
        "columns",
        "attributes",
        "drop_columns",
        "hash_columns",
        "min_rows",
        "max_shrink",
        "max_vanished",
        "max_null_share",
        "max_coercion_failures",
        "on_unproven",
        "keep_manifests",
        "keep_days",
    )
    ui_color = "#e0f0ff"

    def __init__(
        self,
        *,
        path: str,
        path_conn_id: str | None = None,
        contact_type: str = "users",
        customerly_conn_id: str = CustomerlyHook.default_conn_name,
        mode: str = "snapshot",
        snapshot_date: str = "{{ data_interval_end | default(dag_run.run_after, true) | ds }}",
        lookback: timedelta | str = "PT10M",
        full_refresh_every: timedelta | str | None = None,
        full_refresh: bool | str = False,
        compact: bool = True,
        columns: Sequence[str] | None = None,
        attributes: Mapping[str, str] | None = None,
        drop_columns: Sequence[str] = (),
        hash_columns: Sequence[str] = (),
        min_rows: int | str = 0,
        max_shrink: float | str | None = None,
        max_vanished: float | str | None = None,
        max_null_share: Mapping[str, float | str] | None = None,
        max_coercion_failures: int | str | None = None,
        on_unproven: str = "fail",
        page_size: int | None = None,
        max_concurrency: int | None = None,
        compression: str = "zstd",
        row_group_size: int = 131_072,
        keep_manifests: int | str | None = None,
        keep_days: float | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.path_conn_id = path_conn_id
        self.contact_type = contact_type
        self.customerly_conn_id = customerly_conn_id
        self.mode = mode
        self.snapshot_date = snapshot_date
        self.lookback = lookback
        self.full_refresh_every = full_refresh_every
        self.full_refresh = full_refresh
        self.compact = compact
        self.columns = columns
        self.attributes = attributes
        self.drop_columns = drop_columns
        self.hash_columns = hash_columns
        self.min_rows = min_rows
        self.max_shrink = max_shrink
        self.max_vanished = max_vanished
        self.max_null_share = max_null_share
        self.max_coercion_failures = max_coercion_failures
        self.on_unproven = on_unproven
        self.page_size = page_size
        self.max_concurrency = max_concurrency
        self.compression = compression
        self.row_group_size = row_group_size
        self.keep_manifests = keep_manifests
        self.keep_days = keep_days
        self._result: dict[str, Any] | None = None

    @cached_property
    def hook(self) -> CustomerlyHook:
        """The hook; its client is made at first use."""
        return CustomerlyHook(
            self.customerly_conn_id, page_size=self.page_size, max_concurrency=self.max_concurrency
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """Export the contacts and return what came of it."""
        # The export raises ValueError only for what it was told or found damaged, before it asks for a thing.
        with fail_at_once(ValueError):
            arguments = checked(ExportArguments, EXPECTED, self)
            with self.hook.client as client:
                self._result = export_contacts(
                    client,
                    find_location(arguments.path, arguments.path_conn_id),
                    arguments.contact_type,
                    hash_salt=self._hash_secret() if arguments.hash_columns else None,
                    owner=name_of_task_instance(context),
                    **arguments.options,
                )
        tell_outlets(self.outlets, context, self._result)
        return self._result

    def on_kill(self) -> None:
        """Give up waiting for requests, so that the export ends and cleans up."""
        self.hook.client.stop()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what was read and written; its provider calls this, if it is installed."""
        from airflow_provider_customerly.transfers.lineage import export_lineage

        return export_lineage(self, self._result)

    def _hash_secret(self) -> str:
        secret = self.hook.hash_secret
        if not secret:
            raise ValueError(
                "hash_columns needs a secret: without one the hash of an email is undone by guessing. "
                f"Set 'hash_secret' in the extra field of connection {self.customerly_conn_id!r}."
            )
        return secret
