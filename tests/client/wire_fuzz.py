"""Random answers of a server that may do anything: drawn from a seed, so that each can be had again."""

from __future__ import annotations

import gzip
import json
import random
import socket
import threading
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import BinaryIO

TOKEN = "s3cr3t/t0ken+x"
EMAIL = "ada.byrne@northwind.test"
SECRETS = ("s3cr3t", "northwind")

_CONTROLS = [
    "\x00",
    "\x1b[2J",
    "\x07",
    "\u202e",
    "\u2066",
    "\u200b",
    "\u2028",
    "\x9b",
    "\ufeff",
    "\n",
    "\r\n",
    "\t",
]
_WORDS = [
    "User doesn't exist", "not found", "No such user", "Access token not found.", "Invalid token",
    "attributes.token is too long", "Bearer", "Too many requests", "Internal server error", "",
    "SQLSTATE[42S02]: Base table or view not found", EMAIL, f'"{EMAIL}"', TOKEN, f"<{TOKEN}>", "x" * 3_000,
    "a" * 500 + "@", "Ada", "<b>no</b>", "%s %(x)s {0}", "\\", "'",
]  # fmt: skip
_STATUSES = [
    200, 200, 200, 200, 200, 201, 204, 206, 301, 302, 307, 400, 401, 403, 404, 404, 405, 408, 409, 410, 413,
    422, 429, 500, 500, 500, 501, 502, 503, 504, 520, 524, 599, 101, 299, 999,
]  # fmt: skip
_FIELDS = [
    "crmhero_user_id", "email", "name", "user_id", "last_update", "attributes", "last_activity", "latitude",
    "is_user", "bounce", "rating", "Ada", "a\"b", "class", "__slots__", "", "\x1b", EMAIL, "é", "a.b",
]  # fmt: skip
_ODD_SCALARS = [
    rb'"\ud83d"', rb'"\udc00\ud800"', b'"\xff\xfe"', b'"\xed\xa0\x80"', rb'"\u0000"', b'"a\x01b"', rb'"\x41"',
    b"NaN", b"-Infinity", b"1e999", b"-1e-999", b"9" * 5_000, b"9" * 25, b"-0", b"0.1e1", b"007", b".5",
    b"+1", b'""', b'"0"', b'"1"', b'"2025-08-05 10:32:01"', b"1e2",
]  # fmt: skip
_NOT_JSON = [b"nul", b"True", b"undefined", b"'x'", b"0x1F", b"", b'"']


