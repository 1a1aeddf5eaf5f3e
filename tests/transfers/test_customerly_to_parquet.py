import json
import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import Asset, AssetAlias, ObjectStoragePath
from deltalake import DeltaTable
from places import delta_options

from airflow_provider_customerly.client import CustomerlyUnavailable
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import ExportGuardError, contact_schema, read_contacts
from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator

TOKEN = "tok-91c0de"
Connect = Callable[..., None]


class TaskInstance(NamedTuple):
    dag_id: str
    run_id: str
    task_id: str
    map_index: int


pytestmark = [pytest.mark.emulator(users=430, leads=60, token=TOKEN), pytest.mark.usefixtures("connect")]


def operator(folder: Path, **arguments: Any) -> CustomerlyToParquetOperator:
    return CustomerlyToParquetOperator(
        **{"task_id": "export", "path": str(folder), "snapshot_date": "2026-11-23", **arguments}
    )


def emails(emulator: Emulator, contact_type: Any) -> set[str | None]:
    page, found = 0, set()
    while rows := json.loads(emulator.store.page(contact_type, page, 100, "last_update", "asc")):
        found |= {row["email"] for row in rows}
        page += 1
    return found


@pytest.mark.parametrize(("contact_type", "count"), [("users", 430), ("leads", 60)])
def test_exports_every_contact(emulator: Emulator, tmp_path: Path, contact_type: str, count: int) -> None:
    result = operator(tmp_path, contact_type=contact_type).execute({})
    table = read_contacts(str(tmp_path), contact_type).to_table()
    assert result["rows"] == table.num_rows == count
    assert result["verdict"] == "complete"
    assert table.schema.equals(contact_schema(contact_type))
    assert set(table["email"].to_pylist()) == emails(emulator, contact_type)
    assert (tmp_path / contact_type / "snapshot_date=2026-11-23").is_dir()


def test_result_is_small_and_holds_no_personal_data(emulator: Emulator, tmp_path: Path) -> None:
    text = json.dumps(operator(tmp_path).execute({}))
    assert len(text) < 4000
    assert "@" not in text
    assert TOKEN not in text


def test_result_goes_into_the_event_of_each_asset(tmp_path: Path) -> None:
    class Event:
        def __init__(self) -> None:
            self.extra: dict[str, Any] = {}

    one, two, alias = Asset(name="one"), Asset(name="two"), AssetAlias(name="alias")
    first, second = Event(), Event()

    class Events:  # assets of Airflow 3.1 cannot be keys of a dict
        def __getitem__(self, asset: Asset) -> Event:
            return first if asset.name == "one" else second

    result = operator(tmp_path, outlets=[one, two, alias]).execute({"outlet_events": Events()})
    assert first.extra == second.extra == result


def test_numbers_from_templates_come_as_text(tmp_path: Path) -> None:
    assert operator(tmp_path, min_rows="430", max_shrink="0.5").execute({})["rows"] == 430


def test_changes_are_added_night_by_night(emulator: Emulator, tmp_path: Path) -> None:
    night = {"mode": "incremental", "full_refresh_every": "P7D", "lookback": "PT0S", "keep_manifests": "2"}
    assert operator(tmp_path, **night).execute({})["mode"] == "snapshot"
    for number, contact_id in enumerate(sorted(emulator.store.versions("users"))[:3]):
        emulator.store.update("users", contact_id, {"name": f"Changed {number}"})
        result = operator(tmp_path, **night).execute({})
        assert (result["mode"], result["verdict"]) == ("incremental", "complete")
    assert operator(tmp_path, full_refresh="True", **night).execute({})["mode"] == "snapshot"
    names = read_contacts(tmp_path, "users").to_table(columns=["name"])["name"].to_pylist()
    assert (len(names), sum(str(name).startswith("Changed") for name in names)) == (430, 3)


def test_guards_from_templates_come_as_text(tmp_path: Path) -> None:
    guards = {"max_vanished": "0.5", "max_coercion_failures": "0", "max_null_share": {"email": "0.5"}}
    assert operator(tmp_path, **guards, keep_days="1.5").execute({})["rows"] == 430
    with pytest.raises(ExportGuardError, match=r"of column user_id are null: more than max_null_share=0\.0"):
        operator(tmp_path, max_null_share={"user_id": 0}).execute({})


@pytest.mark.parametrize("form", ["s3://{connection}@{place}", "s3://{place}"])
def test_s3_by_connection_id(
    s3_location: Location, s3_connection: str, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)  # only the connection knows
    path = form.format(connection=s3_connection, place=s3_location.root)
    conn_id = None if "@" in path else s3_connection
    for mode in ("snapshot", "incremental"):
        task = CustomerlyToParquetOperator(task_id="export", path=path, path_conn_id=conn_id, mode=mode)
        task.snapshot_date = "2026-11-23"
        assert task.execute({})["verdict"] == "complete"
    dataset = read_contacts(ObjectStoragePath(path, conn_id=s3_connection), "users")
    assert dataset.count_rows() == len(set(dataset.to_table()["crmhero_user_id"].to_pylist())) == 430


