"""Hold a Customerly at a known request, so that what a test looks at in the middle is surely not over."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_customerly.emulator import Emulator

HELD_SECONDS = 20.0
"""How long each request is held: as long as can be before a client takes the API for silent, after 30."""


@contextmanager
def held_from(emulator: Emulator, request: str, count: int) -> Iterator[None]:
    """Answer the first requests of a kind as ever, and hold every request from the given one on.

    The emulator counts a request in the thread that serves it, right before it looks how long to wait. So no
    later request of the kind gets through, however late the test itself looks.

    :param request: as the emulator counts it, such as ``GET /users/list``.
    """
    stats, usual = emulator.service.stats, emulator.service.latency
    begin, number = stats.begin, itertools.count(1)

    def begin_or_hold(method: str, path: str) -> None:
        begin(method, path)
        if f"{method} {path.removeprefix('/v1')}" == request and next(number) == count:
            emulator.service.latency = HELD_SECONDS

    with patch.object(stats, "begin", begin_or_hold):
        try:
            yield
        finally:
            emulator.service.latency = usual
