"""Check the settings of a client before anything is sent."""

from __future__ import annotations

import ipaddress
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

DEFAULT_BASE_URL = "https://api.customerly.io/v1"
_PORTS = {"https": 443, "http": 80}

LARGEST_PAGE = 100
MOST_AT_ONCE = 64
MaxConcurrency = Annotated[int, Meta(ge=1, le=MOST_AT_ONCE)]
"""Maximum number of concurrent requests."""


def checked_token(token: str) -> str:
    """Return the token without surrounding white space. No error message quotes it."""
    token = token.strip()
    if not token:
        raise ValueError(
            "The access token is empty. Create one in Customerly, in Project Settings > Installation > "
            "Public API, and save it in the connection."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("The access token holds white space or invalid characters. Copy it again.")
    return token


def checked_url(url: str, *, allow_insecure_http: bool) -> str:
    """Return the base URL without a trailing slash or default port, with the host in lower case.

    A URL with a password is refused. The error does not quote it.
    """
    parts = urlsplit(url.strip())
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("The base URL may only hold scheme, host, port and path. Remove the rest.")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"The base URL {url!r} is incomplete. Use one like {DEFAULT_BASE_URL}.")
    if parts.scheme == "http" and not allow_insecure_http and not names_this_machine(parts.hostname):
        raise ValueError(
            f"The base URL {url!r} would send the token in clear text. Use https://, or set "
            "allow_insecure_http (in Airflow: in the connection's extra)."
        )
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, _PORTS[parts.scheme]) else f":{parts.port}"
    return parts._replace(netloc=name + port).geturl().rstrip("/")


def check_range(name: str, value: int, lowest: int, highest: int) -> None:
    """Raise ``ValueError`` if a number is out of range."""
    if not lowest <= value <= highest:
        raise ValueError(f"{name} is {value}. Set it to a number from {lowest} to {highest}.")


def check_positive(name: str, value: float) -> None:
    """Raise ``ValueError`` unless a number is above zero; NaN is not."""
    if not value > 0:
        raise ValueError(f"{name} is {value}. Set it to a number above 0.")


def names_this_machine(host: str) -> bool:
    """Return whether a host name or address is the loopback of this machine."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
