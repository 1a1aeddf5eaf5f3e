"""Check what a client is made with, before anything is sent."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

DEFAULT_BASE_URL = "https://api.customerly.io/v1"


def checked_token(token: str) -> str:
    """Return the token without surrounding white space; no message quotes it."""
    token = token.strip()
    if not token:
        raise ValueError(
            "The access token is empty: create one in Project Settings > Installation > Public API."
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("The access token holds white space or characters that no token has: copy it again.")
    return token


def checked_url(url: str, *, allow_insecure_http: bool) -> str:
    """Return the base URL without a trailing slash; a password in it is refused, not quoted."""
    parts = urlsplit(url.strip())
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("The base URL may hold scheme, host, port and path only: remove the rest.")
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"The base URL {url!r} is not complete: give one like {DEFAULT_BASE_URL}.")
    if parts.scheme == "http" and not allow_insecure_http and not names_this_machine(parts.hostname):
        raise ValueError(
            f"The base URL {url!r} would send the token in clear: use https://, or set allow_insecure_http."
        )
    return parts.geturl().rstrip("/")


def check_range(name: str, value: int, lowest: int, highest: int) -> None:
    """Refuse a whole number outside its range."""
    if not lowest <= value <= highest:
        raise ValueError(f"{name} is {value}: give a number from {lowest} to {highest}.")


def check_positive(name: str, value: float) -> None:
    """Refuse zero, negative numbers and NaN."""
    if not value > 0:
        raise ValueError(f"{name} is {value}: give a number above 0.")


def names_this_machine(host: str) -> bool:
    """Tell whether a host name or an address leads nowhere but to this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
