"""Convert the fields of an Airflow connection to arguments of the client."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from airflow_provider_customerly.client.settings import (
    DEFAULT_BASE_URL,
    MaxConcurrency,
    checked_token,
    names_this_machine,
)
from airflow_provider_customerly.reading.windows import PageSize
from airflow_provider_customerly.values.arguments import wanted

_DEFAULT_PATH = "v1"
_OWN_PORTS = {"https": 443, "http": 80}


class ConnectionFields(Protocol):
    """The fields of an Airflow connection that are read here."""

    conn_id: str
    host: str | None
    schema: str | None
    login: str | None
    password: str | None
    port: int | None
    extra: str | None


class Extra(msgspec.Struct, frozen=True, omit_defaults=True):
    """The extra field of a connection. None means the client's default."""

    requests_per_second: Annotated[float, msgspec.Meta(ge=0.01, le=1000)] | None = None
    max_concurrency: MaxConcurrency | None = None
    page_size: PageSize | None = None
    timeout: Annotated[float, msgspec.Meta(ge=1, le=600)] | None = None
    retry_budget: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None
    hash_secret: str | None = None
    auth_header: Literal["bearer", "legacy"] | None = None
    allow_insecure_http: bool | None = None


def client_arguments(connection: ConnectionFields) -> dict[str, Any]:
    """Return the arguments of ``Client`` that a connection sets.

    :raises ValueError: the access token is missing, the host is not a URL, or an extra field is invalid. The
        message names the connection and the field, and quotes nothing that may be secret.
    """
    settings = msgspec.to_builtins(read_extra(connection))
    settings.pop("hash_secret", None)
    try:
        return {"token": _token(connection), "base_url": base_url(connection), **settings}
    except ValueError as error:
        raise ValueError(f"Connection {connection.conn_id!r}: {error}") from None


def read_extra(connection: ConnectionFields) -> Extra:
    """Read and check the extra field. Numbers and flags may be text, as they are in a connection URI."""
    # A form field that was cleared is stored as null or "".
    stated = {name: value for name, value in _extra_object(connection).items() if value not in (None, "")}
    try:
        return msgspec.convert(stated, Extra, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).partition(" - at `$.")[2].rstrip("`")
        raise ValueError(
            f"Connection {connection.conn_id!r}: extra field {name!r} must be {wanted(Extra, name)}. "
            "Fix it, or remove it to use the default."
        ) from None


def unknown_extra(connection: ConnectionFields) -> list[str]:
    """Return unknown names in the extra field, which are probably misspelt."""
    return sorted(set(_extra_object(connection)) - set(Extra.__struct_fields__))


def base_url(connection: ConnectionFields) -> str:
    """Build the base URL from host, port and path, as set in the form, in JSON or in a connection URI.

    The default host is the public API. The default scheme is https, or http for a loopback address. The
    default path is ``/v1``, as in the URL of the public API. The scheme's own port is left out, so that an
    address is the same with it and without: the form asks for it (see ``provider_info``), and exports and
    syncs tell projects apart by their addresses.
    """
    host = (connection.host or "").strip()
    if not host:
        if connection.port not in (None, 0, _OWN_PORTS["https"]) or connection.schema:
            raise ValueError(
                "it has a port or a path but no host. Set the host, or clear the port and the schema."
            )
        return DEFAULT_BASE_URL
    if "://" not in host:
        host = f"{'http' if _names_loopback(host) else 'https'}://{host}"
    try:
        parts = urlsplit(host)
        port = parts.port or connection.port
    except ValueError:
        raise ValueError(f"the host is not a URL. Write it like {DEFAULT_BASE_URL}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"the host is not an http or https URL. Write it like {DEFAULT_BASE_URL}.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "the host has a user, a query or a fragment. Keep only the URL. The token belongs in the "
            "password."
        )
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = f"{name}:{port}" if port and port != _OWN_PORTS[parts.scheme] else name
    path = parts.path.strip("/") or (connection.schema or "").strip("/") or _DEFAULT_PATH
    return f"{parts.scheme}://{authority}/{path}"


def _extra_object(connection: ConnectionFields) -> dict[str, Any]:
    if not connection.extra:
        return {}
    try:
        extra = json.loads(connection.extra)
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ValueError(
            f"Connection {connection.conn_id!r}: the extra field is not a JSON object. "
            'Write it like {"page_size": 50}.'
        )
    return extra


def _token(connection: ConnectionFields) -> str:
    token = connection.password
    if not token or token.isspace():
        in_uri = " In a URI it follows a colon: customerly://:<token>@." if connection.login else ""
        raise ValueError(
            "it has no access token. Create one in Customerly (Project Settings > Installation > Public API) "
            f"and save it as the connection's password (`Access token` in the form).{in_uri}"
        )
    return checked_token(token)


def _names_loopback(host: str) -> bool:
    try:
        return names_this_machine(urlsplit(f"//{host}").hostname or "")
    except ValueError:
        return False
