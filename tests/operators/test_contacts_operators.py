"""The operators as a DAG uses them: where contacts come from, what is refused, and what is shown to whom."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Asset
from airflow.sdk.execution_time.task_runner import _serialize_rendered_fields

from airflow_provider_customerly.client import CustomerlyUnavailable
from airflow_provider_customerly.contacts import StoppedError, UnfinishedError
from airflow_provider_customerly.operators.contacts import (
    CustomerlyDeleteContactsOperator,
    CustomerlyTagContactsOperator,
)
from airflow_provider_customerly.values import progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from databases import Database

    from airflow_provider_customerly.emulator import Emulator

TOKEN = "tok-77aa01"
MARKER = "zzmarker"
USERS = [f"{MARKER}{n}@x.test" for n in range(6)]
IDS = [f"{MARKER}-id-{n}" for n in range(6)]
sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


pytestmark = [pytest.mark.emulator(users=20, leads=5, token=TOKEN), pytest.mark.usefixtures("connect")]


@pytest.fixture(autouse=True)
def contacts(emulator: Emulator) -> None:
    rows = zip(USERS, IDS, strict=True)
    emulator.store.upsert("users", [{"email": email, "user_id": user_id} for email, user_id in rows])
    emulator.store.upsert("leads", [{"email": f"{MARKER}-lead@x.test"}])


def delete(**arguments: Any) -> CustomerlyDeleteContactsOperator:
    return CustomerlyDeleteContactsOperator(task_id="erase", **arguments)


def tag(**arguments: Any) -> CustomerlyTagContactsOperator:
    return CustomerlyTagContactsOperator(**{"task_id": "tag", "tag": "vip", **arguments})


def left(emulator: Emulator) -> list[str]:
    return [email for email in USERS if emulator.store.find("users", email=email) is not None]


def tagged(emulator: Emulator) -> list[str]:
    ids = {email: emulator.store.find("users", email=email) for email in USERS}
    return [email for email, one in ids.items() if one is not None and "vip" in emulator.store.tags_of(one)]


def test_a_list_of_emails_is_erased(emulator: Emulator, tmp_path: Path) -> None:
    emails = [USERS[0], f"{MARKER}-lead@x.test", f"{MARKER}-none@x.test"]
    result = delete(emails=emails, record_path=str(tmp_path)).execute({})
    assert (result["deleted"], result["already_gone"], result["failed"]) == (2, 1, 0)
    assert left(emulator) == USERS[1:]
    record = json.loads((tmp_path / result["record"].rpartition("/")[2]).read_text())
    assert [one["key"] for one in record["contacts"]] == [None] * 3


def test_secret_of_the_connection_hashes_the_names(connect: Any, tmp_path: Path) -> None:
    connect(extra={"hash_secret": "pepper"})
    ti = SimpleNamespace(dag_id="crm", run_id="r1", task_id="erase", map_index=-1)
    result = delete(user_ids=IDS[:2], record_path=str(tmp_path)).execute({"ti": ti})
    text = (tmp_path / result["record"].rpartition("/")[2]).read_text()
    record = json.loads(text)
    assert {len(one["key"]) for one in record["contacts"]} == {64}
    assert record["owner"] == "crm/r1/erase/-1"
    assert MARKER not in text
    assert "pepper" not in text


@sqlite
@pytest.mark.parametrize(("column", "values"), [("email", USERS), ("USER_ID", IDS)])
def test_a_query_names_the_contacts(
    emulator: Emulator, database: Database, column: str, values: list[str]
) -> None:
    database.execute(f"create table requests ({column} varchar(200), asked integer)")
    database.insert("requests", [(value, n) for n, value in enumerate(values)])
    sql = f"select {column} from requests where asked < ? order by asked"
    source = {"sql": sql, "parameters": [3], "sql_conn_id": database.conn_id}
    assert tag(**source).execute({})["sent"] == 3
    assert tagged(emulator) == USERS[:3]
    assert delete(**source, max_deletions=3).execute({})["deleted"] == 3
    assert left(emulator) == USERS[3:]


@sqlite
def test_a_query_gone_wild_deletes_nothing(emulator: Emulator, database: Database) -> None:
    database.execute("create table contacts (email varchar(200))")
    database.insert("contacts", [(f"{n}@x.test",) for n in range(101)])
    source = {"sql": "select email from contacts", "sql_conn_id": database.conn_id}
    with pytest.raises(AirflowFailException, match=r"101 entries,.* max_deletions=100 "):
        delete(**source).execute({})
    assert emulator.stats()["requests"] == 0
    assert delete(**source, max_deletions="101").execute({})["already_gone"] == 101


@sqlite
@pytest.mark.parametrize(
    ("select", "told"),
    [
        ("email, user_id", "It returns: email, user_id"),
        ("user_id as id", "It returns: id"),
        ("email, asked", "It returns: email, asked"),
    ],
)
def test_a_query_must_say_what_names_the_contacts(
    emulator: Emulator, database: Database, select: str, told: str
) -> None:
    database.execute("create table requests (email varchar(200), user_id varchar(200), asked integer)")
    with pytest.raises(AirflowFailException, match=f"one column, named email or user_id. {told}"):
        delete(sql=f"select {select} from requests", sql_conn_id=database.conn_id).execute({})
    assert emulator.stats()["requests"] == 0


@pytest.mark.parametrize("operator", [delete, tag])
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "exactly one of emails, user_ids and sql"),
        ({"emails": USERS, "user_ids": IDS}, "exactly one of"),
        ({"emails": USERS, "sql": "select 1"}, "exactly one of"),
        ({"emails": f"['{USERS[0]}']"}, "emails must be a list.* It is of type str"),
        ({"user_ids": 917}, "user_ids must be a list.* It is of type int"),
        ({"emails": USERS, "parameters": [1]}, "only work with sql"),
        (
            {"emails": [*USERS, "zzmarker", None]},
            "2 of 8 entries are invalid: at 7: The email is malformed",
        ),
        ({"user_ids": [*IDS, None]}, "1 of 7 entries are invalid: at 7: The user_id is missing"),
        ({"user_ids": IDS, "contact_type": "leads"}, "Leads have no user_id"),
        ({"emails": USERS, "contact_type": "companies"}, "contact_type must be users,? .*or .*. It is"),
        ({"emails": USERS, "max_concurrency": 0}, "max_concurrency must be a whole number from 1 to 64"),
        (
            {"emails": USERS, "customerly_conn_id": "nowhere"},
            "no connection 'nowhere'. Add an Airflow connection of type Cust",
        ),
        (
            {"sql": "select 1", "sql_conn_id": "nowhere"},
            "no connection 'nowhere'. Add an Airflow connection for the database",
        ),
        ({"sql": "select 1"}, "sql_conn_id is missing"),
        (
            {"sql": "select 1", "sql_conn_id": "x", "parameters": MARKER},
            "parameters must be a list or a dictionary of values, or None. It is of type str.",
        ),
        ({"sql": "delete from contacts", "sql_conn_id": "x"}, "must be a query"),
    ],
)
def test_bad_input_fails_at_once_and_before_the_first_request(
    emulator: Emulator, operator: Any, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises((AirflowFailException, ValueError), match=told) as error:
        operator(**arguments).execute({})
    assert MARKER not in str(error.value)
    assert emulator.stats()["requests"] == 0


@pytest.mark.parametrize(
    ("operator", "arguments", "told"),
    [
        (delete, {"max_deletions": -1}, "max_deletions must be"),
        (delete, {"max_deletions": "many"}, "max_deletions must be a whole number, 0 or more"),
        (delete, {"max_deletions": 5}, "more contacts than max_deletions=5"),
        (delete, {"record_path": "/proc/no/such/place"}, "Cannot write to /proc/no/such/place"),
        (delete, {"contact_type": "all"}, "contact_type must be users, leads or both. It is 'all'."),
        (delete, {"dry_run": "perhaps"}, r"\(dry_run\) must be true or false"),
        (delete, {"record_path": "s3://nowhere@bucket/x"}, "no connection 'nowhere'"),
        (tag, {"contact_type": "both"}, "contact_type must be users or leads"),
        (tag, {"tag": " "}, "tag must not be blank"),
        (tag, {"batch_size": 101}, "batch_size must be a whole number from 1 to 100"),
    ],
)
def test_bad_argument_fails_at_once(emulator: Emulator, operator: Any, arguments: Any, told: str) -> None:
    with pytest.raises((AirflowFailException, ValueError), match=told):
        operator(**{"emails": USERS, **arguments}).execute({})
    assert emulator.stats()["requests"] == 0


@pytest.mark.parametrize("operator", [delete, tag])
def test_nothing_to_do_is_no_failure(emulator: Emulator, operator: Any, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    assert operator(emails=[]).execute({})["contacts"] == 0
    assert "there is nothing to" in caplog.text
    assert emulator.stats()["requests"] == 0


@pytest.mark.parametrize("operator", [delete, tag])
def test_unknown_token_is_asked_for_once(emulator: Emulator, connect: Any, operator: Any) -> None:
    connect(password="revoked-77")
    with pytest.raises(AirflowFailException, match="Create a new access token"):
        operator(emails=USERS).execute({})
    assert emulator.stats()["requests"] == 1


class Pushed(SimpleNamespace):
    """A task instance that keeps what is pushed."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.values = {**getattr(self, "values", {}), key: value}


