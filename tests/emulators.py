"""A Customerly for a test, and the ways to it.

Each test has its own ``emulator``; ``@pytest.mark.emulator(...)`` takes the parameters of ``Emulator``. The
mark of a test adds to that of its module:

    pytestmark = pytest.mark.emulator(users=200, leads=5)

    @pytest.mark.emulator(tie_group=50)
    def test_something(client: Client) -> None: ...

``client`` asks it; ``@pytest.mark.client(...)`` takes the parameters of ``Client``. ``connect`` defines the
Airflow connection ``customerly_default``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from airflow_provider_customerly.client import Client
from airflow_provider_customerly.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator


class Connect(Protocol):
    """Define the connection ``customerly_default``: to the emulator, except for the fields that are given."""

    def __call__(self, **fields: Any) -> None: ...


@pytest.fixture
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    with Emulator(**{"users": 40, "leads": 10, **_parameters(request, "emulator")}) as running:
        yield running


@pytest.fixture
def client(request: pytest.FixtureRequest, emulator: Emulator) -> Iterator[Client]:
    with Client(emulator.token, emulator.url, **_parameters(request, "client")) as client:
        yield client


@pytest.fixture
def connect(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Connect:
    def define(**fields: Any) -> None:
        fields = {**json.loads(emulator.airflow_connection), **fields}
        monkeypatch.setenv("AIRFLOW_CONN_CUSTOMERLY_DEFAULT", json.dumps(fields))

    define()
    return define


def _parameters(request: pytest.FixtureRequest, mark: str) -> dict[str, Any]:
    """Return what the marks of a test say, of which the closest counts."""
    found: dict[str, Any] = {}
    for one in reversed(list(request.node.iter_markers(mark))):
        found |= one.kwargs
    return found
