"""What any client needs at least: HTTP alone, decoding the JSON, writing the Parquet of the same data."""

from __future__ import annotations

import http.client
import sys
import time
from urllib.parse import urlsplit

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.project import TOKEN


def floors(url: str, path: str) -> dict[str, float]:
    """Return CPU seconds of fetching all pages, of decoding them, and of writing them.

    :param path: where the Parquet file goes.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    pages: list[bytes] = []
    began = time.process_time()
    while True:
        query = f"page={len(pages)}&per_page=100&sort=last_update&sort_direction=asc"
        connection.request("GET", f"{address.path}/users/list?{query}", headers=headers)
        body = connection.getresponse().read()
        if len(body) < 1_000:  # the page behind the last one
            break
        pages.append(body)
    fetched = time.process_time()
    for page in pages:
        msgspec.json.decode(page)
    decoded = time.process_time()
    users = [user for page in pages for user in msgspec.json.decode(page)["data"]["users"]]
    names = list(dict.fromkeys(name for user in users for name in user))
    columns = {
        name: pa.array([None if (value := user.get(name)) is None else str(value) for user in users])
        for name in names
    }
    prepared = time.process_time()
    pq.write_table(pa.table(columns), path, compression="zstd")
    written = time.process_time()
    return {"HTTP": fetched - began, "JSON": decoded - fetched, "Parquet": written - prepared}


if __name__ == "__main__":
    print(msgspec.json.encode(floors(sys.argv[1], sys.argv[2])).decode())