@pytest.mark.parametrize("do_xcom_push", [True, False])
def test_a_refused_contact_fails_the_task_and_leaves_the_counts(
    emulator: Emulator, do_xcom_push: bool
) -> None:
    emulator.faults.plan([None, "400"])
    ti = Pushed(dag_id="crm", run_id="r1", task_id="erase", map_index=-1, values={})
    with pytest.raises(AirflowFailException, match="1 of 2 contacts could not be deleted: at 1"):
        delete(user_ids=IDS[:2], do_xcom_push=do_xcom_push).execute({"ti": ti})
    assert left(emulator) == [USERS[0], *USERS[2:]]
    link = ti.values.pop("_link_CustomerlyRunLink", "")
    assert link.startswith("customerly/run.html?dag_id=crm") == do_xcom_push
    pushed = {key: (value["deleted"], value["failed"]) for key, value in ti.values.items()}
    assert pushed == ({"return_value": (1, 1)} if do_xcom_push else {})


def test_a_failure_that_may_pass_is_left_to_airflows_retries(emulator: Emulator, connect: Any) -> None:
    emulator.faults.plan([None, "500", None, "500"])
    connect(extra={"retry_budget": 0})
    task = delete(user_ids=IDS[:2])
    with pytest.raises(UnfinishedError):
        task.execute({})
    result = delete(user_ids=IDS[:2]).execute({})
    assert (result["deleted"], result["already_gone"]) == (1, 1)


