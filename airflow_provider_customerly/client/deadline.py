"""One deadline for a whole response: status line, headers and body, even if they trickle in."""

from __future__ import annotations

import http.client
import io
import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_deadline: ContextVar[float] = ContextVar("customerly_deadline")


@contextmanager
def answered_by(deadline: float) -> Iterator[None]:
    """Set the deadline, in ``time.monotonic`` seconds, of each ``TimedResponse`` begun in this thread."""
    earlier = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(earlier)


class TimedResponse(http.client.HTTPResponse):
    """A response that no receive extends past the deadline.

    A socket timeout alone restarts with each byte.
    """

    def __init__(self, sock: Any, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.fp = io.BufferedReader(_TimedReceiver(self.fp.detach(), sock, _deadline.get()))

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:  # reading so many would mean everything that the server sends, however much
            raise ValueError("a chunk has a negative length")
        return size


class _TimedReceiver(io.RawIOBase):
    def __init__(self, receiver: io.RawIOBase, sock: Any, deadline: float) -> None:
        self._receiver = receiver
        self._sock = sock
        self._deadline = deadline
        self._patience = math.inf if sock.gettimeout() is None else sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline of the response has passed")
        if left < self._patience:  # seldom, because each change is a system call
            self._sock.settimeout(left)
            self._patience = left
        return self._receiver.readinto(buffer)

    def close(self) -> None:
        self._receiver.close()
        super().close()
