"""Nothing is assumed of a request whose answer was lost, nor of a run that may only stand still."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest
import sync_process
from sync_helpers import COLUMNS, Rows, Sync, customers
from sync_process import Job, Kill, start

from airflow_provider_customerly.client import Client, CustomerlyUnavailable
from airflow_provider_customerly.emulator import Choices
from airflow_provider_customerly.storage import LockLostError
from airflow_provider_customerly.sync import Options, sync_contacts

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_customerly.emulator import Emulator

pytestmark = pytest.mark.emulator(users=0, leads=0)
DELETING: dict[str, Any] = {"on_vanished": "delete", "max_vanished": 1.0}


class Wire:
    """Looks at what a client sends, after the emulator has done it."""

    def __init__(self, client: Client, seen: Callable[[str], None]) -> None:
        self._send = client._session.send
        self._seen = seen
        client._session.send = self  # type: ignore[method-assign]

    def __call__(self, request: Any) -> Any:
        answer = self._send(request)
        self._seen(request.method)
        return answer


def run(
    emulator: Emulator,
    sync: Sync,
    rows: list[Any],
    lost: str | None = None,
    owner: str = "",
    columns: tuple[str, ...] = COLUMNS,
    **options: Any,
) -> dict[str, Any]:
    """Run a sync.

    :param lost: method of the requests whose answers are lost, though they were done.
    """

    def lose(method: str) -> None:
        if method == lost:
            raise CustomerlyUnavailable("the response timed out", request=method)

    with Client(emulator.token, emulator.url, retry_budget=0) as client:
        Wire(client, lose)
        return sync_contacts(
            client, Rows(rows, columns), sync.path, "nightly", Options(**options), owner=owner
        )


def seats(emulator: Emulator) -> dict[str, int]:
    truth = emulator.store.truth("users").values()
    return {record["email"]: record["attributes"]["seats"] for record in truth}


def with_seats(rows: list[tuple[Any, ...]], number: int) -> list[tuple[Any, ...]]:
    return [(*row[:3], number) for row in rows]


def test_a_row_that_goes_back_after_a_lost_answer_is_sent_again(emulator: Emulator, sync: Sync) -> None:
    rows = with_seats(customers(120), 1)
    run(emulator, sync, rows)
    with pytest.raises(CustomerlyUnavailable):
        run(emulator, sync, with_seats(rows, 2), lost="POST")
    result = run(emulator, sync, rows)
    assert (result["again"], result["unchanged"]) == (50, 70)
    assert set(seats(emulator).values()) == {1}
    assert run(emulator, sync, rows)["sent"] == 0


def test_an_email_that_goes_back_after_a_lost_answer_is_sent_again(emulator: Emulator, sync: Sync) -> None:
    """Whether the server moves a contact to another email by its user_id is not known."""
    columns = ("email", "user_id")
    rows = [(f"c{number}@shop.test", f"u{number}") for number in range(10)]
    run(emulator, sync, rows, columns=columns)
    with pytest.raises(CustomerlyUnavailable):
        run(emulator, sync, [("new@shop.test", "u0"), *rows[1:]], lost="POST", columns=columns)
    result = run(emulator, sync, rows, columns=columns)
    assert (result["again"], result["unchanged"]) == (1, 9)
    assert run(emulator, sync, rows, columns=columns)["sent"] == 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing kills a process like SIGKILL")
def test_an_email_that_goes_back_after_a_kill_is_sent_again(emulator: Emulator, sync: Sync) -> None:
    """Also where the row that had the email is so far behind in the plan that it cannot have been sent."""
    columns = ("email", "user_id")
    rows = [(f"c{number}@shop.test", f"u{number}") for number in range(200)]
    run(emulator, sync, rows, columns=columns)
    moved = [("new@shop.test", "u199"), *[(email, None) for email, _ in rows]]
    slowly = Options(batch_size=1, max_concurrency=1)
    source, first_page = sync_process.Rows(columns, moved), Kill("os.rename journal", 1)
    assert (
        start(Job(emulator.url, emulator.token, str(sync.path), source, slowly, first_page)).result() is None
    )
    with Client(emulator.token, emulator.url) as client:
        client.delete_contact("users", email="c199@shop.test")  # as if its email was changed to the new one
    result = run(emulator, sync, rows, columns=columns)
    assert result["unchanged"] > 100, "the rows between have not been sent"
    assert sync.contact("c199@shop.test")["user_id"] == "u199"


@pytest.mark.emulator(choices=Choices(reject_emails=frozenset({"zzmarker3@shop.test"})))
def test_a_row_whose_second_try_is_lost_is_counted_once(emulator: Emulator, sync: Sync) -> None:
    kept: list[dict[str, Any]] = []
    asked: list[str] = []

    def lose(method: str) -> None:
        asked.append(method)
        if len(asked) == 2:
            raise CustomerlyUnavailable("the response timed out", request=method)

    with Client(emulator.token, emulator.url, retry_budget=0) as client:
        Wire(client, lose)
        with pytest.raises(CustomerlyUnavailable):
            sync_contacts(client, Rows(customers(10)), sync.path, "nightly", Options(), keep=kept.append)
    [result] = kept
    assert {name: result[name] for name in ("rows_read", "sent", "refused", "unknown")} == {
        "rows_read": 10,
        "sent": 9,
        "refused": 0,
        "unknown": 1,
    }
    assert result["reasons"] == {"unknown": 1}


def test_the_run_that_lost_the_answer_is_red_and_lists_the_rows(emulator: Emulator, sync: Sync) -> None:
    with pytest.raises(CustomerlyUnavailable):
        run(emulator, sync, customers(70), lost="POST")
    [file] = (sync.state / "rejects").iterdir()
    rejects = sync.rejects({"rejects": f"rejects/{file.name}"})
    assert {(one["reason"], one["row"]) for one in rejects} == {("unknown", n) for n in range(1, 51)}


def test_a_deletion_whose_answer_was_lost_is_made_good_when_the_row_returns(
    emulator: Emulator, sync: Sync
) -> None:
    rows = customers(30)
    run(emulator, sync, rows)
    with pytest.raises(CustomerlyUnavailable):
        run(emulator, sync, rows[1:], lost="DELETE", **DELETING)
    assert rows[0][0] not in seats(emulator)
    assert run(emulator, sync, rows)["again"] == 1
    assert len(seats(emulator)) == 30


def test_a_row_that_leaves_after_a_lost_answer_is_looked_for_and_removed(
    emulator: Emulator, sync: Sync
) -> None:
    rows = customers(30)
    with pytest.raises(CustomerlyUnavailable):
        run(emulator, sync, rows, lost="POST")
    result = run(emulator, sync, rows[1:], **DELETING)
    assert (result["vanished"], result["vanished_handled"]) == (1, 1)
    assert rows[0][0] not in seats(emulator)


def edit_emails(sync: Sync, emails: list[str]) -> None:
    """Give contacts other emails, as people do in Customerly."""
    store = sync.emulator.store
    for email in emails:
        contact_id = store.find("users", email=email)
        assert contact_id is not None
        store.update("users", contact_id, {"email": f"edited.{email}"})


@pytest.mark.parametrize("lost", ["GET", "DELETE"])
def test_contacts_that_were_about_to_be_removed_are_found_by_their_user_id(
    emulator: Emulator, sync: Sync, lost: str
) -> None:
    columns = ("email", "user_id")
    rows = [(f"c{number}@shop.test", f"u{number}") for number in range(10)]
    run(emulator, sync, rows, columns=columns)
    edit_emails(sync, ["c0@shop.test", "c1@shop.test"])
    for _ in range(2):
        with pytest.raises(CustomerlyUnavailable):
            run(emulator, sync, rows[4:], lost=lost, columns=columns, **DELETING)
    run(emulator, sync, rows[4:], columns=columns, **DELETING)
    found = {record["email"] for record in emulator.store.truth("users").values()}
    assert found == {email for email, _ in rows[4:]}
    assert run(emulator, sync, rows, columns=columns)["again"] == 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing kills a process like SIGKILL")
def test_contacts_of_a_killed_run_that_was_to_remove_them_are_found_by_their_user_id(
    emulator: Emulator, sync: Sync
) -> None:
    columns = ("email", "user_id", "name")
    rows = [(f"c{number}@shop.test", f"u{number}", "Ada") for number in range(10)]
    run(emulator, sync, rows, columns=columns)
    edit_emails(sync, ["c0@shop.test", "c1@shop.test"])
    left = [(*row[:2], "Bob") for row in rows[2:]]
    source, first_page = sync_process.Rows(columns, left), Kill("os.rename journal", 1)
    job = Job(emulator.url, emulator.token, str(sync.path), source, Options(**DELETING), first_page)
    for _ in range(2):
        assert start(job).result() is None
    run(emulator, sync, left, columns=columns, **DELETING)
    found = {record["email"] for record in emulator.store.truth("users").values()}
    assert found == {email for email, *_ in left}


@pytest.mark.parametrize("stands_before", ["request 2", "request 3"])
def test_what_a_worker_sends_when_it_wakes_is_made_good(
    emulator: Emulator, sync: Sync, stands_before: str
) -> None:
    asleep, wake = threading.Event(), threading.Event()
    old, new = (with_seats(customers(200), number) for number in (1, 2))
    outcomes: list[BaseException] = []

    def sleeper() -> None:
        with Client(emulator.token, emulator.url) as client:
            send, sent = client._session.send, [0]

            def slow(request: Any) -> Any:
                sent[0] += 1
                if f"request {sent[0]}" == stands_before:
                    asleep.set()
                    wake.wait()
                return send(request)

            client._session.send = slow  # type: ignore[method-assign]
            try:
                sync_contacts(client, Rows(old), sync.path, "nightly", Options(), owner="task")
            except LockLostError as error:
                outcomes.append(error)

    thread = threading.Thread(target=sleeper)
    thread.start()
    asleep.wait()
    sent = []

    def wake_up(method: str) -> None:
        sent.append(method)
        if len(sent) == 4:  # all was sent, and nothing is committed yet
            wake.set()
            thread.join()

    with Client(emulator.token, emulator.url) as client:
        Wire(client, wake_up)
        result = sync_contacts(client, Rows(new), sync.path, "nightly", Options(), owner="task")
    assert (result["outcome"], len(outcomes)) == ("success", 1)
    assert run(emulator, sync, new)["outcome"] == "success"
    assert set(seats(emulator).values()) == {2}


def test_somebody_elses_contact_stays_when_a_row_leaves_of_which_the_refusal_was_lost(
    emulator: Emulator, sync: Sync
) -> None:
    """The row had the email of one customer and the user_id of another, so Customerly refuses it."""
    columns = ("email", "user_id")
    with Client(emulator.token, emulator.url) as client:
        others = [{"email": "by.hand@shop.test"}, {"email": "other@shop.test", "user_id": "taken"}]
        client.upsert_contacts("users", others)
    with pytest.raises(CustomerlyUnavailable):
        run(emulator, sync, [("by.hand@shop.test", "taken")], lost="POST", columns=columns)
    result = run(emulator, sync, [], columns=columns, min_rows=0, **DELETING)
    assert result["vanished"] == 1
    assert {one["email"] for one in emulator.store.truth("users").values()} == {
        "by.hand@shop.test",
        "other@shop.test",
    }
