"""Which failures a task should not retry."""

from __future__ import annotations

from contextlib import contextmanager
from traceback import walk_tb
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_customerly.client import CustomerlyError

if TYPE_CHECKING:
    from collections.abc import Iterator

_PACKAGE = __name__.partition(".")[0]


@contextmanager
def fail_at_once(*permanent: type[Exception]) -> Iterator[None]:
    """Convert permanent errors to ``AirflowFailException``, which skips a task's retries.

    These are permanent ``CustomerlyError`` kinds and the classes passed here.
    """
    try:
        yield
    except CustomerlyError as error:
        if not error.permanent:
            raise
        # The message says it all. A traceback of HTTP calls would only bury it in the log.
        raise AirflowFailException(str(error)) from None
    except permanent as error:
        # So do our own errors. What a library raises is worth a look at where it comes from.
        raise AirflowFailException(str(error)) from (None if is_ours(error) else error)


def is_ours(error: BaseException) -> bool:
    """Return whether this package raised an error."""
    names = [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)]
    return bool(names) and str(names[-1]).partition(".")[0] == _PACKAGE
