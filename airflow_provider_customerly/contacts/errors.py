"""Errors of runs that did not process all contacts."""

from __future__ import annotations

from typing import Any


class UnfinishedError(Exception):
    """All contacts were tried and some failed for a transient reason: try again.

    :param result: the same as the return value of a successful run.
    """

    def __init__(self, message: str, result: dict[str, Any]) -> None:
        super().__init__(message)
        self.result = result


class RefusedError(UnfinishedError):
    """All contacts were tried and some were refused: check them before you try again."""


class StoppedError(Exception):
    """The run was asked to stop. It can safely start over."""
