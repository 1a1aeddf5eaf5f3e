"""The endpoints of users and leads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from airflow_provider_customerly.emulator.deviations import list_page
from airflow_provider_customerly.emulator.rules import Reject, attribute_problem
from airflow_provider_customerly.emulator.service import (
    ProblemError,
    Service,
    answer,
    integer,
    json_body,
    raw_answer,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

    from airflow_provider_customerly.emulator.rules import Upserted

    Endpoint = Callable[[Request], Awaitable[Response]]

DEFAULT_PER_PAGE = 50


class ContactsApi:
    """Lists, single contacts and writes."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes, the busiest first because they are tried in order."""
        routes = [Route(f"/v1/{kind}/list", self._list(kind), methods=["GET"]) for kind in ("users", "leads")]
        for kind in ("users", "leads"):
            routes += [
                Route(f"/v1/{kind}", self._upsert(kind), methods=["POST"]),
                Route(f"/v1/{kind}", self._get(kind), methods=["GET"]),
                Route(f"/v1/{kind}", self._delete(kind), methods=["DELETE"]),
            ]
        return [
            *routes,
            Route("/v1/users/unsubscribe/{user_id}", self._unsubscribe, methods=["POST"]),
            Route("/v1/users/add-attributes/{user_id}", self._add_attributes, methods=["POST"]),
        ]

    def _list(self, kind: str) -> Endpoint:
        prefix = b'{"data":{"%b":' % kind.encode()

        async def list_contacts(request: Request) -> Response:
            """Serve a page, by default in ascending order of ``last_update`` (a guess)."""
            query = request.query_params
            page = max(0, integer(query.get("page"), 0))
            per_page = max(1, integer(query.get("per_page"), DEFAULT_PER_PAGE))
            sort, direction = query.get("sort", "last_update"), query.get("sort_direction", "asc").lower()
            if direction not in ("asc", "desc"):
                raise ProblemError(400, "sort_direction must be asc or desc")
            if sort not in ("last_update", "name"):
                raise ProblemError(400, "sort must be last_update or name")
            service = self._service
            contacts = list_page(service.store, service.choices, kind, page, per_page, sort, direction)
            return raw_answer(prefix + contacts + b"}}")

        return list_contacts

    def _upsert(self, kind: str) -> Endpoint:
        async def upsert(request: Request) -> Response:
            rows = (await json_body(request)).get(kind)
            if not isinstance(rows, list):
                raise ProblemError(400, f"The JSON body must have a list named {kind}")
            choices = self._service.choices
            if choices.max_batch is not None and len(rows) > choices.max_batch:
                raise ProblemError(413, "Request entity too large")
            if _any_of(choices.refuse_emails, rows):
                raise ProblemError(400, "Bad request")
            if _any_of(choices.crash_emails, rows):
                raise ProblemError(500, "Internal server error")
            rows = [row for row in rows if not _any_of(choices.lose_emails, [row])]
            rejected = [row for row in rows if _any_of(choices.reject_emails, [row])]
            outcome = self._service.store.upsert(kind, [row for row in rows if row not in rejected])
            outcome.rejects += [
                Reject(number, row.get("email"), row.get("user_id"), "contact is not accepted")
                for number, row in enumerate(rejected)
            ]
            self._service.stats.contacts(outcome.accepted, len(outcome.rejects))
            return answer({"inserted": outcome.accepted, choices.reject_key: self._rejects(outcome)})

        return upsert

    def _rejects(self, outcome: Upserted) -> Any:
        def entry(reject: Reject) -> Any:
            if shape == "strings":
                return reject.email if isinstance(reject.email, str) and reject.email else reject.message
            if shape == "messages":
                return {"message": reject.message}
            return {"email": reject.email, "user_id": reject.user_id, "message": reject.message}

        shape = self._service.choices.reject_shape
        if shape == "by_email" and outcome.rejects:
            return {str(reject.email): reject.message for reject in outcome.rejects}
        return [entry(reject) for reject in outcome.rejects]

    def _find(self, kind: str, request: Request) -> int:
        query = request.query_params
        email, user_id = query.get("email"), query.get("user_id") if kind == "users" else None
        if not email and not user_id:
            wanted = "email or user_id" if kind == "users" else "email"
            raise ProblemError(400, f"The query must have {wanted}")
        contact_id = self._service.store.find(kind, email=email or None, user_id=user_id)
        if contact_id is None:
            raise self._missing()
        return contact_id

    def _missing(self) -> ProblemError:
        choices = self._service.choices
        return ProblemError(choices.missing_status, choices.missing_message)

    def _get(self, kind: str) -> Endpoint:
        async def get(request: Request) -> Response:
            record = self._service.store.details(kind, self._find(kind, request))
            if record is None:
                raise self._missing()
            if "attributes" in record:
                record[self._service.choices.attributes_key] = record.pop("attributes")
            return answer(record)

        return get

    def _delete(self, kind: str) -> Endpoint:
        async def delete(request: Request) -> Response:
            """Delete a contact. The shape of the response is a guess."""
            with self._service.store.lock:
                self._service.store.delete(kind, self._find(kind, request))
            return answer({"deleted": True})

        return delete

    def _by_path(self, request: Request) -> int:
        """Return the user in a path.

        It is not known which id the API takes, so ``user_id`` is tried first, then ``crmhero_user_id``.
        """
        store, text = self._service.store, request.path_params["user_id"]
        contact_id = store.find("users", user_id=text)
        if contact_id is None and text.isdecimal() and store.get("users", int(text)) is not None:
            contact_id = int(text)
        if contact_id is None:
            raise self._missing()
        return contact_id

    async def _unsubscribe(self, request: Request) -> Response:
        with self._service.store.lock:
            self._service.store.unsubscribe(self._by_path(request))
        return answer({"unsubscribed": True})

    async def _add_attributes(self, request: Request) -> Response:
        body = await json_body(request)
        problem = attribute_problem(body.get("attributes"))
        if problem is not None:
            raise ProblemError(400, problem)
        with self._service.store.lock:
            self._service.store.add_attributes("users", self._by_path(request), body.get("attributes"))
        return answer({"updated": True})


def _any_of(emails: frozenset[str], rows: list[Any]) -> bool:
    return bool(emails) and any(isinstance(row, dict) and row.get("email") in emails for row in rows)
