"""Who takes part: for each party a script, what it needs, and where its output lies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS: dict[str, Sequence[str]] = {
    "plain": ("requests", "pandas", "pyarrow"),
    "dlt": ("dlt[parquet]",),
    "meltano": ("singer-sdk",),
    "airbyte": ("airbyte-cdk",),
}
"""What to install for a party; `ours` is the environment that this runs in."""
OURS = "ours"
_TIME_TO_INSTALL = 300
_VERSIONS = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""
_ID = "crmhero_user_id"


class Party(NamedTuple):
    """One party.

    :param environment: one of `ENVIRONMENTS`, or `OURS`.
    :param script: in `peers`.
    :param options: what the script is told.
    :param again: what else it is told for a second run in the same place.
    """

    name: str
    environment: str
    script: str
    options: dict[str, Any]
    again: dict[str, Any] = {}


US = "this package"
EXPORTS = (
    Party(US, OURS, "provider", {"concurrency": 8}, {"mode": "incremental"}),
    Party("plain loop, 100 a page", "plain", "plain", {"per_page": 100}),
    Party("plain loop, 50 a page", "plain", "plain", {"per_page": 50}),
    Party("dlt rest_api, as documented", "dlt", "dlt_pipeline", {}),
    Party("dlt, Arrow pages, 8 workers", "dlt", "dlt_pipeline", {"workers": 8}),
    Party("Meltano SDK tap", "meltano", "meltano_tap", {}),
    Party("Airbyte CDK, low-code", "airbyte", "airbyte_source", {}),
)
SYNCS = (
    Party(US, OURS, "provider", {"concurrency": 8, "batch": 100}),
    Party("plain loop", "plain", "plain", {"batch": 100}),
    Party("dlt, custom destination", "dlt", "dlt_pipeline", {"batch": 100}),
)


IN_FLIGHT = tuple(
    party
    for requests in (4, 8, 16)
    for party in (
        Party(f"{US}, {requests} in flight", OURS, "provider", {"concurrency": requests}),
        Party(f"dlt, Arrow pages, {requests} workers", "dlt", "dlt_pipeline", {"workers": requests}),
    )
)


def without_peers(parties: Sequence[Party]) -> list[Party]:
    """Leave out what would have to be installed; the plain loop runs in our own environment then."""
    return [party._replace(environment=OURS) for party in parties if party.environment in (OURS, "plain")]


class Environments:
    """An environment of its own for each kind of party, made with uv when it is first needed.

    :param folder: where they are kept from run to run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self.problems: dict[str, str] = {}
        """Why one could not be made."""

    def python(self, name: str) -> str | None:
        """Return the Python of an environment, None if it cannot be made."""
        if name == OURS:
            return sys.executable
        python = self._folder / name / "bin" / "python"
        done = self._folder / name / ".installed"
        if name not in self.problems and not done.exists():
            uv = [sys.executable, "-m", "uv"]
            try:
                _run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(python.parents[1])])
                _run([*uv, "pip", "install", "--quiet", "--python", str(python), *ENVIRONMENTS[name]])
                done.touch()
            except (OSError, subprocess.SubprocessError) as error:
                said = getattr(error, "stderr", "") or str(error)
                self.problems[name] = " ".join(said.split())[-300:]
        return None if name in self.problems else str(python)

    def versions(self, name: str) -> dict[str, str]:
        """Return the versions of what was asked for."""
        python = self.python(name)
        wanted = [one.partition("[")[0] for one in ENVIRONMENTS.get(name, ())]
        if python is None or not wanted:
            return {}
        try:
            return msgspec.json.decode(_run([python, "-c", _VERSIONS, *wanted]), type=dict[str, str])
        except (OSError, subprocess.SubprocessError):
            return {}


def exported(folder: Path) -> list[int]:
    """Return the ids of the contacts that a party's output has, whatever its form."""
    return [contact for found in _outputs(folder) for contact in found]


def _outputs(folder: Path) -> Iterator[list[int]]:
    for records in folder.glob("records.jsonl"):
        yield [
            found[_ID]
            for line in records.read_bytes().splitlines()
            if line.startswith(b"{") and (found := _record(msgspec.json.decode(line)))
        ]
    for place in ("users.parquet", "lake/crm/users/*.parquet", "export/users/snapshot_date=*/*.parquet"):
        for path in folder.glob(place):
            yield [int(one) for one in pq.read_table(path, columns=[_ID])[_ID].to_pylist()]


def _record(message: dict[str, Any]) -> dict[str, Any] | None:
    """Return what a message of Singer or of Airbyte holds, if it is a record."""
    inner = message.get("record")
    if message.get("type") != "RECORD" or not isinstance(inner, dict):
        return None
    return inner.get("data", inner)  # type: ignore[no-any-return]


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIME_TO_INSTALL)
    return done.stdout
