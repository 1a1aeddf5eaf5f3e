"""What can go wrong, told apart by what the caller should do about it."""

from __future__ import annotations

import re
from typing import ClassVar

_LOCAL_PART = r"""(?:[^\s@"<>(),:;\[\]]+|"[^@"]{1,64}")"""  # quoted, it may hold blanks
_EMAIL = re.compile(_LOCAL_PART + r"""(?:@|%40)[^\s@"'<>(),:;=\[\]{}]+""", re.IGNORECASE)
_LONGEST_VENDOR_TEXT = 200


class CustomerlyError(Exception):
    """Base of every failure of the Customerly API; catch it to catch them all.

    The text reads ``where: what happened (status, vendor's words). What to do.`` It holds no token, no
    query string and no email address.

    :param what: what happened, one clause without a full stop.
    :param request: method, path and page: ``GET /users/list page=3``.
    :param status: HTTP status of the answer, None when there was none.
    :param vendor_message: the server's own words; email addresses are redacted and the length is capped.
    :param advice: what to do next, instead of the class's own advice.
    :param retry_after: seconds the server asked to wait.
    """

    permanent: ClassVar[bool] = False
    """True when the same call is bound to fail again."""

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
        self.what = what
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

    def __reduce__(self) -> tuple[object, ...]:
        # The finished text must not go through __init__ again when an error crosses a process border.
        return _rebuild, (type(self), self.args), self.__dict__


class CustomerlyAuthError(CustomerlyError):
    """The token is unknown, revoked or not allowed to do this: get a new one, do not retry."""

    permanent = True
    advice = (
        "Create a new access token in Customerly (Project Settings > Installation > Public API) and store it "
        "as the connection's password, which the form calls access token; a token dies when the teammate who "
        "created it leaves the project."
    )


class CustomerlyRequestError(CustomerlyError):
    """The request or the connection's settings are wrong: correct them, do not retry."""

    permanent = True
    advice = "The same request will be refused again: correct the request or the connection."


class CustomerlyNotFound(CustomerlyRequestError):  # noqa: N818  # named as what is so
    """The contact (or other object) asked for does not exist: decide what that means, do not retry."""

    advice = "Check the email or the id, and that the token belongs to the right project."


class CustomerlyRateLimited(CustomerlyError):  # noqa: N818  # named as what is so
    """The server asks for fewer requests: come back later or slower; waiting here did not suffice."""

    advice = "Set or lower requests_per_second, or lower max_concurrency, and try again later."


class CustomerlyUnavailable(CustomerlyError):  # noqa: N818  # named as what is so
    """The server could not be reached or could not answer: try again later.

    A write that ends so may have been carried out or not.
    """

    advice = "Try again later; if it lasts, check the network and Customerly's status page."


class CustomerlyProtocolError(CustomerlyError):
    """The answer is not what the API promises: check the host, then try again later."""

    advice = (
        "Check that the connection's host is the API and not a web page or a proxy, then try again later."
    )


def is_transient(error: BaseException) -> bool:
    """Tell whether trying again may help: the one place that decides it, for every call."""
    return isinstance(error, CustomerlyError) and not error.permanent


def redact(text: str) -> str:
    """Return text from the vendor as one short line without email addresses."""
    line = _EMAIL.sub("<email>", " ".join(text[: 10 * _LONGEST_VENDOR_TEXT].split()))
    return line if len(line) <= _LONGEST_VENDOR_TEXT else line[: _LONGEST_VENDOR_TEXT - 1] + "…"


def _rebuild(kind: type[CustomerlyError], args: tuple[object, ...]) -> CustomerlyError:
    error = kind.__new__(kind)
    error.args = args
    return error
