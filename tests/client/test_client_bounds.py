"""What one answer may take: time in all, bytes when decompressed; and where it may travel."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
import tracemalloc
import zlib
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import scripted_server
from scripted_server import Reply, ScriptedServer

from airflow_provider_customerly.client import (
    Client,
    CustomerlyError,
    CustomerlyProtocolError,
    CustomerlyUnavailable,
    deadline,
    session,
)
from airflow_provider_customerly.client.body import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = "s3cr3t-t0ken"
PROXY_VARIABLES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
PAGE = b'{"data":{"users":[]}}'


@contextmanager
def dripping(*, first: bytes, ever_after: bytes, every: float = 0.05) -> Iterator[str]:
    """A server that begins an answer and goes on for ever; it ends with the test."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection: socket.socket) -> None:
        with connection:
            connection.recv(65_536)
            try:
                connection.sendall(first)
                while not over.wait(every):
                    connection.sendall(ever_after)
            except OSError:
                return

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        over.set()
        listener.close()


def failure_of(url: str, *, timeout: float = 30, times: int = 1) -> CustomerlyError:
    """Ask, with patience for a server on a busy machine unless time is what the test is about."""
    with Client(TOKEN, url, timeout=timeout, retry_budget=0) as client:
        for _ in range(times):
            with pytest.raises(CustomerlyError) as caught:
                client.check()
        assert client.requests_sent == times
    return caught.value


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("first", "ever_after"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 2", b"0"),
        (HEAD + b"X-A: ", b"a"),
        (HEAD, b"X-A: a\r\n"),
        (HEAD, b" "),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"a"),
        (HEAD + b"\r\n", b"a"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;x=", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n", b"a"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-A: a\r\n"),
        (HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08", b"\x00"),
    ],
    ids=[
        "protocol", "status", "header", "headers", "folded header", "1xx", "body", "body without end",
        "size of a chunk", "extension of a chunk", "negative chunk", "trailers", "gzip",
    ],
)  # fmt: skip
def test_whatever_part_of_an_answer_drips_one_deadline_ends_it(first: bytes, ever_after: bytes) -> None:
    """Without one, this test would not end: each byte comes within the timeout."""
    with dripping(first=first, ever_after=ever_after) as url:
        failure = failure_of(url, timeout=0.3)
    assert isinstance(failure, CustomerlyUnavailable | CustomerlyProtocolError)


@pytest.mark.parametrize("size", [b"-1", b"-5", b"-" + b"f" * 20])
def test_a_chunk_of_negative_length_is_not_read(size: bytes) -> None:
    first = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n"
    with dripping(first=first, ever_after=b"a" * (1 << 20), every=0.001) as url:
        failure = failure_of(url)
    assert type(failure) is CustomerlyProtocolError


