"""Serves the pages' files: HTML, CSS and JavaScript, the same for everybody.

They hold no data: plugin apps are not behind Airflow's login. A page reads what it shows through Airflow's
REST API, with the session of the person in front of it, so Airflow decides what that person may see.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from starlette.applications import Starlette

    Message = MutableMapping[str, Any]

FOLDER = Path(__file__).parent / "static"

_HEADERS = {
    # Nothing from elsewhere and nothing inline: a text in a result can never become code.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    # Asked for again each time, and answered with 304: an upgrade shows at once.
    "cache-control": "no-cache",
}


class Pages:
    """An ASGI app; the web framework is imported with the first request, in the API server alone."""

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    @cached_property
    def _app(self) -> Starlette:
        from starlette.applications import Starlette
        from starlette.routing import Mount
        from starlette.staticfiles import StaticFiles

        return Starlette(routes=[Mount("/", StaticFiles(directory=FOLDER))])
