"""The Customerly REST API as Python methods."""

from __future__ import annotations

import hashlib
import hmac
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from airflow_provider_customerly.client import endpoints, settings
from airflow_provider_customerly.client.call import Call, Counters
from airflow_provider_customerly.client.errors import CustomerlyNotFound
from airflow_provider_customerly.client.locate import Locator
from airflow_provider_customerly.client.pacing import Pace
from airflow_provider_customerly.client.reading import Reading
from airflow_provider_customerly.client.records import RecordDecoder
from airflow_provider_customerly.client.session import AuthHeader, Request, Session
from airflow_provider_customerly.client.window import SMALLEST_USABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import msgspec

    from airflow_provider_customerly.client.endpoints import ContactType

T = TypeVar("T")

LARGEST_PAGE = 100


class Client:
    """A connection to one Customerly project, safe to share between threads.

    Every method raises a kind of :class:`~.errors.CustomerlyError`; what may pass is tried again here first.
    Use it as a context manager, or call :meth:`close`.

    :param token: access token of the project.
    :param base_url: where the API answers, version included.
    :param auth_header: ``bearer`` sends ``Authorization: Bearer``; ``legacy`` sends the older
        ``Authentication: AccessToken:``, which the vendor documents too.
    :param timeout: seconds of silence after which an answer is given up (an answer that keeps dripping: twice
        that; connecting: at most 10).
    :param requests_per_second: upper limit over all threads; None for none (the vendor states none).
    :param max_concurrency: most requests at once; fewer are sent while the server shows distress.
    :param page_size: contacts per page, 1 to 100.
    :param retry_budget: seconds for which one call is tried again, counted from its first failure.
    :param allow_insecure_http: allow ``http://`` to other hosts than this one; it sends the token in clear.
    :raises ValueError: a setting cannot work; the text says which and what to do.
    """

    def __init__(
        self,
        token: str,
        base_url: str = settings.DEFAULT_BASE_URL,
        *,
        auth_header: AuthHeader = "bearer",
        timeout: float = 30.0,
        requests_per_second: float | None = None,
        max_concurrency: int = 4,
        page_size: int = LARGEST_PAGE,
        retry_budget: float = 120.0,
        allow_insecure_http: bool = False,
    ) -> None:
        token = settings.checked_token(token)
        self.base_url = settings.checked_url(base_url, allow_insecure_http=allow_insecure_http)
        if auth_header not in get_args(AuthHeader):
            raise ValueError(f"auth_header is {auth_header!r}: use 'bearer' or 'legacy'.")
        settings.check_range("page_size", page_size, 1, LARGEST_PAGE)
        settings.check_range("max_concurrency", max_concurrency, 1, 256)
        settings.check_positive("timeout", timeout)
        if requests_per_second is not None:
            settings.check_positive("requests_per_second", requests_per_second)
        if not retry_budget >= 0:
            raise ValueError(f"retry_budget is {retry_budget}: give seconds, or 0 to never try again.")
        self.page_size = page_size
        self.max_concurrency = max_concurrency
        self.pace = Pace(max_concurrency, requests_per_second)
        self._retry_budget = retry_budget
        self._counters = Counters()
        self._cancelled = threading.Event()
        self._stopped = False
        self._session = Session(
            token, self.base_url, auth_header=auth_header, timeout=timeout, max_concurrency=max_concurrency
        )

    def __repr__(self) -> str:
        return f"Client(base_url={self.base_url!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop what is waiting and close the connections."""
        self.cancel()
        self._session.close()

    def cancel(self) -> None:
        """Make every call that waits for its turn or its next try raise CustomerlyUnavailable at once.

        Requests under way are awaited, not tried again. Calls made afterwards are not affected.
        """
        self._cancelled.set()
        self.pace.wake()
        if not self._stopped:
            self._cancelled = threading.Event()

    def stop(self) -> None:
        """Cancel, and make every later call raise CustomerlyUnavailable, so that whoever uses this ends."""
        self._stopped = True
        self.cancel()

    @property
    def fingerprint(self) -> str:
        """Text that is another one for another base URL or token; it tells neither of the two."""
        return hmac.new(self._session.token.encode(), self.base_url.encode(), hashlib.sha256).hexdigest()[:16]

    @property
    def requests_sent(self) -> int:
        """Requests sent so far, tries included."""
        return self._counters.sent

    @property
    def retries(self) -> int:
        """Requests sent again so far."""
        return self._counters.retries

    def check(self) -> None:
        """Ask for one contact, to see that the address and the token work."""
        self.fetch_page("users", 0, 1)

    def fetch_page(
        self,
        contact_type: ContactType,
        page: int,
        per_page: int,
        *,
        sort: str = "last_update",
        sort_direction: str = "asc",
    ) -> msgspec.Raw:
        """Fetch one page of a list as the JSON text of the array of its records, not decoded.

        :param page: from 0.
        :param per_page: 1 to 100; what the server does above 100 is not known.
        """
        endpoints.check_contact_type(contact_type)
        settings.check_range("per_page", per_page, 1, LARGEST_PAGE)
        query = {"page": page, "per_page": per_page, "sort": sort, "sort_direction": sort_direction}
        request = endpoints.get(f"/{contact_type}/list", query, page=page)
        return self._run(request, endpoints.page_reader(contact_type))

    def read_contacts(
        self, contact_type: ContactType, fields: Iterable[str] = (), *, low: str | None = None, start: int = 0
    ) -> Reading:
        """Read a whole list while it moves, without losing a contact; nothing is asked for before iteration.

        :param fields: names of record fields wanted as Python values; others come as JSON text.
        :param low: only contacts with ``last_update`` (``YYYY-MM-DD HH:MM:SS``) at or after this.
        :param start: position in the list where ``low`` is believed to be.
        """
        endpoints.check_contact_type(contact_type)
        settings.check_range("page_size", self.page_size, SMALLEST_USABLE, LARGEST_PAGE)
        return Reading(
            partial(self.fetch_page, contact_type),
            RecordDecoder(fields),
            give_up=self.cancel,
            low=low,
            start=start,
            page_size=self.page_size,
            max_concurrency=self.max_concurrency,
        )

    def locate(self, contact_type: ContactType, low: str, guess: int = 0) -> int:
        """Find, in some twenty requests, the position in the list where ``low`` is: a start for a reading.

        :param low: as for :meth:`read_contacts`.
        :param guess: position where it may be; fewer requests are needed when it is close.
        """
        page = partial(self.fetch_page, contact_type, per_page=self.page_size)
        return Locator(page, low, self.page_size).find(guess)

    def get_contact(
        self, contact_type: ContactType, *, email: str | None = None, user_id: str | int | None = None
    ) -> dict[str, Any]:
        """Fetch one contact with all its detail, by email or (users only) by the caller's own id.

        :raises CustomerlyNotFound: there is none.
        """
        request = endpoints.about_contact("GET", contact_type, email, user_id)
        contact = self._run(request, endpoints.read_object)
        if not contact:
            raise CustomerlyNotFound("the answer is an empty contact", request=str(request))
        return contact

    def upsert_contacts(
        self, contact_type: ContactType, contacts: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Create or update contacts by email, in one request.

        :param contacts: each with ``email`` and optionally ``user_id``, ``name``, ``attributes``, ``tags``.
        :return: the vendor's answer as it came: ``inserted`` counts accepted contacts, updates included;
            rejects are under ``not_added`` or ``errors``, in a shape that is not documented.
        """
        endpoints.check_contact_type(contact_type)
        body: dict[str, Any] = {contact_type: [dict(contact) for contact in contacts]}
        return self._run(endpoints.write("POST", f"/{contact_type}", body), endpoints.read_object)

    def delete_contact(
        self, contact_type: ContactType, *, email: str | None = None, user_id: str | int | None = None
    ) -> None:
        """Delete a contact for good, with its conversations and history.

        :raises CustomerlyNotFound: there is none, and no earlier try of this call can have deleted it.
        """
        self._delete(endpoints.about_contact("DELETE", contact_type, email, user_id))

    def unsubscribe_user(self, user_id: str | int) -> None:
        """Unsubscribe a user (the endpoint is known second-hand; which of the ids it takes is not known)."""
        self._post("/users/unsubscribe/{user_id}", {}, user_id)

    def add_user_attributes(self, user_id: str | int, attributes: Mapping[str, Any]) -> None:
        """Merge attributes into a user's (the endpoint is known second-hand)."""
        self._post("/users/add-attributes/{user_id}", {"attributes": dict(attributes)}, user_id)

    def add_user_to_company(
        self,
        company_id: str | int,
        *,
        company_name: str | None = None,
        company_attributes: Mapping[str, Any] | None = None,
        email: str | None = None,
        user_id: str | int | None = None,
        internal_user_id: int | None = None,
    ) -> None:
        """Link a user to a company, creating the company (the endpoint is known second-hand).

        :param internal_user_id: Customerly's own id; name the user by exactly one of the three.
        """
        user = {"email": email, "user_id": user_id, "internal_user_id": internal_user_id}
        if sum(value is not None for value in user.values()) != 1:
            raise ValueError("Name the user by exactly one of email, user_id and internal_user_id.")
        company = {
            "company_id": company_id,
            "company_name": company_name,
            "company_attributes": None if company_attributes is None else dict(company_attributes),
        }
        body = {name: value for name, value in (company | user).items() if value is not None}
        self._post("/users/add-to-company", body)

    def add_company_attributes(
        self, company_id: str | int, attributes: Mapping[str, Any], *, company_name: str | None = None
    ) -> None:
        """Merge attributes into a company's (the endpoint is known second-hand)."""
        body: dict[str, Any] = {"attributes": dict(attributes)}
        if company_name is not None:
            body["company_name"] = company_name
        self._post("/company/add-attributes/{company_id}", body, company_id)

    def list_tags(self) -> list[str]:
        """List the project's tags (the endpoint is known second-hand, as are the other tag calls)."""
        return self._run(endpoints.get("/tags"), endpoints.read_list)

    def tag(
        self, tag: str, *, users: Sequence[Mapping[str, Any]] = (), leads: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Put a tag on contacts, each named by ``{"email": ..}`` or, users only, ``{"user_id": ..}``."""
        self._tag(tag, users, leads, untag=False)

    def untag(
        self, tag: str, *, users: Sequence[Mapping[str, Any]] = (), leads: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Take a tag off contacts, named as in :meth:`tag`."""
        self._tag(tag, users, leads, untag=True)

    def delete_tag(self, tag: str) -> None:
        """Remove a tag everywhere."""
        self._delete(endpoints.write("DELETE", "/tags", {"tag": tag}))

    def list_accounts(self) -> list[dict[str, Any]]:
        """List the teammates of the project (the endpoint is known second-hand)."""
        return self._run(endpoints.get("/accounts/"), endpoints.read_list)

    def list_knowledge_collections(self) -> Any:
        """List the help centre's collections as the vendor sends them (the shape is not documented)."""
        return self._run(endpoints.get("/knowledge/collections"), endpoints.read_anything)

    def list_knowledge_articles(
        self, collection_id: str | int | None = None, page: int = 0, per_page: int = 50
    ) -> Any:
        """List one page, from 0, of the help centre's articles as the vendor sends them."""
        query = {"knowledge_base_collection_id": collection_id, "page": page, "per_page": per_page}
        return self._run(endpoints.get("/knowledge/articles/", query, page=page), endpoints.read_anything)

    def _tag(
        self, tag: str, users: Sequence[Mapping[str, Any]], leads: Sequence[Mapping[str, Any]], *, untag: bool
    ) -> None:
        if not users and not leads:
            raise ValueError("Give at least one user or lead.")
        contacts = {"users": [dict(user) for user in users], "leads": [dict(lead) for lead in leads]}
        self._post("/tags", {"tag": tag, "untag": untag, **contacts})

    def _post(self, path: str, body: Mapping[str, Any], id: str | int | None = None) -> None:
        self._run(endpoints.write("POST", path, body, id), endpoints.read_anything)

    def _delete(self, request: Request) -> None:
        call = self._call(request, endpoints.read_anything)
        try:
            call.run()
        except CustomerlyNotFound:
            if not call.may_have_been_done:
                raise

    def _run(self, request: Request, read: Callable[[msgspec.Raw], T]) -> T:
        return self._call(request, read).run()

    def _call(self, request: Request, read: Callable[[msgspec.Raw], T]) -> Call[T]:
        return Call(
            self._session, self.pace, self._counters, self._cancelled, request, read, self._retry_budget
        )
