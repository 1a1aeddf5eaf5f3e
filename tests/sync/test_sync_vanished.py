"""Who a vanished contact is, when several contacts could be meant."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sync_helpers import Sync

pytestmark = pytest.mark.emulator(users=0, leads=0)

COLUMNS = ("email", "user_id")
DELETE: dict[str, Any] = {"max_vanished": 1.0, "on_vanished": "delete"}


def change(sync: Sync, email: str, **changes: Any) -> None:
    contacts = sync.emulator.store
    contact_id = contacts.find("users", email=email)
    assert contact_id is not None
    contacts.update("users", contact_id, changes)


def emails(sync: Sync) -> set[str]:
    return {contact["email"] for contact in sync.emulator.store.truth("users").values()}


def test_a_user_id_that_moved_to_a_contact_of_the_source_deletes_nobody(
    sync: Sync, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("gone@shop.test", "u1"), ("other@shop.test", None), ("kept@shop.test", "u3")]
    sync.run(rows, COLUMNS)
    change(sync, "gone@shop.test", user_id="z1")
    change(sync, "other@shop.test", user_id="u1")
    result = sync.run(rows[1:], COLUMNS, **DELETE)
    assert (result["vanished"], result["vanished_handled"], result["not_found"]) == (1, 0, 1)
    assert emails(sync) == {"gone@shop.test", "other@shop.test", "kept@shop.test"}
    assert "1 vanished contacts are left alone: another contact has" in caplog.text
    assert "not found" not in caplog.text


@pytest.mark.parametrize("is_first", [True, False])
def test_of_two_unicode_forms_of_an_email_the_one_that_was_sent_is_deleted(
    sync: Sync, is_first: bool
) -> None:
    sent = unicodedata.normalize("NFC", "zoë@shop.test")
    strange = unicodedata.normalize("NFD", sent)
    if is_first:
        sync.emulator.store.upsert("users", [{"email": strange}])
    sync.run([(sent, "u1"), ("kept@shop.test", "u3")], COLUMNS)
    if not is_first:
        sync.emulator.store.upsert("users", [{"email": strange}])
    assert sync.run([("kept@shop.test", "u3")], COLUMNS, **DELETE)["vanished_handled"] == 1
    assert emails(sync) == {strange, "kept@shop.test"}
