"""The requests of a check, in order, and the responses it keeps to judge."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_customerly.client import CustomerlyError, endpoints
from airflow_provider_customerly.client.errors import CustomerlyProtocolError
from airflow_provider_customerly.client.json_text import NOT_READABLE

if TYPE_CHECKING:
    from airflow_provider_customerly.check.wire import Exchange, Wire
    from airflow_provider_customerly.client.session import AuthHeader, Request

SIZE = 100
FAR_PAGE = 100_000  # after ten million contacts
_STRIDE = 16  # factor between steps towards the end; with bisection it reaches 25,000 contacts

Row = dict[str, Any]

_read_page = endpoints.page_reader("users")


@dataclass(frozen=True)
class Page:
    """The response to a request for a page of ``SIZE`` users: contacts or an error."""

    number: int
    exchange: Exchange
    rows: list[Row] = field(repr=False)
    error: CustomerlyError | None

    @property
    def ids(self) -> list[Any]:
        """The ``crmhero_user_id`` of each row, unchanged."""
        return [row.get("crmhero_user_id") for row in self.rows]

    @property
    def stamps(self) -> list[str]:
        """The ``last_update`` of each row; blank if it is not text."""
        return [stamp if isinstance(stamp := row.get("last_update"), str) else "" for row in self.rows]


@dataclass
class Observed:
    """All responses; None if no request was left. It holds contacts, so it is never shown."""

    auth_header: AuthHeader
    """The setting of the connection."""
    timeout: float
    exchanges: list[Exchange]
    headers: dict[AuthHeader, Exchange | None] = field(default_factory=dict)
    """The outcome of a request with the token in each form of the header."""
    stranger: Exchange | None = None
    """The response to a token that does not exist."""
    first: Page | None = None
    second: Page | None = None
    newest: Page | None = None
    """The first page in descending order."""
    repeated: tuple[Page, Page] | None = None
    """The same page, requested twice."""
    far: Page | None = None
    end: tuple[Page, Page] | None = None
    """A page that is not full and the page after it."""
    nobody: Exchange | None = None
    """The response to an email address that no contact can have."""

    @property
    def obstacle(self) -> CustomerlyError | None:
        """Why the token was not accepted in any form of header; None if it was."""
        if any(exchange and not exchange.error for exchange in self.headers.values()):
            return None
        exchange = self.headers[self.auth_header]
        return None if exchange is None else exchange.error

    @property
    def pages(self) -> list[Page]:
        """The pages that every check requests."""
        return [page for page in (self.first, self.second, self.newest) if page is not None]

    @property
    def rows(self) -> list[Row]:
        """The contacts seen, the newest version of each."""
        return list({row.get("crmhero_user_id"): row for page in self.pages for row in page.rows}.values())

    @property
    def full(self) -> int:
        """The number of contacts on the fullest page."""
        return max((len(page.rows) for page in self.pages), default=0)


class Inquiry:
    """Send the read-only requests of a check."""

    def __init__(self, wire: Wire, token: str, auth_header: AuthHeader) -> None:
        self._wire = wire
        self._token = token
        self._header = auth_header
        self.observed = Observed(auth_header, wire.timeout, wire.exchanges)

    def run(self) -> Observed:
        """Send all requests, or only those that need no token if the token does not work."""
        seen = self.observed
        if self._find_header():
            seen.first = self._page(0)
            seen.second = self._page(1)
            seen.newest = self._page(0, "desc")
            seen.repeated = self._repeat()
            seen.far = self._page(FAR_PAGE)
            seen.nobody = self._ask_for_nobody()
            seen.end = self._find_end()
        return seen

    def _find_header(self) -> bool:
        seen = self.observed
        other: AuthHeader = "legacy" if self._header == "bearer" else "bearer"
        one_contact = _list(0, 1, "asc")
        for header in (self._header, other):
            exchange = self._wire.ask(one_contact, self._token, header, expects_refusal=True)
            seen.headers[header] = exchange
            if header == self._header and (exchange is None or exchange.answer is None):
                return False  # there is no server
        made_up = f"airflow-check-{secrets.token_hex(16)}"
        seen.stranger = self._wire.ask(one_contact, made_up, self._header, expects_refusal=True)
        works = [header for header, exchange in seen.headers.items() if exchange and not exchange.error]
        if works and self._header not in works:
            self._header = works[0]
        return bool(works)

    def _page(self, number: int, direction: str = "asc") -> Page | None:
        exchange = self._wire.ask(_list(number, SIZE, direction), self._token, self._header)
        if exchange is None:
            return None
        rows: list[Row] = []
        error = exchange.error
        if exchange.data is not None:
            try:
                rows = msgspec.json.decode(_read_page(exchange.data), type=list[Row])
            except NOT_READABLE as problem:
                reason = str(problem) if isinstance(problem, msgspec.MsgspecError) else type(problem).__name__
                error = CustomerlyProtocolError(f"the page has an unexpected shape: {reason}")
        return Page(number, exchange, rows, error)

    def _repeat(self) -> tuple[Page, Page] | None:
        """Request the page again on which the most contacts share a timestamp."""
        before = max(self.observed.pages[:2], key=_tied, default=None)
        if before is None or _tied(before) == 0:
            return None
        after = self._page(before.number)
        return None if after is None else (before, after)

    def _ask_for_nobody(self) -> Exchange | None:
        email = f"nobody-{secrets.token_hex(8)}@customerly-check.invalid"
        request = endpoints.about_contact("GET", "users", email, None)
        return self._wire.ask(request, self._token, self._header, expects_refusal=True)

    def _find_end(self) -> tuple[Page, Page] | None:
        """Find a page that is not full and the one after it, with the remaining requests.

        Strides grow until one goes too far, then bisection starts.
        """
        first, second, full = self.observed.first, self.observed.second, self.observed.full
        if first is None or second is None or not first.rows or first.error or second.error:
            return None
        if len(first.rows) < full or not second.rows:
            return first, second
        low, high = 1, None
        asked = {1: second}
        page: Page | None = second
        while page is not None and not page.error:
            if 0 < len(page.rows) < full:
                behind = asked.get(page.number + 1) or self._page(page.number + 1)
                return None if behind is None else (page, behind)
            if page.rows:
                low = page.number
            else:
                high = page.number
            wanted = low * _STRIDE if high is None else (low + high) // 2
            if wanted == low:
                return None  # the last page is full
            page = self._page(wanted)
            if page is not None:
                asked[wanted] = page
        return None


def _list(page: int, per_page: int, direction: str) -> Request:
    query = {"page": page, "per_page": per_page, "sort": "last_update", "sort_direction": direction}
    return endpoints.get("/users/list", query, page=page)


def _tied(page: Page) -> int:
    return sum(count for count in Counter(page.stamps).values() if count > 1)
