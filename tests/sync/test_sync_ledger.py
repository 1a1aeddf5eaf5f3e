from __future__ import annotations

import hashlib
import zlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st
from sync_helpers import as_of_an_older_version

from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.storage.process import Process
from airflow_provider_customerly.sync.fingerprint import Fingerprints, comparable
from airflow_provider_customerly.sync.journal import Journal, Remainder, write_remainder
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.ledger import Ledger, Status, entry_type, packed
from airflow_provider_customerly.sync.ledger_file import begin, read_ledger, write_ledger
from airflow_provider_customerly.sync.recovery import Recovery

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
    assert ledger.changed_fields(0, PRINTS.of(("ada@x.test", "Ada B", 1)).fields) == ["name"]

    wider = ledger.with_fields(("attributes.seats", "attributes.plan", "email"))
    now = Fingerprints(b"salt", wider.fields).of((3, 1, "ada@x.test"))
    assert wider.changed_fields(0, now.fields) == ["attributes.seats"]


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
        packed(
            PRINTS.key(str(n)),
            PRINTS.of((f"{n}@x.test", None, n)),
            statuses[n % len(statuses)],
            1_700_000_000 + n,
        )
        for n in range(count)
    )
    ledger = Ledger(FIELDS, np.frombuffer(content, entry_type(len(FIELDS))))
    assert write_ledger(begin(Location.of(tmp_path)), ledger, "id") == 1
    found = read_ledger(begin(Location.of(tmp_path)), "id")
    assert (found.fields, found.sequence, found.entries.tobytes()) == (FIELDS, 1, ledger.entries.tobytes())

    write_ledger(begin(Location.of(tmp_path)), found, "id")
    [file] = tmp_path.rglob("*.parquet")
    assert pq.read_table(file).num_rows == count


def test_journals_of_dead_runs_are_taken_in_once_or_twice_alike(tmp_path: Path) -> None:
    location = Location.of(tmp_path)
    ada, bob = PRINTS.key("ada"), PRINTS.key("bob")
    first, second = PRINTS.of(("ada", "Ada", 1)), PRINTS.of(("ada", "Ada", 2))
    run = "20260101T000000000000Z-00000000"
    earlier = Journal(location, run, "id", Ledger(FIELDS), 100)
    earlier.write(
        entries([(ada, ("ada", "Ada", 1), Status.DELIVERED, 1), (bob, ("ada", "Ada", 1), Status.REFUSED, 1)])
    )
    earlier.write(entries([(ada, ("ada", "Ada", 2), Status.DELIVERED, 2)]))
    (tmp_path / "journal" / f".tmp-1-{run}-00000003.json").write_bytes(b"{")

    for _ in range(2):
        recovery = Recovery(location, "id", Ledger(()))
        assert as_dict(recovery.ledger) == {
            ada: (second.row, Status.DELIVERED, 2),
            bob: (first.row, Status.REFUSED, 1),
        }
        recovery.finish_before_commit()
        assert recovery.ledger.taken == {run: 2}
    assert len(recovery.done) == 2


def test_a_ledger_of_an_older_version_knows_rows_and_not_fields(tmp_path: Path) -> None:
    row = ("ada@x.test", "Ada", 1)
    ledger = Ledger(FIELDS, entries([(PRINTS.key("ada@x.test"), row, Status.DELIVERED, 7)]))
    write_ledger(begin(Location.of(tmp_path)), ledger, "state")
    as_of_an_older_version(tmp_path)
    known = read_ledger(begin(Location.of(tmp_path)), "state")
    assert as_dict(known) == as_dict(ledger)
    assert known.changed_fields(0, PRINTS.of(row).fields) == list(FIELDS)


def test_what_another_run_may_still_remove_is_leaving(tmp_path: Path) -> None:
    """Its row is sent again if it comes back. If not, it is still known whom to look for."""
    location, row = Location.of(tmp_path), ("ada@x.test", "Ada", 1)
    before = [(bytes([status]) * 16, row, status, 1) for status in Status]
    ledger = Ledger(FIELDS, entries(before))
    stands = Remainder(Process.current(), datetime.now(timezone.utc))
    run = "20260101T000000000000Z-00000000"
    may_remove = entries([(key, row, Status.LEAVING, 0) for key, *_ in before])
    write_remainder(location, run, "id", ledger, stands, may_remove)

    recovery = Recovery(location, "id", ledger)
    assert {key: found[:2] for key, found in as_dict(recovery.ledger).items()} == {
        key: (PRINTS.of(row).row, Status.LEAVING if status == Status.DELIVERED else status)
        for key, _, status, _ in before
    }
    assert (recovery.ledger.entries["at"] > 1).all(), "what an export from before shows is out of date"
    assert recovery.done == [], "it stays until that run is known to have ended"


VALUES = st.none() | st.text(max_size=3) | st.integers(0, 3) | st.lists(st.text(max_size=2))


@given(columns=st.lists(st.lists(VALUES, min_size=9), min_size=3, max_size=3))
def test_digests_by_column_are_those_of_each_row(columns: list[list[Any]]) -> None:
    """They are in ledgers that were written long ago, so how they are made is spelled out here."""
    fields = ("email", "attributes.b", "attributes.a")
    prints = Fingerprints(b"salt", fields)
    rows = list(zip(*columns, strict=False))
    columns = [list(column) for column in zip(*rows, strict=True)]
    encoded = [list(map(msgspec.json.encode, comparable(column))) for column in columns]
    assert prints.rows(columns) == [prints.of(row).row for row in rows]
    assert prints.fields(encoded) == [prints.of(row).fields for row in rows]
    for row, digest, found in zip(rows, prints.rows(columns), prints.fields(encoded), strict=True):
        same = [sorted(value) if isinstance(value, list) else value for value in row]
        text = msgspec.json.encode(sorted(fields)) + msgspec.json.encode([same[2], same[1], same[0]])
        assert digest == hashlib.blake2b(text, key=b"salt", digest_size=16, person=b"row").digest()
        key = hashlib.blake2b(key=b"salt", digest_size=16, person=b"field").digest()
        blocks = [
            zlib.crc32(msgspec.json.encode(value)).to_bytes(4, "little")
            + hashlib.blake2b(field.encode(), digest_size=12).digest()
            for field, value in zip(fields, same, strict=True)
        ]
        cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        assert found == b"".join(cipher.update(block)[:4] for block in blocks)


def test_keys_and_users_by_column_are_those_of_each_row() -> None:
    texts = ["ada@x.test", "", "  ", "é", " b "]
    assert PRINTS.keys(texts) == [PRINTS.key(text) for text in texts]
    assert PRINTS.users([*texts, None]) == [PRINTS.user(text) for text in [*texts, None]]
