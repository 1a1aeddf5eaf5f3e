"""Read and decompress a response body piece by piece, up to a size limit."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING

from airflow_provider_customerly.client.errors import CustomerlyProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from urllib3 import BaseHTTPResponse

LARGEST = 32 << 20
"""Decompressed bytes: enough for 100 contacts of a third of a megabyte each."""

_RECEIVED_AT_ONCE = 1 << 18
_INFLATED_AT_ONCE = 1 << 20
_GZIP = b"\x1f\x8b"
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS


def read_body(response: BaseHTTPResponse, request: str) -> bytes:
    """Return the body of an unread response.

    :raises CustomerlyProtocolError: it is too large, or cannot be received or decompressed.
    """
    coding = response.headers.get("Content-Encoding", "").strip().lower()
    pieces: Iterator[bytes] = iter(lambda: response.read(_RECEIVED_AT_ONCE, decode_content=False), b"")
    if coding in ("gzip", "x-gzip", "deflate"):
        pieces = _inflated(pieces, request)
    elif coding not in ("", "identity"):
        raise CustomerlyProtocolError("the body uses a compression that was not requested", request=request)
    body = io.BytesIO()
    for piece in pieces:
        body.write(piece)
        if body.tell() > LARGEST:
            raise CustomerlyProtocolError(
                f"the response is larger than {LARGEST >> 20} MiB",
                request=request,
                advice="Check that the connection's host is the API. If it is, lower page_size.",
            )
    return body.getvalue()


def _inflated(pieces: Iterable[bytes], request: str) -> Iterator[bytes]:
    """Inflate zlib or gzip, of one or several members; ignore padding after the end."""
    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
    is_whole = True
    left = b""
    try:
        for piece in pieces:
            left, is_drained = left + piece, False
            while left or not is_drained:
                if inflater.eof:
                    if not left.startswith(_GZIP):
                        left = left if left == _GZIP[:1] else b""  # the next piece may begin with the rest
                        break
                    inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
                inflated = inflater.decompress(left, _INFLATED_AT_ONCE)
                yield inflated
                left = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
                is_drained = len(inflated) < _INFLATED_AT_ONCE
            is_whole = inflater.eof
    except zlib.error:
        is_whole = False
    if not is_whole:
        raise CustomerlyProtocolError("the body could not be decompressed", request=request)
