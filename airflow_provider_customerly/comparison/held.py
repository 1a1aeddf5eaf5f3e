"""What Customerly held, contact by contact, looked up for a chunk of rows at a time.

The contacts of the export are written to a file without a name, and stay in memory only as the positions at
which they are: 24 bytes each. The file is gone with the process, whatever ends it, and nobody else can
open it.
"""

from __future__ import annotations

import os
import re
import tempfile
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from airflow_provider_customerly.comparison.newest import Export, find_export, while_it_lasts
from airflow_provider_customerly.comparison.sameness import UNKNOWN
from airflow_provider_customerly.export.read import stream_batches
from airflow_provider_customerly.values.email import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType

    import pyarrow as pa
    import pyarrow.dataset as ds

_ATTRIBUTE = "attributes."
_KEYS = ("crmhero_user_id", "email", "user_id")
_ROWS_AT_ONCE = 4_096
_HASHED = re.compile(r"[0-9a-f]{64}")
_NO_EMAIL = (
    "The export cannot be compared with: it {}, and contacts are found by email. Export to another path with "
    "the column email, not hashed."
)

_encode = msgspec.msgpack.Encoder().encode
_NO_JSON = (msgspec.DecodeError, UnicodeError, RecursionError)


class Contact(NamedTuple):
    """A contact as the export shows it."""

    id: int
    """Customerly's own id."""
    email: str | None
    user_id: str | None
    values: tuple[Any, ...]
    """One for each field, as the API's JSON has it; ``UNKNOWN`` where the export does not show it."""


class _Record(msgspec.Struct, array_like=True, gc=False):
    id: int
    email: str | None
    user_id: str | None
    name: str | None
    attributes: list[Any] | None
    """The attributes asked for; None if the text of all of them cannot be read."""


class HeldContacts:
    """The contacts of an export, by email and by user_id. A context manager.

    :param export: see ``find_export``.
    :param fields: what to compare: ``email``, ``user_id``, ``name``, ``tags`` and ``attributes.<name>``.
    :raises ValueError: the export does not show by what to find a contact.
    """

    def __init__(self, export: Export, fields: Sequence[str]) -> None:
        self.export = export
        self.fields = tuple(fields)
        self.not_shown: dict[str, str] = {}
        """Fields that cannot be compared, with the reason."""
        self._file = tempfile.TemporaryFile(prefix="customerly-")  # noqa: SIM115  # its mode is 0600
        try:
            self._read(export)
        except BaseException:
            self._file.close()
            raise
        self._hidden = [at for at, field in enumerate(self.fields) if field in self.not_shown]
        self._found = np.zeros(len(self), dtype=bool)

    @classmethod
    def open(
        cls,
        path: Any,
        contact_type: str,
        base_url: str,
        fields: Sequence[str],
        *,
        max_age: timedelta | None = None,
        name: str = "compare_with",
    ) -> HeldContacts:
        """Read the newest export at a path; the parameters and errors are those of ``find_export`` too."""
        return while_it_lasts(
            lambda: find_export(path, contact_type, base_url, max_age=max_age, name=name),
            lambda export: cls(export, fields),
        )

    def __enter__(self) -> HeldContacts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def time(self) -> datetime:
        """Every contact is as it was at this moment, or later."""
        return self.export.time

    def look_up(
        self, emails: Sequence[str | None], user_ids: Sequence[str | None] | None = None
    ) -> list[Contact | None]:
        """Return the contact of each row, None for one that was not there.

        A contact is found by its email, as a sync compares emails, and else by its user_id.

        :param emails: of the rows.
        :param user_ids: of the rows, likewise.
        """
        identities = [identity_of(email) if email else None for email in emails]
        ids = [None] * len(identities) if user_ids is None else [_trimmed(one) for one in user_ids]
        by_email = self._emails.find(identities)
        by_user = self._users.find(ids)
        found: list[Contact | None] = []
        for identity, user_id, email_at, user_at in zip(identities, ids, by_email, by_user, strict=True):
            found.append(
                self._contact_at(email_at, lambda one, to=identity: _identity(one.email) == to)
                or self._contact_at(user_at, lambda one, to=user_id: _trimmed(one.user_id) == to)
            )
        return found

    def not_looked_up(self) -> Iterator[Contact]:
        """Return the contacts that no row has asked for so far."""
        for position in np.flatnonzero(~self._found):
            yield self._contact(self._record(int(position)))

    @property
    def count_not_looked_up(self) -> int:
        """How many these are."""
        return int((~self._found).sum())

    def _contact_at(self, positions: Sequence[int], is_meant: Any) -> Contact | None:
        for position in positions:
            record = self._record(position)
            if is_meant(record):
                self._found[position] = True
                return self._contact(record)
        return None

    def _record(self, position: int) -> _Record:
        start, end = self._starts[position], self._starts[position + 1]
        return _decoder.decode(os.pread(self._file.fileno(), int(end - start), int(start)))

    def _contact(self, record: _Record) -> Contact:
        own = {"email": record.email, "user_id": record.user_id, "name": record.name}
        attributes = repeat(UNKNOWN) if record.attributes is None else iter(record.attributes)
        values = [
            next(attributes) if field.startswith(_ATTRIBUTE) else own.get(field) for field in self.fields
        ]
        shown = (
            UNKNOWN if field in self.not_shown else value
            for field, value in zip(self.fields, values, strict=True)
        )
        return Contact(record.id, record.email, record.user_id, tuple(shown))

    def _read(self, export: Export) -> None:
        columns = self._columns(export.table)
        names = [field.removeprefix(_ATTRIBUTE) for field in self.fields if field.startswith(_ATTRIBUTE)]
        read_attributes = _Attributes(names)
        size = export.table.count_rows()
        starts, filled = np.zeros(size + 1, np.int64), 0
        hashed = {"email": _Hashed(), "user_id": _Hashed(), "name": _Hashed()}
        emails, users = _Index(size), _Index(size)
        for batch in stream_batches(export.table, columns, _ROWS_AT_ONCE):
            texts = {name: _column(batch, name) for name in (*_KEYS, "name", "attributes")}
            for name, looked_at in hashed.items():
                looked_at.look_at(texts[name])
            attributes = [read_attributes(text) for text in texts["attributes"]]
            records = [
                _encoded(_Record(*values))
                for values in zip(*(texts[name] for name in (*_KEYS, "name")), attributes, strict=True)
            ]
            starts[filled + 1 : filled + 1 + len(records)] = list(map(len, records))
            filled += len(records)
            self._write(b"".join(records))
            emails.add([_identity(email) for email in texts["email"]])
            users.add([_trimmed(user_id) for user_id in texts["user_id"]])
        self._file.flush()
        self._starts = np.cumsum(starts, out=starts)
        self._emails, self._users = emails.sorted(), users.sorted()
        if hashed["email"].is_hashed:
            raise ValueError(_NO_EMAIL.format("has only hashes of emails"))
        for name, looked_at in hashed.items():
            if looked_at.is_hashed and name in self.fields:
                self.not_shown[name] = "the export has only its hash"

    def _columns(self, table: ds.Dataset) -> list[str]:
        there = set(table.schema.names)
        if "email" not in there:
            raise ValueError(_NO_EMAIL.format("leaves the column email out"))
        for field in self.fields:
            column = "attributes" if field.startswith(_ATTRIBUTE) else field
            if field == "tags":
                self.not_shown[field] = "Customerly's lists do not show tags"
            elif column not in there:
                what = "the column attributes" if column == "attributes" else "it"
                self.not_shown[field] = f"the export leaves {what} out"
        return [name for name in (*_KEYS, "name", "attributes") if name in there]

    def _write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise OSError(
                f"The export could not be unpacked in {tempfile.gettempdir()} ({error.strerror}). Make room "
                "there, or set TMPDIR to a folder that has some, then try again."
            ) from error


