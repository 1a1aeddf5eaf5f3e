"""Serve lists as ``Choices`` says, where the vendor's behaviour is not known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.emulator.profiles import json_bytes
from airflow_provider_customerly.emulator.service import ProblemError
from airflow_provider_customerly.emulator.stamps import parse_stamp, stamp_text

if TYPE_CHECKING:
    from airflow_provider_customerly.emulator.choices import Choices
    from airflow_provider_customerly.emulator.store import Store


def list_page(
    store: Store, choices: Choices, kind: str, page: int, per_page: int, sort: str, direction: str
) -> bytes:
    """Return one page of a list as a JSON array.

    :param page: page number as the client counts.
    """
    page = max(0, page - choices.first_page)
    if choices.sort_kept == "none":
        sort = "crmhero_user_id"
    if choices.sort_kept != "both":
        direction = "asc"
    contacts = store.page(kind, page, per_page, sort, direction)
    if contacts == b"[]" and page > 0 and choices.past_end != "empty":
        if choices.past_end == "error":
            raise ProblemError(404, "Page not found")
        last = max(0, store.count(kind) - 1) // min(per_page, store.max_per_page)
        contacts = store.page(kind, last, per_page, sort, direction)
    return _altered(contacts, choices)


def _altered(contacts: bytes, choices: Choices) -> bytes:
    if not (
        choices.short_pages
        or choices.last_update_zone
        or choices.numbers_as_text
        or choices.empty_attributes != "[]"
    ):
        return contacts
    records = json.loads(contacts)
    if choices.short_pages:
        records = [record for record in records if not record.get("spam")]
    return json_bytes([_record(record, choices) for record in records])


def _record(record: dict[str, Any], choices: Choices) -> dict[str, Any]:
    stamp = parse_stamp(record.get("last_update"))
    if stamp is not None:
        record["last_update"] = stamp_text(stamp + int(3600 * choices.last_update_zone))
    if record.get("attributes") == []:
        record["attributes"] = json.loads(choices.empty_attributes)
    if choices.numbers_as_text:
        numbers = {name: value for name, value in record.items() if type(value) in (int, float)}
        record |= {name: str(value) for name, value in numbers.items()}
    return record
