"""The hook, which creates a Customerly client from an Airflow connection."""

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

_TEST_RETRY_BUDGET = 5.0  # seconds; a user is waiting for the form


class CustomerlyHook(BaseHook):
    """Connect to Customerly.

    The hook's arguments override the settings of the connection, which override the client's defaults. The
    connection is only looked up when the client is first used.

    :param customerly_conn_id: an Airflow connection of type ``customerly``. The password is the access token,
        and the host is the base URL (default ``https://api.customerly.io/v1``). The extra field may have
        ``auth_header`` (``bearer`` or ``legacy``), ``timeout``, ``requests_per_second``, ``max_concurrency``,
        ``page_size``, ``retry_budget``, ``allow_insecure_http`` and ``hash_secret``.
    :param page_size: contacts per request.
    :param max_concurrency: maximum number of concurrent requests.
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
        """The client, created from the connection at first use.

        :raises ValueError: the connection does not exist, has no token, or has an invalid field. The message
            says which.
        :raises AirflowNotFoundException: the connection was not found, and a secrets backend that may have it
            failed.
        """
        return self._make_client(page_size=self.page_size, max_concurrency=self.max_concurrency)

    def get_conn(self) -> Client:
        """Return the client, the same one for each call."""
        return self.client

    @cached_property
    def hash_secret(self) -> str | None:
        """The connection's ``hash_secret``, masked in logs; None if it has none."""
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
            # Airflow tests the form's connection under a random id, which means nothing to the user.
            said = str(error).removeprefix(f"Connection {self.customerly_conn_id!r}: ")
            return False, said[:1].upper() + said[1:]

    def iter_contacts(self, contact_type: ContactType = "users") -> Iterator[pa.RecordBatch]:
        """Yield all contacts, each once in its newest version, with the columns and types of an export.

        Contacts may change while the list is read, so the newest versions are only known at the end. Contacts
        are therefore first written to a temporary local folder, which is removed when the iteration ends.

        :param contact_type: ``users`` or ``leads``.
        :raises CustomerlyError: a request failed and retries did not help.
        :raises UnprovenError: the list could not be proven complete.
        """
        from airflow_provider_customerly.export import export_snapshot, read_contacts
        from airflow_provider_customerly.export.read import stream_batches
        from airflow_provider_customerly.storage import Location

        with tempfile.TemporaryDirectory(prefix="customerly-") as folder:
            today = datetime.now(timezone.utc).date()
            export_snapshot(self.client, Location.of(folder), contact_type, snapshot_date=today.isoformat())
            yield from stream_batches(read_contacts(folder, contact_type))

    def get_contacts_df(self, contact_type: ContactType = "users") -> pd.DataFrame:
        """Read all contacts into a pandas DataFrame with Arrow-backed columns; see ``iter_contacts``.

        All contacts are held in memory, about 2 KB each.
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
