"""The emulated API as an ASGI application."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from starlette.routing import Router

from airflow_provider_customerly.emulator.contacts_api import ContactsApi
from airflow_provider_customerly.emulator.control_api import ControlApi
from airflow_provider_customerly.emulator.misbehave import play
from airflow_provider_customerly.emulator.project_api import ProjectApi
from airflow_provider_customerly.emulator.service import ProblemError, Service, error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from airflow_provider_customerly.emulator.choices import Choices

NO_TOKEN = "You must provide a valid header Authorization: Bearer <TOKEN>"  # noqa: S105


def build_app(service: Service) -> ASGIApp:
    """Return the application, with the gate in front of all endpoints."""
    routes = [
        *ContactsApi(service).routes(),
        *ProjectApi(service).routes(),
        *ControlApi(service).routes(),
    ]
    # Paths must match exactly, because it is unknown whether the vendor redirects a missing slash.
    return Gate(Router(routes, redirect_slashes=False, default=_not_found), service)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await error(404, "Not found")(scope, receive, send)


class Gate:
    """Count requests, check the token, and apply latency, churn and faults before an endpoint."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._turn = asyncio.Lock()

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
                message["headers"] = [*message["headers"], *self._common_headers()]
            await send(message)

        self._service.stats.begin(scope["method"], scope["path"])
        try:
            await self._guarded(scope, receive, watch)
        finally:
            self._service.stats.end(status)

    def _common_headers(self) -> list[tuple[bytes, bytes]]:
        choices = self._service.choices
        headers = [(b"date", formatdate(time.time() + choices.clock_skew, usegmt=True).encode())]
        if choices.rate_limit_headers:
            headers += [(b"x-ratelimit-limit", b"600"), (b"x-ratelimit-remaining", b"599")]
        return headers

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        service = self._service
        if service.latency:
            await asyncio.sleep(service.latency)
            # One answer at a time: the event loop takes in new requests between two, whose delay begins then.
            async with self._turn:
                await asyncio.sleep(0)
        problem = _credential_problem(scope, service.token, service.choices)
        if problem is not None:
            await error(*problem)(scope, receive, send)
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


def _credential_problem(scope: Scope, token: str, choices: Choices) -> tuple[int, str] | None:
    """Return the status and message for invalid credentials; None if they are valid."""
    headers = dict(scope["headers"])
    forms = [(b"authorization", b"Bearer ")]
    if choices.legacy_header:
        forms.append((b"authentication", b"AccessToken: "))
    for name, scheme in forms:
        sent: bytes = headers.get(name, b"")
        if sent.startswith(scheme) and sent[len(scheme) :].strip():
            is_known = sent[len(scheme) :].strip() == token.encode()
            return None if is_known else (choices.token_status, choices.token_message)
    return 500, NO_TOKEN
