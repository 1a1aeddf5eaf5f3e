"""Digests by which a contact is known and a change is seen, without keeping what they were made of."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_BYTES = 16
FIELD_BYTES = 4
"""Enough to name the fields that changed; whether a row changed is decided by `KEY_BYTES` of digest."""

_encode = msgspec.json.Encoder().encode


class Fingerprint(NamedTuple):
    """What is remembered of a row that was delivered."""

    row: bytes
    """Digest of all fields, `KEY_BYTES` long: all that is needed to see that nothing changed."""
    fields: bytes
    """Short digests of each field, `FIELD_BYTES` long, one after the other."""


class Fingerprints:
    """Makes the digests of one sync.

    The name of each field is part of its digest, and a field without a value counts. So a field that is
    mapped anew changes every row; a column that is not mapped, or another order of them, changes none.

    :param salt: secret of the sync's state; without it nobody can look known emails up in a ledger.
    :param fields: the fields of the mapping, in the order of a row's values.
    """

    def __init__(self, salt: bytes, fields: Sequence[str]) -> None:
        self._keys = hashlib.blake2b(key=salt, digest_size=KEY_BYTES, person=b"contact")
        self._rows = hashlib.blake2b(key=salt, digest_size=KEY_BYTES, person=b"row")
        self._rows.update(_encode(sorted(fields)))
        self._fields = [_started(salt, field) for field in fields]
        self._order = sorted(range(len(fields)), key=lambda index: fields[index])

    def key(self, identity: str) -> bytes:
        """Give the key of a contact, by what `identity_of` made of its email."""
        digest = self._keys.copy()
        digest.update(identity.encode())
        return digest.digest()

    def of(self, values: Sequence[Any]) -> Fingerprint:
        """Give the fingerprint of a row's values."""
        digests = []
        for started, value in zip(self._fields, values, strict=True):
            field = started.copy()
            field.update(_encode(_comparable(value)))
            digests.append(field.digest())
        return Fingerprint(self.row(values), b"".join(digests))

    def row(self, values: Sequence[Any]) -> bytes:
        """Give the digest of all of a row's values; takes a tenth of the time of the whole fingerprint."""
        digest = self._rows.copy()
        digest.update(_encode([_comparable(values[index]) for index in self._order]))
        return digest.digest()


def _comparable(value: Any) -> Any:
    # Tags are a set: a query's array_agg may give them in another order each night.
    return sorted(value) if type(value) is list else value


def _started(salt: bytes, field: str) -> hashlib.blake2b:
    digest = hashlib.blake2b(key=salt, digest_size=FIELD_BYTES, person=b"field")
    digest.update(field.encode() + b"\0")
    return digest
