"""State that the endpoints share, and helpers for requests and responses."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from airflow_provider_customerly.emulator.choices import Choices
from airflow_provider_customerly.emulator.faults import Faults
from airflow_provider_customerly.emulator.stats import Stats

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from starlette.requests import Request

    from airflow_provider_customerly.emulator.store import Store


@dataclass
class Churn:
    """Random changes of the contacts.

    :param per_request: changes before each request; a fraction is a probability.
    :param per_second: changes per second.
    :param weights: relative frequency of each kind of change; see ``emulator.churn``.
    :param protect: ids that never change.
    """

    per_request: float = 0.0
    per_second: float = 0.0
    weights: Mapping[str, float] | None = None
    protect: Collection[int] = ()


@dataclass
class Service:
    """An emulated project and its behaviour. All fields may be changed while it runs."""

    store: Store
    token: str
    latency: float = 0.0
    choices: Choices = field(default_factory=Choices)
    faults: Faults = field(default_factory=Faults)
    churn: Churn = field(default_factory=Churn)
    stats: Stats = field(default_factory=Stats)
    draw: random.Random = field(default_factory=lambda: random.Random(1))

    def churn_once(self) -> None:
        """Apply the random changes before one request."""
        wanted = self.churn.per_request
        if wanted:
            count = int(wanted) + (self.draw.random() < wanted % 1)
            self.store.churn(count, self.churn.weights, self.churn.protect)


class ProblemError(Exception):
    """An error response.

    Only the two credential messages and ``User doesn't exist`` are the vendor's. The other statuses and
    messages are guesses.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def answer(data: Any) -> Response:
    """Return the success envelope."""
    return raw_answer(msgspec.json.encode({"data": data}))


def raw_answer(body: bytes, status: int = 200) -> Response:
    """Return a response with JSON text."""
    return Response(body, status, media_type="application/json")


def error(status: int, message: str) -> Response:
    """Return the failure envelope."""
    return raw_answer(msgspec.json.encode({"error": {"message": message, "code": 0}}), status)


async def json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object in the request's body.

    :raises ProblemError: the body is not a JSON object.
    """
    try:
        body = msgspec.json.decode(await request.body())
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ProblemError(400, "Malformed JSON body") from None
    if not isinstance(body, dict):
        raise ProblemError(400, "The JSON body must be an object")
    return body


def integer(text: str | None, default: int) -> int:
    """Return a query parameter as a number, or the default if it is missing or invalid, like PHP."""
    try:
        return int(text) if text else default
    except ValueError:
        return default
