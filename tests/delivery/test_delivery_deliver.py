"""How batches are sent, and what becomes of rows when they fail."""

from __future__ import annotations

import logging
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import tenacity

from airflow_provider_customerly.client import (
    Client,
    CustomerlyAuthError,
    CustomerlyError,
    CustomerlyNotFound,
    CustomerlyProtocolError,
    CustomerlyRateLimited,
    CustomerlyRequestError,
    CustomerlyUnavailable,
    call,
)
from airflow_provider_customerly.delivery.blame import may_be_a_rows_fault
from airflow_provider_customerly.delivery.deliver import deliver, deliver_by
from airflow_provider_customerly.delivery.outcomes import Verdict
from airflow_provider_customerly.emulator import Choices, Emulator
from airflow_provider_customerly.values.rows import Outgoing, Problem, Settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


pytestmark = [
    pytest.mark.emulator(users=20, leads=0),
    pytest.mark.client(max_concurrency=8),
    pytest.mark.usefixtures("no_backoff"),
]


both = pytest.mark.parametrize("max_concurrency", [1, 4])


def email(number: int) -> str:
    return f"new{number}@x.test"


def emails(numbers: Iterable[int]) -> frozenset[str]:
    return frozenset(map(email, numbers))


def row(number: int, **contact: Any) -> Outgoing:
    return Outgoing.of(number, number.to_bytes(4, "big"), {"email": email(number)} | contact)


def rows(count: int) -> list[Outgoing]:
    return [row(number) for number in range(1, count + 1)]


class Books:
    """What was settled; refuses to settle a row twice, or two answers at a time."""

    def __init__(self) -> None:
        self.problems: dict[int, Problem | None] = {}
        self.calls: list[list[int]] = []
        self._busy = threading.Lock()

    def __call__(self, settled: list[Settled]) -> None:
        assert self._busy.acquire(blocking=False), "called twice at a time"
        assert settled
        for one in settled:
            assert one.row.number not in self.problems, "settled twice"
            self.problems[one.row.number] = one.problem
        self.calls.append([one.row.number for one in settled])
        self._busy.release()

    @property
    def accepted(self) -> list[int]:
        return sorted(number for number, problem in self.problems.items() if problem is None)

    @property
    def reasons(self) -> dict[int, str]:
        return {number: one.reason for number, one in sorted(self.problems.items()) if one is not None}


def stored(emulator: Emulator) -> list[int]:
    found = (record["email"] for record in emulator.store.truth("users").values() if record["email"])
    return sorted(int(email[3:-7]) for email in found if email.startswith("new"))


def sent(emulator: Emulator) -> int:
    return emulator.stats()["by_request"].get("POST /users", 0)


@both
def test_good_rows_are_delivered_in_batches(emulator: Emulator, client: Client, max_concurrency: int) -> None:
    books = Books()
    deliver(client, "users", rows(230), books, batch_size=50, max_concurrency=max_concurrency)
    assert books.accepted == stored(emulator) == list(range(1, 231))
    assert sorted(len(call) for call in books.calls) == [30, 50, 50, 50, 50]
    assert sent(emulator) == client.requests_sent == 5


def test_no_rows_no_request(emulator: Emulator, client: Client) -> None:
    deliver(client, "users", [], Books())
    assert client.requests_sent == 0


def test_leads_go_to_leads(emulator: Emulator, client: Client) -> None:
    books = Books()
    deliver(client, "leads", rows(3), books)
    assert emulator.store.find("leads", email=email(3)) is not None
    assert books.accepted == [1, 2, 3]


@pytest.mark.parametrize(
    "wrong", [{"batch_size": 0}, {"batch_size": 101}, {"max_concurrency": 0}, {"contact_type": "people"}]
)
def test_settings_that_cannot_work_are_refused_before_a_row_is_taken(client: Client, wrong: Any) -> None:
    remaining = iter(rows(1))
    settings = {"contact_type": "users", **wrong}
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
        deliver(client, settings.pop("contact_type"), remaining, Books(), **settings)
    assert next(remaining).number == 1


