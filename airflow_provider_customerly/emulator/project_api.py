"""The endpoints of tags, companies, teammates and the help centre. Responses to writes are guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from airflow_provider_customerly.emulator.relations import ACCOUNTS, ARTICLES, COLLECTIONS
from airflow_provider_customerly.emulator.rules import attribute_problem
from airflow_provider_customerly.emulator.service import ProblemError, Service, answer, integer, json_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class ProjectApi:
    """What a project has besides contacts."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes, with the trailing slashes that the vendor's paths have."""
        return [
            Route("/v1/tags", self._list_tags, methods=["GET"]),
            Route("/v1/tags", self._tag, methods=["POST"]),
            Route("/v1/tags", self._delete_tag, methods=["DELETE"]),
            Route("/v1/users/add-to-company", self._add_to_company, methods=["POST"]),
            Route("/v1/company/add-attributes/{company_id}", self._company_attributes, methods=["POST"]),
            Route("/v1/accounts/", self._accounts, methods=["GET"]),
            Route("/v1/knowledge/collections", self._collections, methods=["GET"]),
            Route("/v1/knowledge/articles/", self._articles, methods=["GET"]),
        ]

    async def _list_tags(self, request: Request) -> Response:
        return answer(self._service.store.tag_names())

    async def _tag(self, request: Request) -> Response:
        """Tag or untag contacts, or do nothing if any part of the request is invalid."""
        body = await json_body(request)
        tag = body.get("tag")
        if not isinstance(tag, str) or not tag:
            raise ProblemError(400, "tag is required")
        store, choices = self._service.store, self._service.choices
        change = store.untag if body.get("untag") else store.tag
        with store.lock:
            named = [self._who(kind, who) for kind in ("users", "leads") for who in body.get(kind) or []]
            known = [contact_id for contact_id in named if contact_id is not None]
            if len(known) < len(named) and choices.tag_strangers == "refuse":
                raise ProblemError(choices.missing_status, choices.missing_message)
            for contact_id in known:
                change(contact_id, [tag])
        return answer({"tag": tag, "updated": len(known)})

    async def _delete_tag(self, request: Request) -> Response:
        tag = (await json_body(request)).get("tag")
        if not isinstance(tag, str) or not self._service.store.delete_tag(tag):
            raise ProblemError(404, "Tag doesn't exist")
        return answer({"deleted": True})

    async def _add_to_company(self, request: Request) -> Response:
        """Link a user to a company. ``company_attributes`` may be an array of objects or one object."""
        body = await json_body(request)
        contact_id = self._who("users", body)
        if contact_id is None:
            choices = self._service.choices
            raise ProblemError(choices.missing_status, choices.missing_message)
        if body.get("company_id") in (None, ""):
            raise ProblemError(400, "company_id is required")
        sent = body.get("company_attributes")
        if isinstance(sent, list):
            sent = {name: value for one in sent if isinstance(one, dict) for name, value in one.items()}
        return self._company(str(body["company_id"]), body.get("company_name"), sent, contact_id)

    async def _company_attributes(self, request: Request) -> Response:
        body = await json_body(request)
        company_id = request.path_params["company_id"]
        return self._company(company_id, body.get("company_name"), body.get("attributes"), None)

    def _company(self, company_id: str, name: Any, attributes: Any, contact_id: int | None) -> Response:
        problem = attribute_problem(attributes)
        if problem is not None:
            raise ProblemError(400, problem)
        return answer(self._service.store.company(company_id, name, attributes, contact_id))

    async def _accounts(self, request: Request) -> Response:
        return answer(ACCOUNTS)

    async def _collections(self, request: Request) -> Response:
        return answer(COLLECTIONS)

    async def _articles(self, request: Request) -> Response:
        query = request.query_params
        wanted = query.get("knowledge_base_collection_id")
        articles = [
            one for one in ARTICLES if not wanted or str(one["knowledge_base_collection_id"]) == wanted
        ]
        page, size = max(0, integer(query.get("page"), 0)), max(1, integer(query.get("per_page"), 50))
        return answer(articles[page * size : (page + 1) * size])

    def _who(self, kind: str, who: Any) -> int | None:
        if not isinstance(who, dict):
            return None
        store = self._service.store
        if who.get("internal_user_id") is not None:
            contact_id = integer(str(who["internal_user_id"]), -1)
            return contact_id if store.get(kind, contact_id) is not None else None
        if who.get("user_id") is not None:
            return store.find(kind, user_id=str(who["user_id"]))
        return store.find(kind, email=who["email"]) if isinstance(who.get("email"), str) else None
