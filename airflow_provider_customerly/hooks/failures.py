"""Which failures a task should not retry."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_customerly.client import CustomerlyError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def fail_at_once(*permanent: type[Exception]) -> Iterator[None]:
    """Turn failures that another try cannot mend into ``AirflowFailException``, which skips a task's retries.

    These are the permanent kinds of ``CustomerlyError``, and the classes given here.
    """
    try:
        yield
    except CustomerlyError as error:
        if not error.permanent:
            raise
        # Its text says all; the chain of HTTP calls below it only buries it in the log.
        raise AirflowFailException(str(error)) from None
    except permanent as error:
        raise AirflowFailException(str(error)) from error
