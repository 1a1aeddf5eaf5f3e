"""Turn a response into the data it holds, or into the error that says what to do.

The body is read before the status, because the API reports an unknown token, and perhaps an unknown contact,
with status 500.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET

from airflow_provider_customerly.client.errors import (
    CustomerlyAuthError,
    CustomerlyError,
    CustomerlyNotFound,
    CustomerlyProtocolError,
    CustomerlyRateLimited,
    CustomerlyRequestError,
    CustomerlyUnavailable,
    printable,
)
from airflow_provider_customerly.client.json_text import NOT_READABLE, readable
from airflow_provider_customerly.client.settings import DEFAULT_BASE_URL
from airflow_provider_customerly.client.vendor_words import (
    tells_of_a_dead_token,
    tells_of_a_missing_part,
    tells_of_nobody,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_customerly.client.session import Answer, Request

log = logging.getLogger(__name__)

_STARTS = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark and white space may precede an object."""
_LONGEST_START = 100

_MOST_WORDS = 2_000  # characters
_NO_ERROR = (b"null", b"false", b"0", b'""', b"[]", b"{}")
_WRONG_PATH = f"Check the path in the connection's host. The API is at {DEFAULT_BASE_URL}."


class Envelope(msgspec.Struct):
    """The outermost object of a response."""

    data: Any = UNSET
    error: msgspec.Raw | msgspec.UnsetType = UNSET


class _TextEnvelope(Envelope):
    data: msgspec.Raw | msgspec.UnsetType = UNSET


TEXT = msgspec.json.Decoder(_TextEnvelope)
"""Leaves the data as text."""


def read_answer(
    answer: Answer, request: Request, token: str, decoder: msgspec.json.Decoder[Any] = TEXT
) -> Any:
    """Return what is under ``data``, or raise the error that the response stands for.

    :param token: removed from the vendor's message, in case the message repeats it.
    :param decoder: decodes to a kind of ``Envelope``. Data that it cannot decode is returned as text.
    """
    envelope = _read_envelope(answer.body, request, decoder)
    has_error = envelope.error is not UNSET and bytes(envelope.error) not in _NO_ERROR
    if 200 <= answer.status < 300 and not has_error:
        if answer.status == 204:
            return msgspec.Raw(b"null")
        if envelope.data is not UNSET:
            return envelope.data
        raise CustomerlyProtocolError(
            f"the response is not JSON with `data` ({_looks_like(answer)})",
            request=str(request),
            status=answer.status,
        )
    message = _words(envelope.error, token) if has_error else None
    is_api = has_error or envelope.data is not UNSET
    raise _meaning(answer, request, message, is_api=is_api)


def _read_envelope(body: bytes, request: Request, decoder: msgspec.json.Decoder[Any]) -> Any:
    """Read the outermost object; return an empty one if the body is not JSON."""
    with contextlib.suppress(*NOT_READABLE):
        # msgspec does not check the UTF-8 of parts that it leaves as text.
        body.isascii() or body.decode()
        try:
            return decoder.decode(body)
        except NOT_READABLE:
            return TEXT.decode(body)
    text, odd = readable(body) if body[:_LONGEST_START].lstrip(_STARTS).startswith(b"{") else (body, 0)
    try:
        envelope = TEXT.decode(text)
    except NOT_READABLE:
        return Envelope()
    if odd:
        log.warning(
            "%s: %d values are not valid JSON. They are kept as text under `unreadable`", request, odd
        )
    return envelope


def _meaning(answer: Answer, request: Request, message: str | None, *, is_api: bool) -> CustomerlyError:
    status = answer.status
    kind, what, advice = _classify(status, message, request, is_api=is_api)
    if not is_api and status in (401, 403, 404):
        what += f", but not by the API ({_looks_like(answer)})"
    return kind(
        what,
        request=str(request),
        status=status,
        vendor_message=message,
        advice=advice,
        retry_after=_retry_after(answer.headers),
    )


def _classify(
    status: int, message: str | None, request: Request, *, is_api: bool
) -> tuple[type[CustomerlyError], str, str | None]:
    words = message or ""
    if status == 429:
        return CustomerlyRateLimited, "too many requests", None
    if tells_of_a_dead_token(words):
        return CustomerlyAuthError, "the access token was not accepted", None
    if status in (401, 403):
        return CustomerlyAuthError, "access was refused", None
    if request.names_something and _tells_that_it_is_missing(status, words, is_api=is_api):
        return CustomerlyNotFound, "there is no such contact", None
    if status == 404:
        return CustomerlyRequestError, "the path was refused", _WRONG_PATH
    if 300 <= status < 400:
        return (
            CustomerlyRequestError,
            "the server redirects, and redirects are never followed because the token would leak",
            "Change the connection's host to the address that the API itself responds at.",
        )
    if status < 300 or status == 408 or status >= 500:
        return CustomerlyUnavailable, "the server reported an internal failure", None
    return CustomerlyRequestError, "the request was refused", None


def _tells_that_it_is_missing(status: int, words: str, *, is_api: bool) -> bool:
    if status in (404, 410):
        return is_api and not tells_of_a_missing_part(words)
    # At any other status, "not found" comes from a gateway that cannot find the server behind it.
    is_verdict = status < 300 or status in (400, 409, 422, 500)
    return is_verdict and tells_of_nobody(words)


def _vendor_message(error: msgspec.Raw) -> str:
    """Return the text of ``{"message": ..}`` or of a bare string, or else the JSON unchanged."""
    try:
        value: Any = msgspec.json.decode(error)
    except NOT_READABLE:
        return bytes(error).decode("utf-8", "replace")
    if isinstance(value, dict):
        value = value.get("message", value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _words(error: msgspec.Raw, token: str) -> str:
    """Return the vendor's message: printable, without the token, and short enough to search."""
    return _without(token, printable(_vendor_message(error)[: 10 * _MOST_WORDS]))[:_MOST_WORDS]


def _without(token: str, text: str) -> str:
    forms = {token, json.dumps(token)[1:-1], quote(token, safe="")}
    longest_first = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(longest_first, "<token>", text, flags=re.IGNORECASE)


def _looks_like(answer: Answer) -> str:
    head = answer.body[:64].lstrip().lower()
    if not head:
        return "an empty body"
    if head.startswith(b"<"):
        return "it looks like HTML"
    if head.startswith((b"{", b"[")):
        return "malformed or unknown JSON"
    return "it looks like plain text"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``: seconds, or a date, compared with the server's own clock if it sends one."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        if re.fullmatch(r"\d+(\.\d+)?", value):
            return float(value)
        until = parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        now = time.time()
    return max(0.0, until - now)