def test_one_thread_settles_an_answer_before_it_sends_again(emulator: Emulator, client: Client) -> None:
    emulator.service.choices = Choices(refuse_emails=emails([7]))
    seen = []
    books = Books()

    def settle(settled: list[Settled]) -> None:
        books(settled)
        seen.append((client.requests_sent, len(settled)))

    taken = 0

    def source() -> Iterator[Outgoing]:
        nonlocal taken
        for one in rows(16):
            taken += 1
            yield one
            assert taken - len(books.problems) <= 8, "taken before it was needed"

    deliver(client, "users", source(), settle, batch_size=8)
    # 8 fail, 1-4 pass, 5-8 fail, 5-6 pass, 7-8 fail, 7 fails and is held, 8 passes; 9-16 pass
    assert seen == [(2, 4), (4, 2), (7, 2), (8, 8)]


def test_a_batch_is_taken_when_another_is_done(emulator: Emulator, client: Client) -> None:
    emulator.faults.set({"drip": 1.0})
    emulator.faults.drip_seconds = 0.05
    books, taken, most = Books(), 0, 0

    def source() -> Iterator[Outgoing]:
        nonlocal taken, most
        for one in rows(100):
            taken += 1
            most = max(most, taken - len(books.problems))
            yield one

    deliver(client, "users", source(), books, batch_size=5, max_concurrency=4)
    assert books.accepted == list(range(1, 101))
    assert 5 < most <= 20
    assert 1 < emulator.stats()["in_flight_peak"] <= 4


def test_batches_are_read_ahead_of_the_threads_that_send_them(emulator: Emulator, client: Client) -> None:
    all_read = threading.Event()

    def source() -> Iterator[Outgoing]:
        yield from rows(20)
        all_read.set()

    def send(group: list[Outgoing]) -> Verdict:
        assert all_read.wait(30), "nothing was read while the first batches were being sent"
        return Verdict(group, [], [])

    books = Books()
    deliver_by(send, "POST /users", client, source(), books, batch_size=5, max_concurrency=2, ahead=3)
    assert books.accepted == list(range(1, 21))


def test_settle_is_never_called_twice_at_a_time(emulator: Emulator, client: Client) -> None:
    """It writes a journal that one thread at a time may use."""
    books, overlap = Books(), threading.Event()
    inside = threading.Lock()

    def settle(settled: list[Settled]) -> None:
        if not inside.acquire(blocking=False):
            overlap.set()
            return
        overlap.wait(0.1 if len(books.calls) < 4 else 0)  # time enough for the others to come in
        books(settled)
        inside.release()

    deliver(client, "users", rows(80), settle, batch_size=10, max_concurrency=4)
    assert not overlap.is_set()
    assert books.accepted == list(range(1, 81))


