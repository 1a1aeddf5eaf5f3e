"""Nothing that is secret or personal is shown: not in logs, not in errors, not in a repr."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

import pytest
from scripted_server import Reply, ScriptedServer

from airflow_provider_customerly.client import Client, CustomerlyError
from airflow_provider_customerly.client.session import Answer, Request
from airflow_provider_customerly.reading.records import RecordDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN = "s3cr3t-t0ken"
PRIVATE = (TOKEN, "northwind", "u-77", "Ada")

CALLS: list[Callable[[Client], object]] = [
    lambda c: c.get_contact("users", email="ada@northwind.test"),
    lambda c: c.delete_contact("users", user_id="u-77"),
    lambda c: c.unsubscribe_user("u-77"),
    lambda c: c.upsert_contacts("users", [{"email": "ada@northwind.test", "name": "Ada"}]),
    lambda c: c.fetch_page("users", 0, 50),
]
REPLIES = {
    "good": Reply(body={"data": {"name": "Ada", "users": []}}),
    "refused": Reply(400, {"error": {"message": "ada@northwind.test is not valid"}}),
    "down": Reply(503, b"<html>"),
    "unauthorised": Reply(500, {"error": {"message": f"Access token {TOKEN} not found"}}),
    "lost": Reply(hang_up=True),
    "cut": Reply(body={"data": {"name": "Ada"}}, cut=9),
}


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_logs_and_tracebacks(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    shown = []
    with ScriptedServer(reply) as server, Client(TOKEN, server.url, retry_budget=0.05) as client:
        for call in CALLS:
            try:
                call(client)
            except CustomerlyError as failure:
                trace = traceback.TracebackException.from_exception(failure, capture_locals=False)
                shown += [
                    repr(failure),
                    *(repr(value) for value in vars(failure).values()),
                    failure_text(trace),
                ]
    shown += [record.getMessage() for record in caplog.records]
    assert any("GET /users: " in line for line in shown)
    assert any("urllib3" in record.name for record in caplog.records)
    for private in PRIVATE:
        assert not [line for line in shown if private in line]


def failure_text(trace: traceback.TracebackException) -> str:
    """The chain of exceptions without the lines of this file, which name what must not be shown."""
    return "".join(line for line in trace.format() if __file__ not in line)


def test_debug_log_has_method_path_status_and_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "airflow_provider_customerly")
    with ScriptedServer(Reply(body={"data": []})) as server, Client(TOKEN, server.url) as client:
        client.unsubscribe_user("u-77")
    (record,) = caplog.records
    assert record.getMessage().startswith("POST /users/unsubscribe/{user_id}: 200, ")
    assert record.getMessage().endswith(" ms")


def test_long_wait_is_told_without_the_servers_words(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    refusal = Reply(503, {"error": {"message": "Ada (u-77) is locked"}}, headers={"Retry-After": "6"})
    with ScriptedServer(refusal) as server:
        client = Client(TOKEN, server.url)
        cancel_on_first_warning(client)
        with pytest.raises(CustomerlyError):
            client.list_tags()
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage() == "Retrying in 6.0 s. GET /tags: CustomerlyUnavailable, HTTP 503"
    assert "Ada" not in caplog.text


def cancel_on_first_warning(client: Client) -> None:
    class Cancel(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logger.removeHandler(self)
            client.cancel()

    logger = logging.getLogger("airflow_provider_customerly.client.call")
    logger.addHandler(Cancel(logging.WARNING))


def test_no_object_shows_the_token() -> None:
    with ScriptedServer(Reply(body={"data": []})) as server, Client(TOKEN, server.url) as client:
        client.list_tags()
        assert server.seen[0].headers["Authorization"] == f"Bearer {TOKEN}"
        for thing in reachable(client):
            assert TOKEN not in repr(thing)


def reachable(client: Client) -> list[object]:
    session = client._session
    return [client, session, vars(client), vars(session), session._headers, dict(session._headers)]


def test_a_page_that_cannot_be_read_shows_no_name_of_its_fields() -> None:
    """Names of fields are the vendor's, too: somebody may have put an email where a name belongs."""
    page = b'[{"crmhero_user_id":1,"ada@northwind.test":"\\u001b[2J"},5]'
    with pytest.raises(CustomerlyError) as caught:
        RecordDecoder(()).decode(page)
    assert "northwind" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_requests_and_answers_show_neither_query_nor_body() -> None:
    request = Request("GET", "/users", "/users?email=ada%40northwind.test", b"Ada", page=1)
    answer = Answer(200, {"X": "Ada"}, b"Ada")
    assert "northwind" not in f"{request!r} {request} {answer!r}"
    assert "Ada" not in f"{request!r} {request} {answer!r}"
