"""What a DAG file that uses the package makes Airflow import each time it is parsed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DAGS = Path(__file__).parent.parent / "dags"
IMPORT = """
import runpy, sys
import airflow.sdk, airflow.providers.standard.operators.hitl

before = set(sys.modules)
for file in sys.argv[1:]:
    runpy.run_path(file)
print(*sorted(set(sys.modules) - before))
"""


@pytest.fixture(scope="module")
def imported() -> list[str]:
    files = [str(file) for file in sorted(DAGS.glob("*.py"))]
    code = [sys.executable, "-c", IMPORT, *files]
    return subprocess.run(code, capture_output=True, text=True, check=True).stdout.splitlines()[-1].split()


@pytest.mark.parametrize(
    "module",
    ["pandas", "pyarrow.dataset", "deltalake", "duckdb", "starlette", "fastapi", "s3fs", "sqlalchemy"],
)
def test_no_dag_file_waits_for(module: str, imported: list[str]) -> None:
    assert module not in imported