def test_result_goes_into_the_event_of_an_asset() -> None:
    event = SimpleNamespace(extra={})
    asset = Asset(name="erased")

    class Events:  # assets of Airflow 3.1 cannot be keys of a dict
        def __getitem__(self, key: Asset) -> Any:
            return event

    result = delete(emails=USERS[:1], outlets=[asset]).execute({"outlet_events": Events()})
    assert event.extra == result


@pytest.mark.parametrize("operator", [delete, tag])
@pytest.mark.parametrize("fault", [None, "400", "500", "reset_after", "html"])
def test_log_result_and_failure_name_nobody(
    emulator: Emulator, connect: Any, caplog: Any, monkeypatch: Any, operator: Any, fault: str | None
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.DEBUG)
    connect(extra={"retry_budget": 1})
    shown = []
    for source in ({"emails": [*USERS, USERS[0]]}, {"user_ids": IDS}):
        emulator.faults.plan([None, None, fault])
        try:
            shown.append(json.dumps(operator(**source).execute({})))
        except Exception as failure:
            shown.append(f"{failure!r} {failure.__cause__!r}")
        emulator.faults.clear()
    lines = [record.getMessage() for record in caplog.records]
    assert any(" of 6 contacts " in line for line in lines)
    assert any("urllib3" in record.name for record in caplog.records)
    assert not [line for line in [*shown, *lines] if MARKER in line or TOKEN in line]