def test_a_failure_stops_what_waits_in_other_threads(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "_backoff", tenacity.wait_fixed(3600))
    waiting = threading.Event()
    monkeypatch.setattr(call, "_log_wait", lambda state: waiting.set())
    emulator.faults.plan(["503", None])

    def settle(settled: list[Settled]) -> None:
        assert waiting.wait(60)
        raise OSError("no space left on device")

    with (
        Client(emulator.token, emulator.url, retry_budget=7200) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        ended = pool.submit(deliver, client, "users", rows(20), settle, batch_size=10, max_concurrency=2)
        try:
            assert isinstance(ended.exception(timeout=60), OSError)
        finally:
            client.cancel()
    assert client.requests_sent == 2


@both
@pytest.mark.parametrize("key", ["not_added", "errors"])
@pytest.mark.parametrize("shape", ["objects", "strings", "messages", "by_email"])
def test_refused_rows_are_found_in_every_shape_of_answer(
    emulator: Emulator, client: Client, key: Any, shape: Any, max_concurrency: int
) -> None:
    emulator.service.choices = Choices(reject_key=key, reject_shape=shape)
    (holder, *_) = emulator.store.truth("users").values()
    bad = {
        3: row(3, attributes={"plan": "x" * 129}),
        11: row(11, user_id=holder["user_id"], name="Ada Byrne"),
        12: row(12, attributes={"deep": {"a": 1}}),
        40: Outgoing.of(40, b"40", {"email": "not an address"}),
    }
    books = Books()
    source = (bad.get(one.number, one) for one in rows(60))
    deliver(client, "users", source, books, batch_size=20, max_concurrency=max_concurrency)
    assert books.reasons == dict.fromkeys(bad, "refused")
    assert books.accepted == sorted(set(range(1, 61)) - set(bad)) == stored(emulator)
    fields = {number: problem.field for number, problem in books.problems.items() if problem}
    if shape == "strings":
        assert set(fields.values()) == {None}
    else:
        assert fields == {3: "attributes.plan", 11: "user_id", 12: "attributes.deep", 40: "email"}
    if shape != "messages":
        # Only the address that is none cannot be told from a key of another kind.
        assert sent(emulator) <= (3 if shape in ("objects", "strings") else 3 + 2 * 5)


@both
@pytest.mark.parametrize("count", [1, 2, 5])
def test_halving_finds_the_rows_that_fail_a_batch(
    emulator: Emulator, client: Client, count: int, max_concurrency: int
) -> None:
    bad = sorted(random.Random(count).sample(range(1, 64), count))
    emulator.service.choices = Choices(refuse_emails=emails(bad))
    books = Books()
    deliver(client, "users", rows(64), books, batch_size=64, max_concurrency=max_concurrency)
    assert books.accepted == stored(emulator) == sorted(set(range(1, 65)) - set(bad))
    assert books.problems[bad[0]] == Problem("refused", None, "Bad request (HTTP 400)")
    assert set(books.reasons) == set(bad)
    assert sent(emulator) <= 1 + 2 * 6 * count, "more than two requests a level for each"


def test_a_batch_that_is_too_large_is_sent_in_parts(
    emulator: Emulator, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.service.choices = Choices(max_batch=20)
    books = Books()
    with caplog.at_level(logging.WARNING):
        deliver(client, "users", rows(100), books, batch_size=50)
    assert books.accepted == list(range(1, 101))
    assert sent(emulator) == 2 * (1 + 2 + 4)
    assert [record.getMessage() for record in caplog.records] == [
        "A batch of 50 contacts failed with HTTP 413. Sending it in halves to find the contacts at fault."
    ]


@both
def test_a_row_that_crashes_the_server_is_found(
    emulator: Emulator, client: Client, max_concurrency: int
) -> None:
    emulator.service.choices = Choices(crash_emails=emails([1, 30]))
    books = Books()
    deliver(client, "users", rows(30), books, batch_size=10, max_concurrency=max_concurrency)
    assert books.accepted == list(range(2, 30))
    assert books.problems[1] == books.problems[30]
    assert books.problems[30] == Problem("refused", None, "Internal server error (HTTP 500)")


@both
def test_a_row_that_is_not_counted_is_unexplained(
    emulator: Emulator, client: Client, max_concurrency: int
) -> None:
    emulator.service.choices = Choices(lose_emails=emails([1, 17]))
    books = Books()
    deliver(client, "users", rows(30), books, batch_size=10, max_concurrency=max_concurrency)
    assert books.accepted == stored(emulator) == sorted(set(range(2, 31)) - {17})
    assert books.reasons == {1: "unexplained", 17: "unexplained"}


@both
@pytest.mark.parametrize("knob", ["refuse_emails", "crash_emails", "lose_emails"])
def test_a_long_run_of_bad_rows_does_not_stop_the_good_ones(
    emulator: Emulator, client: Client, knob: str, max_concurrency: int
) -> None:
    emulator.service.choices = Choices(**{knob: emails(range(20, 96))})
    books = Books()
    deliver(client, "users", rows(120), books, batch_size=10, max_concurrency=max_concurrency)
    assert books.accepted == stored(emulator) == [*range(1, 20), *range(96, 121)]
    assert set(books.reasons) == set(range(20, 96))


@both
@pytest.mark.parametrize(
    ("knob", "kind"),
    [
        ("refuse_emails", CustomerlyRequestError),
        ("crash_emails", CustomerlyUnavailable),
        ("lose_emails", CustomerlyProtocolError),
    ],
)
def test_a_request_that_no_row_escapes_is_not_the_rows_fault(
    emulator: Emulator, client: Client, knob: str, kind: type[Exception], max_concurrency: int
) -> None:
    emulator.service.choices = Choices(**{knob: emails(range(1000))})
    books = Books()
    with pytest.raises(kind, match=r"POST /users: 2\d contacts, each sent alone, (failed|got no)"):
        deliver(client, "users", rows(500), books, batch_size=50, max_concurrency=max_concurrency)
    assert books.problems == {}
    calls = sent(emulator) / (5 if knob == "crash_emails" else 1)
    assert calls <= 20 * 2 + 6 + 7 * max_concurrency, "went on row by row"


@pytest.mark.parametrize(("knob", "reason"), [("refuse_emails", "refused"), ("lose_emails", "unexplained")])
def test_a_few_rows_of_which_none_passes_are_refused_where_the_api_answers(
    emulator: Emulator, client: Client, knob: str, reason: str
) -> None:
    emulator.service.choices = Choices(**{knob: emails(range(1000))})
    books = Books()
    deliver(client, "users", rows(3), books)
    assert books.reasons == {1: reason, 2: reason, 3: reason}
    assert emulator.stats()["by_request"] == {"POST /users": 5, "GET /users/list": 1}


def test_a_few_rows_of_which_each_breaks_the_server_may_have_met_an_outage(
    emulator: Emulator, client: Client
) -> None:
    emulator.service.choices = Choices(crash_emails=emails([1]))
    books = Books()
    with pytest.raises(CustomerlyUnavailable, match="a contact sent alone failed") as caught:
        deliver(client, "users", [row(1, name="Internal")], books)
    assert '"<name> server error"' in str(caught.value), "the error holds a name"
    assert books.problems == {}


@both
@pytest.mark.parametrize("failures", range(5, 100, 5))
def test_rows_that_met_an_outage_are_sent_once_more_when_it_is_over(
    emulator: Emulator, client: Client, failures: int, max_concurrency: int
) -> None:
    emulator.faults.plan(["500"] * failures)
    books = Books()
    deliver(client, "users", rows(60), books, batch_size=20, max_concurrency=max_concurrency)
    assert books.accepted == stored(emulator) == list(range(1, 61))


def test_the_last_row_too_is_sent_once_more_when_an_outage_is_over(
    emulator: Emulator, client: Client
) -> None:
    emulator.faults.plan([None, *["500"] * 5])
    books = Books()
    deliver(client, "users", rows(11), books, batch_size=10)
    assert books.accepted == stored(emulator) == list(range(1, 12))
    # the batch, the last row five times, a witness, and the last row
    assert sent(emulator) == 1 + 5 + 1 + 1


def test_a_row_that_breaks_the_server_is_sent_twice_and_no_more(emulator: Emulator, client: Client) -> None:
    emulator.service.choices = Choices(crash_emails=emails([3]))
    books = Books()
    deliver(client, "users", rows(9), books, batch_size=1)
    assert books.reasons == {3: "refused"}
    assert sent(emulator) == 8 + 2 * 5


@both
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("400", CustomerlyRequestError), ("500", CustomerlyUnavailable), ("error200", CustomerlyUnavailable)],
)
@pytest.mark.parametrize("count", [3, 300])
def test_a_server_that_refuses_everything_refuses_no_row(
    emulator: Emulator, client: Client, fault: str, kind: type[Exception], count: int, max_concurrency: int
) -> None:
    emulator.faults.set({fault: 1.0})
    books = Books()
    with pytest.raises(kind):
        deliver(client, "users", rows(count), books, max_concurrency=max_concurrency)
    assert books.problems == {}
    assert stored(emulator) == []


