"""What a piece of work cost: requests sent, and time spent waiting to try one again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_customerly.client.client import Client


class Meter:
    """Counts what a client does from now on."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._requests, self._retries = client.requests_sent, client.retries
        self._waited = client.seconds_waited

    @property
    def requests(self) -> int:
        """Requests sent, retries included."""
        return self._client.requests_sent - self._requests

    def figures(self) -> dict[str, Any]:
        """Return what belongs into a result."""
        return {
            "requests": self.requests,
            "waits": {
                "retries": self._client.retries - self._retries,
                "seconds": round(self._client.seconds_waited - self._waited, 1),
            },
        }
