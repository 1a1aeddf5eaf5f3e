"""The Customerly REST API as Python methods."""

from __future__ import annotations

import hashlib
import hmac
import threading
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import msgspec

from airflow_provider_customerly.client import endpoints, settings
from airflow_provider_customerly.client.answers import TEXT
from airflow_provider_customerly.client.call import Call, Counters
from airflow_provider_customerly.client.errors import CustomerlyNotFound
from airflow_provider_customerly.client.pacing import Pace
from airflow_provider_customerly.client.session import AuthHeader, Request, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from airflow_provider_customerly.client.endpoints import ContactType

T = TypeVar("T")


class Client:
    """A connection to one Customerly project, safe to share between threads.

    Every method raises a :class:`~.errors.CustomerlyError` on failure. Transient errors are retried first.
    Use the client as a context manager, or call :meth:`close`.

    :param token: access token of the project.
    :param base_url: root URL of the API, including the version.
    :param auth_header: ``bearer`` sends ``Authorization: Bearer``. ``legacy`` sends the older
        ``Authentication: AccessToken:``, which the vendor also documents.
    :param timeout: seconds to wait for the next bytes of a response. Connecting may take at most 10 s. A
        whole response, headers and body, may take at most twice the timeout, even if it trickles in.
    :param requests_per_second: rate limit across all threads; None for no limit (the vendor states none).
    :param max_concurrency: maximum number of concurrent requests; the client backs off when the server
        struggles.
    :param page_size: contacts per page, 1 to 100.
    :param retry_budget: seconds for which one call is retried, counted from its first failure.
    :param allow_insecure_http: allow ``http://`` to hosts other than this one, which sends the token in clear
        text.
    :raises ValueError: a setting is invalid; the message says which one and how to fix it.
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
        page_size: int = settings.LARGEST_PAGE,
        retry_budget: float = 120.0,
        allow_insecure_http: bool = False,
    ) -> None:
        token = settings.checked_token(token)
        self.base_url = settings.checked_url(base_url, allow_insecure_http=allow_insecure_http)
        if auth_header not in get_args(AuthHeader):
            raise ValueError(f"auth_header is {auth_header!r}. Use 'bearer' or 'legacy'.")
        settings.check_range("page_size", page_size, 1, settings.LARGEST_PAGE)
        settings.check_range("max_concurrency", max_concurrency, 1, settings.MOST_AT_ONCE)
        settings.check_positive("timeout", timeout)
        if requests_per_second is not None:
            settings.check_positive("requests_per_second", requests_per_second)
        if not retry_budget >= 0:
            raise ValueError(f"retry_budget is {retry_budget}. Set it to seconds, or to 0 to never retry.")
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
        """Stop waiting calls and close the connections."""
        self.cancel()
        self._session.close()

    def cancel(self) -> None:
        """Make every call that waits for a slot or a retry raise ``CustomerlyUnavailable`` at once.

        Requests already in flight complete, but are not retried. Later calls are not affected.
        """
        self._cancelled.set()
        later = self._cancelled = threading.Event()
        if self._stopped:  # asked last: a signal or another thread may stop the client at any point of this
            later.set()
        self.pace.wake()

    def stop(self) -> None:
        """Cancel, and make every later call raise ``CustomerlyUnavailable``, so that all callers end."""
        self._stopped = True
        self.cancel()

    @property
    def fingerprint(self) -> str:
        """Text that is unique to a base URL and token, and reveals neither."""
        return hmac.new(self._session.token.encode(), self.base_url.encode(), hashlib.sha256).hexdigest()[:16]

    @property
    def requests_sent(self) -> int:
        """Requests sent so far, retries included."""
        return self._counters.sent

    @property
    def retries(self) -> int:
        """Retries so far."""
        return self._counters.retries

    @property
    def seconds_waited(self) -> float:
        """Seconds between a failed request and its retry so far, added up over all threads."""
        return self._counters.waited

    def check(self) -> None:
        """Check that the URL and the token work, by requesting one contact."""
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
        """Return one page of a list as the undecoded JSON text of its array of records.

        :param page: counted from 0.
        :param per_page: 1 to 100; how the server treats more than 100 is unknown.
        """
        endpoints.check_contact_type(contact_type)
        settings.check_range("per_page", per_page, 1, settings.LARGEST_PAGE)
        query = {"page": page, "per_page": per_page, "sort": sort, "sort_direction": sort_direction}
        request = endpoints.get(f"/{contact_type}/list", query, page=page)
        return self._run(request, endpoints.page_reader(contact_type), endpoints.PAGE)

    def get_contact(
        self, contact_type: ContactType, *, email: str | None = None, user_id: str | int | None = None
    ) -> dict[str, Any]:
        """Return one contact in full, by email or (users only) by your own ``user_id``.

        :raises CustomerlyNotFound: the contact does not exist.
        """
        request = endpoints.about_contact("GET", contact_type, email, user_id)
        contact = self._run(request, endpoints.read_object)
        if not contact:
            raise CustomerlyNotFound("the response is an empty contact", request=str(request))
        return contact

    def upsert_contacts(
        self, contact_type: ContactType, contacts: Sequence[Mapping[str, Any] | msgspec.Raw]
    ) -> dict[str, Any]:
        """Create or update contacts by email, in one request.

        :param contacts: each with ``email`` and optionally ``user_id``, ``name``, ``attributes``, ``tags``;
            or the JSON of that.
        :return: the vendor's response, unchanged. ``inserted`` counts accepted contacts, including updates.
            Rejects are under ``not_added`` or ``errors``, in an undocumented shape.
        """
        endpoints.check_contact_type(contact_type)
        as_json = [one if isinstance(one, msgspec.Raw) else dict(one) for one in contacts]
        body: dict[str, Any] = {contact_type: as_json}
        return self._run(endpoints.write("POST", f"/{contact_type}", body), endpoints.read_object)

    def delete_contact(
        self, contact_type: ContactType, *, email: str | None = None, user_id: str | int | None = None
    ) -> None:
        """Permanently delete a contact, with its conversations and history.

        :raises CustomerlyNotFound: the contact does not exist, and no earlier attempt of this call can have
            deleted it.
        """
        self._delete(endpoints.about_contact("DELETE", contact_type, email, user_id))

    def unsubscribe_user(self, user_id: str | int) -> None:
        """Unsubscribe a user (known from second-hand documentation, which does not say which id to use)."""
        request = endpoints.write("POST", "/users/unsubscribe/{user_id}", {}, user_id)
        self._run(request, endpoints.read_anything)

    def list_tags(self) -> list[str]:
        """Return the project's tags (all tag endpoints are known from second-hand documentation)."""
        return self._run(endpoints.get("/tags"), endpoints.read_list)

    def tag(
        self, tag: str, *, users: Sequence[Mapping[str, Any]] = (), leads: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Add a tag to contacts, each given as ``{"email": ..}`` or, users only, ``{"user_id": ..}``."""
        self._tag(tag, users, leads, untag=False)

    def untag(
        self, tag: str, *, users: Sequence[Mapping[str, Any]] = (), leads: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Remove a tag from contacts, given as in :meth:`tag`."""
        self._tag(tag, users, leads, untag=True)

    def list_accounts(self) -> list[dict[str, Any]]:
        """Return the project's teammates (the endpoint is known from second-hand documentation)."""
        return self._run(endpoints.get("/accounts/"), endpoints.read_list)

    def list_knowledge_collections(self) -> list[Any]:
        """Return the help centre's collections, unchanged (their shape is not documented)."""
        return self._run(endpoints.get("/knowledge/collections"), endpoints.read_list)

    def list_knowledge_articles(
        self, collection_id: str | int | None = None, page: int = 0, per_page: int = 50
    ) -> list[Any]:
        """Return one page, counted from 0, of the help centre's articles, unchanged."""
        query = {"knowledge_base_collection_id": collection_id, "page": page, "per_page": per_page}
        return self._run(endpoints.get("/knowledge/articles/", query, page=page), endpoints.read_list)

    def _tag(
        self, tag: str, users: Sequence[Mapping[str, Any]], leads: Sequence[Mapping[str, Any]], *, untag: bool
    ) -> None:
        if not users and not leads:
            raise ValueError("There are no contacts to tag. Pass at least one user or lead.")
        contacts = {"users": [dict(user) for user in users], "leads": [dict(lead) for lead in leads]}
        body = {"tag": tag, "untag": untag, **contacts}
        self._run(endpoints.write("POST", "/tags", body), endpoints.read_anything)

    def _delete(self, request: Request) -> None:
        call = self._call(request, endpoints.read_anything)
        try:
            call.run()
        except CustomerlyNotFound:
            if not call.may_have_been_done:
                raise

    def _run(
        self, request: Request, read: Callable[[Any], T], decoder: msgspec.json.Decoder[Any] = TEXT
    ) -> T:
        return self._call(request, read, decoder).run()

    def _call(
        self, request: Request, read: Callable[[Any], T], decoder: msgspec.json.Decoder[Any] = TEXT
    ) -> Call[T]:
        return Call(
            self._session,
            self.pace,
            self._counters,
            self._cancelled,
            request,
            read,
            self._retry_budget,
            decoder,
        )