def test_a_connection_is_used_again_after_a_slow_answer_with_its_whole_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each answer takes 40 of the 60 seconds that it may, on a clock that only the server moves."""
    passed = 0.0

    def sleep(seconds: float) -> None:
        nonlocal passed
        passed += seconds

    clock = SimpleNamespace(sleep=sleep, monotonic=lambda: passed)
    for module in (scripted_server, session, deadline):
        monkeypatch.setattr(module, "time", clock)
    slow = Reply(body=PAGE, pieces=8, pause=40 / 8)
    with ScriptedServer(slow) as server, Client(TOKEN, server.url, timeout=30, retry_budget=0) as client:
        for _ in range(3):
            client.check()
        assert len({seen.connection for seen in server.seen}) == 1
    assert passed > 100


def bomb(size: int) -> bytes:
    return gzip.compress(b'{"data":{"users":[]},"x":"' + b"a" * size + b'"}')


@pytest.mark.parametrize(
    "make",
    [
        lambda: Reply(body=bomb(4 * LARGEST), headers={"Content-Encoding": "gzip"}),
        lambda: Reply(body=bomb(LARGEST), headers={"Content-Encoding": "gzip"}, chunked=True, pieces=50),
        lambda: Reply(body=zlib.compress(b" " * (LARGEST + 1)), headers={"Content-Encoding": "deflate"}),
        lambda: Reply(body=b" " * (LARGEST + 1)),
        lambda: Reply(body=b" " * (LARGEST + 1), chunked=True),
    ],
    ids=["gzip bomb", "gzip in chunks", "zlib", "plain", "chunks"],
)
def test_an_answer_takes_no_more_memory_than_it_may(make: Callable[[], Reply]) -> None:
    reply = make()
    with ScriptedServer(reply) as server:
        tracemalloc.start()
        failure = failure_of(server.url, timeout=30)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert type(failure) is CustomerlyProtocolError
    assert "larger than 32 MiB" in str(failure)
    assert peak < 2 * LARGEST + 2 * len(reply.content)


def test_an_answer_of_many_parts_takes_no_more_memory_than_one() -> None:
    parts = Reply(body=gzip.compress(b"") * 200_000, headers={"Content-Encoding": "gzip"})
    with ScriptedServer(parts) as server:
        tracemalloc.start()
        failure = failure_of(server.url, timeout=30)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert "an empty body" in str(failure)
    assert peak < 1.5 * len(parts.content)


def test_after_an_answer_that_was_too_large_its_rest_is_not_read_as_the_next_one() -> None:
    replies = [Reply(body=b" " * (LARGEST + 1)), Reply(body=PAGE)]
    with ScriptedServer(*replies) as server, Client(TOKEN, server.url) as client:
        client.check()
        assert client.requests_sent == 2


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (gzip.compress(PAGE), "gzip"),
        (gzip.compress(PAGE), " GZIP "),
        (gzip.compress(PAGE), "x-gzip"),
        (gzip.compress(PAGE[:9]) + gzip.compress(PAGE[9:]), "gzip"),
        (gzip.compress(PAGE) + b"\x00" * 20, "gzip"),
        (zlib.compress(PAGE), "deflate"),
        (PAGE, "identity"),
        (gzip.compress(PAGE.ljust(3 << 20)), "gzip"),
        (gzip.compress(PAGE.ljust(2 << 20)), "gzip"),
    ],
    ids=["gzip", "capitals", "x-gzip", "two members", "padded", "zlib", "none", "3 MiB", "2 MiB"],
)
def test_codings_that_are_understood(body: bytes, coding: str) -> None:
    reply = Reply(body=body, headers={"Content-Encoding": coding})
    with ScriptedServer(reply) as server, Client(TOKEN, server.url, retry_budget=0) as client:
        client.check()


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "\x1b[2J"])
def test_a_coding_that_was_not_asked_for_is_an_error(coding: str) -> None:
    with ScriptedServer(Reply(body=PAGE, headers={"Content-Encoding": coding})) as server:
        failure = failure_of(server.url)
    assert type(failure) is CustomerlyProtocolError
    assert "not requested" in str(failure)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "localhost."])
@pytest.mark.parametrize("no_proxy", [None, "", "elsewhere.test"])
def test_no_proxy_gets_what_is_sent_to_this_machine(
    host: str, no_proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(Reply(502)) as proxy, ScriptedServer(Reply(body=PAGE)) as server:
        for name in PROXY_VARIABLES:
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            if no_proxy is not None:
                monkeypatch.setenv(name, no_proxy)
        url = server.url.replace("127.0.0.1", host)
        with Client(TOKEN, url, retry_budget=0) as client:
            if host in ("127.0.0.1", "localhost", "LOCALHOST"):
                client.check()
            else:  # where this server does not listen
                with pytest.raises(CustomerlyUnavailable):
                    client.check()
        assert proxy.seen == []


def test_a_proxy_that_is_down_is_not_called_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        proxy = f"http://someone:hunter2@127.0.0.1:{unused.getsockname()[1]}"
        for name in PROXY_VARIABLES:
            monkeypatch.setenv(name, proxy)
        with (
            Client(TOKEN, "https://customerly.invalid/v1", retry_budget=0) as client,
            pytest.raises(CustomerlyUnavailable, match="the connection to the proxy failed") as error,
        ):
            client.check()
        assert "hunter2" not in str(error.value)
        assert "proxy settings" in str(error.value)


def test_no_proxy_gets_what_is_sent_to_this_machine_by_its_newer_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ScriptedServer(Reply(502)) as proxy:
        for name in PROXY_VARIABLES:
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        for scheme in ("http", "https"):
            failure_of(f"{scheme}://[::1]:9/v1")
        assert proxy.seen == []


@pytest.mark.parametrize("no_proxy", ["api.test", ".test", "other.test, api.test:8080", "*"])
def test_hosts_named_in_no_proxy_are_asked_directly(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(Reply(502)) as proxy:
        for name in PROXY_VARIABLES:
            monkeypatch.setenv(name, proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("NO_PROXY", no_proxy)
        monkeypatch.setenv("no_proxy", no_proxy)
        with Client(TOKEN, "http://api.test:8080/v1", allow_insecure_http=True, retry_budget=0) as client:  # noqa: SIM117
            with pytest.raises(CustomerlyUnavailable):
                client.check()
        assert proxy.seen == []


def test_headers_that_cannot_be_read_show_nothing_of_theirs_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    broken = b"X-A: 1\r\nno header\x1b[2J ada@northwind.test\r\nX-B: 2\r\n\r\n"
    # The answer is whole, so that it is read however late it comes.
    with dripping(first=HEAD + b"Content-Length: 0\r\n" + broken, ever_after=b"", every=5) as url:
        failure = failure_of(url)
    assert isinstance(failure, CustomerlyError)
    assert "Failed to parse headers" in caplog.text
    assert "northwind" not in caplog.text
    assert "\x1b" not in caplog.text