@pytest.mark.parametrize("contact_type", ["users", "leads"])
def test_a_delta_table_on_s3_by_connection_id(
    s3_location: Location, s3_connection: str, monkeypatch: pytest.MonkeyPatch, contact_type: str
) -> None:
    options = delta_options(s3_location)
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)  # only the connection knows
    path = f"s3://{s3_connection}@{s3_location.root}"
    for day in (22, 23):
        task = CustomerlyToParquetOperator(task_id="export", path=path, table_format="delta")
        task.contact_type, task.snapshot_date = contact_type, f"2026-11-{day}"
        task.execute({})
    for version in (0, 1):
        table = DeltaTable(f"{s3_location}/{contact_type}", version, options).to_pyarrow_table()
        assert set(table["snapshot_date"].to_pylist()) == {date(2026, 11, 22 + version)}
        read = read_contacts(ObjectStoragePath(path), contact_type, as_of=version + 1).to_table()
        by_id = [("crmhero_user_id", "ascending")]
        assert table.select(read.column_names).sort_by(by_id).equals(read.sort_by(by_id))


@pytest.mark.emulator(users=12_000)
def test_the_next_try_goes_on_where_the_last_one_stopped(
    emulator: Emulator, connect: Connect, tmp_path: Path
) -> None:
    ti = TaskInstance(dag_id="nightly", run_id="manual", task_id="export", map_index=-1)
    connect(extra={"retry_budget": 0})
    emulator.faults.plan([None] * 100 + ["500"])
    with pytest.raises(CustomerlyUnavailable):
        operator(tmp_path).execute({"ti": ti})
    emulator.service.stats.reset()
    emulator.faults.clear()
    result = operator(tmp_path).execute({"ti": ti})
    assert result["rows"] == 12_000
    assert emulator.stats()["requests"] < 60
    assert set(versions(tmp_path)) == set(emulator.store.versions("users"))


def versions(folder: Path) -> list[int]:
    ids: list[int] = read_contacts(folder, "users").to_table(columns=["crmhero_user_id"])[0].to_pylist()
    assert len(ids) == len(set(ids))
    return ids


def test_columns_can_be_chosen_dropped_and_hashed(
    connect: Connect, emulator: Emulator, tmp_path: Path
) -> None:
    connect(extra={"hash_secret": "pepper"})
    columns = ["crmhero_user_id", "email", "name", "last_update"]
    operator(tmp_path, columns=columns, drop_columns=["name"], hash_columns=["email"]).execute({})
    table = read_contacts(str(tmp_path), "users").to_table()
    assert table.column_names == ["crmhero_user_id", "email", "last_update"]
    hashes = {text for text in table["email"].to_pylist() if text}
    assert {len(text) for text in hashes} == {64}
    assert len(hashes) == len(emails(emulator, "users") - {None})


