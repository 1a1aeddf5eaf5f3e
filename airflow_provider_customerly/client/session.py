"""Send one HTTP request and receive the whole response: connections, headers and timeouts, not meaning."""

from __future__ import annotations

import http.client
import logging
import os
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import requests
import urllib3
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from airflow_provider_customerly import __version__
from airflow_provider_customerly.client.body import read_body
from airflow_provider_customerly.client.deadline import TimedResponse, answered_by
from airflow_provider_customerly.client.errors import (
    CustomerlyError,
    CustomerlyProtocolError,
    CustomerlyRequestError,
    CustomerlyUnavailable,
    redact,
)
from airflow_provider_customerly.client.settings import names_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

AuthHeader = Literal["bearer", "legacy"]

_LONGEST_CONNECT = 10.0
_SOMEONES_URL = re.compile(r"(/(?:users|leads))(?:\?|/unsubscribe/|/add-attributes/)\S*")


@dataclass(frozen=True)
class Request:
    """A request to send. Only method, path and page may be shown: the rest can hold personal data."""

    method: str
    path: str
    """As the vendor documents it, with placeholders for ids. For messages and logs."""
    target: str = field(repr=False)
    """Path and query as sent, percent-encoded."""
    body: bytes | None = field(default=None, repr=False)
    page: int | None = None

    @property
    def names_something(self) -> bool:
        """True if the request is about something that may not exist, such as a contact, unlike a list."""
        return self.method != ("POST" if self.path in ("/users", "/leads") else "GET")

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + ("" if self.page is None else f" page={self.page}")


@dataclass(frozen=True)
class Answer:
    """A response with its complete body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Secret(str):
    """Text that is hidden in its repr, so that no dump of headers shows the token."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Session:
    """Pooled connections to one API, shared by threads; no cookies, no redirects.

    Proxies and the CA bundle are read from the environment once, when the session is created. Requests to
    this machine never use a proxy: it would receive the token, in clear text over ``http://``, and then
    connect to its own loopback interface.

    :param base_url: scheme, host and path without a trailing slash.
    :param timeout: see ``Client``.
    """

    def __init__(
        self, token: str, base_url: str, *, auth_header: AuthHeader, timeout: float, max_concurrency: int
    ) -> None:
        self.token = Secret(token)
        self._base_url = base_url
        self._timeout = urllib3.Timeout(connect=min(_LONGEST_CONNECT, timeout), read=timeout)
        self._longest_answer = 2 * timeout
        self._session = requests.Session()
        self._environment: dict[str, Any] = dict(
            self._session.merge_environment_settings(base_url, {}, True, None, None)
        )
        if names_this_machine(urlsplit(base_url).hostname or ""):
            self._environment["proxies"] = {}
        self._session.trust_env = False
        _check_ca_bundle(self._environment["verify"])
        self._adapter = HTTPAdapter(pool_connections=1, pool_maxsize=max_concurrency)
        self._session.mount(base_url, self._adapter)
        self._route: tuple[Any, str] | None = None
        self._headers = _headers(token, auth_header)
        self._headers_with_body = CaseInsensitiveDict(self._headers)
        self._headers_with_body["Content-Type"] = "application/json"
        for name in ("urllib3.connectionpool", "urllib3.connection"):
            logging.getLogger(name).addFilter(_hide_someones_url)

    def send(self, request: Request) -> Answer:
        """Send once and return the whole response, whatever its status.

        :raises CustomerlyUnavailable: the connection failed or was lost, or the response was not complete in
            time.
        :raises CustomerlyProtocolError: the body is truncated, too large or cannot be decompressed.
        :raises CustomerlyRequestError: the server's certificate or the proxy's address is invalid.
        """
        started = time.monotonic()
        try:
            answer = self._exchange(request, started + self._longest_answer)
        except (OSError, urllib3.exceptions.HTTPError) as cause:
            failure = _failure(cause, request, urlsplit(self._base_url).netloc)
        else:
            if log.isEnabledFor(logging.DEBUG):
                milliseconds = 1000 * (time.monotonic() - started)
                log.debug("%s %s: %d, %.0f ms", request.method, request.path, answer.status, milliseconds)
            return answer
        # Raised outside the except block so that it has no cause: urllib3 quotes the URL with its query.
        log.debug("%s %s: %s", request.method, request.path, type(failure).__name__)
        raise failure

    def close(self) -> None:
        """Close all pooled connections."""
        self._session.close()

    def _exchange(self, request: Request, deadline: float) -> Answer:
        connections, prefix = self._route = self._route or self._find_route()
        headers = self._headers
        if request.body is not None:
            headers = CaseInsensitiveDict(self._headers_with_body)
            headers["Content-Length"] = str(len(request.body))
        with answered_by(deadline):
            response = connections.urlopen(
                request.method,
                prefix + request.target,
                request.body,
                headers,
                retries=self._adapter.max_retries,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
            )
        try:
            body = read_body(response, str(request))
        except BaseException:
            response.close()  # the rest of the body must not be read as the next response
            raise
        return Answer(response.status, response.headers, body)

    def _find_route(self) -> tuple[Any, str]:
        """Return the connection pool of the server or its proxy, and the start of URLs there.

        ``requests`` would repeat this for each request, and merge headers, cookies and hooks. That takes more
        CPU time than the rest of the request.
        """
        start = requests.PreparedRequest()
        start.method, start.url, start.headers = "GET", self._base_url, self._headers
        proxies, verify, cert = (self._environment[name] for name in ("proxies", "verify", "cert"))
        connections: Any = self._adapter.get_connection_with_tls_context(start, verify, proxies, cert)
        connections.ConnectionCls = type(
            "TimedConnection", (connections.ConnectionCls,), {"response_class": TimedResponse}
        )
        self._adapter.cert_verify(connections, self._base_url, verify, cert)  # type: ignore[no-untyped-call]
        return connections, self._adapter.request_url(start, proxies)


