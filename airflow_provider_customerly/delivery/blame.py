"""Decide whether a row may be at fault for a failed request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.client import (
    CustomerlyError,
    CustomerlyProtocolError,
    CustomerlyRequestError,
    CustomerlyUnavailable,
)
from airflow_provider_customerly.delivery.problems import without_values

if TYPE_CHECKING:
    from collections.abc import Mapping

_SOMEONE = re.compile(r"\b(?:user|lead|contact|email)", re.IGNORECASE)


def may_be_a_rows_fault(failure: CustomerlyError) -> bool:
    """Return whether sending fewer rows may help.

    It may if the API refuses the request, or explains the failure itself on each attempt: the API is up, and
    something in the request breaks it. It does not help with a wrong token or host, an outage or a rate
    limit.
    """
    if isinstance(failure, CustomerlyUnavailable):
        return failure.is_explained
    if not isinstance(failure, CustomerlyRequestError) or failure.status is None:
        return False
    if failure.status == 404:
        return is_about_someone(failure)
    return failure.status != 405 and not 300 <= failure.status < 400


def is_about_someone(failure: CustomerlyError) -> bool:
    """Return whether the vendor's message is about a contact, rather than perhaps about the request."""
    return _SOMEONE.search(failure.vendor_message or "") is not None


def not_the_rows(failure: CustomerlyError, contact: Mapping[str, Any], count: int) -> CustomerlyError:
    """Return the error to raise if the rows that failed are not at fault.

    :param failure: the error of the last row's request.
    :param contact: the contact in that request; its values are removed from the vendor's message.
    :param count: number of contacts that failed since one was accepted.
    """
    who = "a contact sent alone" if count == 1 else f"{count} contacts, each sent alone,"
    outcome = "got no clear response" if isinstance(failure, CustomerlyProtocolError) else "failed"
    words = failure.vendor_message
    return type(failure)(
        f"{who} {outcome}, and no other contact is accepted either, so they are not at fault",
        request=failure.request,
        status=failure.status,
        vendor_message=None if words is None else without_values(contact, words),
        retry_after=failure.retry_after,
    )