class Draw(random.Random):
    """Draws the answer to one request."""

    is_list = False

    def rarely(self, share: float = 0.1) -> bool:
        return self.random() < share

    def words(self) -> str:
        return " ".join(
            self.choice(_WORDS if self.random() < 0.7 else _CONTROLS) for _ in range(self.randint(0, 4))
        )

    def scalar(self) -> bytes:
        kind = self.random()
        if kind < 0.35:
            return json.dumps(self.words(), ensure_ascii=self.rarely(0.5)).encode()
        if kind < 0.65:
            return json.dumps(
                self.choice([0, 1, -1, 2**31, 2**53, 2**63, -(2**64), 1.5, True, False, None])
            ).encode()
        return self.choice(_NOT_JSON if self.rarely(0.01) else _ODD_SCALARS)

    def value(self, depth: int = 0) -> bytes:
        if self.rarely(0.02):
            levels = self.choice([90, 150, 600, 1_100, 5_000])
            opened, closed = self.choice([(b"[", b"]"), (b'{"a":', b"}")])
            return opened * levels + self.scalar() + closed * (levels - self.rarely(0.05))
        if depth > 3 or self.random() < 0.6:
            return self.scalar()
        inner = [self.value(depth + 1) for _ in range(self.randint(0, 3))]
        if self.rarely(0.5):
            return b"[" + b",".join(inner) + b"]"
        return self.object({self.name(): item for item in inner})

    def name(self) -> bytes:
        if self.rarely(0.05):
            return self.choice([rb'"\ud800"', b'"\xff"', b'"a\nb"', b'"0"', b'"1"'])
        return json.dumps(self.choice(_FIELDS) if self.random() < 0.7 else self.words()).encode()

    def object(self, members: dict[bytes, bytes]) -> bytes:
        text = b"{" + b",".join(name + b":" + value for name, value in members.items()) + b"}"
        return text.replace(b"{", b"{" + name_of(members) + b",", 1) if members and self.rarely(0.1) else text

    def contact(self) -> bytes:
        members = {self.name(): self.value() for _ in range(self.randint(0, 6))}
        members[b'"crmhero_user_id"'] = (
            str(self.randint(1, 99)).encode() if self.random() < 0.95 else self.scalar()
        )
        if self.rarely(0.5):
            members[b'"attributes"'] = self.choice(
                [b"[]", b"{}", b"null", self.value(), b'{"plan":%b}' % self.value()]
            )
        return self.object(members)

    def data(self) -> bytes:
        kind = self.random() * (0.5 if self.is_list else 1)
        contacts = [self.contact() for _ in range(self.randint(0, 4))]
        if kind < 0.45:
            rows = b"[" + b",".join(contacts) + b"]"
            if self.rarely(0.1):
                rows = b"{" + b",".join(b'"%d":%b' % (3 * n, one) for n, one in enumerate(contacts)) + b"}"
            return b'{"%b":%b}' % (self.choice([b"users", b"users", b"leads", b"people"]), rows)
        if kind < 0.6:
            return self.contact()
        if kind < 0.7:
            return b'{"inserted":%b,"not_added":%b,"errors":%b}' % (self.scalar(), self.value(), self.value())
        return self.choice([b"[]", b"{}", b"null", b"false", b'""', self.value(), self.value()])

    def body(self) -> bytes:
        kind = self.random()
        if kind < 0.5:
            body = b'{"data":%b}' % self.data()
        elif kind < 0.7:
            message = json.dumps({"message": self.words(), "code": 0}).encode()
            error = self.choice([message, message, self.value(), self.scalar(), b"[]", b"null"])
            body = b'{"error":%b%b}' % (error, b',"data":%b' % self.data() if self.rarely(0.2) else b"")
        elif kind < 0.8:
            body = self.value()
        elif kind < 0.9:
            body = f"<html><title>{self.words()}</title></html>".encode()
        else:
            body = self.choice(
                [b"", b" ", b"{", b"null", self.randbytes(self.randint(1, 300)), self.words().encode()]
            )
        if self.rarely(0.04):
            body = self.choice([b"\xef\xbb\xbf", b"\n \t", b"<br />\n", b")]}',\n"]) + body
        if self.rarely(0.04):
            body = body[: self.randint(0, len(body))]
        if self.rarely(0.02):
            position = self.randint(0, len(body))
            body = body[:position] + self.randbytes(3) + body[position:]
        return body

    def headers(self) -> list[bytes]:
        odd = [
            b"Retry-After: " + self.choice([b"1", b"-1", b"9" * 400, b"nan", b"soon", b"\xb2", b"1e9"]),
            b"Retry-After: Wed, 21 Oct 2015 07:28:01 GMT", b"Retry-After: Wed, 99 Oct 99999 99:99:99 +9999",
            b"Date: " + self.choice([b"Wed, 21 Oct 2015 07:28:00 GMT", b"now", b"", b"1 1 1 1 1"]),
            b"Content-Type: " + self.choice([b"text/html", b"application/json; charset=x", b""]),
            b"Location: //evil.test", b"Set-Cookie: a=b", b"X-\x1b[2J: \x1b[2J", b" folded", b": nameless",
            b"no header at all " + EMAIL.encode(), b"X: " + b"y" * 70_000, b"X-E: " + EMAIL.encode(),
            b"Connection: close", b"X: \xff\xfe", b"\x00: \x00", b"\r\n".join([b"X: y"] * 120),
        ]  # fmt: skip
        return [self.choice(odd) for _ in range(self.choice([0, 0, 0, 1, 1, 3]))]

    def answer(self, request: bytes) -> tuple[bytes, bool]:
        """Return the bytes of an answer to a request line, and whether the connection is closed behind them.

        Most are good HTTP and odd in their body alone.
        """
        self.is_list = b"/list?" in request
        if self.random() < 0.6:
            body = self.body()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body), False
        if self.rarely(0.03):
            starts = [b"", b"\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", self.randbytes(50)]
            return self.choice(starts), True
        odd_statuses = ["", "x", -1, 99, 1000, "9" * 5_000]
        status: object = self.choice(odd_statuses if self.rarely(0.02) else _STATUSES)
        reason = self.choice(["OK", "", "Not Found", "\x1b[2J", "\u00e9", EMAIL])
        lines = [f"HTTP/1.1 {status} {reason}".encode("latin-1"), *self.headers()]
        body = self.body()
        coding = self.random()
        if coding < 0.15:
            body = gzip.compress(body, mtime=0)
            lines.append(b"Content-Encoding: gzip")
            body = body[: len(body) - self.randint(1, 8)] if self.rarely(0.1) else body
        elif coding < 0.2:
            body = self.choice([zlib.compress(body), body])
            codings = [b"deflate", b"gzip", b"br", b"gzip, gzip", b""]
            lines.append(b"Content-Encoding: " + self.choice(codings))
        framing = self.random()
        if framing < 0.5:
            lines.append(b"Content-Length: %d" % len(body))
        elif framing < 0.75:
            lines.append(b"Transfer-Encoding: chunked")
            body = self.chunked(body)
        elif framing < 0.85:
            lengths = [
                b"-1",
                b"x",
                b"0",
                b"%d" % (len(body) + 9),
                b"1, 2",
                b"9" * 5_000,
                b"%d" % (len(body) // 2),
            ]
            lines.append(b"Content-Length: " + self.choice(lengths))
        # Left open, an answer whose end is not clear costs the whole timeout.
        return b"\r\n".join([*lines, b"", body]), not self.rarely(0.01)

    def chunked(self, body: bytes) -> bytes:
        size = self.randint(1, max(1, len(body)))
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        text = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return text if self.random() < 0.9 else self.choice([text[:-3], b"zz\r\n" + text, b"-1\r\n" + text])


def name_of(members: dict[bytes, bytes]) -> bytes:
    name, value = next(iter(members.items()))
    return name + b":" + value  # a second time: JSON does not forbid it


class FuzzServer:
    """Answers each request with what `answer` gives for it, and closes the connection where that says so."""

    def __init__(self, answer: Callable[[bytes], tuple[bytes, bool]]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> FuzzServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as received:
            try:
                while request := _read_request(received):
                    answer, is_closed = self._answer(request)
                    connection.sendall(answer)
                    if is_closed:
                        return
            except OSError:
                return


def _read_request(received: BinaryIO) -> bytes:
    request = received.readline()
    length = 0
    while (line := received.readline()) not in (b"", b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    received.read(length)
    return request
