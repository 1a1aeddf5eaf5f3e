"""Reading a file takes as much memory as a row group, not as the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_customerly.storage import Location, ParquetFile

GROUPS, GROUP_BYTES = 32, 2 << 20
READ = """
import json, re, sys
from pathlib import Path
from airflow_provider_customerly.export.read import open_files, stream_batches
from airflow_provider_customerly.storage import Location, read_batches

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10

location = Location.of(sys.argv[1])
readers = {
    "stream": lambda name: read_batches(location.open(name), rows=1000),
    "dataset": lambda name: stream_batches(open_files(location, [name]), rows=1000),
}
read = readers[sys.argv[2]]
sum(len(batch) for batch in read("small"))  # what is loaded once
before = peak()
rows = sum(len(batch) for batch in read("large"))
print(json.dumps([rows, peak() - before]))
"""


def write(location: Location, name: str, groups: int) -> None:
    width, random = 64, np.random.default_rng(1)
    schema = pa.schema({"text": pa.binary(width)})
    with ParquetFile(location, name, schema, dictionary=False) as file:
        for _ in range(groups):
            content = pa.py_buffer(random.bytes(GROUP_BYTES))
            column = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(width), GROUP_BYTES // width, [None, content]
            )
            file.write(pa.record_batch([column], schema=schema))
        file.close()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak")
@pytest.mark.parametrize("reader", ["stream", "dataset"])
def test_reading_holds_a_row_group_and_not_the_file(tmp_path: Path, reader: str) -> None:
    location = Location.of(tmp_path)
    write(location, "small", 1)
    write(location, "large", GROUPS)
    arguments = [sys.executable, "-c", READ, str(tmp_path), reader]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    rows, grown = json.loads(done.stdout)
    assert rows == GROUPS * GROUP_BYTES // 64
    assert grown < GROUPS * GROUP_BYTES / 2
