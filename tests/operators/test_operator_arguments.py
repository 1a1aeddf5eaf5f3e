"""Arguments of operators: checked when the DAG is parsed as far as they are known, rendered without loss."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, XComArg

from airflow_provider_customerly.operators.base import checked
from airflow_provider_customerly.operators.contacts import (
    CustomerlyDeleteContactsOperator,
    CustomerlyTagContactsOperator,
)
from airflow_provider_customerly.transfers.customerly_stream_to_parquet import (
    CustomerlyStreamToParquetOperator,
)
from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator
    from airflow_provider_customerly.operators.base import CustomerlyOperator

SYNC: dict[str, Any] = {"state_path": "/state", "sql_conn_id": "warehouse"}
DELETE: dict[str, Any] = {"emails": ["ada@x.test"]}


def sync(**arguments: Any) -> SqlToCustomerlyOperator:
    return SqlToCustomerlyOperator(task_id="sync", **{**SYNC, **arguments})


def export(**arguments: Any) -> CustomerlyToParquetOperator:
    return CustomerlyToParquetOperator(task_id="export", **{"path": "/data", **arguments})


def stream(**arguments: Any) -> CustomerlyStreamToParquetOperator:
    return CustomerlyStreamToParquetOperator(task_id="export", **{"path": "/data", **arguments})


def delete(**arguments: Any) -> CustomerlyDeleteContactsOperator:
    return CustomerlyDeleteContactsOperator(task_id="erase", **arguments)


def tag(**arguments: Any) -> CustomerlyTagContactsOperator:
    return CustomerlyTagContactsOperator(task_id="tag", **{"tag": "vip", **arguments})


@pytest.mark.parametrize(
    ("operator", "arguments", "told"),
    [
        (
            sync,
            {"table": "t", "on_vanished": "remove"},
            "on_vanished must be keep, untag, unsubscribe or delete",
        ),
        (
            sync,
            {"table": "t", "batch_size": 1000},
            "batch_size must be a whole number from 1 to 100. It is 1000.",
        ),
        (
            sync,
            {"table": "t", "batch_size": "{{ params.x }}"},
            "It is '{{ params.x }}'. This argument cannot be a",
        ),
        (sync, {"table": "t", "max_concurrency": 65}, "max_concurrency must be a whole number from 1 to 64"),
        (sync, {"table": "t", "null_as_empty": "perhaps"}, "null_as_empty must be true or false"),
        (sync, {"table": "t", "sql": "select 1"}, "either sql or table"),
        (sync, {"table": "t", "sql": "contacts.sql"}, "either sql or table"),
        (sync, {}, "Set sql or table"),
        (sync, {"sql": "delete from t"}, "sql must be a query, and is DELETE"),
        (sync, {"table": "t; drop table t"}, "is not the name of a table"),
        (sync, {"table": "t", "log_table": "1log"}, "is not the name of a table"),
        (sync, {"table": "t", "timezone": "Mars/Olympus"}, "no time zone 'Mars/Olympus'"),
        (sync, {"table": "t", "field_mapping": {"a": "status"}}, "which is not a field of a contact"),
        (sync, {"table": "t", "max_rejects": "many"}, "max_rejects must be a number of rows"),
        (sync, {"table": "t", "on_vanished": "untag"}, "Set tags"),
        (
            sync,
            {"table": "t", "contact_type": "people"},
            "contact_type must be users or leads. It is 'people'.",
        ),
        (export, {"page_size": 1000}, "page_size must be a whole number from 20 to 100, or None"),
        (export, {"mode": "full"}, "mode must be snapshot or incremental. It is 'full'."),
        (export, {"columns": ["emial"]}, "columns names unknown columns: emial"),
        (export, {"attributes": {"plan": "text"}}, "attributes: unknown type 'text' for 'plan'"),
        (export, {"attributes": {"Email": "string"}}, "Customerly's field email"),
        (
            export,
            {"max_null_share": {"emial": 0.1}},
            "max_null_share names columns that this export does not",
        ),
        (export, {"drop_columns": ["email"], "hash_columns": ["email"]}, "which this export leaves out"),
        (export, {"full_refresh_every": "weekly"}, "full_refresh_every must be a duration"),
        (export, {"lookback": "P9000000D"}, "lookback must be a duration of at most 36500 days"),
        (export, {"keep_days": 1e10}, "keep_days must be a number of days from 0 to 36500"),
        (export, {"snapshot_date": "yesterday"}, "snapshot_date must be a day as YYYY-MM-DD"),
        (export, {"compression": "{{ params.x }}"}, "This argument cannot be a template."),
        (
            stream,
            {"stream": "events"},
            "stream must be tags, accounts, knowledge_collections or knowledge_art",
        ),
        (stream, {"stream": "tags", "max_shrink": 50}, "max_shrink must be a share from 0 to 1"),
        (delete, {}, "exactly one of emails, user_ids and sql"),
        (delete, {"sql": "select 1"}, "sql_conn_id is missing"),
        (delete, {**DELETE, "max_deletions": "many"}, "max_deletions must be a whole number, 0 or more"),
        (delete, {"user_ids": [1], "contact_type": "leads"}, "Leads have no user_id"),
        (tag, {**DELETE, "batch_size": 101}, "batch_size must be a whole number from 1 to 100"),
        (tag, {**DELETE, "tag": " "}, "tag must not be blank"),
    ],
)
def test_a_literal_that_is_wrong_is_refused_when_the_dag_is_parsed(
    operator: Any, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=r"^\w+Operator '(sync|export|erase|tag)': ") as failure:
        operator(**arguments)
    assert told in str(failure.value)
    assert "ada@x.test" not in str(failure.value)


def test_what_a_run_decides_is_left_to_the_run() -> None:
    with DAG("d"):
        upstream = XComArg(delete(**DELETE))
        sync(sql="{{ params.sql }}", table="{{ params.table }}", on_vanished="keep")
    with DAG("d"):
        upstream = XComArg(tag(**DELETE))
        sync(table=upstream, max_vanished="{{ params.limit }}", tags=["{{ params.tag }}"], booleans=upstream)
        delete(emails="{{ params.emails }}", user_ids="{{ params.ids }}", max_deletions=upstream)
    sync(plan_path="{{ params.plan }}", sql_conn_id=None)
    with DAG("d", jinja_environment_kwargs={"variable_start_string": "<<", "variable_end_string": ">>"}):
        delete(**DELETE, max_deletions="<< params.most >>")


def test_the_output_of_a_task_is_checked_in_the_run() -> None:
    task = sync(table="{{ params.table }}", sql="{{ params.sql }}")
    task.render_template_fields({"params": {"table": "t", "sql": "select 1"}})
    with pytest.raises(ValueError, match="either sql or table"):
        checked(task.arguments, task)


@pytest.mark.parametrize("absent", [None, "", " ", "None", "null"])
@pytest.mark.parametrize("native", [False, True])
def test_every_optional_argument_may_be_a_parameter_that_is_not_set(absent: Any, native: bool) -> None:
    examples: list[tuple[type[CustomerlyOperator], dict[str, Any]]] = [
        (SqlToCustomerlyOperator, {**SYNC, "table": "t"}),
        (CustomerlyToParquetOperator, {"path": "/data", "snapshot_date": "2026-11-23"}),
        (
            CustomerlyStreamToParquetOperator,
            {"path": "/data", "snapshot_date": "2026-11-23", "stream": "tags"},
        ),
        (CustomerlyDeleteContactsOperator, DELETE),
        (CustomerlyTagContactsOperator, {**DELETE, "tag": "vip"}),
    ]
    for kind, required in examples:
        expected = checked(kind.arguments, kind(task_id="one", **required))
        arguments = {
            {"plan_only": "dry_run", "look_only": "dry_run"}.get(name, name): "{{ params.x }}"
            for name in kind.template_fields
            if name not in required
        }
        with DAG("d", render_template_as_native_obj=native):
            task = kind(task_id="one", **arguments, **required)
        task.render_template_fields({"params": {"x": absent}})
        found = checked(kind.arguments, task)
        assert {name: listed(getattr(found, name)) for name in found.__struct_fields__} == {
            name: listed(getattr(expected, name)) for name in expected.__struct_fields__
        }


@pytest.mark.parametrize("absent", [None, "None", ""])
@pytest.mark.emulator(users=3, leads=1)
@pytest.mark.usefixtures("connect")
def test_a_day_that_is_not_set_is_that_of_the_run(absent: Any, tmp_path: Path) -> None:
    ended = datetime(2026, 11, 24, 1, tzinfo=timezone(timedelta(hours=2)))
    run = SimpleNamespace(run_after=ended)
    for kind, more in (
        (CustomerlyToParquetOperator, {}),
        (CustomerlyStreamToParquetOperator, {"stream": "tags"}),
    ):
        for context in ({"data_interval_end": ended}, {"data_interval_end": None, "dag_run": run}):
            task = kind(task_id="one", path=str(tmp_path), snapshot_date="{{ params.x }}", **more)
            task.render_template_fields({"params": {"x": absent}})
            task.execute(context)
    days = {path.name for path in tmp_path.rglob("snapshot_date=*")}
    assert days == {"snapshot_date=2026-11-23"}


def listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


LOOKS_LIKE_A_NUMBER = ["1e5", "1_000", "0x1F", "007", "1.0", "2026", "True", "None", "[1]", "(1, 2)"]


@pytest.mark.parametrize("text", LOOKS_LIKE_A_NUMBER)
@pytest.mark.parametrize("template", ["{text}", "{{{{ params.x }}}}"])
@pytest.mark.parametrize("native", [False, True])
def test_text_stays_the_text_it_is(text: str, template: str, native: bool) -> None:
    written = template.format(text=text)
    with DAG("d", render_template_as_native_obj=native):
        tagging = tag(tag=written, user_ids=[written])
        exporting = export(path=f"/data/{written}", snapshot_date="{{ params.day }}")
        syncing = sync(table="t", tags=[written], sync_name=f"of {written}", state_path=f"/state/{written}")
    for task in (tagging, exporting, syncing):
        task.render_template_fields({"params": {"x": text, "day": "20261123"}})
    assert checked(exporting.arguments, exporting).path == f"/data/{text}"
    assert str(checked(exporting.arguments, exporting).snapshot_date) == "2026-11-23"
    assert checked(tagging.arguments, tagging).tag == text
    assert checked(tagging.arguments, tagging).user_ids == [text]
    arguments = checked(syncing.arguments, syncing)
    assert (list(arguments.tags), arguments.sync_name) == ([text], f"of {text}")
    assert arguments.state_path == f"/state/{text}"


IDS = ["1e5", "100000", "1_000", "1000", "0x1F", "31"]
WANTED = IDS[::2]


@pytest.fixture
def lookalikes(emulator: Emulator) -> Emulator:
    rows = [{"email": f"u{n}@x.test", "user_id": one} for n, one in enumerate(IDS)]
    emulator.store.upsert("users", rows)
    return emulator


@pytest.mark.usefixtures("connect")
@pytest.mark.emulator(users=0, leads=0)
@pytest.mark.parametrize(
    ("given", "params", "is_certain"),
    [
        (WANTED, {}, True),
        (["{{ params.one }}", "{{ params.two }}", "0x1F"], {"one": "1e5", "two": "1_000"}, True),
        ("{{ params.ids }}", {"ids": WANTED}, True),
        ("{{ params.ids }}", {"ids": "['1e5', '1_000', '0x1F']"}, True),
        ("{{ params.ids }}", {"ids": "[1e5, 1_000, 0x1F]"}, False),
        ("[{{ params.ids | join(', ') }}]", {"ids": WANTED}, False),
    ],
)
def test_native_rendering_never_erases_another_contact(
    lookalikes: Emulator, given: Any, params: dict[str, Any], is_certain: bool
) -> None:
    with DAG("d", start_date=datetime(2026, 1, 1), render_template_as_native_obj=True):
        task = delete(user_ids=given)
    task.render_template_fields({"params": params})
    if is_certain:
        assert task.execute({})["deleted"] == 3
    else:
        with pytest.raises(AirflowFailException, match=r"user_ids contains numbers, .* Nothing was deleted"):
            task.execute({})
    left = {one.get("user_id") for one in lookalikes.store.truth("users").values()}
    assert set(IDS) - left == (set(WANTED) if is_certain else set())


@pytest.mark.usefixtures("connect")
@pytest.mark.emulator(users=0, leads=0)
def test_numbers_of_a_dag_or_of_another_task_are_ids(lookalikes: Emulator) -> None:
    with DAG("d", start_date=datetime(2026, 1, 1), render_template_as_native_obj=True):
        task = delete(user_ids=[100000, 31])
    task.render_template_fields({"params": {}})
    assert task.execute({})["deleted"] == 2
