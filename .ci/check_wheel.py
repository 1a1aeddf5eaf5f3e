"""Check a wheel, given as argument, and its installation: run by an interpreter that has nothing else."""

import importlib
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path

os.environ.update(AIRFLOW_HOME=tempfile.mkdtemp(), AIRFLOW__CORE__LOAD_EXAMPLES="False")

EXAMPLES = {
    "customerly_contacts_export",
    "customerly_contacts_sync",
    "customerly_many_projects",
    "customerly_nightly_export",
    "customerly_nightly_scores",
    "customerly_sync_approved",
}

names = zipfile.ZipFile(sys.argv[1]).namelist()
assert "airflow_provider_customerly/py.typed" in names, names
assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names), names
pages = {f"airflow_provider_customerly/plugin/static/{name}" for name in ("run.html", "run.js", "page.css")}
assert pages <= set(names), names
ours = ("airflow_provider_customerly/", "airflow_provider_customerly-")
strangers = [name for name in names if not name.startswith(ours)]
assert not strangers, strangers
assert not [name for name in names if "__pycache__" in name or "/tests/" in name], names

# Without any extra: no web server, no object store.
for module in ("client", "export", "storage", "hooks.customerly", "transfers.customerly_to_parquet"):
    importlib.import_module(f"airflow_provider_customerly.{module}")

from airflow.dag_processing.dagbag import DagBag  # noqa: E402

import airflow_provider_customerly  # noqa: E402

examples = DagBag(str(Path(airflow_provider_customerly.__file__).parent / "example_dags"))
assert not examples.import_errors, examples.import_errors
assert set(examples.dags) == EXAMPLES, examples.dags

command = [sys.executable, "-m", "airflow", "providers", "list", "--output", "plain"]
listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
line = next((line for line in listing.splitlines() if line.startswith("airflow-provider-customerly")), None)
assert line, listing
assert version("airflow-provider-customerly") in line, line
print(line)
print(f"{len(names)} files, examples: {', '.join(examples.dags)}")