class _Attributes:
    """Takes the attributes asked for out of the JSON text of all."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        fields = {f"c{index}": name for index, name in enumerate(names)}
        struct = msgspec.defstruct(
            "Attributes", [(field, Any, None) for field in fields], rename=fields, gc=False
        )
        self._decoder = msgspec.json.Decoder(struct)

    def __call__(self, text: str | None) -> list[Any] | None:
        if not self._names:
            return []
        if not text:
            return [None] * len(self._names)
        try:
            return list(msgspec.structs.astuple(self._decoder.decode(text)))
        except _NO_JSON:
            return None


class _Index:
    """Finds the positions of texts, by hashes that mean nothing outside of this process.

    Hash and position share 64 bits: as many for the position as it takes, the higher ones for the hash.

    :param size: how many positions there are.
    """

    def __init__(self, size: int) -> None:
        self._position = (1 << size.bit_length()) - 1
        self._entries = np.zeros(size, np.uint64)
        self._next = self._count = 0

    def add(self, texts: Sequence[str | None]) -> None:
        """Take the texts of the next positions; None is not to be found."""
        there = [index for index, text in enumerate(texts) if text is not None]
        entries = self._hashes([texts[index] for index in there])
        entries |= np.array(there, np.uint64) + np.uint64(self._next)
        self._entries[self._count : self._count + len(there)] = entries
        self._next += len(texts)
        self._count += len(there)

    def sorted(self) -> _Index:
        """Make it ready to find."""
        self._entries = self._entries[: self._count]
        self._entries.sort()
        return self

    def find(self, texts: Sequence[str | None]) -> list[Sequence[int]]:
        """Return where each text may be."""
        wanted = self._hashes(texts)
        first = np.searchsorted(self._entries, wanted, "left")
        last = np.searchsorted(self._entries, wanted | np.uint64(self._position), "right")
        return [
            () if text is None else (self._entries[low:high] & np.uint64(self._position)).tolist()
            for text, low, high in zip(texts, first.tolist(), last.tolist(), strict=True)
        ]

    def _hashes(self, texts: Sequence[str | None]) -> npt.NDArray[np.uint64]:
        hashes = np.fromiter(map(hash, texts), np.int64, len(texts)).view(np.uint64)
        return hashes & ~np.uint64(self._position)


class _Hashed:
    """Sees whether all values of a column are hex SHA-256, as ``hash_columns`` writes them."""

    def __init__(self) -> None:
        self._is_possible = True
        self._has_values = False

    def look_at(self, texts: Sequence[str | None]) -> None:
        """Take the next values."""
        if self._is_possible:
            for text in texts:
                if text is not None:
                    self._has_values = True
                    if not _HASHED.fullmatch(text):
                        self._is_possible = False
                        break

    @property
    def is_hashed(self) -> bool:
        """Whether they are, as far as seen."""
        return self._is_possible and self._has_values


def _encoded(record: _Record) -> bytes:
    try:
        return _encode(record)
    except OverflowError:  # an integer of more than 64 bits
        record.attributes = None
        return _encode(record)


def _column(batch: pa.RecordBatch, name: str) -> list[Any]:
    return batch[name].to_pylist() if name in batch.schema.names else [None] * len(batch)


def _identity(email: str | None) -> str | None:
    return identity_of(email) if email else None


def _trimmed(user_id: str | None) -> str | None:
    return (user_id.strip() or None) if user_id else None


_decoder = msgspec.msgpack.Decoder(_Record)
