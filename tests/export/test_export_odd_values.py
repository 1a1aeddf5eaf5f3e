"""One odd value in one contact: the contact arrives, and so does everybody else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from airflow_provider_customerly.client import Client, CustomerlyProtocolError
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import export_snapshot, read_contacts
from airflow_provider_customerly.reading.records import RecordDecoder

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_customerly.client.session import Answer

ODD = {
    "half a character": rb'"Ada \ud83d"',
    "not UTF-8": b'"Jos\xe9"',
    "an escape that there is not": rb'"\x41"',
    "not a number": b"NaN",
    "infinite": b"-Infinity",
    "beyond any float": b"1e999",
    "5,000 digits": b"9" * 5_000,
    "nested 500 deep": b"[" * 500 + b"]" * 500,
    "nested 900 deep": b"[" * 900 + b"]" * 900,
    "nested 1,500 deep": b"[" * 1_500 + b"]" * 1_500,
    "nested 50,000 deep": b'{"k":' * 50_000 + b"1" + b"}" * 50_000,
}


def export(contacts: list[dict[str, Any]], odd: bytes, folder: Path, **options: Any) -> dict[str, Any]:
    """Export contacts in whose JSON the text ODD is replaced, as no writer of JSON would write it."""
    with (
        Emulator(users=0, leads=0) as emulator,
        Client(emulator.token, emulator.url, retry_budget=0) as client,
    ):
        for contact in contacts:
            emulator.store.insert_raw("users", contact)
        page = emulator.store.page
        emulator.store.page = lambda *args: page(*args).replace(b'"ODD"', odd)  # type: ignore[method-assign]
        result = export_snapshot(client, folder, "users", snapshot_date="2026-11-23", **options)
        assert client.retries == 0
    return result


def rows(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read_contacts(folder, "users").to_table().to_pylist()
    return sorted(found, key=lambda row: row["crmhero_user_id"])


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_field_is_a_misfit_or_stays_text_and_all_contacts_arrive(odd: bytes, tmp_path: Path) -> None:
    typed = ["name", "rating", "last_activity", "user_id"]
    fields = [*typed, "not_a_known_field", "fine"]
    contacts = [
        {"crmhero_user_id": number, field: "ODD" if field != "fine" else 1, "email": f"{field}@example.test"}
        for number, field in enumerate(fields)
    ]
    result = export(contacts, odd, tmp_path)
    found = rows(tmp_path)
    assert (result["verdict"], [row["email"] for row in found]) == (
        "complete",
        [f"{f}@example.test" for f in fields],
    )
    assert result["misfits"] == dict.fromkeys(typed, 1)
    for field, row in zip(typed, found, strict=False):
        assert (row[field], list(json.loads(row["extra"]))) == (None, [field])
    assert found[-2]["extra"].startswith('{"not_a_known_field":')
    assert found[-1]["extra"] == '{"fine":1}'


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_attribute_leaves_the_others_and_the_text_is_json_for_every_engine(
    odd: bytes, tmp_path: Path
) -> None:
    contacts = [
        {"crmhero_user_id": 1, "attributes": {"plan": "pro", "note": "ODD"}},
        {"crmhero_user_id": 2, "attributes": {"plan": "free", "note": "x"}},
    ]
    export(contacts, odd, tmp_path, attributes={"note": "string"})
    first, second = rows(tmp_path)
    assert second["note"] == "x"
    assert [json.loads(second["attributes"]), first["note"] is None or odd.isalnum() or b"e" in odd] == [
        contacts[1]["attributes"], True,
    ]  # fmt: skip
    texts = [first["attributes"], second["attributes"]]
    plans = duckdb.sql("select json_extract_string(unnest($1), '$.plan')", params=[texts]).fetchall()
    assert plans == [("pro",), ("free",)]


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_an_odd_value_in_a_look_up_leaves_the_rest_of_the_contact(odd: bytes) -> None:
    with (
        Emulator(users=0, leads=0) as emulator,
        Client(emulator.token, emulator.url, retry_budget=0) as client,
    ):
        emulator.store.insert_raw("users", {"crmhero_user_id": 1, "name": "ODD", "email": "ada@example.test"})
        send = client._session.send
        client._session.send = lambda request: replaced(send(request), odd)  # type: ignore[method-assign]
        contact = client.get_contact("users", email="ada@example.test")
    assert contact["email"] == "ada@example.test"


def replaced(answer: Answer, odd: bytes) -> Answer:
    return replace(answer, body=answer.body.replace(b'"ODD"', odd))


@pytest.mark.parametrize("depth", [99, 100, 101, 3_000])
def test_a_contact_that_cannot_be_read_is_said_once_whatever_else_is_odd(depth: int) -> None:
    deep = b"[" * depth + b"NaN" + b"]" * depth
    page = b'[{"crmhero_user_id":"no","attributes":{"deep":' + deep + b"}}]"
    with pytest.raises(CustomerlyProtocolError, match="needs an integer crmhero_user_id"):
        RecordDecoder(["email"]).decode(page)
