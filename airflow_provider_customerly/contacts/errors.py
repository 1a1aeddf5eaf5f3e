"""How work on named contacts ends when not all of it was done."""

from __future__ import annotations

from typing import Any


class UnfinishedError(Exception):
    """All contacts were tried and some failed, for a reason that may pass: try again.

    :param result: what a successful run would have returned.
    """

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


class RefusedError(UnfinishedError):
    """All contacts were tried and some were refused: look at them before trying again."""


class StoppedError(Exception):
    """The work was told to stop: it can be done again from its start."""
