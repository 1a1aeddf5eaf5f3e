"""Export the project's other lists: tags, teammates, and the help centre's collections and articles.

They are short, so each is held in memory as a whole. Their shapes are known from second-hand documentation,
and those of the help centre not at all, so everything without a column is kept as JSON text.
"""

from __future__ import annotations

import logging
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import pyarrow as pa

from airflow_provider_customerly.client import CustomerlyProtocolError
from airflow_provider_customerly.client.meter import Meter
from airflow_provider_customerly.export.delta import check_delta, publish, warn_if_stale
from airflow_provider_customerly.export.guards import Guards, UnprovenError
from airflow_provider_customerly.export.intent import refuse_a_day_that_is_over, refuse_another_project
from airflow_provider_customerly.export.read import open_commit
from airflow_provider_customerly.storage import VERSIONS, Column, Dataset, Location, Manifest
from airflow_provider_customerly.values.words import count

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow.dataset as ds

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.export.options import TableFormat

log = logging.getLogger(__name__)

Stream = Literal["tags", "accounts", "knowledge_collections", "knowledge_articles"]

_RECORDS = pa.schema([pa.field("record", pa.string(), nullable=False)])
_SCHEMAS: dict[str, pa.Schema] = {
    "tags": pa.schema([pa.field("tag", pa.string(), nullable=False)]),
    "accounts": pa.schema([("account_id", pa.string()), ("email", pa.string()), ("extra", pa.string())]),
    "knowledge_collections": _RECORDS,
    "knowledge_articles": _RECORDS,
}
_ARTICLES_A_PAGE = 50
_MOST_PAGES = 10_000
_PASSES = 6


def export_stream(
    client: Client,
    path: Any,
    stream: Stream,
    *,
    snapshot_date: date | str,
    min_rows: int = 0,
    max_shrink: float | None = None,
    table_format: TableFormat = "parquet",
) -> dict[str, Any]:
    """Read a list and commit it as the snapshot of a day, replacing an earlier one of that day.

    :param path: folder of the export: text, ``os.PathLike``, Airflow's ``ObjectStoragePath`` or a
        ``Location``.
    :param min_rows: minimum number of rows.
    :param max_shrink: maximum share by which the list may shrink compared to the last snapshot.
    :param table_format: ``delta`` also publishes each commit as a version of a Delta table.
    :return: counts and paths; no personal data.
    :raises ValueError: an argument is invalid. Nothing was requested or written.
    :raises CustomerlyError: the API failed. Nothing was committed.
    :raises ExportGuardError: a guard failed, or the list kept changing. Nothing was committed.
    :raises CommitConflictError: another run committed meanwhile. This run committed nothing.
    :raises DeltaError: the list is committed, but is not in the Delta table yet.
    """
    day = date.fromisoformat(str(snapshot_date)[:10])
    partition = {"snapshot_date": day.isoformat()}
    location = locate_stream(path, stream)
    if table_format == "delta":
        check_delta(location, _SCHEMAS[stream])
    location.check_writable()
    dataset, started, meter, guards = Dataset(location), datetime.now(timezone.utc), Meter(client), Guards()
    with dataset.begin() as write:
        write.publish = lambda: publish(dataset) if table_format == "delta" else warn_if_stale(dataset)
        refuse_another_project(location, write.before, client.base_url)
        refuse_a_day_that_is_over(dataset, write.before, day)
        records, passes = _read(client, stream)
        guards.check_rows(len(records), write.before, min_rows, max_shrink)
        table = _table(stream, records)
        with write.create_part(partition, table.schema) as part:
            part.write(table)
            file = part.close()
        manifest = write.commit(
            Manifest(
                run=write.run,
                mode="snapshot",
                partition=partition,
                files=[file],
                rows=table.num_rows,
                schema=[Column(field.name, str(field.type)) for field in table.schema],
                certificate={"verdict": "complete", "reason": None, "passes": passes},
                source=client.base_url,
                versions=VERSIONS,
                started_at=started,
                finished_at=datetime.now(timezone.utc),
            )
        )
    result = {
        "stream": stream,
        "rows": manifest.rows,
        "rows_before": None if write.before is None else write.before.rows,
        "bytes": sum(entry.bytes for entry in manifest.files),
        "path": str(location),
        "manifest": manifest.name,
        "verdict": "complete",
        "guards": guards.told(),
        **meter.figures(),
        "seconds": round((manifest.finished_at - started).total_seconds(), 3),
    }
    log.info(
        "Committed %s: %s, %s.\n%s/%s",
        result["stream"],
        count(manifest.rows, "row"),
        count(result["requests"], "request"),
        result["path"],
        result["manifest"],
    )
    return result


