"""Whether a failed request may be the fault of a row in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.client import (
    CustomerlyError,
    CustomerlyNotFound,
    CustomerlyProtocolError,
    CustomerlyRequestError,
    CustomerlyUnavailable,
)
from airflow_provider_customerly.sync.wording import without_values

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOMEONE = re.compile(r"\b(?:user|lead|contact|email)", re.IGNORECASE)


def may_be_a_rows_fault(failure: CustomerlyError) -> bool:
    """Tell whether sending fewer rows may help.

    It may where the API refuses the request, or reports a failure in its own words on each try: it lives,
    and something in the request breaks it. It does not help against a wrong token or host, an outage, or a
    rate limit.
    """
    if isinstance(failure, CustomerlyUnavailable):
        return failure.vendor_message is not None
    if not isinstance(failure, CustomerlyRequestError) or failure.status is None:
        return False
    if failure.status in (404, 405):
        is_about_someone = _SOMEONE.search(failure.vendor_message or "") is not None
        return isinstance(failure, CustomerlyNotFound) and is_about_someone
    return not 300 <= failure.status < 400


def not_the_rows(failure: CustomerlyError, contact: Mapping[str, Any], count: int) -> CustomerlyError:
    """Make the error to raise when rows that fail are not to blame.

    :param failure: how the request of the last of them ended.
    :param contact: what was in that request; its values are taken out of the vendor's words.
    :param count: how many contacts failed since one was accepted.
    """
    who = "a contact sent alone" if count == 1 else f"{count} contacts, each sent alone,"
    outcome = "got no clear answer" if isinstance(failure, CustomerlyProtocolError) else "failed"
    words = failure.vendor_message
    return type(failure)(
        f"{who} {outcome}, and no other passes, so the fault is not theirs",
        request=failure.request,
        status=failure.status,
        vendor_message=None if words is None else without_values(contact, words),
        retry_after=failure.retry_after,
    )
