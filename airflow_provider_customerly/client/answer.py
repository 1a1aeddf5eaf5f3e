"""What an answer means: the envelope's data, or the error that tells the caller what to do.

The body is read before the status, because the API reports an unknown token, and perhaps an unknown
contact, with status 500.
"""

from __future__ import annotations

import json
import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.client.errors import (
    CustomerlyAuthError,
    CustomerlyError,
    CustomerlyNotFound,
    CustomerlyProtocolError,
    CustomerlyRateLimited,
    CustomerlyRequestError,
    CustomerlyUnavailable,
)
from airflow_provider_customerly.client.settings import DEFAULT_BASE_URL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_customerly.client.session import Answer, Request

_ABSENT = msgspec.Raw(b"")
_NO_ERROR = (b"", b"null", b"false", b"0", b'""', b"[]", b"{}")
_TOKEN = re.compile(
    # Not the name of an attribute, as 'push_token', and no part of an email.
    r"""(?<!["'`])\b(?:access_?|invalid_)?token\b(?![@.-]\w)""",
    re.IGNORECASE,
)
_NOBODY = re.compile(r"\b(?:user|lead|contact)\b.*\b(?:doesn.t|does not) exist\b", re.IGNORECASE | re.DOTALL)

_WRONG_PATH = f"Check the path of the connection's host: the API is at {DEFAULT_BASE_URL}."


class _Envelope(msgspec.Struct):
    data: msgspec.Raw = _ABSENT
    error: msgspec.Raw = _ABSENT


_envelope = msgspec.json.Decoder(_Envelope)


def read_answer(answer: Answer, request: Request, token: str) -> msgspec.Raw:
    """Return the JSON text under ``data`` of a good answer, or raise what the answer means.

    :param request: what was asked for.
    :param token: taken out of the vendor's words, should they repeat it.
    """
    try:
        envelope = _envelope.decode(answer.body)
        # Undecoded parts are not checked for UTF-8; garbled text must be seen while it can be asked again.
        answer.body.isascii() or answer.body.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        envelope = _Envelope()
    has_error = bytes(envelope.error) not in _NO_ERROR
    if 200 <= answer.status < 300 and not has_error:
        if answer.status == 204:
            return msgspec.Raw(b"null")
        if envelope.data:
            return envelope.data
        raise CustomerlyProtocolError(
            f"the answer is not JSON with data ({_looks_like(answer)})",
            request=str(request),
            status=answer.status,
        )
    message = _without(token, _vendor_message(envelope.error)) if has_error else None
    is_api = has_error or bool(envelope.data)
    raise _meaning(answer, request, message, is_api=is_api)


def _meaning(answer: Answer, request: Request, message: str | None, *, is_api: bool) -> CustomerlyError:
    status = answer.status
    kind, what, advice = _classify(status, message, is_api=is_api)
    if kind is CustomerlyNotFound and status == 404 and not request.names_something:
        advice = _WRONG_PATH
    if not is_api and status in (401, 403, 404):
        what += f", and not by the API ({_looks_like(answer)})"
    return kind(
        what,
        request=str(request),
        status=status,
        vendor_message=message,
        advice=advice,
        retry_after=_retry_after(answer.headers),
    )


def _classify(
    status: int, message: str | None, *, is_api: bool
) -> tuple[type[CustomerlyError], str, str | None]:
    if status == 429:
        return CustomerlyRateLimited, "too many requests", None
    if message is not None and _TOKEN.search(message):
        return CustomerlyAuthError, "the access token was not accepted", None
    if status in (401, 403):
        return CustomerlyAuthError, "access was refused", None
    if message is not None and _NOBODY.search(message):
        return CustomerlyNotFound, "there is no such contact", None
    if status == 404 and is_api:
        return CustomerlyNotFound, "not found", None
    if status == 404:
        return CustomerlyRequestError, "the path was refused", _WRONG_PATH
    if 300 <= status < 400:
        return (
            CustomerlyRequestError,
            "the server redirects, which is never followed with a token",
            "Check the host of the connection: use the address that the API itself answers at.",
        )
    if status < 300 or status == 408 or status >= 500:
        return CustomerlyUnavailable, "the server reported a failure of its own", None
    return CustomerlyRequestError, "the request was refused", None


def _vendor_message(error: msgspec.Raw) -> str:
    """Read ``{"message": ..}``, or a bare text, or fall back to the JSON as it stands."""
    value: Any = msgspec.json.decode(error)
    if isinstance(value, dict):
        value = value.get("message", value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _without(token: str, text: str) -> str:
    as_json = json.dumps(token)[1:-1]
    return text.replace(token, "<token>").replace(as_json, "<token>")


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
    """Read ``Retry-After``: seconds, or a date, which is compared with the server's own clock if it shows."""
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
