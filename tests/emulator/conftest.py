from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import requests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_customerly.emulator import Emulator


class Api(requests.Session):
    """A session that knows the emulator's address and token."""

    def __init__(self, emulator: Emulator) -> None:
        super().__init__()
        self.emulator = emulator
        self.headers["Authorization"] = f"Bearer {emulator.token}"

    def request(self, method, url, *args, **kwargs):  # type: ignore[no-untyped-def]
        base = self.emulator.origin if url.startswith("/__") else self.emulator.url
        return super().request(method, base + url, *args, timeout=60, **kwargs)

    def rows(self, kind: str = "users", **query: object) -> list[dict]:
        return self.get(f"/{kind}/list", params=query).json()["data"][kind]


@pytest.fixture
def api(emulator: Emulator) -> Iterator[Api]:
    with Api(emulator) as session:
        yield session
