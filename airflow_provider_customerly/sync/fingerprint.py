"""Make digests that identify contacts and show changes, so that no values need to be kept."""

from __future__ import annotations

import hashlib
import zlib
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEY_BYTES = 16
USER_BYTES = 8
FIELD_BYTES = 4
"""Enough to name the fields that changed, and to decide what counts as an edit (in ``comparing.py`` and
``undo.py``). Whether a row changed is decided by a digest of ``KEY_BYTES``."""

_NAME_BYTES = 12
"""With the four of a checksum they are a block of the cipher."""
_encode = msgspec.json.Encoder().encode


class Fingerprint(msgspec.Struct, frozen=True, gc=False):
    """What the ledger keeps of a delivered row."""

    row: bytes
    """Digest of all fields, ``KEY_BYTES`` long. It is enough to see that nothing changed."""
    fields: bytes
    """Short digests of the fields, ``FIELD_BYTES`` each, concatenated."""
    user: bytes = bytes(USER_BYTES)
    """Digest of the user_id, which stays when the email changes; zeros if there is none."""


class Fingerprints:
    """Make the digests of one sync.

    The name of each field is part of its digest, and so is a field without a value. So mapping another field
    changes every row, while a column that is not mapped, or another order of columns, changes none.

    :param salt: the secret of the sync's state. Without it, nobody can look up known emails in a ledger.
    :param fields: the fields of the mapping, in the order of a row's values.
    """

    def __init__(self, salt: bytes, fields: Sequence[str]) -> None:
        self._keys = hashlib.blake2b(key=salt, digest_size=KEY_BYTES, person=b"contact")
        self._users = hashlib.blake2b(key=salt, digest_size=USER_BYTES, person=b"user")
        self._user_id = fields.index("user_id") if "user_id" in fields else None
        self._rows = hashlib.blake2b(key=salt, digest_size=KEY_BYTES, person=b"row")
        self._rows.update(_encode(sorted(fields)))
        self._names = [hashlib.blake2b(field.encode(), digest_size=_NAME_BYTES).digest() for field in fields]
        key = hashlib.blake2b(key=salt, digest_size=16, person=b"field").digest()
        # ECB is safe here: each block is a keyed digest of one value, and equal values are meant to give
        # equal digests.
        self._cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305
        self._order = sorted(range(len(fields)), key=lambda index: fields[index])

    def key(self, identity: str) -> bytes:
        """Return the key of a contact, from what ``identity_of`` made of its email."""
        digest = self._keys.copy()
        digest.update(identity.encode())
        return digest.digest()

    def user(self, user_id: str | None) -> bytes:
        """Return the digest of a user_id, zeros if there is none."""
        if not user_id or not user_id.strip():
            return bytes(USER_BYTES)
        digest = self._users.copy()
        digest.update(user_id.strip().encode())
        return digest.digest()

    def keys(self, identities: Iterable[str]) -> list[bytes]:
        """Return the keys of contacts."""
        return _digests(self._keys, map(str.encode, identities))

    def users(self, user_ids: Iterable[str | None]) -> list[bytes]:
        """Return the digests of user_ids, zeros where there is none."""
        nobody = bytes(USER_BYTES)
        texts = [(user_id or "").strip() for user_id in user_ids]
        digests = _digests(self._users, map(str.encode, texts))
        return [digest if text else nobody for text, digest in zip(texts, digests, strict=True)]

    def of(self, values: Sequence[Any]) -> Fingerprint:
        """Return the fingerprint of a row's values."""
        fields = b"".join(self.field(index, value) for index, value in enumerate(values))
        user = self.user(None if self._user_id is None else values[self._user_id])
        return Fingerprint(self.row(values), fields, user)

    def row(self, values: Sequence[Any]) -> bytes:
        """Return the digest of all of a row's values."""
        return self.rows([[value] for value in values])[0]

    def rows(self, columns: Sequence[Sequence[Any]]) -> list[bytes]:
        """Return the digest of all of the values of each row.

        :param columns: values of each row, by field.
        """
        ordered = [comparable(columns[index]) for index in self._order]
        return _digests(self._rows, map(_encode, zip(*ordered, strict=True)))

    def field(self, index: int, value: Any) -> bytes:
        """Return the short digest of one field's value."""
        checksum = zlib.crc32(_encode(_comparable(value)))
        return self._cipher.update(checksum.to_bytes(4, "little") + self._names[index])[:FIELD_BYTES]

    def fields(self, encoded: Sequence[Sequence[bytes]]) -> list[bytes]:
        """Return the short digests of each row's fields.

        A keyed hash of each value would take six times as long.

        :param encoded: the JSON of the `comparable` values of each row, by field.
        """
        rows, width = len(encoded[0]), FIELD_BYTES * len(encoded)
        blocks = np.empty((rows, len(encoded), 4), "<u4")
        for index, (name, texts) in enumerate(zip(self._names, encoded, strict=True)):
            blocks[:, index, 0] = np.fromiter(map(zlib.crc32, texts), "<u4", rows)
            blocks[:, index, 1:] = np.frombuffer(name, "<u4")
        encrypted = np.frombuffer(self._cipher.update(blocks.tobytes()), "<u4").reshape(blocks.shape)
        digests = encrypted[:, :, 0].tobytes()
        return [digests[start : start + width] for start in range(0, len(digests), width)]


def comparable(values: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a column in a form in which equal ones are identical."""
    return [_comparable(value) for value in values] if list in set(map(type, values)) else values


def _comparable(value: Any) -> Any:
    # Tags are a set: a query's array_agg may give them in another order each night.
    return sorted(value) if type(value) is list else value


def _digests(started: hashlib.blake2b, texts: Iterable[bytes]) -> list[bytes]:
    digests = []
    copy = started.copy
    for text in texts:
        digest = copy()
        digest.update(text)
        digests.append(digest.digest())
    return digests
