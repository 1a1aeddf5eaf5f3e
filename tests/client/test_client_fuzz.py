"""Whatever a server answers, the client returns or raises an error of its family, and shows nothing else."""

from __future__ import annotations

import logging
import resource
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from wire_fuzz import EMAIL, SECRETS, TOKEN, Draw, FuzzServer

from airflow_provider_customerly.client import Client, CustomerlyError
from airflow_provider_customerly.export.columns import choose_columns
from airflow_provider_customerly.export.convert import Converter
from airflow_provider_customerly.reading.records import RecordDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUICK, ALL = 500, 10_000
MOST_GROWTH = 500 << 20

WHO = [{"email": EMAIL}]


def read_page(client: Client) -> None:
    """Fetch a page and take it as far as an export does: whatever a value is, it has a place."""
    page = client.fetch_page("users", 3, 50)
    columns = choose_columns("users", attributes={"plan": "string", "Ada": "int64"})
    decoder = RecordDecoder(columns.fields)
    records = decoder.decode(page)
    assert Converter(columns, decoder).convert(records).num_rows == len(records)


CALLS: list[Callable[[Client], Any]] = [
    read_page,
    read_page,
    read_page,
    lambda c: c.get_contact("users", email=EMAIL),
    lambda c: c.get_contact("leads", email=EMAIL),
    lambda c: c.delete_contact("users", email=EMAIL),
    lambda c: c.upsert_contacts("users", WHO),
    lambda c: c.tag("vip", users=WHO),
    lambda c: c.untag("vip", leads=WHO),
    lambda c: c.unsubscribe_user("u-northwind"),
    lambda c: c.list_tags(),
    lambda c: c.list_accounts(),
    lambda c: c.list_knowledge_collections(),
    lambda c: c.list_knowledge_articles(),
    lambda c: c.check(),
]


class Overheard(logging.Handler):
    """Keeps what is wrong with the lines that were logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.wrong: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self.wrong += faults_of(record.getMessage() + (record.exc_text or ""))
            if record.exc_info:
                self.wrong.append("a traceback")
        except Exception as error:
            self.wrong.append(f"a line that cannot be formatted: {error}")


@pytest.fixture
def overheard() -> Iterator[Overheard]:
    handler, root = Overheard(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(level)


def faults_of(text: str) -> list[str]:
    faults = [f"it shows {secret}" for secret in SECRETS if secret in text.lower()]
    if not text.isprintable():
        faults.append("it has characters that act on a terminal")
    if len(text) > 1_000:
        faults.append(f"it has {len(text)} characters")
    return [f"{fault}: {ascii(text)[:400]}" for fault in faults]


def run(seed: int, answers: int, overheard: Overheard) -> None:
    """Ask for so many answers; a failure names the seed and the number that bring its answer back."""
    number, sent = 0, b""

    def answer(request: bytes) -> tuple[bytes, bool]:
        nonlocal sent
        sent, is_closed = Draw(f"{seed}:{number}").answer(request)
        return sent, is_closed

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with FuzzServer(answer) as server, Client(TOKEN, server.url, timeout=1, retry_budget=0) as client:
        for number in range(answers):
            call = CALLS[Draw(f"{seed}:call:{number}").randrange(len(CALLS))]
            faults: list[str] = []
            try:
                call(client)
            except CustomerlyError as error:
                faults += [
                    fault for text in (str(error), error.vendor_message or "") for fault in faults_of(text)
                ]
                faults += [f"a cause is shown: {error.__cause__!r}"] if error.__cause__ else []
            except Exception:
                faults.append(traceback.format_exc())
            if client.requests_sent != number + 1:
                faults.append(f"{client.requests_sent} requests were sent")
            faults += overheard.wrong
            if faults:
                pytest.fail(f"seed {seed}, answer {number}: {faults[0]}\n{ascii(sent)[:3_000]}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MOST_GROWTH, f"seed {seed}"


def test_answers_of_any_kind(overheard: Overheard) -> None:
    run(0, QUICK, overheard)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 1 + ALL // QUICK))
def test_10_000_answers_of_any_kind(seed: int, overheard: Overheard) -> None:
    run(seed, QUICK, overheard)
