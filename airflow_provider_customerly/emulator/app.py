"""The emulated API as an ASGI application."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.routing import Router

from airflow_provider_customerly.emulator.contacts_api import ContactsApi
from airflow_provider_customerly.emulator.control_api import ControlApi
from airflow_provider_customerly.emulator.misbehave import play
from airflow_provider_customerly.emulator.project_api import ProjectApi
from airflow_provider_customerly.emulator.service import ProblemError, Service, error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The vendor answers a credential problem with status 500 and one of these two messages.
UNKNOWN_TOKEN = "Access token not found."  # noqa: S105
NO_TOKEN = "You must provide a valid header Authorization: Bearer <TOKEN>"  # noqa: S105


def build_app(service: Service) -> ASGIApp:
    """Return the application: the gate in front of all endpoints."""
    routes = [
        *ContactsApi(service).routes(),
        *ProjectApi(service).routes(),
        *ControlApi(service).routes(),
    ]
    # Paths count exactly as listed: whether the vendor redirects a missing slash is not known.
    return Gate(Router(routes, redirect_slashes=False, default=_not_found), service)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await error(404, "Not found")(scope, receive, send)


class Gate:
    """Counts requests, checks the token, and applies latency, churn and faults before an endpoint."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["path"].startswith("/__"):
            await self._endpoint(scope, receive, send)
            return
        status: int | None = None

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._service.stats.begin(scope["method"], scope["path"])
        try:
            await self._guarded(scope, receive, watch)
        finally:
            self._service.stats.end(status)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        if service.latency:
            await asyncio.sleep(service.latency)
        problem = _credential_problem(scope, service.token)
        if problem is not None:
            await error(500, problem)(scope, receive, send)
            return
        service.churn_once()
        fault = service.faults.next(scope["method"], scope["path"])
        if fault is None:
            await self._endpoint(scope, receive, send)
        else:
            await play(fault, service.faults, self._endpoint, scope, receive, send)

    async def _endpoint(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except ProblemError as problem:
            await error(problem.status, problem.message)(scope, receive, send)


def _credential_problem(scope: Scope, token: str) -> str | None:
    """Return the vendor's complaint about the credentials, or None. Both header forms are accepted."""
    headers = dict(scope["headers"])
    for name, scheme in ((b"authorization", b"Bearer "), (b"authentication", b"AccessToken: ")):
        sent: bytes = headers.get(name, b"")
        if sent.startswith(scheme) and sent[len(scheme) :].strip():
            return None if sent[len(scheme) :].strip() == token.encode() else UNKNOWN_TOKEN
    return NO_TOKEN
