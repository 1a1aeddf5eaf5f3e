"""The emulator's server."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import random
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Literal

import uvicorn

from airflow_provider_customerly.emulator.app import build_app
from airflow_provider_customerly.emulator.choices import Choices
from airflow_provider_customerly.emulator.faults import Faults
from airflow_provider_customerly.emulator.service import Churn, Service
from airflow_provider_customerly.emulator.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

DEFAULT_TOKEN = "emulator-token"  # noqa: S105
_START_SECONDS = 30
_SECONDS_TO_ANSWER = 1.0  # for requests that are under way when the server is stopped
_CHURN_EVERY_SECONDS = 0.02


class Emulator:
    """A local Customerly on a loopback port, in a thread of this process.

    Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    :param users: number of seeded users. ``leads``, ``seed``, ``tie_group``, ``bulk_share``,
        ``shuffle_ties``, ``max_per_page`` and ``clock`` are those of :class:`Store`.
    :param token: the accepted access token.
    :param latency: seconds of delay before each request.
    :param faults: probability per request of each fault in ``emulator.faults.FAULTS``.
    :param churn_per_request: random changes before each request; a fraction is a probability.
    :param churn_per_second: random changes per second.
    :param churn_weights: relative frequency of ``update``, ``create``, ``delete`` and ``convert``.
    :param choices: choices for behaviour that the vendor does not document.
    :param store: serve this store instead of a new one; the parameters of :class:`Store` are then ignored.
    :param port: 0 for any free port.
    :param http: ``h11`` or ``httptools``; ``auto`` uses httptools if it is installed.
    """

    def __init__(
        self,
        users: int = 5000,
        leads: int = 500,
        seed: int = 1,
        *,
        token: str = DEFAULT_TOKEN,
        latency: float = 0.0,
        faults: Mapping[str, float] | None = None,
        churn_per_request: float = 0.0,
        churn_per_second: float = 0.0,
        churn_weights: Mapping[str, float] | None = None,
        tie_group: int = 0,
        bulk_share: float = 0.0,
        shuffle_ties: bool = False,
        max_per_page: int = 100,
        clock: Callable[[], float] = time.time,
        choices: Choices | None = None,
        store: Store | None = None,
        port: int = 0,
        http: Literal["auto", "h11", "httptools"] = "auto",
    ) -> None:
        self.store = store or Store(
            users, leads, seed, tie_group=tie_group, bulk_share=bulk_share, shuffle_ties=shuffle_ties,
            max_per_page=max_per_page, clock=clock,
        )  # fmt: skip
        self.service = Service(
            store=self.store,
            token=token,
            latency=latency,
            choices=choices or Choices(),
            faults=Faults(faults, seed),
            churn=Churn(churn_per_request, churn_per_second, churn_weights),
            draw=random.Random(seed),
        )
        self._http = http
        self._port = port
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    @property
    def token(self) -> str:
        """The accepted access token."""
        return self.service.token

    @property
    def faults(self) -> Faults:
        """The faults. They may be changed while the server runs."""
        return self.service.faults

    @property
    def churn(self) -> Churn:
        """The random changes. They may be changed while the server runs."""
        return self.service.churn

    @property
    def port(self) -> int:
        """The port, known once the server has started."""
        return self._port

    @property
    def origin(self) -> str:
        """The URL without the API's path: ``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """The base URL for a client."""
        return f"{self.origin}/v1"

    @property
    def airflow_connection(self) -> str:
        """The value of ``AIRFLOW_CONN_CUSTOMERLY_DEFAULT`` for this server, as JSON."""
        return json.dumps({"conn_type": "customerly", "password": self.token, "host": self.url})

    def stats(self) -> dict[str, Any]:
        """Return counts of the requests and faults so far."""
        return {**self.service.stats.to_dict(), "faults": dict(self.faults.injected)}

    def start(self) -> Emulator:
        """Start the server, and return when it is ready.

        :raises OSError: the port is taken.
        :raises RuntimeError: the server did not start.
        """
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
        except OSError:
            listener.close()
            raise
        self._port = listener.getsockname()[1]
        self._server = _Server(
            uvicorn.Config(
                build_app(self.service),
                http=_protocol(self._http),
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                log_level="error",
                server_header=False,
                date_header=False,
                timeout_keep_alive=60,
            )
        )
        self._stopping.clear()
        self._threads = [
            threading.Thread(
                target=self._server.run, args=([listener],), name="customerly-emulator", daemon=True
            ),
            threading.Thread(target=self._keep_changing, name="customerly-churn", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        if not self._server.ready.wait(_START_SECONDS):
            raise RuntimeError(f"The Customerly emulator did not start on {self.origin}. Try another port.")
        return self

    def stop(self) -> None:
        """Stop the server and free the port; a second call does nothing."""
        if not self._threads:
            return
        self._stopping.set()
        self._server.stop()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _keep_changing(self) -> None:
        churn, owed, last = self.service.churn, 0.0, time.monotonic()
        while not self._stopping.wait(_CHURN_EVERY_SECONDS):
            now = time.monotonic()
            owed += churn.per_second * (now - last)
            last = now
            if owed >= 1:
                self.store.churn(int(owed), churn.weights, churn.protect)
                owed %= 1


class _Server(uvicorn.Server):
    """A server that ends as soon as it is asked to: uvicorn looks every 0.1 s and waits as long once more."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Ask another thread's server to end; one that did not start or has ended is left alone."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._asked.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._asked.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        end = time.monotonic() + _SECONDS_TO_ANSWER
        while (self.server_state.connections or self.server_state.tasks) and time.monotonic() < end:
            await asyncio.sleep(0.001)
        for task in self.server_state.tasks:
            task.cancel()


def _protocol(http: str) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol class, extended to pass the transport to the application."""
    base = _protocol_base(http)

    class BreakableProtocol(base):  # type: ignore[misc, valid-type]
        app_state: dict[str, Any]

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self.app_state = {**self.app_state, "transport": transport}

    return BreakableProtocol


def _protocol_base(http: str) -> Any:
    if http == "httptools" or (http == "auto" and importlib.util.find_spec("httptools")):
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        return HttpToolsProtocol
    from uvicorn.protocols.http.h11_impl import H11Protocol

    return H11Protocol
