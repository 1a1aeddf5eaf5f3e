"""Example DAGs must import anywhere: Airflow lists them wherever the package is installed."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from airflow_process import LONGEST, PATIENCE

DAGS = Path(__file__).parent.parent.parent / "dags"
DAG_IDS = {
    "customerly_contacts_export.py": {"customerly_contacts_export"},
    "customerly_contacts_sync.py": {"customerly_contacts_sync"},
    "customerly_many_projects.py": {"customerly_many_projects"},
    "customerly_nightly.py": {"customerly_nightly_export", "customerly_nightly_scores"},
    "customerly_sync_approved.py": {"customerly_sync_approved"},
}
# Fails as an installation does that has only what pyproject.toml's 'dependencies' bring, on a machine
# without a network.
IMPORT = """
import importlib.abc, socket, sys

OPTIONAL = (
    "airflow.providers.amazon", "airflow.providers.duckdb", "airflow.providers.mysql",
    "airflow.providers.postgres", "airflow.providers.sqlite",
    "boto3", "duckdb", "psycopg", "psycopg2", "pymysql", "s3fs",
)
asked = []

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if any(name == one or name.startswith(one + ".") for one in OPTIONAL):
            raise ModuleNotFoundError(f"{name} is not installed", name=name)

def no_network(*arguments, **more):
    asked.append(str(arguments))
    raise OSError("there is no network")

from airflow.dag_processing.dagbag import DagBag

for name in [name for name in sys.modules if name.startswith(OPTIONAL)]:
    del sys.modules[name]
sys.meta_path.insert(0, Missing())
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = no_network
bag = DagBag(sys.argv[1])
assert not asked, asked
for dag in bag.dags.values():
    for name, param in dag.params.items():
        told = dag.params.get_param(name)
        assert told.schema.get("title") and told.description, (dag.dag_id, name)
        # The form asks for a value of each that may not be left empty.
        is_optional = "null" in told.schema["type"]
        assert is_optional == ("(optional)" in told.schema["title"]), (dag.dag_id, name)
assert not bag.import_errors, bag.import_errors
print("found", *sorted(bag.dags))
"""


def found(path: Path, home: Path) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return subprocess.run(
        [sys.executable, "-c", IMPORT, str(path)],
        env={**own, "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", **PATIENCE},
        capture_output=True,
        text=True,
        timeout=LONGEST,
    )


can_hide_packages = pytest.mark.skipif(
    version("apache-airflow").startswith("3.1."),
    reason="this Airflow loads every installed provider while it parses, so that none can be hidden from it",
)


def test_every_example_is_known_here() -> None:
    assert {path.name for path in DAGS.glob("*.py")} == set(DAG_IDS)


@can_hide_packages
def test_examples_import_without_connections_optional_packages_and_network(tmp_path: Path) -> None:
    run = found(DAGS, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1].split() == ["found", *sorted(set().union(*DAG_IDS.values()))]


@pytest.mark.slow
@can_hide_packages
@pytest.mark.parametrize("line", ["import duckdb", "import socket; socket.create_connection(('::1', 9))"])
def test_what_the_test_above_would_not_miss(line: str, tmp_path: Path) -> None:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "careless.py").write_text(f"from airflow.sdk import DAG\n{line}\n")
    run = found(tmp_path / "dags", tmp_path)
    assert run.returncode != 0
    assert "AssertionError" in run.stderr