def test_log_tells_progress_and_no_personal_data(
    emulator: Emulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        operator(tmp_path).execute({})
    assert "430" in caplog.text
    assert TOKEN not in caplog.text
    assert not [email for email in emails(emulator, "users") if email and email in caplog.text]


def test_failed_guard_keeps_the_last_export(emulator: Emulator, tmp_path: Path) -> None:
    operator(tmp_path).execute({})
    with pytest.raises(Exception, match="min_rows"):
        operator(tmp_path, snapshot_date="2026-11-24", min_rows=431).execute({})
    assert read_contacts(str(tmp_path), "users").count_rows() == 430
    assert not list(tmp_path.glob("users/snapshot_date=2026-11-24/*"))


def test_unknown_token_is_asked_for_once(connect: Connect, emulator: Emulator, tmp_path: Path) -> None:
    connect(password="revoked-77")
    with pytest.raises(AirflowFailException, match="Create a new access token") as error:
        operator(tmp_path).execute({})
    assert "revoked-77" not in str(error.value)
    assert emulator.stats()["by_request"] == {"GET /users/list": 1}
    assert not list(tmp_path.rglob("*.parquet"))


def test_outage_is_left_to_airflows_retries(connect: Connect, tmp_path: Path) -> None:
    connect(host="http://127.0.0.1:9/v1", extra={"retry_budget": 0})
    with pytest.raises(CustomerlyUnavailable):
        operator(tmp_path).execute({})


BAD_ARGUMENTS = [
    ({"path": ""}, "path must not be blank"),
    ({"path": " \n"}, "path must not be blank"),
    ({"path": "nosuchscheme://bucket/crm"}, "No installed package handles nosuchscheme:// paths"),
    ({"path": "s3://nowhere@bucket/crm"}, "There is no connection 'nowhere'"),
    ({"path": "s3://bucket/crm", "path_conn_id": "nowhere"}, "There is no connection 'nowhere'"),
    (
        {"customerly_conn_id": "nowhere"},
        "no connection 'nowhere'. Add an Airflow connection of type Customerly",
    ),
    ({"path": "/proc/no/such/place"}, "Cannot write to /proc/no/such/place"),
    ({"contact_type": "companies"}, "contact_type must be users or leads. It is 'companies'."),
    ({"mode": "full"}, "mode must be snapshot or incremental. It is 'full'."),
    ({"lookback": "ten minutes"}, "lookback must be a duration"),
    ({"lookback": "-PT1M"}, "lookback must be a duration"),
    ({"full_refresh_every": "weekly"}, "full_refresh_every must be a duration"),
    ({"full_refresh": "perhaps"}, "full_refresh must be true or false"),
    ({"max_vanished": 2}, "max_vanished must be a share"),
    ({"max_null_share": {"email": 20}}, "max_null_share must map columns to shares"),
    ({"max_null_share": 0.2}, "max_null_share must map columns to shares"),
    ({"max_null_share": {"e-mail": 0.2}}, "max_null_share names columns"),
    ({"max_coercion_failures": -1}, "max_coercion_failures must be a whole number"),
    ({"keep_manifests": 0}, "keep_manifests must be a whole number"),
    ({"keep_days": "some"}, "keep_days must be a number"),
    ({"snapshot_date": "yesterday"}, "snapshot_date must be a day"),
    ({"snapshot_date": "2026-02-30"}, "snapshot_date must be a day"),
    ({"snapshot_date": ""}, "snapshot_date must be a day"),
    ({"columns": ["crmhero_user_id", "e-mail"]}, "e-mail"),
    ({"columns": "email"}, "columns must be a list of columns, or None for all"),
    ({"attributes": {"plan": "text"}}, "plan"),
    ({"attributes": ["plan"]}, "attributes must be a dictionary"),
    ({"attributes": {"email": "string"}}, "email"),
    ({"drop_columns": ["e-mail"]}, "e-mail"),
    ({"hash_columns": ["e-mail"]}, "hash_columns"),
    ({"hash_columns": ["email"]}, "hash_secret"),
    ({"min_rows": -1}, "min_rows must be a whole number, 0 or more. It is -1."),
    ({"min_rows": "5,000"}, "min_rows must be a whole number, 0 or more. It is '5,000'."),
    ({"max_shrink": 1.5}, "max_shrink must be a share"),
    ({"max_shrink": "half"}, "max_shrink must be a share"),
    ({"on_unproven": "ignore"}, "on_unproven must be fail or warn. It is 'ignore'."),
    ({"page_size": 10}, "page_size"),
    ({"page_size": 101}, "page_size"),
    ({"max_concurrency": 0}, "max_concurrency"),
    ({"table_format": "iceberg"}, "table_format must be parquet or delta. It is 'iceberg'."),
    ({"table_format": "delta", "attributes": {"Plan type": "string"}}, "columns named 'Plan type'"),
    ({"compression": "rar"}, "compression must be zstd, snappy, gzip, lz4 or none. It is 'rar'."),
    ({"row_group_size": 0}, "row_group_size must be a whole number, 1 or more"),
]


@pytest.mark.parametrize(("arguments", "told"), BAD_ARGUMENTS)
def test_bad_argument_fails_at_once_and_before_the_first_request(
    emulator: Emulator, tmp_path: Path, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises((AirflowFailException, ValueError), match=told):
        operator(tmp_path, **arguments).execute({})
    assert emulator.stats()["requests"] == 0
    assert not list(tmp_path.rglob("*.parquet"))


BAD_CONNECTIONS = [
    ({"password": ""}, "no access token"),
    ({"password": "two words"}, "access token holds white space"),
    ({"host": "ftp://crm.example"}, "host"),
    ({"host": "http://crm.example"}, "allow_insecure_http"),
    ({"extra": {"page_size": 1000}}, "extra field 'page_size'"),
    ({"extra": {"timeout": "soon"}}, "extra field 'timeout'"),
    ({"extra": {"auth_header": "basic"}}, "extra field 'auth_header' must be bearer or legacy"),
]


@pytest.mark.parametrize(("fields", "told"), BAD_CONNECTIONS)
def test_bad_connection_fails_at_once_and_names_itself(
    connect: Connect, emulator: Emulator, tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    connect(**fields)
    with pytest.raises(AirflowFailException, match=f"'customerly_default'.*{told}"):
        operator(tmp_path).execute({})
    assert emulator.stats()["requests"] == 0


def test_a_wrong_path_of_the_host_is_told_as_such(
    connect: Connect, emulator: Emulator, tmp_path: Path
) -> None:
    connect(host=f"{emulator.origin}/nothing")
    with pytest.raises(AirflowFailException, match="Check the path in the connection's host"):
        operator(tmp_path).execute({})


def test_constructor_only_assigns() -> None:
    task = CustomerlyToParquetOperator(
        task_id="export", path="{{ params.path }}", min_rows="{{ params.rows }}"
    )
    assert (task.path, task.min_rows) == ("{{ params.path }}", "{{ params.rows }}")
    with pytest.raises(TypeError):
        CustomerlyToParquetOperator("export", "/data")  # type: ignore[misc]


def test_no_secret_can_be_rendered() -> None:
    fields = CustomerlyToParquetOperator.template_fields
    assert not {name for name in fields if "secret" in name or "salt" in name or "token" in name}
