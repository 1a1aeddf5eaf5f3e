"""A file being written, with its checksum."""

from __future__ import annotations

import contextlib
import hashlib
import os
from typing import Any


class Sink:
    """A binary stream that counts and hashes what passes, so that no file is read again to be described."""

    def __init__(self, stream: Any, *, durable: bool) -> None:
        self._stream = stream
        self._durable = durable
        self._abandoned = False
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    @property
    def sha256(self) -> str:
        """Checksum, in hex, of everything written so far."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> int:
        """Write all of `data`; nothing once abandoned."""
        if self._abandoned:
            return len(data)
        self._stream.write(data)
        self._hash.update(data)
        self.bytes += len(data)
        return len(data)

    def tell(self) -> int:
        """Give the position: the number of bytes written."""
        return self.bytes

    def flush(self) -> None:
        """Do nothing: an object store cannot flush a part that is too small."""

    def writable(self) -> bool:
        """Tell that this stream takes data."""
        return True

    def readable(self) -> bool:
        """Tell that this stream gives none."""
        return False

    def seekable(self) -> bool:
        """Tell that the position only grows."""
        return False

    def close(self) -> None:
        """Finish the file; on a local disk it outlives a power failure from then on."""
        if self.closed:
            return
        self.closed = True
        if self._durable:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        self._stream.close()

    def abandon(self) -> None:
        """Stop writing, whatever state the file is in; it is to be deleted next."""
        self.closed = self._abandoned = True
        with contextlib.suppress(Exception):
            # A multipart upload to an object store is thrown away here instead of being finished by close().
            self._stream.discard()
        with contextlib.suppress(Exception):
            self._stream.close()