def _headers(token: str, auth_header: AuthHeader) -> CaseInsensitiveDict[str]:
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    if auth_header == "bearer":
        headers["Authorization"] = Secret(f"Bearer {token}")
    else:
        headers["Authentication"] = Secret(f"AccessToken: {token}")
    headers["Accept"] = "application/json"
    headers["Accept-Encoding"] = "gzip"
    headers["User-Agent"] = f"airflow-provider-customerly/{__version__} requests/{requests.__version__}"
    return headers


def _check_ca_bundle(verify: object) -> None:
    if isinstance(verify, str) and not os.path.exists(verify):
        raise ValueError(
            f"The CA bundle {verify!r} does not exist. Fix REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE."
        )


def _failure(cause: Exception, request: Request, server: str) -> CustomerlyError:
    *_, root = _unwrapped(cause)
    where = str(request)
    if isinstance(root, ssl.SSLCertVerificationError):
        return CustomerlyRequestError(
            f"the server's TLS certificate was not accepted: {root.verify_message}",
            request=where,
            advice="Check the connection's host, or set REQUESTS_CA_BUNDLE to the bundle of your own CA.",
        )
    if isinstance(cause, ValueError):
        return CustomerlyRequestError(
            f"the request could not be sent ({type(cause).__name__})",
            request=where,
            advice="Check the connection's host and the proxy settings in the environment.",
        )
    if isinstance(root, http.client.IncompleteRead):
        return CustomerlyProtocolError("the response was truncated", request=where)
    if isinstance(root, (TimeoutError, urllib3.exceptions.TimeoutError)):
        return CustomerlyUnavailable("the response timed out", request=where)
    reason = (isinstance(root, OSError) and root.strerror) or type(root).__name__
    if any(isinstance(error, urllib3.exceptions.ProxyError) for error in _unwrapped(cause)):
        return CustomerlyUnavailable(
            f"the connection to the proxy failed ({reason})",
            request=where,
            advice="Try again later. If it keeps failing, check the proxy settings in the environment.",
        )
    return CustomerlyUnavailable(f"the connection to {server} failed ({reason})", request=where)


def _unwrapped(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what it wraps: ``requests`` and ``urllib3`` wrap the original one several times."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        yield error
        wrapped = [getattr(error, "reason", None), error.__cause__, *error.args]
        inner = next(
            (item for item in wrapped if isinstance(item, BaseException) and item is not error), None
        )


def _hide_someones_url(record: logging.LogRecord) -> bool:
    """Remove emails, ids and control characters from urllib3's log lines, which show URLs and headers."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            item if isinstance(item, (int, float)) else redact(_SOMEONES_URL.sub(r"\1…", str(item)))
            for item in record.args
        )
    record.exc_info = record.exc_text = None
    return True
