"""Imports run downwards only, and what can be used without Airflow never imports it."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import airflow_provider_customerly

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(airflow_provider_customerly.__file__).parent
NAME = PACKAGE.name

LAYERS = [
    {"hooks", "operators", "transfers", "cli", "provider_info"},
    {"export", "comparison", "reconcile", "sync", "contacts", "check", "housekeeping"},
    {"delivery", "values", "reading"},
    {"client", "storage"},
]
"""What Airflow sees comes first; a package may import those of the layers below it, and a few siblings."""
SIBLINGS = {
    ("housekeeping", "sync"),
    ("check", "export"),
    ("comparison", "export"),
    ("sync", "comparison"),
    ("reconcile", "comparison"),
    ("reconcile", "sync"),
    ("delivery", "values"),
    *((one, other) for one in LAYERS[0] for other in LAYERS[0]),
}
ALONE = {"emulator", "plugin"}
"""Used by tests and demos, or by Airflow's web server: they import no other package; none imports them."""
FIXTURE = "testing"
"""The pytest plugin: it imports the emulator, once a test asks for it."""

MODULES = sorted(path for path in PACKAGE.rglob("*.py") if "example_dags" not in path.parts)


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Names of what a module imports, typing imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write the import in full"
            for alias in node.names:
                yield f"{node.module}.{alias.name}"


def parts_imported(path: Path) -> set[str]:
    found = {name.split(".")[1] for name in imports(path) if name.startswith(f"{NAME}.")}
    return {part for part in found if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file()}


def allowed(part: str) -> set[str]:
    level = next((index for index, layer in enumerate(LAYERS) if part in layer), None)
    below = set().union(*LAYERS[level + 1 :]) if level is not None else set()
    emulator = {"emulator"} if part == FIXTURE else set()
    return {part, *below, *emulator, *(other for one, other in SIBLINGS if one == part)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_run_downwards(path: Path) -> None:
    assert parts_imported(path) - allowed(part_of(path)) == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_only_what_airflow_sees_imports_airflow(path: Path) -> None:
    if part_of(path) in LAYERS[0] - {"provider_info"} | {"plugin"}:
        return
    assert [name for name in imports(path) if name.split(".")[0] == "airflow"] == []


def test_every_package_has_its_place() -> None:
    packages = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert packages - set().union(*LAYERS) - ALONE == set()


def test_no_two_files_import_each_other() -> None:
    modules = {".".join((NAME, *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in MODULES}
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        found = set()
        for name in imports(path):
            # A name imported from a package may be a module of it.
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and target != module:
                found.add(target)
        graph[module] = found
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"These import each other: {' -> '.join(error.args[1])}")


def test_the_pytest_plugin_imports_nothing_before_a_test_asks_for_it() -> None:
    steps = ("import sys, pytest", "before = {*sys.modules}", f"import {NAME}.testing")
    code = "; ".join((*steps, "print({*sys.modules} - before)"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in ast.literal_eval(done.stdout)} - set(sys.stdlib_module_names)
    assert loaded == {NAME}


@pytest.mark.parametrize("module", [NAME, f"{NAME}.provider_info"])
def test_what_airflow_reads_while_it_starts_imports_nothing_of_it(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(name.split('.')[0] == 'airflow' for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
