"""Imports run one way: what can be used without Airflow never imports it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import airflow_provider_customerly

PACKAGE = Path(airflow_provider_customerly.__file__).parent
WITHOUT_AIRFLOW = ("client", "storage", "export", "sync", "contacts", "check", "housekeeping", "emulator")
AIRFLOW_SIDE = ("hooks", "transfers", "operators", "cli")
MODULES = [*(path for part in WITHOUT_AIRFLOW for path in sorted((PACKAGE / part).rglob("*.py")))]


def imported_names(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_airflow_below_the_hooks(path: Path) -> None:
    forbidden = {"airflow", *(f"{PACKAGE.name}.{part}" for part in AIRFLOW_SIDE)}
    wrong = [
        name
        for name in imported_names(path)
        if any(name == module or name.startswith(f"{module}.") for module in forbidden)
    ]
    assert wrong == []


@pytest.mark.parametrize("part", ["client", "storage"])
def test_client_and_storage_need_no_other_part(part: str) -> None:
    others = {f"{PACKAGE.name}.{other}" for other in WITHOUT_AIRFLOW if other != part}
    for path in (PACKAGE / part).rglob("*.py"):
        wrong = [
            name for name in imported_names(path) if any(name.startswith(f"{other}.") for other in others)
        ]
        assert wrong == [], path


@pytest.mark.parametrize(
    "module", ["airflow_provider_customerly", "airflow_provider_customerly.provider_info"]
)
def test_what_airflow_reads_while_it_starts_imports_nothing_of_it(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(name.split('.')[0] == 'airflow' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
