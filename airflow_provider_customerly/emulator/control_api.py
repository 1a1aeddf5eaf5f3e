"""Endpoints to inspect and control the emulator. The vendor does not have them, and they need no token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.routing import Route

from airflow_provider_customerly.emulator.service import ProblemError, Service, answer, json_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response


class ControlApi:
    """Statistics, reset, faults and churn at run time."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/__stats", self._stats, methods=["GET"]),
            Route("/__reset", self._reset, methods=["POST"]),
            Route("/__faults", self._faults, methods=["POST"]),
            Route("/__churn", self._churn, methods=["POST"]),
        ]

    async def _stats(self, request: Request) -> Response:
        service = self._service
        sizes = {kind: service.store.count(kind) for kind in ("users", "leads")}
        return answer(
            {**service.stats.to_dict(), "faults": dict(service.faults.injected), **sizes,
             "changes": len(service.store.journal)}
        )  # fmt: skip

    async def _reset(self, request: Request) -> Response:
        """Clear counts and faults; ``{"data": true}`` also restores the seeded contacts."""
        body = await json_body(request) if await request.body() else {}
        self._service.stats.reset()
        self._service.faults.clear()
        if body.get("data"):
            self._service.store.reset()
        return answer({"reset": True})

    async def _faults(self, request: Request) -> Response:
        """Set the faults.

        ``rates`` replaces all rates. ``plan`` queues faults for the next requests, with null for a normal
        response. ``latency`` is in seconds.
        """
        body, service = await json_body(request), self._service
        try:
            if "rates" in body:
                service.faults.set(body["rates"])
            if "plan" in body:
                service.faults.plan(body["plan"])
            service.latency = float(body.get("latency", service.latency))
        except (TypeError, ValueError, AttributeError) as problem:
            raise ProblemError(400, str(problem)) from None
        return answer({"rates": service.faults.rates, "latency": service.latency})

    async def _churn(self, request: Request) -> Response:
        """Apply ``count`` changes now; ``per_request`` and ``per_second`` set the rates of later ones."""
        body, churn = await json_body(request), self._service.churn
        try:
            churn.per_request = float(body.get("per_request", churn.per_request))
            churn.per_second = float(body.get("per_second", churn.per_second))
            done = self._service.store.churn(int(body.get("count", 0)), churn.weights, churn.protect)
        except (TypeError, ValueError) as problem:
            raise ProblemError(400, str(problem)) from None
        return answer(
            {"applied": len(done), "per_request": churn.per_request, "per_second": churn.per_second}
        )
