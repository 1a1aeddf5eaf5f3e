"""The hook: an Airflow connection in, a Customerly client out."""

from __future__ import annotations

import tempfile
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_customerly.client import Client, ContactType, CustomerlyError
from airflow_provider_customerly.hooks.connection import client_arguments, read_extra, unknown_extra
from airflow_provider_customerly.hooks.lookup import find_connection

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    import pyarrow as pa
    from airflow.sdk import Connection

_TEST_RETRY_BUDGET = 5.0  # seconds: somebody waits in front of the form


class CustomerlyHook(BaseHook):
    """Connects to Customerly.

    A setting is taken from this hook's arguments, else from the connection, else it is the client's default.
    Nothing is looked up before the client is first used.

    :param customerly_conn_id: an Airflow connection of type ``customerly``: the password is the access token,
        the host the base URL (default ``https://api.customerly.io/v1``); the extra field may hold
        ``auth_header`` (``bearer`` or ``legacy``), ``timeout``, ``requests_per_second``, ``max_concurrency``,
        ``page_size``, ``retry_budget``, ``allow_insecure_http`` and ``hash_secret``.
    :param page_size: contacts asked for in one request.
    :param max_concurrency: most requests in flight at once.
    """

    conn_name_attr = "customerly_conn_id"
    default_conn_name = "customerly_default"
    conn_type = "customerly"
    hook_name = "Customerly"

    def __init__(
        self,
        customerly_conn_id: str = default_conn_name,
        *,
        page_size: int | None = None,
        max_concurrency: int | None = None,
    ) -> None:
        super().__init__()
        self.customerly_conn_id = customerly_conn_id
        self.page_size = page_size
        self.max_concurrency = max_concurrency

    @cached_property
    def client(self) -> Client:
        """The client, made from the connection at first use.

        :raises ValueError: there is no such connection, it has no token, or a field that cannot be meant; the
            text names it.
        :raises AirflowNotFoundException: it was not found, and a secrets backend failed that may have it.
        """
        return self._make_client(page_size=self.page_size, max_concurrency=self.max_concurrency)

    def get_conn(self) -> Client:
        """Return the client; the same one at each call."""
        return self.client

    @cached_property
    def hash_secret(self) -> str | None:
        """The connection's ``hash_secret``, masked in logs; None when it has none."""
        secret = read_extra(self._find_connection()).hash_secret
        if secret:
            mask_secret(secret)
        return secret

    def test_connection(self) -> tuple[bool, str]:
        """Ask Customerly for one contact, and tell whether it answered and with what."""
        try:
            with self._make_client(retry_budget=_TEST_RETRY_BUDGET) as client:
                client.check()
                return True, f"{client.base_url} answered and knows the token."
        except (CustomerlyError, ValueError) as error:
            return False, str(error)

    def iter_contacts(self, contact_type: ContactType = "users") -> Iterator[pa.RecordBatch]:
        """Read all contacts, each once in its newest version, with the columns and types of an export.

        A contact may change while the list is read, so which version is the newest is known only at the end:
        the contacts are first written to a temporary local folder, which is removed when the iteration ends.

        :param contact_type: ``users`` or ``leads``.
        :raises CustomerlyError: a request failed for good.
        :raises UnprovenError: it could not be proven that no contact was lost.
        """
        from airflow_provider_customerly.export import export_snapshot, read_contacts
        from airflow_provider_customerly.storage import Location

        with tempfile.TemporaryDirectory(prefix="customerly-") as folder:
            today = datetime.now(timezone.utc).date()
            export_snapshot(self.client, Location.of(folder), contact_type, snapshot_date=today.isoformat())
            yield from read_contacts(folder, contact_type).to_batches()

    def get_contacts_df(self, contact_type: ContactType = "users") -> pd.DataFrame:
        """Read all contacts into a pandas DataFrame with Arrow-backed columns; see ``iter_contacts``.

        The whole list is held in memory: about 2 KB for each contact.
        """
        import pandas as pd
        import pyarrow as pa

        from airflow_provider_customerly.export import contact_schema

        table = pa.Table.from_batches(self.iter_contacts(contact_type), schema=contact_schema(contact_type))
        frame: pd.DataFrame = table.to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def _find_connection(self) -> Connection:
        return find_connection(self.customerly_conn_id, f"of type {self.hook_name}")

    def _make_client(self, **overrides: Any) -> Client:
        connection = self._find_connection()
        arguments = client_arguments(connection)
        mask_secret(arguments["token"])
        if misspelt := unknown_extra(connection):
            self.log.warning(
                "Connection %r: unknown extra fields: %s", self.customerly_conn_id, ", ".join(misspelt)
            )
        arguments.update({name: value for name, value in overrides.items() if value is not None})
        try:
            return Client(**arguments)
        except ValueError as error:
            raise ValueError(f"Connection {self.customerly_conn_id!r}: {error}") from None