@both
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("400", CustomerlyRequestError), ("500", CustomerlyUnavailable), ("error200", CustomerlyUnavailable)],
)
def test_a_server_that_turns_sour_refuses_no_row(
    emulator: Emulator, client: Client, fault: str, kind: type[Exception], max_concurrency: int
) -> None:
    books = Books()

    def settle(settled: list[Settled]) -> None:
        books(settled)
        if len(books.calls) == 4:
            emulator.faults.set({fault: 1.0})

    with pytest.raises(kind):
        deliver(client, "users", rows(300), settle, batch_size=20, max_concurrency=max_concurrency)
    assert books.reasons == {}
    assert 80 <= len(books.accepted) <= 20 * (4 + max_concurrency)
    assert books.accepted == stored(emulator)


@both
@pytest.mark.parametrize(
    "fault", ["429", "429-bare", "500", "502", "503", "reset", "cut", "html", "error200"]
)
def test_a_passing_fault_costs_no_row(
    emulator: Emulator, client: Client, fault: str, max_concurrency: int
) -> None:
    emulator.faults.retry_after = 1
    emulator.faults.plan([fault, None, fault, fault] if fault != "429" else [fault])
    books = Books()
    deliver(client, "users", rows(40), books, batch_size=10, max_concurrency=max_concurrency)
    assert books.accepted == stored(emulator) == list(range(1, 41))
    assert sent(emulator) == 4 + emulator.faults.injected[fault]


