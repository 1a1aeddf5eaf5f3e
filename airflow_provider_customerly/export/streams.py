"""Exports the project's other lists: tags, teammates, and the help centre's collections and articles.

They are short, so each is read whole and held in memory. Their shapes are known second-hand, those of the
help centre not at all: what has no column of its own stays whole as JSON text.
"""

from __future__ import annotations

import logging
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from airflow_provider_customerly.client import CustomerlyProtocolError
from airflow_provider_customerly.export.current import open_files
from airflow_provider_customerly.export.guards import UnprovenError, check_rows
from airflow_provider_customerly.export.writer import VERSIONS
from airflow_provider_customerly.storage import Column, Dataset, FileEntry, Location, Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.storage import Write

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
_PASSES = 5


def export_stream(
    client: Client,
    path: Any,
    stream: Stream,
    *,
    snapshot_date: date | str,
    min_rows: int = 0,
    max_shrink: float | None = None,
    owner: str = "",
) -> dict[str, Any]:
    """Read a list and commit it as the snapshot of a day, replacing an earlier one of that day.

    :param path: folder of the export: text, `os.PathLike`, Airflow's `ObjectStoragePath` or a `Location`.
    :param min_rows: fewest rows that are believed.
    :param max_shrink: largest share of the last snapshot's rows that may be missing from this one.
    :param owner: names what stays the same when the work is tried again.
    :return: a few figures and paths; nothing personal.
    :raises ValueError: an argument is wrong; nothing was asked for or written.
    :raises CustomerlyError: the API failed; nothing was committed.
    :raises ExportGuardError: a guard was breached, or the list did not hold still; nothing was committed.
    """
    partition = {"snapshot_date": date.fromisoformat(str(snapshot_date)).isoformat()}
    location = locate_stream(path, stream)
    location.check_writable()
    dataset, started, requests = Dataset(location), datetime.now(timezone.utc), client.requests_sent
    with dataset.begin(owner) as write:
        records, passes = _read(client, stream)
        check_rows(len(records), dataset.newest(), min_rows, max_shrink)
        table = _table(stream, records)
        manifest = write.commit(
            Manifest(
                run=write.run,
                mode="snapshot",
                partition=partition,
                files=[_write_part(write, partition, table)],
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
        "bytes": manifest.files[0].bytes,
        "path": str(location),
        "manifest": manifest.name,
        "verdict": "complete",
        "requests": client.requests_sent - requests,
    }
    log.info(
        "Committed %s: %d rows, %d requests. Manifest: %s/%s",
        *(result[name] for name in ("stream", "rows", "requests", "path", "manifest")),
    )
    return result


def read_stream(path: Any, stream: Stream) -> ds.Dataset:
    """Open the newest committed export of a list.

    :raises ValueError: the path is blank or the stream unknown.
    :raises FileNotFoundError: nothing has been committed there yet.
    """
    location = locate_stream(path, stream)
    manifest = Dataset(location).newest()
    if manifest is None:
        raise FileNotFoundError(
            f"No export of {stream} has been committed at {location}. Run one, or check the path."
        )
    return open_files(location, manifest.files)


def locate_stream(path: Any, stream: str) -> Location:
    """Give the folder of a list.

    :raises ValueError: the path is blank or the stream unknown.
    """
    if stream not in get_args(Stream):
        raise ValueError(f"Unknown stream {stream!r}. Choose one of: {', '.join(get_args(Stream))}.")
    return Location.of(path).join(stream)


def _read(client: Client, stream: Stream) -> tuple[list[Any], int]:
    """Read a list, and tell how often it was read."""
    once: dict[str, Callable[[], Any]] = {
        "tags": client.list_tags,
        "accounts": client.list_accounts,
        "knowledge_collections": client.list_knowledge_collections,
    }
    if stream in once:
        return _records(once[stream]()), 1
    # Articles come in pages of a list that may move meanwhile: it is believed once it was read twice alike.
    before = None
    for number in range(1, _PASSES + 1):
        found = _articles(client)
        if found == before:
            return found, number
        before = found
    raise UnprovenError(
        f"The help centre's articles changed during each of {_PASSES} readings. Nothing was committed. "
        "Try again at a quieter hour."
    )


def _articles(client: Client) -> list[Any]:
    found: list[Any] = []
    last: list[Any] = []
    for page in range(_MOST_PAGES):
        some = _records(client.list_knowledge_articles(page=page, per_page=_ARTICLES_A_PAGE))
        if not some:
            return found
        if some == last:
            break
        found += some
        last = some
    raise CustomerlyProtocolError(
        "the pages of the help centre's articles repeat or do not end",
        request="GET /knowledge/articles/",
        advice="Report it to Customerly's support.",
    )


def _records(data: Any) -> list[Any]:
    """Give the records of an answer: a list, or an object with nothing but a list in it."""
    if isinstance(data, dict) and len(data) == 1:
        [data] = data.values()
    if data is None or data == {}:
        return []
    if not isinstance(data, list):
        raise CustomerlyProtocolError("the answer is no list", advice="Report it to Customerly's support.")
    return data


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


def _write_part(write: Write, partition: dict[str, str], table: pa.Table) -> FileEntry:
    name = write.part_path(partition)
    sink = write.location.create(name)
    pq.write_table(table, sink, compression="zstd")
    sink.close()
    return FileEntry(path=name, rows=table.num_rows, bytes=sink.bytes, sha256=sink.sha256)
