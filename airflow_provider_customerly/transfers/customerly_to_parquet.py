"""The operator that exports contacts to a daily Parquet table."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.export import export_contacts
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.operators.base import CustomerlyOperator, checked
from airflow_provider_customerly.storage import RefusedError
from airflow_provider_customerly.transfers.context import day_of_run, name_of_task_instance, tell_outlets
from airflow_provider_customerly.transfers.export_arguments import ExportArguments
from airflow_provider_customerly.values.arguments import is_given

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context


class CustomerlyToParquetOperator(CustomerlyOperator):
    """Export users or leads to a daily Parquet table, and prove that no contact was skipped.

    Every mode writes the whole table to ``{path}/{contact_type}/snapshot_date={snapshot_date}/``, so that any
    engine can read any day. The commit is a manifest, written last. ``read_contacts`` from
    ``airflow_provider_customerly.export`` returns the last complete export or this one, never half of it.
    Running the newest day again replaces it. Deleted contacts are listed in
    ``{path}/{contact_type}_deleted/``.

    An attempt that crashes leaves the contacts it has read in ``{path}/{contact_type}/_staging/``, and the
    next attempt of the same task instance resumes from there.

    The result (XCom, and the event of each asset in ``outlets``) has the counts, the path, the verdict and
    the watermark. An invalid argument, setting or token fails the task at once, without retries.

    :param path: folder or bucket, any path that ``ObjectStoragePath`` takes, such as ``/data/crm`` or
        ``s3://conn_id@bucket/crm``.
    :param path_conn_id: Airflow connection for ``path``, unless the path names one.
    :param contact_type: ``users`` or ``leads``.
    :param customerly_conn_id: connection of type ``customerly``.
    :param mode: ``snapshot`` reads all contacts. ``incremental`` reads those that changed since the last
        export and merges them into its table. It reads all contacts if there is no earlier export, if the
        columns changed, or if the last full refresh was not proven complete. Only a full refresh detects
        deletions.
    :param snapshot_date: day of the export; by default the UTC day on which the run's data interval ends, or
        of the run if it has no interval.
    :param lookback: how far before the newest known change an incremental export starts to read, as a
        duration such as ``PT10M`` or a ``timedelta``, in addition to an hour for clocks that are set back.
    :param full_refresh_every: do a full refresh if the last one is older than this, such as ``P7D``.
    :param full_refresh: do a full refresh in this run. Use ``{{ params.full_refresh }}`` to decide for each
        run.
    :param columns: columns to export; all by default.
    :param attributes: contact properties to export as typed columns, such as ``{"plan": "string"}``. Types
        are ``string``, ``int64``, ``float64``, ``bool``, ``timestamp`` and ``date``.
    :param drop_columns: columns to leave out.
    :param hash_columns: columns to replace by a SHA-256 that is salted with the connection's ``hash_secret``.
    :param min_rows: fail, and keep the last export, if the table has fewer contacts.
    :param max_shrink: fail, and keep the last export, if the table shrinks by more than this share.
    :param max_vanished: fail, and keep the last export, if more than this share of the known contacts are
        missing from a full refresh.
    :param max_null_share: fail, and keep the last export, if a column has a larger share of nulls than
        allowed here, such as ``{"email": 0.2}``.
    :param max_coercion_failures: fail, and keep the last export, if more values of a column do not fit its
        type.
    :param on_unproven: ``fail``, or ``warn`` to keep an export that could not be proven complete.
    :param page_size: contacts per request, 20 to 100; the connection's setting by default.
    :param max_concurrency: maximum number of concurrent requests; the connection's setting by default.
    :param table_format: ``parquet``, or ``delta`` to also publish each commit as a version of a Delta table
        at ``{path}/{contact_type}``. This needs the extra ``[delta]`` and a local disk or S3.
    :param compression: ``zstd``, ``snappy``, ``gzip``, ``lz4`` or ``none``.
    :param row_group_size: rows per row group.
    :param keep_manifests: keep this many of the newest commits and remove older ones; all are kept by
        default.
    :param keep_days: keep the commits of this many days. A commit stays if either of the two limits keeps it.
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
        "table_format",
        "keep_manifests",
        "keep_days",
    )
    arguments = ExportArguments
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
        table_format: str = "parquet",
        compression: str = "zstd",
        row_group_size: int = 65_536,
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
        self.table_format = table_format
        self.compression = compression
        self.row_group_size = row_group_size
        self.keep_manifests = keep_manifests
        self.keep_days = keep_days
        self.check_literals()

    @cached_property
    def hook(self) -> CustomerlyHook:
        """The hook, whose client is created at first use."""
        return CustomerlyHook(
            self.connection_id, page_size=self.page_size, max_concurrency=self.max_concurrency
        )

    def carry_out(self, context: Context) -> dict[str, Any]:
        """Export the contacts and return the result."""
        with fail_at_once(ValueError):
            if not is_given(self.snapshot_date):  # a parameter that is not set
                self.snapshot_date = day_of_run(context).isoformat()
            arguments = checked(ExportArguments, self)
            location = find_location(arguments.path, arguments.path_conn_id)
            salt = self._hash_secret() if arguments.hash_columns else None
            client = self.hook.client
        with client, fail_at_once(RefusedError):
            result = export_contacts(
                client,
                location,
                arguments.contact_type,
                hash_salt=salt,
                owner=name_of_task_instance(context),
                keep=self.keep,
                **arguments.options,
            )
        self.keep(result)
        tell_outlets(self.outlets, context, result)
        return result

    def on_kill(self) -> None:
        """Cancel waiting requests, so that the export ends and cleans up."""
        self.hook.client.stop()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the lineage of this run. The OpenLineage provider calls this if it is installed."""
        from airflow_provider_customerly.transfers.lineage import export_lineage

        arguments = checked(ExportArguments, self)
        return export_lineage(self.hook, arguments.path, arguments.path_conn_id, self._result)

    def _hash_secret(self) -> str:
        secret = self.hook.hash_secret
        if not secret:
            raise ValueError(
                "hash_columns needs a secret: without one, the hash of an email can be reversed by guessing. "
                f"Set hash_secret in the extra field of connection {self.connection_id!r}."
            )
        return secret