def read_stream(path: Any, stream: Stream) -> ds.Dataset:
    """Open the newest committed export of a list.

    :raises ValueError: the path is blank or the stream is unknown.
    :raises FileNotFoundError: nothing has been committed there yet.
    """
    location = locate_stream(path, stream)

    def newest() -> Manifest:
        manifest = Dataset(location).newest()
        if manifest is None:
            raise FileNotFoundError(
                f"No export of {stream} has been committed at {location}. Run one, or check the path."
            )
        return manifest

    return open_commit(location, newest)


def locate_stream(path: Any, stream: str) -> Location:
    """Return the folder of a list.

    :raises ValueError: the path is blank or the stream is unknown.
    """
    if stream not in get_args(Stream):
        raise ValueError(f"Unknown stream {stream!r}. Choose one of: {', '.join(get_args(Stream))}.")
    return Location.of(path).join(stream)


def _read(client: Client, stream: Stream) -> tuple[list[Any], int]:
    """Read a list until it is the same twice, or three times if it is empty.

    A server may return an empty list by mistake, and the list may change between two pages.

    :return: the records, and how often the list was read.
    """
    read: dict[str, Callable[[], list[Any]]] = {
        "tags": client.list_tags,
        "accounts": client.list_accounts,
        "knowledge_collections": client.list_knowledge_collections,
        "knowledge_articles": lambda: _articles(client),
    }
    before: list[Any] | None = None
    alike = 0
    for number in range(1, _PASSES + 1):
        found = read[stream]()
        alike = alike + 1 if found == before else 1
        if alike == (2 if found else 3):
            return found, number
        before = found
    raise UnprovenError(
        f"The list of {stream} kept changing: {_PASSES} attempts to read it all differed. Nothing was "
        "committed. Try again at a quieter time."
    )


def _articles(client: Client) -> list[Any]:
    found: list[Any] = []
    last: list[Any] = []
    for page in range(_MOST_PAGES):
        some = client.list_knowledge_articles(page=page, per_page=_ARTICLES_A_PAGE)
        if not some:
            return found
        if some == last:
            break
        found += some
        last = some
    raise CustomerlyProtocolError(
        "the pages of the help centre's articles repeat or do not end",
        request="GET /knowledge/articles/",
        advice="Report this to Customerly's support.",
    )


def _table(stream: Stream, records: list[Any]) -> pa.Table:
    rows: list[dict[str, Any]]
    if stream == "tags":
        rows = [{"tag": record if isinstance(record, str) else _json(record)} for record in records]
    elif stream == "accounts":
        rows = [_account(record) for record in records]
    else:
        rows = [{"record": _json(record)} for record in records]
    return pa.Table.from_pylist(rows, schema=_SCHEMAS[stream])


def _account(record: Any) -> dict[str, str | None]:
    rest = dict(record) if isinstance(record, dict) else {"record": record}
    account_id, email = rest.pop("account_id", None), rest.pop("email", None)
    if email is not None and not isinstance(email, str):
        rest["email"], email = email, None
    return {
        "account_id": None if account_id is None else str(account_id),
        "email": email,
        "extra": _json(rest),
    }


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
