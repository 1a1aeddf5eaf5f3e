"""The project's other lists: read whole, committed in one step, on a disk and on S3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from deltalake import DeltaTable

from airflow_provider_customerly.client import Client, CustomerlyProtocolError, CustomerlyUnavailable
from airflow_provider_customerly.emulator.relations import ACCOUNTS, ARTICLES, COLLECTIONS
from airflow_provider_customerly.export import ExportGuardError, export_stream, read_stream
from airflow_provider_customerly.transfers.customerly_stream_to_parquet import (
    CustomerlyStreamToParquetOperator,
)

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator
    from airflow_provider_customerly.storage import Location


pytestmark = [pytest.mark.emulator(users=50, leads=5), pytest.mark.usefixtures("connect")]


def export(emulator: Emulator, path: Any, stream: Any, **options: Any) -> dict[str, Any]:
    with Client(emulator.token, emulator.url, retry_budget=1) as client:
        return export_stream(client, path, stream, **{"snapshot_date": "2026-11-23", **options})


def operator(folder: Path, **arguments: Any) -> CustomerlyStreamToParquetOperator:
    named = {"task_id": "export", "path": str(folder), "snapshot_date": "2026-11-23", **arguments}
    return CustomerlyStreamToParquetOperator(**named)


def records(location: Location, stream: Any) -> list[Any]:
    return [json.loads(text) for text in read_stream(location, stream).to_table()["record"].to_pylist()]


def test_each_list_arrives_whole(emulator: Emulator, location: Location) -> None:
    for stream in ("tags", "accounts", "knowledge_collections", "knowledge_articles"):
        assert export(emulator, location, stream)["verdict"] == "complete"
    tags = read_stream(location, "tags").to_table()
    assert sorted(tags["tag"].to_pylist()) == sorted(emulator.store.tag_names())
    accounts = read_stream(location, "accounts").to_table().to_pylist()
    assert [(one["account_id"], one["email"]) for one in accounts] == [
        (str(one["account_id"]), one["email"]) for one in ACCOUNTS
    ]
    assert records(location, "knowledge_collections") == json.loads(json.dumps(COLLECTIONS))
    assert records(location, "knowledge_articles") == json.loads(json.dumps(ARTICLES))


def test_a_day_again_replaces_itself_and_an_empty_list_has_its_schema(
    emulator: Emulator, location: Location
) -> None:
    export(emulator, location, "tags")
    for tag in emulator.store.tag_names():
        emulator.store.delete_tag(tag)
    assert export(emulator, location, "tags")["rows"] == 0
    dataset = read_stream(location, "tags")
    assert (dataset.schema.names, dataset.count_rows()) == (["tag"], 0)
    assert dataset.schema.field("tag").type == pa.string()
    assert sum(name.endswith(".parquet") for name in location.list()) == 1


def test_a_list_as_a_delta_table(tmp_path: Path) -> None:
    for day in ("2026-11-23", "2026-11-24"):
        operator(tmp_path, stream="accounts", table_format="delta", snapshot_date=day).execute({})
    table = DeltaTable(str(tmp_path / "accounts"))
    rows = table.to_pyarrow_table()
    assert table.version() == 1
    assert {f"{day}" for day in rows["snapshot_date"].to_pylist()} == {"2026-11-24"}
    assert rows.drop_columns("snapshot_date").equals(read_stream(tmp_path, "accounts").to_table())


@pytest.mark.parametrize("guard", [{"min_rows": 1000}, {"max_shrink": 0.0}])
def test_guards_and_outages_keep_the_last_export(
    emulator: Emulator, location: Location, guard: dict[str, Any]
) -> None:
    before = export(emulator, location, "tags")["rows"]
    emulator.store.delete_tag(emulator.store.tag_names()[0])
    with pytest.raises(ExportGuardError, match=next(iter(guard))):
        export(emulator, location, "tags", snapshot_date="2026-11-24", **guard)
    emulator.faults.set({"down": 1.0})
    with pytest.raises(CustomerlyUnavailable):
        export(emulator, location, "tags", snapshot_date="2026-11-24")
    assert read_stream(location, "tags").count_rows() == before
    assert sum(name.endswith(".parquet") for name in location.list()) == 1


def test_pages_that_repeat_are_no_end_of_a_list(emulator: Emulator, tmp_path: Path) -> None:
    class Repeats(Client):
        def list_knowledge_articles(self, *args: Any, **pages: Any) -> Any:
            return super().list_knowledge_articles(page=0, per_page=pages["per_page"])

    with (
        Repeats(emulator.token, emulator.url) as client,
        pytest.raises(CustomerlyProtocolError, match="repeat or do not end"),
    ):
        export_stream(client, tmp_path, "knowledge_articles", snapshot_date="2026-11-23")


def test_the_operator_exports_and_tells_what_is_wrong(emulator: Emulator, tmp_path: Path) -> None:
    assert operator(tmp_path, stream="accounts").execute({})["rows"] == len(ACCOUNTS)
    for arguments, told in (
        (
            {"stream": "events"},
            "stream must be tags, accounts, knowledge_collections or knowledge_articles. It is",
        ),
        ({"stream": "tags", "path": " "}, "path must not be blank"),
        ({"stream": "tags", "snapshot_date": "yesterday"}, "snapshot_date must be a day"),
        ({"stream": "tags", "max_shrink": 2}, "max_shrink must be a share"),
    ):
        with pytest.raises((AirflowFailException, ValueError), match=told):
            operator(tmp_path, **arguments).execute({})
