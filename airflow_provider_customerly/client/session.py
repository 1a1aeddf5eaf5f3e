"""One HTTP request out, one whole answer in: connections, headers, timeouts, and nothing about meaning."""

from __future__ import annotations

import http.client
import logging
import os
import re
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import requests
import urllib3
import urllib3.exceptions
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from airflow_provider_customerly import __version__
from airflow_provider_customerly.client.errors import (
    CustomerlyError,
    CustomerlyProtocolError,
    CustomerlyRequestError,
    CustomerlyUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger(__name__)

AuthHeader = Literal["bearer", "legacy"]

_LONGEST_CONNECT = 10.0
_CHUNK = 1 << 18
_SOMEONES_URL = re.compile(r"(/(?:users|leads))(?:\?|/unsubscribe/|/add-attributes/)\S*")


@dataclass(frozen=True)
class Request:
    """A request as it goes out. Only method, path and page may be shown: the rest can hold personal data."""

    method: str
    path: str
    """As listed by the vendor, ids left as placeholders: for messages and logs."""
    target: str = field(repr=False)
    """What is sent: path and query, percent-encoded."""
    body: bytes | None = field(default=None, repr=False)
    page: int | None = None

    @property
    def names_something(self) -> bool:
        """Tell whether it is about something that may not exist, as a contact; lists and upserts are not."""
        return self.method != ("POST" if self.path in ("/users", "/leads") else "GET")

    def __str__(self) -> str:
        return f"{self.method} {self.path}" + ("" if self.page is None else f" page={self.page}")


@dataclass(frozen=True)
class Answer:
    """An answer whose body arrived whole."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Secret(str):
    """Text that does not show itself in a repr, so that no dump of a header shows the token."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Session:
    """Pooled connections to one API, used by many threads; no cookies, no redirects.

    Proxies and the CA bundle are taken from the environment once, when the session is made.

    :param base_url: scheme, host and path without a trailing slash.
    :param timeout: seconds of silence after which an answer is given up; connecting may take ten
        seconds at most, and an answer that keeps dripping is given up after twice this time.
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
        """Send once and read the whole answer, whatever its status.

        :raises CustomerlyUnavailable: no connection, a lost one, or no whole answer in time.
        :raises CustomerlyProtocolError: the body was cut short or could not be decompressed.
        :raises CustomerlyRequestError: the server's certificate or the proxy's address is not acceptable.
        """
        started = time.monotonic()
        try:
            answer = self._exchange(request, started + self._longest_answer)
        except (OSError, urllib3.exceptions.HTTPError) as cause:
            failure = _failure(cause, request)
        else:
            if log.isEnabledFor(logging.DEBUG):
                milliseconds = 1000 * (time.monotonic() - started)
                log.debug("%s %s: %d, %.0f ms", request.method, request.path, answer.status, milliseconds)
            return answer
        # Raised out here so that no chained cause shows its text: urllib3 quotes the URL with its query.
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
        chunks = []
        # read1 returns what one receive brought; a plain read would follow a dripping body past any deadline.
        while chunk := response.read1(_CHUNK, decode_content=True):
            chunks.append(chunk)
            if time.monotonic() > deadline:
                response.close()
                raise TimeoutError
        return Answer(response.status, response.headers, b"".join(chunks))

    def _find_route(self) -> tuple[Any, str]:
        """Give the connections to the server or its proxy, and how URLs start there.

        requests would find both out, and merge headers, cookies and hooks, for each request anew: more CPU
        time than all the rest of a request takes.
        """
        start = requests.PreparedRequest()
        start.method, start.url, start.headers = "GET", self._base_url, self._headers
        proxies, verify, cert = (self._environment[name] for name in ("proxies", "verify", "cert"))
        connections = self._adapter.get_connection_with_tls_context(start, verify, proxies, cert)
        self._adapter.cert_verify(connections, self._base_url, verify, cert)  # type: ignore[no-untyped-call]
        return connections, self._adapter.request_url(start, proxies)


def _headers(token: str, auth_header: AuthHeader) -> CaseInsensitiveDict[str]:
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    if auth_header == "bearer":
        headers["Authorization"] = Secret(f"Bearer {token}")
    else:
        headers["Authentication"] = Secret(f"AccessToken: {token}")
    headers["Accept"] = "application/json"
    headers["Accept-Encoding"] = "gzip, deflate"
    headers["User-Agent"] = f"airflow-provider-customerly/{__version__} requests/{requests.__version__}"
    return headers


def _check_ca_bundle(verify: object) -> None:
    if isinstance(verify, str) and not os.path.exists(verify):
        raise ValueError(
            f"The CA bundle {verify!r} does not exist: correct REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE."
        )


def _failure(cause: Exception, request: Request) -> CustomerlyError:
    root = _root(cause)
    where = str(request)
    if isinstance(root, ssl.SSLCertVerificationError):
        return CustomerlyRequestError(
            f"the server's TLS certificate was not accepted: {root.verify_message}",
            request=where,
            advice="Check the connection's host, or name your own authority's bundle in REQUESTS_CA_BUNDLE.",
        )
    if isinstance(cause, ValueError):
        return CustomerlyRequestError(
            f"the request could not be sent ({type(cause).__name__})",
            request=where,
            advice="Check the connection's host and the proxy settings in the environment.",
        )
    if isinstance(cause, urllib3.exceptions.DecodeError):
        return CustomerlyProtocolError("the body could not be decompressed", request=where)
    if isinstance(root, http.client.IncompleteRead):
        return CustomerlyProtocolError("the answer was cut short", request=where)
    if isinstance(root, (TimeoutError, urllib3.exceptions.TimeoutError)):
        return CustomerlyUnavailable("no whole answer in time", request=where)
    reason = (isinstance(root, OSError) and root.strerror) or type(root).__name__
    return CustomerlyUnavailable(f"the connection failed ({reason})", request=where)


def _root(error: BaseException) -> BaseException:
    """Follow an exception to what first went wrong, through the ways requests and urllib3 wrap it."""
    while True:
        wrapped = [getattr(error, "reason", None), error.__cause__, *error.args]
        inner = next(
            (item for item in wrapped if isinstance(item, BaseException) and item is not error), None
        )
        if inner is None:
            return error
        error = inner


def _hide_someones_url(record: logging.LogRecord) -> bool:
    """Take emails and ids out of urllib3's own debug lines, which show whole URLs."""
    if isinstance(record.args, tuple):
        record.args = tuple(
            _SOMEONES_URL.sub(r"\1…", item) if isinstance(item, str) else item for item in record.args
        )
    return True