@both
def test_an_answer_that_is_lost_is_asked_for_again(
    emulator: Emulator, client: Client, max_concurrency: int
) -> None:
    emulator.faults.plan(["reset_after", "reset_after"])
    books = Books()
    deliver(client, "users", rows(40), books, batch_size=10, max_concurrency=max_concurrency)
    assert books.accepted == stored(emulator) == list(range(1, 41))
    assert sent(emulator) == 6


@both
@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("429", CustomerlyRateLimited),
        ("429-bare", CustomerlyRateLimited),
        ("down", CustomerlyUnavailable),
        ("reset", CustomerlyUnavailable),
        ("html", CustomerlyProtocolError),
    ],
)
def test_an_outage_is_not_searched_for_bad_rows(
    emulator: Emulator, fault: str, kind: type[Exception], max_concurrency: int
) -> None:
    emulator.faults.set({fault: 1.0})
    books = Books()
    with Client(emulator.token, emulator.url, retry_budget=0) as client:
        with pytest.raises(kind):
            deliver(client, "users", rows(500), books, max_concurrency=max_concurrency)
        assert client.requests_sent <= max_concurrency
    assert books.problems == {}


@both
def test_a_wrong_token_ends_it_at_once(emulator: Emulator, max_concurrency: int) -> None:
    books = Books()
    with Client("wrong", emulator.url) as client:
        with pytest.raises(CustomerlyAuthError):
            deliver(client, "users", rows(500), books, max_concurrency=max_concurrency)
        assert 1 <= client.requests_sent <= max_concurrency
    assert books.problems == {}


@both
@pytest.mark.parametrize("count", [1, 500])
def test_a_wrong_host_ends_it_at_once(emulator: Emulator, count: int, max_concurrency: int) -> None:
    books = Books()
    with Client(emulator.token, f"{emulator.origin}/elsewhere") as client:
        with pytest.raises(CustomerlyRequestError, match="HTTP 404"):
            deliver(client, "users", rows(count), books, max_concurrency=max_concurrency)
        assert 1 <= client.requests_sent <= max_concurrency
    assert books.problems == {}


@pytest.mark.parametrize(
    ("failure", "is_blamed"),
    [
        (CustomerlyRequestError("x", status=400), True),
        (CustomerlyRequestError("x", status=413), True),
        (CustomerlyRequestError("x", status=422, vendor_message="email is taken"), True),
        (CustomerlyNotFound("x", status=500, vendor_message="User doesn't exist"), True),
        (CustomerlyNotFound("x", status=404, vendor_message="User doesn't exist"), True),
        (CustomerlyUnavailable("x", status=500, vendor_message="Internal server error"), True),
        (CustomerlyUnavailable("x", status=200, vendor_message="Oops"), True),
        (CustomerlyNotFound("x", status=404, vendor_message="Not found"), False),
        (CustomerlyRequestError("HTML", status=404), False),
        (CustomerlyRequestError("x", status=405, vendor_message="Method not allowed for users"), False),
        (CustomerlyRequestError("a redirect", status=302), False),
        (CustomerlyRequestError("a certificate"), False),
        (CustomerlyUnavailable("HTML", status=502), False),
        (CustomerlyUnavailable("x", status=503, vendor_message="Service Unavailable"), False),
        (CustomerlyUnavailable("no connection"), False),
        (CustomerlyRateLimited("x", status=429, vendor_message="Too many requests"), False),
        (CustomerlyProtocolError("x", status=200), False),
        (CustomerlyAuthError("x", status=500, vendor_message="Access token not found."), False),
    ],
)
def test_which_failures_may_be_a_rows_fault(failure: CustomerlyError, is_blamed: bool) -> None:
    assert may_be_a_rows_fault(failure) == is_blamed


