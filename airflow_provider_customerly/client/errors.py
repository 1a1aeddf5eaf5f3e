"""The errors of the client, one for each thing that the caller can do about it.

::

    CustomerlyError                 base class: catches all of them
    |-- CustomerlyAuthError         permanent: create a new access token
    |-- CustomerlyRequestError      permanent: fix the request or the connection
    |   +-- CustomerlyNotFound      permanent: the contact does not exist; decide what that means
    |-- CustomerlyRateLimited       transient: try again later, or slow down
    |-- CustomerlyUnavailable       transient: try again later; a write may have been done
    +-- CustomerlyProtocolError     perhaps transient: check the host, then try again later

``permanent`` is True if the same call is bound to fail again. Other errors are raised only after the client
has retried for its ``retry_budget``.
"""

from __future__ import annotations

import re
from typing import ClassVar

_LOCAL_PART = r"""(?:[^\s@"<>(),:;\[\]]+|"[^@"]{1,64}")"""  # may hold spaces if quoted
_EMAIL = re.compile(_LOCAL_PART + r"""(?:@|%40)[^\s@"'<>(),:;=\[\]{}]+""", re.IGNORECASE)
_WHITE_SPACE = re.compile(r"\s")
_LONGEST_VENDOR_TEXT = 200

_GATEWAY = frozenset({408, 502, 503, 504, *range(520, 531)})
"""Statuses sent by a gateway in front of the API; 520 and up are Cloudflare's."""


class CustomerlyError(Exception):
    """Base class of all Customerly API errors.

    The text reads ``where: what happened (status, vendor's message). What to do.`` It holds no token, query
    string, email address or control character.

    :param what: what happened, one clause without a full stop.
    :param request: method, path and page: ``GET /users/list page=3``.
    :param status: HTTP status of the response; None if there was no response.
    :param vendor_message: the server's message; email addresses are redacted and the length is capped.
    :param advice: what to do next, if the advice of the class does not fit.
    :param retry_after: seconds that the server asked to wait.
    """

    permanent: ClassVar[bool] = False
    """True if the same call is bound to fail again."""

    advice: ClassVar[str] = "Try again later."

    def __init__(
        self,
        what: str,
        *,
        request: str | None = None,
        status: int | None = None,
        vendor_message: str | None = None,
        advice: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.what = what = without_emails(printable(what))
        self.request = request
        self.status = status
        self.vendor_message = None if vendor_message is None else redact(vendor_message)
        self.retry_after = retry_after
        where = f"{request}: " if request else ""
        answer = [f"HTTP {status}"] if status is not None else []
        if self.vendor_message:
            answer.append(f'"{self.vendor_message}"')
        detail = f" ({', '.join(answer)})" if answer else ""
        super().__init__(f"{where}{what}{detail}. {advice or self.advice}")

    @property
    def is_explained(self) -> bool:
        """True if the API itself explains the error, rather than a gateway in front of it."""
        return self.vendor_message is not None and self.status not in _GATEWAY

    def __reduce__(self) -> tuple[object, ...]:
        # Unpickling in another process must not run the finished text through __init__ again.
        return _rebuild, (type(self), self.args), self.__dict__


class CustomerlyAuthError(CustomerlyError):
    """The access token is unknown, revoked or lacks permission: store a new one. Do not retry."""

    permanent = True
    advice = (
        "Create a new access token in Customerly (Project Settings > Installation > Public API) and save it "
        "as the connection's password (`Access token` in the form). A token stops working when the teammate "
        "who created it leaves the project."
    )


class CustomerlyRequestError(CustomerlyError):
    """The request or a connection setting is wrong: fix it. Do not retry."""

    permanent = True
    advice = "The same request would be refused again. Fix the request or the connection."


class CustomerlyNotFound(CustomerlyRequestError):  # noqa: N818  # named as what is so
    """The requested contact does not exist: decide what that means. Do not retry.

    Only requests about something that may be missing, such as one contact, raise it; a list never does.
    """

    advice = "Check the email or id, and that the token belongs to the right project."


class CustomerlyRateLimited(CustomerlyError):  # noqa: N818  # named as what is so
    """The server asks for fewer requests, and retrying did not help: try again later, or slow down."""

    advice = "Set or lower requests_per_second, or lower max_concurrency, then try again later."


class CustomerlyUnavailable(CustomerlyError):  # noqa: N818  # named as what is so
    """The server could not be reached, or failed: try again later.

    A write that raises this may or may not have been carried out.
    """

    advice = "Try again later. If it keeps failing, check the network and Customerly's status page."


class CustomerlyProtocolError(CustomerlyError):
    """The response does not have the documented form: check the host, then try again later.

    A write that raises this may or may not have been carried out.
    """

    advice = (
        "Check that the connection's host is the API and not a web page or a proxy, then try again later."
    )


def is_transient(error: BaseException) -> bool:
    """Return whether a retry may help. Every call decides it here."""
    return isinstance(error, CustomerlyError) and not error.permanent


def redact(text: str) -> str:
    """Return the vendor's text as one short, printable line without email addresses."""
    line = without_emails(" ".join(printable(text[: 10 * _LONGEST_VENDOR_TEXT]).split()))
    return line if len(line) <= _LONGEST_VENDOR_TEXT else line[: _LONGEST_VENDOR_TEXT - 1] + "…"


def printable(text: str) -> str:
    """Return the vendor's text without characters that affect a terminal, a log or the reading direction.

    White space becomes spaces. Control, format, bidirectional and unassigned characters are removed, because
    a token or an email that they split would not be found and redacted.
    """
    if text.isprintable():
        return text
    return "".join(character for character in _WHITE_SPACE.sub(" ", text) if character.isprintable())


def without_emails(text: str) -> str:
    """Replace each email address with ``<email>``."""
    return _EMAIL.sub("<email>", text)


def _rebuild(kind: type[CustomerlyError], args: tuple[object, ...]) -> CustomerlyError:
    error = kind.__new__(kind)
    error.args = args
    return error
