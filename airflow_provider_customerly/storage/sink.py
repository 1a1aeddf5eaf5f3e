"""A file being written, with its size and checksum."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Any


class Sink:
    """A binary stream that counts and hashes its bytes, so that no file must be read again for that."""

    def __init__(self, stream: Any, *, durable: bool) -> None:
        self._stream = stream
        self._durable = durable
        self._abandoned = False
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    @property
    def sha256(self) -> str:
        """Hex digest of everything written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        """Write all of ``data``, or nothing once abandoned."""
        if self._abandoned:
            return len(data)
        self._stream.write(data)
        self._hash.update(data)
        self.bytes += len(data)
        return len(data)

    def close(self) -> None:
        """Finish the file; on a local disk it then survives a power failure."""
        if self.closed:
            return
        self.closed = True
        if self._durable:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._stream.close()

    def abandon(self) -> None:
        """Stop writing, in whatever state the file is. The caller deletes it."""
        self.closed = self._abandoned = True
        with contextlib.suppress(Exception):
            # Discards a multipart upload to an object store, which close() would complete.
            self._stream.discard()
        with contextlib.suppress(Exception):
            self._stream.close()
