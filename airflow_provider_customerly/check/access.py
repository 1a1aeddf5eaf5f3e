"""Judgements on tokens, headers and errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from airflow_provider_customerly.check.judgement import Judgement, listed, told
from airflow_provider_customerly.client import CustomerlyAuthError, CustomerlyNotFound

if TYPE_CHECKING:
    from airflow_provider_customerly.check.look import Observed
    from airflow_provider_customerly.client.session import AuthHeader

_LIMIT_HEADER = re.compile(r"rate-?limit|quota|retry-after|throttl", re.IGNORECASE)
_NO_DATA = (b"[]", b"{}", b"null")


def bearer(seen: Observed) -> Judgement:
    """Judge `Authorization: Bearer`."""
    return _header(seen, "bearer")


def legacy(seen: Observed) -> Judgement:
    """Judge `Authentication: AccessToken:`."""
    return _header(seen, "legacy")


def _header(seen: Observed, header: AuthHeader) -> Judgement:
    exchange = seen.headers.get(header)
    if exchange is None:
        return Judgement("not checked", "No request was left.")
    used = " (the connection's)" if seen.auth_header == header else ""
    evidence = f"A request with it{used} {told(exchange)}."
    if exchange.error is None:
        return Judgement("holds", evidence)
    if not isinstance(exchange.error, CustomerlyAuthError):
        return Judgement("not checked", evidence, f"{exchange.error.advice} Then check again.")
    others_work = any(other and other.error is None for other in seen.headers.values())
    return Judgement("differs", evidence, None if others_work else CustomerlyAuthError.advice)


def unknown_token(seen: Observed) -> Judgement:
    """Judge the answer to a made-up token."""
    exchange = seen.stranger
    if exchange is None:
        return Judgement("not checked", "No request was left.")
    evidence = f"A made-up token {told(exchange)}."
    error = exchange.error
    if error is None:
        return Judgement(
            "differs",
            evidence,
            "Whatever answers there does not look at tokens: check the connection's host.",
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
    """Judge the answer to an email address that nobody has."""
    exchange = seen.nobody
    if exchange is None:
        return Judgement("not checked", "It was not asked for.")
    evidence = f"An address that nobody can have {told(exchange)}."
    if isinstance(exchange.error, CustomerlyNotFound):
        return Judgement("holds", evidence)
    if exchange.error is not None:
        asked = exchange.error.vendor_message is not None
        return Judgement("differs" if asked else "not checked", evidence)
    if exchange.data is not None and bytes(exchange.data) in _NO_DATA:
        evidence = "An address that nobody can have was answered with empty data."
        return Judgement("differs", evidence, "Empty data is taken for no such contact all the same.")
    shape = type(msgspec.json.decode(exchange.data or b"null")).__name__
    return Judgement("differs", f"An address that nobody can have was answered with data ({shape}).")


def redirects(seen: Observed) -> Judgement:
    """Judge whether any answer led elsewhere."""
    answers = [exchange.answer for exchange in seen.exchanges if exchange.answer is not None]
    if not answers:
        return Judgement("not checked", "No answer came.")
    led = sum(300 <= answer.status < 400 for answer in answers)
    return Judgement("differs" if led else "holds", f"{led or 'None'} of {len(answers)} answers did.")


def rate_limit_headers(seen: Observed) -> Judgement:
    """Judge whether any answer spoke of a limit."""
    answers = [exchange.answer for exchange in seen.exchanges if exchange.answer is not None]
    names = {name for answer in answers for name in answer.headers if _LIMIT_HEADER.search(name)}
    if not answers:
        return Judgement("not checked", "No answer came.")
    if names:
        return Judgement("differs", f"Answers have {listed(names)}.")
    return Judgement("holds", f"None of {len(answers)} answers has a header that speaks of a limit.")
