"""Play faults to the client."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
import time
from email.utils import formatdate
from functools import cache
from typing import TYPE_CHECKING, Any

from starlette.responses import HTMLResponse, JSONResponse, Response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from airflow_provider_customerly.emulator.faults import Faults

_PROXY_PAGE = (
    "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center><hr>nginx</body></html>"
)
_DRIPS = 20


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "code": 0}}, status)


def _proxy(status: int, title: str) -> Response:
    return HTMLResponse(_PROXY_PAGE.format(title), status)


def _answer(fault: str, faults: Faults, path: str) -> Response | None:
    """Return the response of a fault, or None if the fault breaks the connection instead."""
    if fault.startswith("429"):
        response = _error(429, "Too many requests")
        if fault == "429":
            response.headers["Retry-After"] = str(faults.retry_after)
        elif fault == "429-date":
            response.headers["Retry-After"] = formatdate(time.time() + faults.retry_after, usegmt=True)
        return response
    return {
        "400": lambda: _error(400, "Bad request"),
        "500": lambda: _error(500, "Internal server error"),
        "502": lambda: _proxy(502, "502 Bad Gateway"),
        "503-json": lambda: _error(503, "Service Unavailable"),
        "503": lambda: _proxy(503, "503 Service Temporarily Unavailable"),
        "down": lambda: _proxy(503, "503 Service Temporarily Unavailable"),
        "html": lambda: _proxy(200, "Checking your browser"),
        "error200": lambda: _error(200, "Something went wrong"),
        "empty": lambda: JSONResponse({"data": {"users" if "/users/" in path else "leads": []}}),
        "bomb": lambda: Response(
            _bomb(), media_type="application/json", headers={"Content-Encoding": "gzip"}
        ),
    }.get(fault, lambda: None)()


@cache
def _bomb() -> bytes:
    return gzip.compress(b" " * (64 << 20))


async def play(fault: str, faults: Faults, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Respond to a request with a fault."""
    response = _answer(fault, faults, scope["path"])
    if response is not None:
        await response(scope, receive, send)
        return
    if fault == "reset":
        await _reset(scope, receive)
        return
    if fault == "drip-headers":
        await _drip_headers(scope, receive, faults.drip_seconds / _DRIPS)
        return
    start, body = await _capture(app, scope, receive)
    if fault == "reset_after":
        await _reset(scope, receive)
        return
    await send(start)
    if fault == "cut":
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        await _close(scope, receive)
        return
    step = max(1, -(-len(body) // _DRIPS))
    for position in range(0, len(body), step):
        await asyncio.sleep(faults.drip_seconds / _DRIPS)
        await send(
            {"type": "http.response.body", "body": body[position : position + step], "more_body": True}
        )
    await send({"type": "http.response.body", "body": b""})


async def _capture(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[Any, bytes]:
    """Run the application and return its response."""
    messages: list[Any] = []

    async def keep(message: Any) -> None:
        messages.append(message)

    await app(scope, receive, keep)
    return messages[0], b"".join(message.get("body", b"") for message in messages[1:])


async def _reset(scope: Scope, receive: Receive) -> None:
    transport = scope["state"]["transport"]
    # Lingering for zero seconds makes the kernel send RST instead of FIN.
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    transport.abort()
    await _gone(receive)


async def _drip_headers(scope: Scope, receive: Receive, pause: float) -> None:
    transport = scope["state"]["transport"]
    transport.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not transport.is_closing():
        transport.write(b".")
        await asyncio.sleep(pause)
    await _gone(receive)


async def _close(scope: Scope, receive: Receive) -> None:
    scope["state"]["transport"].close()
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    """Wait until the server notices, because it would otherwise try to finish the response."""
    while (await receive())["type"] != "http.disconnect":
        pass