@both
@pytest.mark.parametrize("good_calls", [0, 3])
def test_a_settle_that_fails_stops_everything(
    emulator: Emulator, client: Client, good_calls: int, max_concurrency: int
) -> None:
    books, tried = Books(), 0

    def settle(settled: list[Settled]) -> None:
        nonlocal tried
        tried += 1
        if tried > good_calls:
            raise OSError("no space left on device")
        books(settled)

    with pytest.raises(OSError, match="no space left"):
        deliver(client, "users", rows(500), settle, batch_size=10, max_concurrency=max_concurrency)
    assert tried == good_calls + 1, "called again after it had failed"
    assert sent(emulator) <= good_calls + max_concurrency
    rest = [one for one in rows(500) if one.number not in books.problems]
    deliver(client, "users", rest, books, batch_size=10, max_concurrency=max_concurrency)
    assert books.accepted == stored(emulator) == list(range(1, 501))


def test_what_is_in_flight_is_settled_when_the_rows_fail(emulator: Emulator, client: Client) -> None:
    emulator.faults.plan(["drip"])
    emulator.faults.drip_seconds = 0.3
    books = Books()

    def source() -> Iterator[Outgoing]:
        yield from rows(10)
        until = time.monotonic() + 30
        while not client.requests_sent:
            assert time.monotonic() < until
            time.sleep(0.005)
        raise ConnectionError("the warehouse is gone")

    with pytest.raises(ConnectionError, match="the warehouse is gone"):
        deliver(client, "users", source(), books, batch_size=10, max_concurrency=2)
    assert books.accepted == stored(emulator) == list(range(1, 11))


def test_an_interrupt_stops_what_waits_for_its_next_try(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "_backoff", tenacity.wait_fixed(3600))
    waiting = threading.Event()
    monkeypatch.setattr(call, "_log_wait", lambda state: waiting.set())
    emulator.faults.set({"down": 1.0})
    books = Books()

    def source() -> Iterator[Outgoing]:
        yield from rows(10)
        assert waiting.wait(60)
        raise KeyboardInterrupt

    with (
        Client(emulator.token, emulator.url, retry_budget=7200) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        ended = pool.submit(deliver, client, "users", source(), books, batch_size=10, max_concurrency=2)
        try:
            assert isinstance(ended.exception(timeout=60), KeyboardInterrupt)
        finally:
            client.cancel()
    assert client.requests_sent == 1
    assert books.problems == {}


@pytest.mark.parametrize("seed", range(12))
def test_whatever_goes_wrong_each_row_is_told_the_truth_once(emulator: Emulator, seed: int) -> None:
    draw = random.Random(seed)
    numbers = list(range(1, 201))
    kinds = {
        number: draw.choice(["refuse", "crash", "lose", "reject"]) for number in draw.sample(numbers, 15)
    }
    of = {kind: [number for number in kinds if kinds[number] == kind] for kind in set(kinds.values())}
    emulator.service.choices = Choices(
        reject_key=draw.choice(["not_added", "errors"]),
        reject_shape=draw.choice(["objects", "strings", "messages", "by_email"]),
        max_batch=draw.choice([None, 7, 30]),
        refuse_emails=emails(of.get("refuse", ())),
        crash_emails=emails(of.get("crash", ())),
        lose_emails=emails(of.get("lose", ())),
    )
    emulator.faults.set({"429-bare": 0.05, "502": 0.05, "reset": 0.05, "reset_after": 0.05, "cut": 0.05})
    bad = {"attributes": {"plan": "x" * 200}}
    source = [row(number, **(bad if kinds.get(number) == "reject" else {})) for number in numbers]
    books = Books()
    with Client(emulator.token, emulator.url, max_concurrency=4) as client:
        deliver(
            client, "users", source, books,
            batch_size=draw.choice([1, 8, 50, 100]), max_concurrency=draw.choice([1, 3, 4]),
        )  # fmt: skip
    expected = {number: "unexplained" if kind == "lose" else "refused" for number, kind in kinds.items()}
    assert books.reasons == dict(sorted(expected.items())), f"seed {seed}"
    assert books.accepted == stored(emulator) == sorted(set(numbers) - set(kinds)), f"seed {seed}"
