from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.sync.fingerprint import Fingerprints
from airflow_provider_customerly.sync.journal import Journal, read_into, remove
from airflow_provider_customerly.sync.ledger import Ledger, Status, entry_type, keys_of, packed
from airflow_provider_customerly.sync.ledger_file import read_ledger, write_ledger

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = ("email", "name", "attributes.plan")
PRINTS = Fingerprints(b"salt", FIELDS)

# Keys of few different halves, so that some share one half and not the other.
KEYS = st.tuples(st.integers(0, 3), st.integers(0, 3)).map(
    lambda halves: b"".join(half.to_bytes(8, "little") for half in halves)
)
ROWS = st.tuples(st.sampled_from(["a@x.test", "b@x.test"]), st.text(max_size=2), st.integers(0, 2))
CHANGES = st.lists(st.tuples(KEYS, ROWS, st.sampled_from(Status), st.integers(0, 2**40)), max_size=40)


def entries(changes: list) -> np.ndarray:
    content = b"".join(packed(key, PRINTS.of(row), status, at) for key, row, status, at in changes)
    return np.frombuffer(content, entry_type(len(FIELDS)))


def as_dict(ledger: Ledger) -> dict:
    return {
        entry["key"].tobytes(): (entry["row"].tobytes(), Status(entry["status"]), int(entry["at"]))
        for entry in ledger.entries
    }


@given(st.lists(CHANGES, max_size=4), st.lists(KEYS, max_size=20))
def test_a_ledger_is_a_dictionary(rounds: list, asked: list[bytes]) -> None:
    ledger, model = Ledger(FIELDS), {}
    for changes in rounds:
        ledger.update(entries(changes))
        model |= {key: (PRINTS.of(row).row, status, at) for key, row, status, at in changes}
    assert as_dict(ledger) == model
    for key, position in zip(asked, ledger.find(keys_of(asked)), strict=True):
        assert (position >= 0) == (key in model)
        if position >= 0:
            assert ledger.entries["key"][position].tobytes() == key


@given(CHANGES)
def test_a_ledger_built_at_once_is_that_built_one_by_one(changes: list) -> None:
    one_by_one = Ledger(FIELDS)
    for change in changes:
        one_by_one.update(entries([change]))
    assert as_dict(one_by_one) == as_dict(Ledger(FIELDS, entries(changes)))


def test_changed_fields_are_named_also_after_a_field_was_mapped_anew() -> None:
    key = PRINTS.key("ada@x.test")
    ledger = Ledger(FIELDS, entries([(key, ("ada@x.test", "Ada", 1), Status.DELIVERED, 0)]))
    assert ledger.changed_fields(0, PRINTS.of(("ada@x.test", "Ada B", 1))) == ["name"]

    wider = ledger.with_fields(("attributes.seats", "attributes.plan", "email"))
    now = Fingerprints(b"salt", wider.fields).of((3, 1, "ada@x.test"))
    assert wider.changed_fields(0, now) == ["attributes.seats"]


def test_another_order_of_tags_changes_no_row() -> None:
    prints = Fingerprints(b"salt", ("email", "tags"))
    assert prints.of(("ada@x.test", ["b", "a"])) == prints.of(("ada@x.test", ["a", "b"]))
    assert prints.of(("ada@x.test", ["b", "a"])) != prints.of(("ada@x.test", ["a", "c"]))


def test_another_order_of_columns_changes_no_row_and_another_field_does() -> None:
    row = PRINTS.of(("ada@x.test", "Ada", None)).row
    reordered = Fingerprints(b"salt", ("attributes.plan", "email", "name"))
    assert reordered.of((None, "ada@x.test", "Ada")).row == row
    assert Fingerprints(b"salt", FIELDS[:2]).of(("ada@x.test", "Ada")).row != row


@pytest.mark.parametrize("count", [0, 1, 70_000])
def test_a_ledger_is_read_as_it_was_written(tmp_path: Path, count: int) -> None:
    statuses = list(Status)
    content = b"".join(
        packed(PRINTS.key(str(n)), PRINTS.of((f"{n}@x.test", None, n)), statuses[n % 3], 1_700_000_000 + n)
        for n in range(count)
    )
    ledger = Ledger(FIELDS, np.frombuffer(content, entry_type(len(FIELDS))))
    assert write_ledger(Location.of(tmp_path), ledger, "") == 1
    found = read_ledger(Location.of(tmp_path))
    assert (found.fields, found.sequence, found.entries.tobytes()) == (FIELDS, 1, ledger.entries.tobytes())

    write_ledger(Location.of(tmp_path), found, "")
    [file] = tmp_path.rglob("*.parquet")
    assert pq.read_table(file).num_rows == count


def test_journals_of_dead_runs_are_taken_in_once_or_twice_alike(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    ada, bob = PRINTS.key("ada"), PRINTS.key("bob")
    first, second = PRINTS.of(("ada", "Ada", 1)), PRINTS.of(("ada", "Ada", 2))
    earlier = Journal(location, "20260101T000000Z-00000000", Ledger(FIELDS))
    earlier.write([(ada, first, Status.DELIVERED, 1), (bob, first, Status.REFUSED, 1)])
    earlier.write([(ada, second, Status.DELIVERED, 2)])
    (tmp_path / "journal" / ".tmp-1-20260101T000000Z-00000000-00000003.json").write_bytes(b"{")

    ledger, names = read_into(Ledger(()), location)
    again, _ = read_into(ledger, location)
    expected = {ada: (second.row, Status.DELIVERED, 2), bob: (first.row, Status.REFUSED, 1)}
    assert as_dict(ledger) == as_dict(again) == expected
    assert len(names) == 2

    remove(location)
    assert location.list("journal") == {}
