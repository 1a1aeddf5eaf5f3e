"""What is erased, what is written down of it, and what happens when something goes wrong half-way."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.client import (
    Client,
    CustomerlyAuthError,
    CustomerlyRequestError,
    CustomerlyUnavailable,
)
from airflow_provider_customerly.contacts import (
    RefusedError,
    StoppedError,
    UnfinishedError,
    collect,
    erase_contacts,
)
from airflow_provider_customerly.emulator import Choices, Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_customerly.storage import Location

pytestmark = [pytest.mark.emulator(users=20, leads=5), pytest.mark.usefixtures("no_backoff")]

USERS = [f"user{n}@x.test" for n in range(6)]
LEADS = [f"lead{n}@x.test" for n in range(3)]
NOBODY = "nobody@x.test"


@pytest.fixture(autouse=True)
def contacts(emulator: Emulator) -> None:
    emulator.store.upsert("users", [{"email": one, "user_id": f"id-{n}"} for n, one in enumerate(USERS)])
    emulator.store.upsert("leads", [{"email": email} for email in LEADS])


class Erase:
    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.client = Client(emulator.token, emulator.url, max_concurrency=8, retry_budget=60)

    def __call__(self, names: list[Any], by: Any = "email", **options: Any) -> dict[str, Any]:
        return erase_contacts(self.client, collect(by, [names]), **options)

    def left(self, *names: str) -> list[str]:
        store = self.emulator.store
        kinds = ("users", "leads")
        return [one for one in names if any(store.find(kind, email=one) is not None for kind in kinds)]

    def asked(self) -> dict[str, int]:
        asked: dict[str, int] = self.emulator.stats()["by_request"]
        return asked


@pytest.fixture
def erase(emulator: Emulator) -> Iterator[Erase]:
    made = Erase(emulator)
    with made.client:
        yield made


def record_of(location: Location, result: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(location.read(result["record"].rpartition("/")[2]))
    return record


def counts(result: dict[str, Any]) -> tuple[int, int, int]:
    return result["deleted"], result["already_gone"], result["failed"]


@pytest.mark.parametrize("max_concurrency", [1, 4])
def test_an_email_is_erased_whatever_kind_of_contact_it_is(erase: Erase, max_concurrency: int) -> None:
    wanted = [USERS[0].upper(), LEADS[1], NOBODY, USERS[4]]
    result = erase([*wanted, USERS[0]], max_concurrency=max_concurrency)
    assert (counts(result), result["given"], result["contacts"]) == ((3, 1, 0), 5, 4)
    assert erase.left(*USERS, *LEADS) == [*USERS[1:4], USERS[5], LEADS[0], LEADS[2]]
    assert erase.asked() == {"GET /users/list": 1, "DELETE /users": 4, "DELETE /leads": 4}
    assert result["requests"] == 9


@pytest.mark.parametrize(("contact_type", "gone"), [("users", USERS[0]), ("leads", LEADS[0])])
def test_one_kind_alone_leaves_the_other(erase: Erase, contact_type: Any, gone: str) -> None:
    result = erase([USERS[0], LEADS[0]], contact_type=contact_type)
    assert counts(result) == (1, 1, 0)
    assert erase.left(USERS[0], LEADS[0]) == [one for one in (USERS[0], LEADS[0]) if one != gone]


def test_user_ids_name_users_only(erase: Erase) -> None:
    assert counts(erase(["id-1", "id-99"], "user_id")) == (1, 1, 0)
    assert erase.left(*USERS[:3]) == [USERS[0], USERS[2]]
    assert erase.asked() == {"GET /users/list": 1, "DELETE /users": 2}
    with pytest.raises(ValueError, match="Leads have no user_id"):
        erase(["id-1"], "user_id", contact_type="leads")


def test_again_is_harmless(erase: Erase, caplog: pytest.LogCaptureFixture) -> None:
    erase(USERS[:3])
    assert "right project" not in caplog.text
    assert counts(erase(USERS[:3])) == (0, 3, 0)
    assert "None of the contacts exists. Check that the token belongs to the right project." in caplog.text


def test_no_contacts_need_no_request(erase: Erase, location: Location, caplog: Any) -> None:
    caplog.set_level(logging.INFO)
    result = erase([], record_path=location)
    assert (counts(result), result["outcome"], erase.asked()) == ((0, 0, 0), "success", {})
    assert "there is nothing to delete" in caplog.text
    assert record_of(location, result)["counts"]["contacts"] == 0


def test_dry_run_looks_and_deletes_nothing(erase: Erase, tmp_path: Path) -> None:
    result = erase([USERS[0], LEADS[0], NOBODY], dry_run=True, record_path=tmp_path)
    assert (result["found"], counts(result), result["record"]) == (2, (0, 1, 0), None)
    assert erase.left(USERS[0], LEADS[0]) == [USERS[0], LEADS[0]]
    assert not [request for request in erase.asked() if not request.startswith("GET")]
    assert not list(tmp_path.iterdir())


def test_record_has_every_contact_and_names_none(erase: Erase, location: Location) -> None:
    result = erase([USERS[0].upper(), NOBODY, LEADS[0]], record_path=location, secret="pepper", owner="dag/1")
    record = record_of(location, result)
    key = hashlib.sha256(f"pepper{USERS[0]}".encode()).hexdigest()
    assert record["contacts"][0] == {
        "position": 1,
        "key": key,
        "outcome": "deleted",
        "deleted_from": ["users"],
        "reason": None,
    }
    rest = [(one["position"], one["outcome"], one["deleted_from"]) for one in record["contacts"][1:]]
    assert rest == [(2, "already_gone", []), (3, "deleted", ["leads"])]
    assert (record["outcome"], record["owner"], record["error"]) == ("success", "dag/1", None)
    assert record["counts"] == {name: result[name] for name in record["counts"]}
    assert record["started_at"] < record["finished_at"]
    assert "x.test" not in json.dumps(record).lower()


def test_without_a_secret_the_record_has_positions_only(erase: Erase, location: Location) -> None:
    record = record_of(location, erase(USERS[:2], record_path=location))
    assert [(one["position"], one["key"]) for one in record["contacts"]] == [(1, None), (2, None)]


def test_one_that_fails_does_not_keep_the_others(erase: Erase, location: Location) -> None:
    erase.emulator.faults.plan([None, None, "400", None, "400"])
    with pytest.raises(
        RefusedError, match=r"2 of 5 contacts could not be deleted: at 2, 4: .*\(HTTP 400\)"
    ) as red:
        erase(USERS[:5], contact_type="users", record_path=location)
    assert counts(red.value.result) == (3, 0, 2)
    assert erase.left(*USERS[:5]) == [USERS[1], USERS[3]]
    assert "x.test" not in str(red.value)
    record = record_of(location, red.value.result)
    assert [one["outcome"] for one in record["contacts"]] == [
        "deleted", "failed", "deleted", "failed", "deleted",
    ]  # fmt: skip
    assert (record["outcome"], "HTTP 400" in record["contacts"][1]["reason"]) == ("failed", True)
    assert counts(erase(USERS[:5])) == (2, 3, 0)


def test_when_nothing_passes_it_is_not_the_contacts_fault(erase: Erase) -> None:
    erase.emulator.faults.plan([None, *["400"] * 30])
    with pytest.raises(CustomerlyRequestError, match="DELETE /users: 20 contacts"):
        erase([f"{n}@x.test" for n in range(25)], contact_type="users")
    assert erase.asked()["DELETE /users"] == 20


def test_a_list_that_fails_does_not_keep_the_other(erase: Erase, location: Location) -> None:
    erase.emulator.faults.plan([None, "400"])
    with pytest.raises(RefusedError) as red:
        erase([LEADS[0], USERS[0]], record_path=location)
    entry = record_of(location, red.value.result)["contacts"][0]
    assert (entry["outcome"], entry["deleted_from"]) == ("failed", ["leads"])
    assert erase.left(LEADS[0], USERS[0]) == []


def test_outage_that_passes_spares_nobody(erase: Erase) -> None:
    erase.emulator.faults.plan([None, *["500"] * 5])
    assert counts(erase(USERS[:2], contact_type="users")) == (2, 0, 0)
    assert erase.left(*USERS[:2]) == []


def test_failure_that_may_pass_is_worth_another_try(erase: Erase) -> None:
    erase.emulator.faults.plan([None, *["500"] * 5, None, *["500"] * 5])
    with pytest.raises(UnfinishedError, match=r"at 1: .*\(HTTP 500\)") as red:
        erase(USERS[:2], contact_type="users")
    assert not isinstance(red.value, RefusedError)
    assert counts(red.value.result) == (1, 0, 1)
    assert erase.left(*USERS[:2]) == [USERS[0]]


def test_failure_that_passed_makes_no_other_worth_another_try(erase: Erase) -> None:
    erase.emulator.faults.plan([None, *["500"] * 5, "400"])
    with pytest.raises(RefusedError, match="at 2: "):
        erase(USERS[:3], contact_type="users")
    assert erase.left(*USERS[:3]) == [USERS[1]]


def test_lost_answer_to_a_deletion_counts_as_deleted(erase: Erase) -> None:
    erase.emulator.faults.plan([None, "reset_after"])
    assert counts(erase(USERS[:1], contact_type="users")) == (1, 0, 0)
    assert erase.asked()["DELETE /users"] == 2
    assert erase.left(*USERS[:1]) == []


def test_outage_stops_it_and_is_recorded(erase: Erase, location: Location) -> None:
    erase.emulator.faults.plan([None, None, *["503"] * 2_000])
    named = collect("email", [USERS[:4]])
    with Client(erase.emulator.token, erase.emulator.url, retry_budget=0.05) as client:  # noqa: SIM117
        with pytest.raises(CustomerlyUnavailable):
            erase_contacts(client, named, contact_type="users", record_path=location)
    [name] = [name for name in location.list() if name.endswith(".json")]
    record = json.loads(location.read(name))
    assert [one["outcome"] for one in record["contacts"]] == ["deleted", "pending", "pending", "pending"]
    assert (record["outcome"], record["error"]) == ("stopped", "CustomerlyUnavailable")
    assert record["counts"]["pending"] == 3


def test_unknown_token_is_asked_for_once(emulator: Emulator) -> None:
    with Client("revoked-77", emulator.url) as client, pytest.raises(CustomerlyAuthError):
        erase_contacts(client, collect("email", [USERS]))
    assert emulator.stats()["by_request"] == {"GET /users/list": 1}


def test_under_a_wrong_address_nobody_is_gone(emulator: Emulator) -> None:
    with Client(emulator.token, f"{emulator.origin}/v2") as client, pytest.raises(CustomerlyRequestError):
        erase_contacts(client, collect("email", [USERS]))
    assert emulator.stats()["requests"] == 1


def test_vague_words_about_a_contact_are_looked_into(erase: Erase) -> None:
    erase.emulator.service.choices = Choices(missing_message="Not found")
    assert counts(erase([NOBODY, USERS[0]], contact_type="users")) == (1, 1, 0)
    assert erase.asked() == {"GET /users/list": 1, "DELETE /users": 2, "GET /users": 1}


def test_contact_that_is_there_is_never_called_gone() -> None:
    """A gateway that knows no DELETE says 404, too."""
    asked: list[str] = []

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_list = self.path.startswith("/v1/users/list")
            self.answer(200, {"data": {"users": []} if is_list else {"email": USERS[0]}})

        def do_DELETE(self) -> None:
            asked.append(self.path)
            self.answer(404, {"error": {"message": "Not found", "code": 0}})

        def answer(self, status: int, body: Any) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        thread = threading.Thread(target=gateway.serve_forever)
        thread.start()
        try:
            with Client("token", f"http://127.0.0.1:{gateway.server_port}/v1") as client:  # noqa: SIM117
                with pytest.raises(CustomerlyRequestError, match="can be looked up, but the DELETE"):
                    erase_contacts(client, collect("email", [USERS]))
        finally:
            gateway.shutdown()
            thread.join()
    assert len(asked) == 1


def test_record_is_there_before_the_first_deletion_and_follows(
    erase: Erase, tmp_path: Path, at_each_line: Any
) -> None:
    seen = []

    def look() -> None:
        [path] = tmp_path.glob("*.json")
        record = json.loads(path.read_text())
        seen.append((record["outcome"], record["counts"]["deleted"], record["counts"]["pending"]))

    at_each_line(look)
    erase(USERS[:3], record_path=tmp_path)
    assert seen == [("running", 0, 3), ("running", 1, 2), ("running", 2, 1)]


def test_no_record_no_deletion(erase: Erase) -> None:
    with pytest.raises(ValueError, match="Cannot write to /proc/no/such/place"):
        erase(USERS, record_path="/proc/no/such/place")
    assert erase.asked() == {}


def test_told_to_stop_it_begins_no_further_contact(erase: Erase, tmp_path: Path, at_each_line: Any) -> None:
    stop = threading.Event()
    at_each_line(stop.set)
    with pytest.raises(StoppedError):
        erase(USERS, record_path=tmp_path, stop=stop)
    assert erase.left(*USERS) == USERS[1:]
    [path] = tmp_path.glob("*.json")
    record = json.loads(path.read_text())
    assert (record["outcome"], record["error"], record["counts"]["pending"]) == ("stopped", "StoppedError", 5)


def test_unknown_contact_type_is_refused(erase: Erase) -> None:
    with pytest.raises(ValueError, match=r"contact_type is 'companies'. Use users, leads or both"):
        erase(USERS, contact_type="companies")


def test_an_email_is_erased_in_each_of_its_unicode_forms(erase: Erase) -> None:
    one, other = "zo\u00eb@x.test", "zoe\u0308@x.test"
    erase.emulator.store.insert_raw("users", {"crmhero_user_id": 900_001, "email": other})
    assert erase([one], contact_type="users")["deleted"] == 1
    assert erase.left(one, other) == []
    for number, email in enumerate([one, other]):
        erase.emulator.store.insert_raw("users", {"crmhero_user_id": 900_002 + number, "email": email})
    result = erase([one, other])
    assert (result["given"], result["contacts"], result["deleted"]) == (2, 1, 1)
    assert erase.left(one, other) == []
