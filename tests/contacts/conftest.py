from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from airflow_provider_customerly.values import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def at_each_line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Report progress at each answer, and call a function at each line that does."""
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    logger = logging.getLogger("airflow_provider_customerly.contacts.progress")
    added: list[logging.Handler] = []

    class Caller(logging.Handler):
        def __init__(self, function: Callable[[], None]) -> None:
            super().__init__()
            self.function = function

        def emit(self, record: logging.LogRecord) -> None:
            self.function()

    def watch(function: Callable[[], None]) -> None:
        added.append(Caller(function))
        logger.addHandler(added[-1])

    level = logger.level
    logger.setLevel(logging.INFO)
    yield watch
    logger.setLevel(level)
    for handler in added:
        logger.removeHandler(handler)
