"""Rows of a warehouse to Customerly's contacts."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.hooks.lookup import find_location
from airflow_provider_customerly.sync import SyncRejectsError, apply_plan, plan_contacts, sync_contacts
from airflow_provider_customerly.transfers.checking import checked
from airflow_provider_customerly.transfers.context import leave_result, name_of_task_instance, tell_outlets
from airflow_provider_customerly.transfers.log_table import LogTable
from airflow_provider_customerly.transfers.private_fields import PrivateFieldsOperator
from airflow_provider_customerly.transfers.sql_source import SqlSource, sql_hook
from airflow_provider_customerly.transfers.sync_arguments import EXPECTED, SyncArguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_customerly.sync import Reject, RunRecord


class SqlToCustomerlyOperator(PrivateFieldsOperator):
    """Bring Customerly's contacts in step with a warehouse table, sending only what changed.

    Each row is mapped to a contact and compared with the **ledger** of what Customerly accepted before; only
    rows that are new or changed are sent. The ledger follows each answer, so that a task that dies delivers
    the rest on its next try. All good rows are delivered first; then the task **fails if rows were not
    delivered**, with the counts and the top reasons, and the rows are in a file under ``state_path``.

    The result (XCom, and the event of each asset among ``outlets``) has the counts and names of files. A
    wrong argument, setting or token, and rejects, fail the task at once, without retries.

    :param sql_conn_id: Airflow connection of the warehouse; any type whose hook speaks SQL.
    :param sql: a query, or the name of a ``.sql`` file with one.
    :param table: a table or view to read whole, instead of ``sql``.
    :param parameters: values for the placeholders in ``sql``, in the style of the database's driver. What is
        rendered for them is not shown by Airflow; what is written into the DAG is.
    :param chunk_size: rows read and compared at a time.
    :param state_path: folder or bucket for the sync's memory, anything ``ObjectStoragePath`` takes. The
        rejects and plans in it name contacts.
    :param state_conn_id: Airflow connection for ``state_path``, unless the path names one.
    :param sync_name: names the sync; its state is a folder of that name, and only one run of it goes on at a
        time. By default ``<dag_id>.<task_id>``. The instances of a mapped task must each have their own, as
        by ``expand_kwargs([{"table": "eu", "sync_name": "customers_eu"}, ...])``: in a shared one, each would
        take the contacts of the others for vanished.
    :param contact_type: ``users`` or ``leads``.
    :param customerly_conn_id: connection of type ``customerly``.
    :param field_mapping: column to field, such as ``{"mail": "email", "plan_name": "attributes.plan", "note":
        None}``; ``None`` leaves a column out. By default ``email``, ``user_id``, ``name`` and ``tags`` go to
        the fields of these names and every other column to the attribute of its name.
    :param tags: tags that every contact of this sync gets.
    :param booleans: columns whose 0 and 1 mean false and true, such as SQLite's and MySQL's booleans.
    :param timezone: time zone of dates, and of times that have none, such as ``Europe/Rome``.
    :param null_as_empty: send ``""`` for names and attributes that are null, which are left alone otherwise.
    :param truncate_text: cut attributes of more than 128 characters instead of rejecting their row.
    :param batch_size: contacts in one request, 1 to 100.
    :param max_concurrency: most requests at once.
    :param min_rows: fail, and send nothing, when the source has fewer rows.
    :param max_changes: fail, and send nothing, when more rows are to be sent: a number, or a share of the
        contacts known.
    :param max_vanished: fail, and send nothing, when more of the contacts known are no longer in the source:
        a number, or a share.
    :param on_vanished: what is done with contacts that are no longer in the source: ``keep`` (nothing),
        ``untag`` (take ``tags`` off), ``unsubscribe`` or ``delete``.
    :param max_rejects: how many rows may go undelivered without failing the task: a number, or a share of the
        rows read.
    :param retry_rejects: send rows again that Customerly refused though they have not changed.
    :param full_resync: send all rows, whether they have changed or not.
    :param keep_days: remove rejects, plans and run records that are older, but for those that the next run
        needs; by default all are kept.
    :param dry_run: plan and stop; the result's ``plan`` can be applied later by ``plan_path``. In Airflow's
        rendered templates it is ``plan_only``, for an operator has a method named ``dry_run``.
    :param plan_path: a plan to apply exactly as it is, instead of reading rows.
    :param log_table: also insert the run's record into this table of the warehouse, and its rejects into
        ``<log_table>_rejects``; both are made when they are missing.
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
        "log_table",
    )
    template_ext: Sequence[str] = (".sql",)
    template_fields_renderers = {"sql": "sql", "field_mapping": "json"}
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
        self.log_table = log_table
        self._result: dict[str, Any] | None = None

    @cached_property
    def hook(self) -> CustomerlyHook:
        """The hook; its client is made at first use."""
        return CustomerlyHook(self.customerly_conn_id, max_concurrency=self.max_concurrency)

    def execute(self, context: Context) -> dict[str, Any]:
        """Sync the rows and return what came of it."""
        # The sync raises ValueError only for what it was told or given, and before it sends anything.
        with fail_at_once(ValueError, SyncRejectsError):
            arguments = checked(SyncArguments, EXPECTED, self)
            arguments.check()
            try:
                name = arguments.sync_name or self._default_name(context)
                self._result = self._sync(arguments, name, name_of_task_instance(context))
            except SyncRejectsError as error:
                self._result = error.result
                leave_result(self, context, error.result)
                raise
        tell_outlets(self.outlets, context, self._result)
        return self._result

    def on_kill(self) -> None:
        """Give up waiting for requests, so that the sync ends and notes what was answered."""
        self.hook.client.stop()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Tell OpenLineage what was read and written; its provider calls this, if it is installed."""
        from airflow_provider_customerly.transfers.lineage import sync_lineage

        return sync_lineage(self, self._result)

    def _default_name(self, context: Context) -> str:
        ti = context.get("ti")
        if ti is not None and ti.map_index is not None and ti.map_index >= 0:
            raise ValueError(
                "sync_name is missing. The instances of a mapped task would share one sync, and each would "
                "take the contacts of the others for vanished: name each mapped sync in sync_name."
            )
        return f"{self.dag_id}.{self.task_id}"

    def _sync(self, arguments: SyncArguments, name: str, owner: str) -> dict[str, Any]:
        state = find_location(arguments.state_path, arguments.state_conn_id)
        report = self._report(arguments)
        with self.hook.client as client:
            if arguments.plan_path is not None:
                return apply_plan(
                    client, arguments.plan_path, state, name, arguments, owner=owner, report=report
                )
            with self._source(arguments).open() as rows:
                if arguments.plan_only:
                    return plan_contacts(client, rows, state, name, arguments, owner=owner)
                return sync_contacts(client, rows, state, name, arguments, owner=owner, report=report)

    def _source(self, arguments: SyncArguments) -> SqlSource:
        return SqlSource(
            arguments.sql_conn_id or "",
            sql=arguments.sql,
            table=arguments.table,
            parameters=arguments.parameters,
            chunk_size=arguments.chunk_size,
        )

    def _report(self, arguments: SyncArguments) -> Callable[[RunRecord, Iterator[Reject]], None] | None:
        if arguments.log_table is None:
            return None
        log_table = LogTable(sql_hook(arguments.sql_conn_id or ""), arguments.log_table)
        log_table.prepare()
        return log_table.report
