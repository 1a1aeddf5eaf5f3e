"""A real HTTP server that answers from a script, for what the emulator does not do."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from email.message import Message
    from types import TracebackType


@dataclass
class Reply:
    """What to answer; as a body, anything but bytes is sent as JSON."""

    status: int = 200
    body: object = b""
    headers: dict[str, str] = field(default_factory=dict)
    pieces: int = 1
    pause: float = 0.0
    """Seconds before each piece."""
    cut: int = 0
    """Bytes that are promised but not sent."""
    chunked: bool = False
    hang_up: bool = False
    """Close the connection with no answer at all."""
    hold: threading.Event | None = None
    """Answer only once this is set."""

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Seen:
    method: str
    target: str
    headers: Message
    body: bytes
    at: float
    connection: tuple[str, int]


class ScriptedServer:
    """Answers with the replies in turn, and with the last one ever after."""

    def __init__(self, *replies: Reply, tls: ssl.SSLContext | None = None) -> None:
        self.replies = list(replies)
        self.seen: list[Seen] = []
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"script": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
            self.url = f"https://localhost:{self._http.server_port}/v1"

    def next(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def __enter__(self) -> ScriptedServer:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    script: ScriptedServer

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.script.next(
            Seen(self.command, self.path, self.headers, body, time.monotonic(), self.client_address)
        )
        if reply.hold is not None:
            reply.hold.wait(30)
        if reply.hang_up:
            self.close_connection = True
            return
        content = reply.content
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(content) + reply.cut))
        self.end_headers()
        size = max(1, -(-len(content) // reply.pieces))
        try:
            for start in range(0, len(content), size):
                time.sleep(reply.pause)
                self._send(content[start : start + size], chunked=reply.chunked)
            if reply.chunked and not reply.cut:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        self.close_connection = self.close_connection or bool(reply.cut)

    def _send(self, piece: bytes, *, chunked: bool) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
        self.wfile.flush()

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        pass