def test_killed_it_begins_no_further_contact(emulator: Emulator, monkeypatch: Any) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    task = delete(emails=USERS)
    with (
        calling(task.on_kill, "airflow_provider_customerly.contacts.progress", logging.INFO),
        pytest.raises(StoppedError),
    ):
        task.execute({})
    assert left(emulator) == USERS[1:]


@pytest.mark.parametrize("operator", [delete, tag])
def test_killed_it_waits_for_no_answer(emulator: Emulator, connect: Any, operator: Any) -> None:
    connect(extra={"retry_budget": 10})
    emulator.faults.retry_after = 60
    emulator.faults.set({"429": 1.0})
    task = operator(emails=USERS)
    with (
        calling(task.on_kill, "airflow_provider_customerly.client.call", logging.WARNING),
        pytest.raises(CustomerlyUnavailable, match="cancelled"),
    ):
        task.execute({})
    assert emulator.stats()["requests"] == 1


class calling:  # noqa: N801  # read as a part of a sentence
    """Call a function whenever a logger says something."""

    def __init__(self, function: Callable[[], None], name: str, level: int) -> None:
        self.logger, self.level = logging.getLogger(name), level
        self.handler = logging.Handler(level)
        self.handler.emit = lambda record: function()  # type: ignore[method-assign]

    def __enter__(self) -> None:
        self.before = self.logger.level
        self.logger.setLevel(self.level)
        self.logger.addHandler(self.handler)

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self.handler)
        self.logger.setLevel(self.before)


def rendered(task: Any, context: Any) -> str:
    task.render_template_fields(context)
    return json.dumps(_serialize_rendered_fields(task))


def test_what_is_rendered_is_not_shown_and_still_used(emulator: Emulator) -> None:
    task = delete(
        emails=["{{ params.who }}"],
        max_deletions="{{ params.most }}",
        dry_run="{{ false }}",
    )
    text = rendered(task, {"params": {"who": USERS[2], "most": 1}})
    assert '"emails": "(not shown)"' in text
    assert '"user_ids": null' in text
    assert MARKER not in text
    assert task.execute({})["deleted"] == 1
    assert left(emulator) == [*USERS[:2], *USERS[3:]]


@sqlite
def test_parameters_are_not_shown_and_still_used(emulator: Emulator, database: Database) -> None:
    sql = "select :who as email"
    task = delete(sql=sql, parameters={"who": "{{ params.who }}"}, sql_conn_id=database.conn_id)
    text = rendered(task, {"params": {"who": USERS[2]}})
    assert (MARKER in text, sql in text) == (False, True)
    assert task.execute({})["deleted"] == 1
    assert left(emulator) == [*USERS[:2], *USERS[3:]]


def test_mapped_tasks_show_nothing_either(emulator: Emulator) -> None:
    with DAG("mapped") as dag:
        mapped = CustomerlyDeleteContactsOperator.partial(task_id="erase").expand(
            emails=[[USERS[0]], [USERS[1], USERS[2]]]
        )
    context: Any = {
        "ti": SimpleNamespace(map_index=1),
        "dag": dag,
        "dag_run": SimpleNamespace(conf={}),
    }
    mapped.render_template_fields(context)
    task = context["task"]
    assert MARKER not in json.dumps(_serialize_rendered_fields(task))
    assert task.execute({})["deleted"] == 2
    assert left(emulator) == [USERS[0], *USERS[3:]]


def test_default_arguments_of_a_dag_count(emulator: Emulator) -> None:
    with DAG("defaults", default_args={"max_concurrency": 2, "emails": USERS[:1], "contact_type": "users"}):
        task = delete()
    assert (task.max_concurrency, task.emails, task.contact_type) == (2, USERS[:1], "users")


def test_constructor_only_assigns() -> None:
    task = delete(sql="{{ params.sql }}", max_deletions="{{ params.most }}")
    assert (task.sql, task.max_deletions) == ("{{ params.sql }}", "{{ params.most }}")
    with pytest.raises(TypeError):
        CustomerlyDeleteContactsOperator("erase", USERS)  # type: ignore[misc]
