"""What Customerly held at the newest export, looked up for rows of a warehouse."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_customerly.comparison import UNKNOWN, HeldContacts, is_same, readings
from airflow_provider_customerly.comparison.held import _Index
from airflow_provider_customerly.export import export_snapshot, read_contacts
from airflow_provider_customerly.storage import Location

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from airflow_provider_customerly.client import Client
    from airflow_provider_customerly.emulator import Emulator

FIELDS = ("email", "user_id", "name", "tags", "attributes.plan", "attributes.seats")

pytestmark = pytest.mark.emulator(users=0, leads=3)


def export(client: Client, path: Path, **options: Any) -> None:
    options = {"snapshot_date": "2026-11-23", "min_rows": 0, **options}
    export_snapshot(client, Location.of(path), "users", **options)


def plant(emulator: Emulator, number: int, **fields: Any) -> None:
    record = {"crmhero_user_id": number, "email": f"c{number}@shop.test", "name": f"Customer {number}"}
    emulator.store.insert_raw("users", {**record, **fields}, 1_790_000_000 + number)


def held(client: Client, path: Path, fields: Sequence[str] = FIELDS, **options: Any) -> HeldContacts:
    return HeldContacts.open(path, "users", client.base_url, fields, **options)


def test_a_contact_is_found_by_email_then_by_user_id(
    emulator: Emulator, client: Client, tmp_path: Path
) -> None:
    plant(emulator, 1, user_id="a-1", attributes={"plan": "pro", "seats": 14})
    plant(emulator, 2, user_id="a-2", attributes=[])
    plant(emulator, 3, email=None, user_id="a-3")
    export(client, tmp_path)
    with held(client, tmp_path) as contacts:
        assert len(contacts) == 3
        found = contacts.look_up(
            [" C1@SHOP.test", "moved@shop.test", "gone@shop.test", None], ["a-2", " a-2 ", None, "a-3"]
        )
        assert [one and one.id for one in found] == [1, 2, None, 3]
        assert found[0] is not None
        assert found[1] is not None
        assert found[0].values == ("c1@shop.test", "a-1", "Customer 1", UNKNOWN, "pro", 14)
        assert found[1].values == ("c2@shop.test", "a-2", "Customer 2", UNKNOWN, None, None)
        assert contacts.count_not_looked_up == 0
        assert contacts.not_shown == {"tags": "Customerly's lists do not show tags"}


def test_the_contacts_that_no_row_asked_for_are_known(
    emulator: Emulator, client: Client, tmp_path: Path
) -> None:
    for number in range(1, 6):
        plant(emulator, number)
    export(client, tmp_path)
    with held(client, tmp_path) as contacts:
        contacts.look_up([f"c{number}@shop.test" for number in (2, 4, 9)])
        assert contacts.count_not_looked_up == 3
        assert sorted(one.id for one in contacts.not_looked_up()) == [1, 3, 5]


def test_the_file_of_contacts_has_no_name_and_is_private(
    emulator: Emulator, client: Client, tmp_path: Path
) -> None:
    plant(emulator, 1)
    export(client, tmp_path)
    with held(client, tmp_path) as contacts:
        state = os.fstat(contacts._file.fileno())
        assert (state.st_nlink, state.st_mode & 0o777) == (0, 0o600)


def test_texts_of_one_hash_are_told_apart(emulator: Emulator, client: Client, tmp_path: Path) -> None:
    for number in (1, 2):
        plant(emulator, number)
    export(client, tmp_path)
    with held(client, tmp_path) as contacts:
        contacts._emails = _Index(2)
        contacts._emails.add(["c1@shop.test", "c1@shop.test"])
        contacts._emails.sorted()
        [found] = contacts.look_up(["c1@shop.test"])
        assert found is not None
        assert found.id == 1


@pytest.mark.parametrize(
    ("options", "not_shown"),
    [
        ({"columns": ["email"]}, {"user_id", "name", "tags", "attributes.plan", "attributes.seats"}),
        ({"drop_columns": ["attributes"]}, {"tags", "attributes.plan", "attributes.seats"}),
        (
            {"drop_columns": ["attributes"], "attributes": {"plan": "string"}},
            {"tags", "attributes.plan", "attributes.seats"},
        ),
        ({"hash_columns": ["name"], "hash_salt": "salt"}, {"tags", "name"}),
    ],
)
def test_a_field_that_the_export_does_not_show_is_told(
    emulator: Emulator, client: Client, tmp_path: Path, options: dict[str, Any], not_shown: set[str]
) -> None:
    plant(emulator, 1, user_id="a-1", attributes={"plan": "pro"})
    export(client, tmp_path, **options)
    with held(client, tmp_path) as contacts:
        assert set(contacts.not_shown) == not_shown
        [found] = contacts.look_up(["c1@shop.test"])
        assert found is not None
        shown = dict(zip(FIELDS, found.values, strict=True))
        assert {field for field, value in shown.items() if value is UNKNOWN} == not_shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop_columns": ["email"]}, "leaves the column email out"),
        ({"hash_columns": ["email"], "hash_salt": "salt"}, "only hashes of emails"),
    ],
)
def test_an_export_without_emails_is_refused(
    emulator: Emulator, client: Client, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    plant(emulator, 1)
    export(client, tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        held(client, tmp_path)


def test_what_cannot_be_compared_with_is_refused(emulator: Emulator, client: Client, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compare_with is not the path of an export of users"):
        held(client, tmp_path)
    plant(emulator, 1)
    export(client, tmp_path)
    with pytest.raises(ValueError, match="compare_with is not the path of an export of leads"):
        HeldContacts.open(tmp_path, "leads", client.base_url, FIELDS)
    with pytest.raises(ValueError, match=r"was read from .*, not from https://other\.test"):
        HeldContacts.open(tmp_path, "users", "https://other.test", FIELDS)
    with pytest.raises(ValueError, match=r"seconds? old, more than the 0 seconds allowed\. Run the export"):
        held(client, tmp_path, max_age=timedelta(0))
    with held(client, tmp_path, max_age=timedelta(days=1)) as contacts:
        assert contacts.export.age < timedelta(days=1)


@pytest.mark.usefixtures("empty_at_once")
def test_an_export_of_nobody_finds_nobody(client: Client, tmp_path: Path) -> None:
    export(client, tmp_path)
    assert read_contacts(tmp_path, "users").count_rows() == 0
    with held(client, tmp_path) as contacts:
        assert contacts.look_up(["c1@shop.test"], ["a-1"]) == [None]


def test_attributes_that_are_no_object_are_unknown(
    emulator: Emulator, client: Client, tmp_path: Path
) -> None:
    plant(emulator, 1, attributes=["odd"])
    plant(emulator, 2, attributes={"plan": {"nested": 1}, "seats": "9"})
    export(client, tmp_path)
    with held(client, tmp_path) as contacts:
        odd, nested = contacts.look_up(["c1@shop.test", "c2@shop.test"])
        assert odd is not None
        assert odd.values[4:] == (UNKNOWN, UNKNOWN)
        assert nested is not None
        assert nested.values[4:] == ({"nested": 1}, "9")


@pytest.mark.parametrize(
    ("held", "wanted", "expected"),
    [
        (14, 14, True),
        ("14", 14, True),
        (14.0, 14, True),
        ("14.50", 14.5, True),
        (14, "14", True),
        ("014", 14, False),
        (1, True, True),
        ("0", False, True),
        ("true", True, True),
        (True, 1, True),
        (2, True, False),
        (None, "", True),
        ("", "", True),
        (None, 0, False),
        (None, False, False),
        ("", 0, False),
        ("pro", "pro", True),
        ("pro", "Pro", False),
        ("9007199254740993", "9007199254740993", True),
        (UNKNOWN, "pro", False),
        ({"a": 1}, "pro", False),
        (float(2**60), "x", False),
    ],
)
def test_a_value_is_the_same_in_whatever_type_the_api_shows_it(
    held: Any, wanted: Any, expected: bool
) -> None:
    assert is_same("attributes.x", held, wanted) is expected


def test_the_likeliest_reading_comes_first() -> None:
    assert [readings(value)[0] for value in ("14", 14.0, None, True, "")] == ["14", 14, None, True, None]


def test_emails_are_compared_as_customerly_compares_them() -> None:
    assert is_same("email", "Ada@Shop.test", "ada@shop.test")
    assert not is_same("name", "Ada", "ada")
    assert is_same("user_id", "a-1", " a-1")
