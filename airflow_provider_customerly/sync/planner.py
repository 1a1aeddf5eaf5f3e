"""Compares the rows of the source with the ledger and writes down what is to be done with each."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.client.keyset import KeySet
from airflow_provider_customerly.sync.counts import Counts
from airflow_provider_customerly.sync.email import identity_of
from airflow_provider_customerly.sync.fingerprint import KEY_BYTES
from airflow_provider_customerly.sync.ledger import Ledger, Status, keys_of
from airflow_provider_customerly.sync.plan_file import FOLDER, Planned, PlanWriter, read_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_customerly.storage import Location
    from airflow_provider_customerly.sync.fingerprint import Fingerprints
    from airflow_provider_customerly.sync.mapping import FieldMapping
    from airflow_provider_customerly.sync.plan_file import Action
    from airflow_provider_customerly.sync.rows import MappedRow

_ACTIONS: tuple[Action | None, ...] = (None, "new", "changed", "again", "invalid", "still_refused")
_UNCHANGED, _NEW, _CHANGED, _AGAIN, _INVALID, _STILL_REFUSED = range(len(_ACTIONS))
_NOBODY = bytes(KEY_BYTES)
_NO_IDENTITY = ("missing_email", "malformed_email")
_ROWS_NAMED = 5


class Planner:
    """Makes one plan; holds 25 bytes a row in memory beside the ledger.

    A row that has an email counts as present in the source even if it cannot be sent. All rows that share an
    email are invalid: nobody can tell which is meant, and the ledger knows a contact by its email.

    :param location: the sync's state; the plan is written to `plans/<run>.parquet` there.
    :param retry_rejects: send what was refused before though it has not changed.
    :param full_resync: send all, whether it has changed or not.
    :param progress: called with the number of rows read, after each chunk.
    """

    def __init__(
        self,
        mapping: FieldMapping,
        fingerprints: Fingerprints,
        ledger: Ledger,
        location: Location,
        run: str,
        *,
        retry_rejects: bool = False,
        full_resync: bool = False,
        progress: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._mapping = mapping
        self._user_id = mapping.fields.index("user_id") if "user_id" in mapping.fields else None
        self._fingerprints = fingerprints
        self._ledger = ledger
        self._location = location
        self._name = f"{FOLDER}/{run}.parquet"
        self._retry_rejects = retry_rejects
        self._full_resync = full_resync
        self._progress = progress
        self._keys = bytearray()
        self._codes = bytearray()
        self._met = KeySet()
        self._twins: dict[bytes, str] = {}
        self._present = np.zeros(len(ledger), dtype=bool)

    def plan(self, chunks: Iterable[Sequence[Sequence[Any]]]) -> tuple[PlanWriter, Counts]:
        """Read all rows and give the finished plan, still to be closed, and its figures."""
        with ExitStack() as unfinished:
            writer = unfinished.enter_context(PlanWriter(self._location, self._name))
            for chunk in chunks:
                self._take(chunk, writer)
                self._progress(len(self._codes))
            if self._twins and (numbers := self._rows_of_twins()):
                writer.close()
                suspected, name = writer.name, self._name.replace(".parquet", "-without-duplicates.parquet")
                unfinished.callback(self._location.delete, suspected)
                writer = unfinished.enter_context(PlanWriter(self._location, name))
                self._copy_without_duplicates(suspected, writer, numbers)
                self._location.delete(suspected)
            vanished = np.flatnonzero(self._ledger.living & ~self._present)
            for key in self._ledger.entries["key"][vanished]:
                writer.add(Planned("vanished", key=key.tobytes()))
            unfinished.pop_all()
        return writer, self._counts(len(vanished))

    def _take(self, chunk: Sequence[Sequence[Any]], writer: PlanWriter) -> None:
        rows = self._mapping.map(chunk, len(self._codes) + 1)
        keys = [self._key(row) for row in rows]
        digests = [_NOBODY if row.problems else self._fingerprints.row(row.values) for row in rows]
        at = self._ledger.find(keys_of(keys))
        self._present[at[at >= 0]] = True
        codes = self._classify(rows, digests, at)
        self._keys += b"".join(keys)
        self._codes += codes.tobytes()
        self._note_twins(rows, keys)
        for index in np.flatnonzero(codes).tolist():
            writer.add(self._planned(rows[index], keys[index], int(codes[index]), int(at[index])))

    def _key(self, row: MappedRow) -> bytes:
        if row.email is None or any(problem.reason in _NO_IDENTITY for problem in row.problems):
            return _NOBODY
        return self._fingerprints.key(identity_of(row.email))

    def _classify(
        self, rows: Sequence[MappedRow], digests: Sequence[bytes], at: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        codes = np.full(len(rows), _NEW, np.uint8)
        codes[np.fromiter((bool(row.problems) for row in rows), bool, len(rows))] = _INVALID
        compared = np.flatnonzero((at >= 0) & (codes == _NEW))
        entries = self._ledger.entries[at[compared]]
        now = keys_of(digests[index] for index in compared.tolist())
        same = (entries["row"] == now).all(axis=1)
        before = entries["status"]
        unchanged = same & (before == Status.DELIVERED) & (not self._full_resync)
        still_refused = same & (before == Status.REFUSED) & (not (self._retry_rejects or self._full_resync))
        codes[compared] = np.select(
            [unchanged, still_refused, same | (before == Status.VANISHED)],
            [_UNCHANGED, _STILL_REFUSED, _AGAIN],
            default=_CHANGED,
        )
        return codes

    def _note_twins(self, rows: Sequence[MappedRow], keys: Sequence[bytes]) -> None:
        # Half a key is enough to suspect; whether the whole one is shared is looked at in the end.
        halves = [int.from_bytes(key[:8], "little", signed=True) for key in keys]
        for row, key, known in zip(rows, keys, self._met.add(halves), strict=True):
            if known and key != _NOBODY and row.email is not None:
                self._twins[key] = row.email

    def _planned(self, row: MappedRow, key: bytes, code: int, position: int) -> Planned:
        action = _ACTIONS[code]
        assert action is not None  # noqa: S101  # unchanged rows are in no plan
        key = b"" if key == _NOBODY else key
        user_id = None if self._user_id is None else row.values[self._user_id]
        planned = Planned(action, row.number, key, row.email, user_id)
        if code == _INVALID:
            return planned._replace(**_first_problem(row))
        fingerprint = self._fingerprints.of(row.values)
        if code == _STILL_REFUSED:
            return planned._replace(fingerprint=fingerprint)
        changed = self._ledger.changed_fields(position, fingerprint) if code == _CHANGED else None
        contact = msgspec.json.encode(self._mapping.contact(row)).decode()
        return planned._replace(changed_fields=changed, contact=contact, fingerprint=fingerprint)

    def _copy_without_duplicates(
        self, suspected: str, writer: PlanWriter, numbers: dict[bytes, list[int]]
    ) -> None:
        duplicates = {number: key for key, some in numbers.items() for number in some}
        for number in duplicates:
            self._codes[number - 1] = _INVALID
        for planned in read_plan(self._location, suspected):
            key = duplicates.pop(planned.number, None)
            writer.add(planned if key is None else _duplicate(planned, numbers[key]))
        for number, key in sorted(duplicates.items()):  # those that had not changed are in no plan
            writer.add(_duplicate(Planned("invalid", number, key, self._twins[key]), numbers[key]))

    def _rows_of_twins(self) -> dict[bytes, list[int]]:
        keys = np.frombuffer(self._keys, np.uint64).reshape(-1, 2)
        suspected = np.isin(keys[:, 0], keys_of(self._twins)[:, 0])
        numbers: dict[bytes, list[int]] = defaultdict(list)
        for index in np.flatnonzero(suspected):
            key = keys[index].tobytes()
            if key in self._twins:
                numbers[key].append(int(index) + 1)
        return {key: some for key, some in numbers.items() if len(some) > 1}

    def _counts(self, vanished: int) -> Counts:
        found = Counter(self._codes)
        return Counts(
            rows_read=len(self._codes),
            new=found[_NEW],
            changed=found[_CHANGED],
            again=found[_AGAIN],
            unchanged=found[_UNCHANGED],
            invalid=found[_INVALID],
            still_refused=found[_STILL_REFUSED],
            vanished=vanished,
        )


def _first_problem(row: MappedRow) -> dict[str, Any]:
    first, *others = row.problems
    message = "; ".join([first.message, *(f"{other.field}: {other.message}" for other in others)])
    return {"reason": first.reason, "field": first.field, "message": message}


def _duplicate(row: Planned, numbers: Sequence[int]) -> Planned:
    """Make a row invalid because others have its email."""
    named = ", ".join(str(number) for number in numbers[:_ROWS_NAMED])
    more = f" and {len(numbers) - _ROWS_NAMED} more" if len(numbers) > _ROWS_NAMED else ""
    return Planned(
        "invalid",
        row.number,
        row.key,
        row.email,
        row.user_id,
        reason="duplicate_email",
        field="email",
        message=f"Rows {named}{more} have the same email, apart from case and blanks, and none of them is "
        "sent: let the query give one row.",
    )
