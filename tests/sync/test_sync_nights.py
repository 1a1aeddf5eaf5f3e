"""Random nights, planned against a plain dictionary: what is sent is the difference, whatever happened."""

from __future__ import annotations

import tempfile
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_customerly.storage import Location
from airflow_provider_customerly.sync.fingerprint import Fingerprint, Fingerprints
from airflow_provider_customerly.sync.ledger import Ledger, Status, entry_type, packed
from airflow_provider_customerly.sync.mapping import FieldMapping
from airflow_provider_customerly.sync.plan_file import SENDING, read_plan
from airflow_provider_customerly.sync.planner import Planner

COLUMNS = ("email", "name", "seats")
EMAILS = st.sampled_from(
    ["a@x.test", " A@X.test", "b@x.test", "c@x.test", "d@x.test", "e@x.test", None, "bad"]
)
ROWS = st.tuples(
    EMAILS, st.sampled_from(["Ada", "Bob", None]), st.sampled_from([1, 2, float("nan"), b"\xff"])
)
NIGHTS = st.lists(
    st.tuples(st.permutations(range(3)), st.lists(ROWS, max_size=8), st.integers(1, 4)), max_size=5
)
NOTHING = bytes(4 * len(COLUMNS))


def identity(row: tuple[Any, ...]) -> str | None:
    return None if row[0] in (None, "bad") else row[0].strip().lower()


def sendable(row: tuple[Any, ...]) -> bool:
    return not isinstance(row[2], bytes)


@settings(max_examples=60)
@given(NIGHTS)
def test_a_night_sends_the_difference(nights: list[Any]) -> None:
    model: dict[Any, Any] = {}
    ledger = Ledger(())
    with tempfile.TemporaryDirectory() as folder:
        location = Location.of(folder)
        for number, (order, rows, chunk) in enumerate(nights):
            mapping = FieldMapping([COLUMNS[index] for index in order])
            prints = Fingerprints(b"salt", mapping.fields)
            ledger = ledger.with_fields(mapping.fields)
            shuffled = [tuple(row[index] for index in order) for row in rows]
            chunks = [shuffled[start : start + chunk] for start in range(0, len(rows), chunk)]
            planner = Planner(mapping, prints, ledger, location, f"night-{number}")
            writer, counts = planner.plan(chunks)
            with writer:
                writer.close()
            counts.check_planned()
            planned = list(read_plan(location, writer.name))

            times = Counter(identity(row) for row in rows)
            good = {identity(row): row for row in rows if times[identity(row)] == 1 and sendable(row)}
            good.pop(None, None)
            wanted = {who: (row[0].strip(), row[1], str(row[2])) for who, row in good.items()}
            different = {who for who, row in wanted.items() if model.get(who) != row}
            gone = {who for who, row in model.items() if row is not None and who not in times}
            sent = {rows[one.number - 1][0].strip().lower(): one for one in planned if one.action in SENDING}
            assert set(sent) == different
            assert {who for who, one in sent.items() if one.action == "new"} == different - set(model)
            assert {one.key for one in planned if one.action == "vanished"} == {*map(prints.key, gone)}
            assert counts.unchanged == len(wanted) - len(different)
            assert counts.invalid == len(rows) - len(wanted)

            blank = Fingerprint(bytes(16), NOTHING)
            noted = [
                packed(one.key, one.fingerprint or blank, Status.DELIVERED, number) for one in sent.values()
            ]
            noted += [packed(prints.key(who), blank, Status.VANISHED, number) for who in gone]
            ledger.update(np.frombuffer(bytearray(b"".join(noted)), entry_type(len(mapping.fields))))
            model |= {who: wanted[who] for who in sent} | dict.fromkeys(gone)
            living = {entry["key"].tobytes() for entry in ledger.entries[ledger.living]}
            assert living == {prints.key(who) for who, row in model.items() if row is not None}
