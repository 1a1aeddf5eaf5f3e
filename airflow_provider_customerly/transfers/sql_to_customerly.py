"""The operator that syncs warehouse rows to Customerly's contacts."""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.operators.base import CustomerlyOperator, checked
from airflow_provider_customerly.sync import (
    SyncGuardError,
    SyncRejectsError,
    apply_plan,
    plan_contacts,
    plan_undo,
    sync_contacts,
    undo_contacts,
)
from airflow_provider_customerly.transfers.context import name_of_task_instance, tell_outlets, withhold_events
from airflow_provider_customerly.transfers.log_table import LogTable
from airflow_provider_customerly.transfers.sql_source import SqlSource, sql_hook
from airflow_provider_customerly.transfers.sync_arguments import SyncArguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import timedelta

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_customerly.sync import Reject, RunRecord


class SqlToCustomerlyOperator(CustomerlyOperator):
    """Keep Customerly's contacts in sync with a warehouse table, sending only changes.

    Each row is mapped to a contact and compared with the **ledger** of what Customerly has accepted. Only new
    and changed rows are sent. The ledger is updated after each response, so that after a crash the next
    attempt delivers the rest. All good rows are delivered first. Then the task **fails if rows were not
    delivered**, with the counts and the top reasons. The rows are in a file under ``state_path``.

    The result (XCom, and the event of each asset in ``outlets``) has counts and file names. An invalid
    argument, setting or token fails the task at once, without retries, and so do rejects.

    :param sql_conn_id: Airflow connection of the warehouse, of any type with an SQL hook.
    :param sql: a query, or the name of a ``.sql`` file.
    :param table: a table or view to read as a whole, instead of ``sql``.
    :param parameters: values for the placeholders in ``sql``, in the style of the database driver. Airflow
        does not show their rendered values, but it does show what you write in the DAG file.
    :param chunk_size: rows read and compared at a time.
    :param state_path: folder or bucket for the state of the sync, any path that ``ObjectStoragePath`` takes.
        The rejects and plans in it contain personal data.
    :param state_conn_id: Airflow connection for ``state_path``, unless the path names one.
    :param sync_name: name of the sync. Its state is in a folder of that name, and only one run is active at a
        time. By default ``<dag_id>.<task_id>``, followed by a hash if one of the two has dots. The instances
        of a mapped task need a separate name each, as in ``expand_kwargs([{"table": "eu", "sync_name":
        "customers_eu"}, ...])``. With a shared name, the contacts of other instances would seem to vanish.
    :param contact_type: ``users`` or ``leads``.
    :param customerly_conn_id: connection of type ``customerly``.
    :param field_mapping: column to field, such as ``{"mail": "email", "plan_name": "attributes.plan", "note":
        None}``. ``None`` leaves a column out. By default ``email``, ``user_id``, ``name`` and ``tags`` go to
        the fields of these names, and every other column goes to the attribute of the same name.
    :param tags: tags that every contact of this sync gets.
    :param booleans: columns whose 0 and 1 mean false and true, such as SQLite's and MySQL's booleans.
    :param timezone: time zone of timestamps without one, such as ``Europe/Rome``.
    :param null_as_empty: send ``""`` for null names and attributes, which are not sent otherwise.
    :param truncate_text: truncate attributes of more than 128 characters instead of rejecting the row.
    :param batch_size: contacts per request, 1 to 100.
    :param max_concurrency: maximum number of concurrent requests.
    :param min_rows: fail, and send nothing, if the source has fewer rows.
    :param max_changes: fail, and send nothing, if there are more rows to send: a number, or a share of the
        known contacts.
    :param max_vanished: fail, and send nothing, if more of the known contacts are missing from the source: a
        number, or a share.
    :param on_vanished: what to do with contacts that are no longer in the source: ``keep`` (nothing),
        ``untag`` (remove ``tags``), ``unsubscribe`` or ``delete``.
    :param max_rejects: how many rows may be rejected before the task fails: a number, or a share of the rows
        read.
    :param retry_rejects: resend rows that Customerly refused, even if they have not changed.
    :param full_resync: send all rows, even if they have not changed.
    :param keep_days: remove older rejects, plans and run records, except those that the next run needs; all
        are kept by default.
    :param dry_run: plan and stop. Apply the ``plan`` in the result later with ``plan_path``. ``outlets`` get
        no event. Airflow's rendered templates show this as ``plan_only``, because operators already have a
        method named ``dry_run``.
    :param plan_path: a plan to apply unchanged, instead of reading rows.
    :param undo_run: a run to undo, instead of reading rows: what Customerly held before it is put back where
        that is known and can be. The run must have been made with ``compare_with``; the result of it, and its
        record, name what it leaves as ``undo``. With ``dry_run``, a plan is made that ``plan_path`` applies.
    :param compare_with: path of an export of the same contacts: the plan then holds, row by row and field by
        field, what Customerly held in the newest one. A path of an object store may name its connection, as
        in ``s3://conn_id@bucket/crm``.
    :param on_edited: what to do with a field that was edited in Customerly since its delivery: ``overwrite``
        it, ``keep`` it unchanged, or ``reject`` the row.
    :param skip_equal: do not send rows whose values Customerly already has.
    :param max_export_age: fail, and send nothing, if that export is older than this duration.
    :param preview_fields: attributes and ``tags`` whose values the result of a dry run may show, for up to 20
        rows. Everyone who can see the task can see them.
    :param log_table: also insert the run's record into this table of the warehouse, and its rejects into
        ``<log_table>_rejects``. Missing tables are created.
    """

    template_fields: Sequence[str] = (
        "sql_conn_id",
        "sql",
        "table",
        "parameters",
        "state_path",
        "state_conn_id",
        "sync_name",
        "contact_type",
        "customerly_conn_id",
        "field_mapping",
        "tags",
        "booleans",
        "timezone",
        "min_rows",
        "max_changes",
        "max_vanished",
        "max_rejects",
        "retry_rejects",
        "full_resync",
        "keep_days",
        "plan_only",
        "plan_path",
        "undo_run",
        "compare_with",
        "on_edited",
        "skip_equal",
        "max_export_age",
        "preview_fields",
        "log_table",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "field_mapping": "json"}
    arguments = SyncArguments
    private_fields = ("parameters",)
    ui_color = "#ffe8d6"

    def __init__(
        self,
        *,
        state_path: str,
        sql_conn_id: str | None = None,
        sql: str | None = None,
        table: str | None = None,
        parameters: Mapping[str, Any] | Sequence[Any] | None = None,
        chunk_size: int = 10_000,
        state_conn_id: str | None = None,
        sync_name: str | None = None,
        contact_type: str = "users",
        customerly_conn_id: str = CustomerlyHook.default_conn_name,
        field_mapping: Mapping[str, str | None] | None = None,
        tags: Sequence[str] = (),
        booleans: Sequence[str] = (),
        timezone: str | None = None,
        null_as_empty: bool = False,
        truncate_text: bool = False,
        batch_size: int = 50,
        max_concurrency: int = 1,
        min_rows: int | str = 1,
        max_changes: float | str | None = None,
        max_vanished: float | str = 0.1,
        on_vanished: str = "keep",
        max_rejects: float | str = 0,
        retry_rejects: bool | str = False,
        full_resync: bool | str = False,
        keep_days: float | str | None = None,
        dry_run: bool | str = False,
        plan_path: str | None = None,
        undo_run: str | None = None,
        compare_with: str | None = None,
        on_edited: str = "overwrite",
        skip_equal: bool | str = False,
        max_export_age: timedelta | str | None = None,
        preview_fields: Sequence[str] = (),
        log_table: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.state_path = state_path
        self.sql_conn_id = sql_conn_id
        self.sql = sql
        self.table = table
        self.parameters = parameters
        self.chunk_size = chunk_size
        self.state_conn_id = state_conn_id
        self.sync_name = sync_name
        self.contact_type = contact_type
        self.customerly_conn_id = customerly_conn_id
        self.field_mapping = field_mapping
        self.tags = tags
        self.booleans = booleans
        self.timezone = timezone
        self.null_as_empty = null_as_empty
        self.truncate_text = truncate_text
        self.batch_size = batch_size
        self.max_concurrency = max_concurrency
        self.min_rows = min_rows
        self.max_changes = max_changes
        self.max_vanished = max_vanished
        self.on_vanished = on_vanished
        self.max_rejects = max_rejects
        self.retry_rejects = retry_rejects
        self.full_resync = full_resync
        self.keep_days = keep_days
        self.plan_only = dry_run  # an operator has a method named dry_run
        self.plan_path = plan_path
        self.undo_run = undo_run
        self.compare_with = compare_with
        self.on_edited = on_edited
        self.skip_equal = skip_equal
        self.max_export_age = max_export_age
        self.preview_fields = preview_fields
        self.log_table = log_table
        self.check_literals()

    @cached_property
    def hook(self) -> CustomerlyHook:
        """The hook, whose client is created at first use."""
        return CustomerlyHook(self.connection_id, max_concurrency=self.max_concurrency)

    def carry_out(self, context: Context) -> dict[str, Any]:
        """Sync the rows and return the result."""
        # The sync only raises ValueError for invalid input, and before it sends anything. A failed guard may
        # need a looser run, which retries would block if only one run may be active.
        with fail_at_once(ValueError, SyncGuardError, SyncRejectsError):
            arguments = checked(SyncArguments, self)
            try:
                name = arguments.sync_name or self._default_name(context)
                result = self._sync(arguments, name, name_of_task_instance(context))
            except SyncRejectsError as error:
                self.keep(error.result)
                raise
        self.keep(result)
        if arguments.plan_only:
            withhold_events(self)
        tell_outlets(self.outlets, context, result)
        return result

    def on_kill(self) -> None:
        """Cancel waiting requests, so that the sync ends and records the responses so far."""
        self.hook.client.stop()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the lineage of this run. The OpenLineage provider calls this if it is installed."""
        from airflow_provider_customerly.transfers.lineage import sync_lineage

        # Only table names are passed on from the parser, because a query may hold personal data.
        arguments = checked(SyncArguments, self)
        has_source = arguments.plan_path is None and arguments.undo_run is None
        source = SqlSource.of(arguments) if has_source else None
        return sync_lineage(self.hook, source, self._result)

    def _default_name(self, context: Context) -> str:
        ti = context.get("ti")
        if ti is not None and ti.map_index is not None and ti.map_index >= 0:
            raise ValueError(
                "sync_name is missing. The instances of a mapped task would share one sync, and the contacts "
                "of other instances would seem to vanish. Set a different sync_name for each instance."
            )
        name = f"{self.dag_id}.{self.task_id}"
        if "." not in self.dag_id and "." not in self.task_id:
            return name
        # Task `b.c` of DAG `a` and task `c` of DAG `a.b` are different tasks.
        return f"{name}-{hashlib.sha256(f'{self.dag_id}/{self.task_id}'.encode()).hexdigest()[:8]}"

    def _sync(self, arguments: SyncArguments, name: str, owner: str) -> dict[str, Any]:
        state = find_location(arguments.state_path, arguments.state_conn_id)
        report = self._report(arguments)
        with self.hook.client as client:
            if arguments.plan_path is not None:
                return apply_plan(
                    client,
                    arguments.plan_path,
                    state,
                    name,
                    arguments,
                    owner=owner,
                    report=report,
                    keep=self.keep,
                )
            export = None if arguments.compare_with is None else find_location(arguments.compare_with, None)
            if arguments.undo_run is not None:
                undo = (
                    plan_undo
                    if arguments.plan_only
                    else partial(undo_contacts, report=report, keep=self.keep)
                )
                return undo(client, arguments.undo_run, state, name, arguments, export=export, owner=owner)
            with SqlSource.of(arguments).open() as rows:
                if arguments.plan_only:
                    return plan_contacts(client, rows, state, name, arguments, export=export, owner=owner)
                return sync_contacts(
                    client,
                    rows,
                    state,
                    name,
                    arguments,
                    export=export,
                    owner=owner,
                    report=report,
                    keep=self.keep,
                )

    def _report(self, arguments: SyncArguments) -> Callable[[RunRecord, Iterator[Reject]], None] | None:
        if arguments.log_table is None:
            return None
        log_table = LogTable(sql_hook(arguments.sql_conn_id or ""), arguments.log_table)
        log_table.prepare()
        return log_table.report
