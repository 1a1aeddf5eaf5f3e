"""Judge how the API treats tokens, headers and errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider_customerly.check.judgement import Judgement, listed, outcome
from airflow_provider_customerly.client import CustomerlyAuthError, CustomerlyNotFound

if TYPE_CHECKING:
    from airflow_provider_customerly.check.inquiry import Observed
    from airflow_provider_customerly.client.session import AuthHeader

_LIMIT_HEADER = re.compile(r"rate-?limit|quota|retry-after|throttl", re.IGNORECASE)
_NO_DATA = (b"[]", b"{}", b"null")


def bearer(seen: Observed) -> Judgement:
    """Judge ``Authorization: Bearer``."""
    return _header(seen, "bearer")


def legacy(seen: Observed) -> Judgement:
    """Judge ``Authentication: AccessToken:``."""
    return _header(seen, "legacy")


def _header(seen: Observed, header: AuthHeader) -> Judgement:
    exchange = seen.headers.get(header)
    if exchange is None:
        return Judgement("not checked", "No request was left.")
    used = " (as in the connection)" if seen.auth_header == header else ""
    evidence = f"A request with this header{used} {outcome(exchange)}."
    if exchange.error is None:
        return Judgement("holds", evidence)
    if not isinstance(exchange.error, CustomerlyAuthError):
        return Judgement("not checked", evidence, f"{exchange.error.advice} Then check again.")
    others_work = any(other and other.error is None for other in seen.headers.values())
    return Judgement("differs", evidence, None if others_work else CustomerlyAuthError.advice)


def unknown_token(seen: Observed) -> Judgement:
    """Judge the response to a made-up token."""
    exchange = seen.stranger
    if exchange is None:
        return Judgement("not checked", "No request was left.")
    evidence = f"A made-up token {outcome(exchange)}."
    error = exchange.error
    if error is None:
        return Judgement(
            "differs",
            evidence,
            "The server does not check tokens. Check the connection's host.",
        )
    names_token = error.vendor_message is not None and "token" in error.vendor_message.lower()
    if isinstance(error, CustomerlyAuthError):
        return Judgement(
            "holds" if names_token else "differs", evidence, "A task fails at once, without retries."
        )
    if error.vendor_message is None:
        return Judgement("not checked", evidence)
    return Judgement("differs", evidence)


def unknown_contact(seen: Observed) -> Judgement:
    """Judge the response to an email address that no contact has."""
    exchange = seen.nobody
    if exchange is None:
        return Judgement("not checked", "No request was left.")
    evidence = f"A look-up of an unknown email address {outcome(exchange)}."
    if isinstance(exchange.error, CustomerlyNotFound):
        return Judgement("holds", evidence)
    if exchange.error is not None:
        asked = exchange.error.vendor_message is not None
        return Judgement("differs" if asked else "not checked", evidence)
    if exchange.data is not None and bytes(exchange.data) in _NO_DATA:
        evidence = "A look-up of an unknown email address returned empty data."
        return Judgement("differs", evidence, "Empty data also counts as a missing contact.")
    shape = "an object" if bytes(exchange.data or b"")[:1] == b"{" else "not an object"
    return Judgement("differs", f"A look-up of an unknown email address returned data ({shape}).")


def redirects(seen: Observed) -> Judgement:
    """Judge whether any response redirects."""
    answers = [exchange.answer for exchange in seen.exchanges if exchange.answer is not None]
    if not answers:
        return Judgement("not checked", "There was no response.")
    led = sum(300 <= answer.status < 400 for answer in answers)
    return Judgement("differs" if led else "holds", f"{led or 'None'} of {len(answers)} responses redirect.")


def rate_limit_headers(seen: Observed) -> Judgement:
    """Judge whether any header states a limit."""
    answers = [exchange.answer for exchange in seen.exchanges if exchange.answer is not None]
    names = {name for answer in answers for name in answer.headers if _LIMIT_HEADER.search(name)}
    if not answers:
        return Judgement("not checked", "There was no response.")
    if names:
        return Judgement("differs", f"Responses have {listed(names)}.")
    return Judgement("holds", f"None of {len(answers)} responses has a rate limit header.")
