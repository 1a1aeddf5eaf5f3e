"""Airbyte's low-code CDK with the manifest beside this file. Its records go to a file."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import common
from airbyte_cdk.cli.source_declarative_manifest import run

CATALOG = {
    "streams": [
        {
            "stream": {"name": "users", "json_schema": {}, "supported_sync_modes": ["full_refresh"]},
            "sync_mode": "full_refresh",
            "destination_sync_mode": "overwrite",
        }
    ]
}

if __name__ == "__main__":
    todo = common.task()
    config, catalog = todo.folder / "config.json", todo.folder / "catalog.json"
    config.write_text(json.dumps({"url": todo.url, "token": common.TOKEN}))
    catalog.write_text(json.dumps(CATALOG))
    manifest = Path(__file__).with_name("airbyte_manifest.yaml")
    command = ["read", "--config", str(config), "--catalog", str(catalog), "--manifest-path", str(manifest)]
    sys.argv[1:] = command
    output = todo.folder / "records.jsonl"
    with output.open("w") as stream, common.measured(todo):
        os.dup2(stream.fileno(), 1)  # the CDK writes to the process's own output, whatever sys.stdout is
        run()
