"""Compares the rows of the source with the ledger and writes down what is to be done with each."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import replace

from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.sync.fingerprint import KEY_BYTES, comparable
from airflow_provider_customerly.sync.keys import keys_of
from airflow_provider_customerly.sync.ledger import Ledger, Status
from airflow_provider_customerly.sync.plan_file import (
    FOLDER,
    SENDING,
    Planned,
    PlanWriter,
    columns_of,
    in_source_order,
    read_plan,
    rows_of,
)
from airflow_provider_customerly.sync.twins import Twins
from airflow_provider_customerly.values.email import identities_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.sync.comparing import Comparer
    from airflow_provider_customerly.sync.fingerprint import Fingerprints
    from airflow_provider_customerly.sync.mapping import FieldMapping, MappedColumns
    from airflow_provider_customerly.sync.plan_file import Action, Columns
    from airflow_provider_customerly.values.rows import MappedRow

_ACTIONS: tuple[Action | None, ...] = (None, "new", "changed", "again", "invalid", "still_refused", "settled")
_UNCHANGED, _NEW, _CHANGED, _AGAIN, _INVALID, _STILL_REFUSED, _SETTLED = range(len(_ACTIONS))
_ALWAYS_SENT_AGAIN = (Status.VANISHED, Status.UNKNOWN, Status.LEAVING)
_NOBODY = bytes(KEY_BYTES)
_NO_IDENTITY = ("missing_email", "malformed_email")
_ROWS_NAMED = 5
_ROWS_AT_ONCE = 65_536
_encode = msgspec.json.Encoder().encode


class Planner:
    """Makes one plan; holds 33 bytes a row in memory beside the ledger.

    A row that has an email counts as present in the source even if it cannot be sent. All rows that share an
    email or a user_id are invalid: nobody can tell which is meant, and a contact has one of each.

    :param location: the sync's state; the plan is written to `plans/<run>.parquet` there, or to
        `plans/<run>-2.parquet` if some rows share an email or a user_id.
    :param notes: what the metadata of the plan's file is to hold.
    :param retry_rejects: send what was refused before though it has not changed.
    :param full_resync: send all, whether it has changed or not.
    :param comparer: compares the rows that are to be sent with what Customerly held.
    :param progress: called with the number of rows read, after each chunk.
    """

    def __init__(
        self,
        mapping: FieldMapping,
        fingerprints: Fingerprints,
        ledger: Ledger,
        location: Location,
        run: str,
        notes: Mapping[bytes, bytes] | None = None,
        *,
        retry_rejects: bool = False,
        full_resync: bool = False,
        comparer: Comparer | None = None,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._mapping = mapping
        self._user_id = mapping.fields.index("user_id") if "user_id" in mapping.fields else None
        self._fingerprints = fingerprints
        self._ledger = ledger
        self._location = location
        self._run = run
        self._notes = notes
        self._retry_rejects = retry_rejects
        self._full_resync = full_resync
        self._comparer = comparer
        self._progress = progress
        self._codes = bytearray()
        self._emails = Twins(KEY_BYTES)
        self._users = Twins(np.int64().nbytes)
        self._present = np.zeros(len(ledger), dtype=bool)
        self._changed_fields = Counter[str]()
        unsure = ledger.entries["user"][ledger.entries["status"] == Status.UNKNOWN]
        self._unsure_users = unsure[unsure != 0]

    def plan(self, chunks: Iterable[Sequence[Sequence[Any]]]) -> tuple[PlanWriter, Counts]:
        """Read all rows. Return the finished plan, which must still be closed, and its counts."""
        with ExitStack() as unfinished:
            writer = unfinished.enter_context(self._writer(""))
            for chunk in chunks:
                self._take(chunk, writer)
                self._progress(len(self._codes))
            if duplicates := self._duplicates():
                writer.close()
                suspected = writer.name
                unfinished.callback(self._location.delete, suspected)
                writer = unfinished.enter_context(self._writer("-2"))
                self._copy_without_duplicates(suspected, writer, duplicates)
                self._location.delete(suspected)
            vanished = np.flatnonzero(self._ledger.living & ~self._present)
            for start in range(0, len(vanished), _ROWS_AT_ONCE):
                some = self._ledger.entries["key"][vanished[start : start + _ROWS_AT_ONCE]]
                keys = [key.tobytes().hex() for key in some]
                writer.extend({"action": ["vanished"] * len(keys), "row": [0] * len(keys), "key": keys})
            unfinished.pop_all()
        return writer, self._counts(len(vanished))

    def _writer(self, suffix: str) -> PlanWriter:
        return PlanWriter(self._location, f"{FOLDER}/{self._run}{suffix}.parquet", self._notes)

    def _take(self, chunk: Sequence[Sequence[Any]], writer: PlanWriter) -> None:
        first = len(self._codes) + 1
        mapped = self._mapping.map_columns(chunk)
        emails = mapped.columns[0]
        keys = self._keys(mapped)
        digests = self._fingerprints.rows(mapped.columns)
        at = self._ledger.find(keys_of(keys))
        self._present[at[at >= 0]] = True
        codes = self._classify(mapped, digests, at)
        self._emails.add(b"".join(keys), emails)
        if self._user_id is not None:
            user_ids = mapped.columns[self._user_id]
            self._users.add(_hashes(user_ids), user_ids)
        good = np.flatnonzero((codes != _UNCHANGED) & (codes != _INVALID)).tolist()
        columns: Columns = {
            **self._to_send(mapped, good, digests),
            "action": [_ACTIONS[code] for code in codes[good].tolist()],
            "row": [first + index for index in good],
            "key": [keys[index].hex() for index in good],
        }
        columns = {**columns, "changed_fields": self._changed(columns, at[good])}
        if self._comparer is not None:
            columns = columns_of(self._compare(self._comparer, mapped, first, list(rows_of(columns)), codes))
        changed = map(_fields_to_send, columns["action"], columns["changed_fields"])
        self._changed_fields.update(chain.from_iterable(changed))
        if mapped.problems:
            invalid = [
                self._invalid(mapped.row(index, first + index), keys[index]) for index in mapped.problems
            ]
            columns = in_source_order(columns, columns_of(invalid))
        writer.extend(columns)
        self._codes += codes.tobytes()

    def _compare(
        self,
        comparer: Comparer,
        mapped: MappedColumns,
        first: int,
        planned: list[Planned],
        codes: npt.NDArray[np.uint8],
    ) -> list[Planned]:
        """Add what Customerly held to the rows that are to be sent. After that, some need not be sent."""
        sending = [place for place, one in enumerate(planned) if one.action in SENDING]
        if not sending:
            return planned
        places = [planned[place].number - first for place in sending]
        values = [[column[place] for column in mapped.columns] for place in places]
        for place, one in zip(
            sending, comparer.judge([planned[place] for place in sending], values), strict=True
        ):
            planned[place], codes[one.number - first] = one, _ACTIONS.index(one.action)
        return planned

    def _keys(self, mapped: MappedColumns) -> list[bytes]:
        keys = self._fingerprints.keys(identities_of(email or "" for email in mapped.columns[0]))
        for index, problems in mapped.problems.items():
            if any(problem.reason in _NO_IDENTITY for problem in problems):
                keys[index] = _NOBODY
        return keys

    def _to_send(
        self, mapped: MappedColumns, good: Sequence[int], digests: Sequence[bytes]
    ) -> dict[str, Sequence[Any]]:
        """Return columns for some rows: whom each is about, what is sent, and its fingerprints."""
        columns = mapped.columns
        if len(good) < len(digests):
            columns = [[column[index] for index in good] for column in columns]
            digests = [digests[index] for index in good]
        encoded = [list(map(_encode, column)) for column in columns]
        compared = [
            texts if (same := comparable(column)) is column else list(map(_encode, same))
            for column, texts in zip(columns, encoded, strict=True)
        ]
        user_ids = [None] * len(good) if self._user_id is None else columns[self._user_id]
        return {
            "email": columns[0],
            "user_id": user_ids,
            "contact": list(map(bytes.decode, self._mapping.contacts(encoded))),
            "fingerprint": digests,
            "field_fingerprints": self._fingerprints.fields(compared),
            "user_fingerprint": self._fingerprints.users(user_ids),
        }

    def _changed(self, columns: Columns, at: npt.NDArray[np.int64]) -> list[list[str] | None]:
        """Return which fields differ from what was delivered, for rows that changed."""
        return [
            self._ledger.changed_fields(position, fields) if action == "changed" else None
            for action, fields, position in zip(
                columns["action"], columns["field_fingerprints"], at.tolist(), strict=True
            )
        ]

    def _classify(
        self, mapped: MappedColumns, digests: Sequence[bytes], at: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        codes = np.full(len(digests), _NEW, np.uint8)
        codes[list(mapped.problems)] = _INVALID
        compared = np.flatnonzero((at >= 0) & (codes == _NEW))
        entries = self._ledger.entries[at[compared]]
        now = keys_of(digests)[compared]
        same = (entries["row"] == now).all(axis=1)
        before = entries["status"]
        # A contact may have got another email by a request whose answer was lost, and have it still.
        is_sure = ~np.isin(entries["user"], self._unsure_users)
        unchanged = same & is_sure & (before == Status.DELIVERED) & (not self._full_resync)
        still_refused = same & (before == Status.REFUSED) & (not (self._retry_rejects or self._full_resync))
        codes[compared] = np.select(
            [unchanged, still_refused, same | np.isin(before, _ALWAYS_SENT_AGAIN)],
            [_UNCHANGED, _STILL_REFUSED, _AGAIN],
            default=_CHANGED,
        )
        return codes

    def _invalid(self, row: MappedRow, key: bytes) -> Planned:
        key = b"" if key == _NOBODY else key
        user_id = None if self._user_id is None else row.values[self._user_id]
        return Planned("invalid", row.number, key, row.email, user_id, **_first_problem(row))

    def _copy_without_duplicates(
        self, suspected: str, writer: PlanWriter, duplicates: dict[int, Planned]
    ) -> None:
        for number in duplicates:
            self._codes[number - 1] = _INVALID
        for planned in read_plan(self._location, suspected):
            instead = duplicates.pop(planned.number, None)
            if instead is not None:
                self._changed_fields.subtract(_fields_to_send(planned.action, planned.changed_fields))
                instead = replace(instead, key=planned.key, email=planned.email, user_id=planned.user_id)
            writer.add(instead or planned)
        for _, planned in sorted(duplicates.items()):  # those that had not changed are in no plan
            writer.add(planned)

    def _duplicates(self) -> dict[int, Planned]:
        """Return the rows that share an email or a user_id, by number, as they are to be planned instead."""
        found: dict[int, Planned] = {}
        for name, twins in (("user_id", self._users), ("email", self._emails)):
            for text, numbers in twins.rows():
                problem = _duplicate(name, numbers)
                problem = replace(problem, email=text) if name == "email" else replace(problem, user_id=text)
                for number in numbers:
                    found[number] = replace(problem, number=number, key=self._emails.digest(number))
        return found

    def _counts(self, vanished: int) -> Counts:
        found = Counter(self._codes)
        return Counts(
            rows_read=len(self._codes),
            new=found[_NEW],
            changed=found[_CHANGED],
            again=found[_AGAIN],
            unchanged=found[_UNCHANGED] + found[_SETTLED],
            settled=found[_SETTLED],
            invalid=found[_INVALID],
            still_refused=found[_STILL_REFUSED],
            vanished=vanished,
            changed_fields=+self._changed_fields,
        )


def _hashes(user_ids: Sequence[str | None]) -> bytes:
    """Return a hash of each user_id, which holds in this process only; zeros where there is none."""
    hashes = (hash((user_id or "").strip()) for user_id in user_ids)
    return np.fromiter(hashes, np.int64, len(user_ids)).tobytes()


def _fields_to_send(action: Action, changed_fields: Sequence[str] | None) -> Sequence[str]:
    """Return the fields that a row sends because they changed."""
    return changed_fields or () if action in SENDING else ()


def _first_problem(row: MappedRow) -> dict[str, Any]:
    first, *others = row.problems
    message = "; ".join([first.message, *(f"{other.field}: {other.message}" for other in others)])
    return {"reason": first.reason, "field": first.field, "message": message}


def _duplicate(field: str, numbers: Sequence[int]) -> Planned:
    """Return what becomes of rows because they share a field."""
    named = ", ".join(str(number) for number in numbers[:_ROWS_NAMED])
    more = f" and {len(numbers) - _ROWS_NAMED} more" if len(numbers) > _ROWS_NAMED else ""
    alike = ", apart from case and blanks," if field == "email" else ""
    return Planned(
        "invalid",
        reason=f"duplicate_{field}",
        field=field,
        message=f"Rows {named}{more} have the same {field}{alike} and none was sent. Make the query "
        "return one row.",
    )
