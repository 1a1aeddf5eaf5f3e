"""The reference pages have everything that the code has, and nothing that it has not."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from docs_blocks import REPOSITORY

import airflow_provider_customerly
from airflow_provider_customerly.client import Client, CustomerlyError
from airflow_provider_customerly.export.columns import DELETIONS, FIELDS, JSON_COLUMNS, contact_schema
from airflow_provider_customerly.hooks.connection import Extra
from airflow_provider_customerly.provider_info import get_provider_info
from airflow_provider_customerly.testing import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCS = REPOSITORY / "docs"
PACKAGE = Path(airflow_provider_customerly.__file__).parent
ADDRESS = "https://github.com/airflow-provider-customerly/airflow-provider-customerly/blob/main/"
CAUGHT_INSIDE = {"OrderBrokenError", "UnreadablePlanError"}
"""Raised and caught by the package itself: nobody ever sees one."""


def page(name: str) -> str:
    return (DOCS / name).read_text()


def table(text: str, mark: str) -> list[list[str]]:
    """Return the rows of the table after a comment, cell by cell."""
    _, found, after = text.partition(f"<!-- {mark} -->\n\n")
    assert found, mark
    lines = after.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def shown(kind: Any) -> str:
    return str(kind).replace("tz=UTC", "UTC")


def test_each_column_of_an_export_is_in_the_data_dictionary() -> None:
    rows = {
        name.strip("`"): kind for name, kind, *_ in table(page("reference/data.md"), "columns of contacts")
    }
    assert rows == {field.name: shown(field.type) for field in contact_schema("users")}
    assert set(FIELDS["leads"]) | set(JSON_COLUMNS) == set(rows) - {"user_id", "nps_vote"}


def test_each_column_says_how_sure_it_is() -> None:
    sure = [row[5].partition(";")[0] for row in table(page("reference/data.md"), "columns of contacts")]
    assert set(sure) == {"known", "name", "ours"}


def test_each_column_of_deletions_is_in_the_data_dictionary() -> None:
    rows = {
        name.strip("`"): kind for name, kind, _ in table(page("reference/data.md"), "columns of deletions")
    }
    assert rows == {field.name: shown(field.type) for field in DELETIONS}


def test_each_field_of_the_connection_is_in_the_reference() -> None:
    rows = {row[0]: row[2] for row in table(page("reference/connection.md"), "fields of the connection")}
    assert set(rows) == {
        "password",
        "host",
        "port",
        *(f"extra: `{name}`" for name in Extra.__struct_fields__),
    }
    defaults = Client.__init__.__kwdefaults__
    for name in ("max_concurrency", "page_size", "timeout", "retry_budget"):
        assert rows[f"extra: `{name}`"] == str(int(defaults[name]))


def test_each_option_of_the_configuration_is_in_the_reference() -> None:
    rows = table(page("reference/connection.md"), "options of the section customerly")
    found = {(row[0].strip("`[]"), row[1].strip("`")): row[3] for row in rows}
    assert found == {
        (section, name): option["default"]
        for section, entry in get_provider_info()["config"].items()
        for name, option in entry["options"].items()
    }


def exceptions() -> Iterator[str]:
    for module in pkgutil.walk_packages([str(PACKAGE)], f"{PACKAGE.name}."):
        parts = module.name.split(".")
        if {"emulator", "example_dags", "__main__", "lineage", "plugin"} & set(parts):
            continue
        for name, kind in vars(importlib.import_module(module.name)).items():
            own = isinstance(kind, type) and kind.__module__ == module.name
            if own and issubclass(kind, Exception) and not name.startswith("_"):
                # What carries one value's problem to its row is no error of a run.
                if issubclass(kind, ValueError) and not name.endswith("Error"):
                    continue
                yield name


def test_each_error_is_in_the_reference_with_its_cure() -> None:
    text = page("reference/errors.md").partition("## By class")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    named = [name for line in lines for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert set(named) == set(exceptions()) - CAUGHT_INSIDE
    assert len(named) == len(set(named))
    for kind in (CustomerlyError, *CustomerlyError.__subclasses__()):
        [line] = [line for line in lines if line.startswith(f"| `{kind.__name__}`")]
        if kind is not CustomerlyError:
            assert line.endswith("| no |" if kind.permanent else "| yes |")


def texts() -> str:
    """Return all texts of the package, with a gap where a value goes."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_the_messages_in_the_reference_are_those_of_the_code() -> None:
    known = texts()
    quoted = [
        fragment
        for name in ("reference/errors.md", "how-to/erase-and-tag.md")
        for row in table(page(name), "messages")
        for fragment in re.findall(r"`([^`]+)`", row[0])
    ]
    assert len(quoted) > 12
    assert [fragment for fragment in quoted if fragment not in known] == []


def commands() -> Iterator[tuple[str, list[str]]]:
    """Return each command with its options and arguments."""
    pytest.importorskip("airflow.cli.cli_config")
    from airflow_provider_customerly.cli.definition import get_customerly_cli_commands

    def walk(command: Any, before: str) -> Iterator[tuple[str, list[str]]]:
        name = f"{before} {command.name}"
        if hasattr(command, "subcommands"):
            for one in command.subcommands:
                yield from walk(one, name)
        else:
            flags = [flag for arg in command.args for flag in arg.flags]
            yield name, [flag for flag in flags if flag.startswith("--")]

    for group in get_customerly_cli_commands():
        yield from walk(group, "airflow")


def test_each_command_and_option_is_in_the_reference() -> None:
    text = page("reference/command-line.md")
    missing = [
        f"{name} {option}".strip()
        for name, options in commands()
        for option in ["", *options]
        if name not in text or option not in text
    ]
    assert missing == []


def test_each_scenario_of_the_fixture_is_in_its_page() -> None:
    rows = {row[0].strip("`"): row[1] for row in table(page("how-to/test-your-dags.md"), "scenarios")}
    assert set(rows) == set(SCENARIOS)


def links() -> Iterator[tuple[Path, str]]:
    for path in (*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"), *(REPOSITORY / ".github").rglob("*.md")):
        text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            yield path, target


def anchors(path: Path) -> set[str]:
    """Return what GitHub and MyST name the headings of a page."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_link_is_dead() -> None:
    dead = []
    for path, target in links():
        file, _, anchor = target.partition("#")
        if target.startswith(ADDRESS):
            there = REPOSITORY / file.removeprefix(ADDRESS)
        elif "://" in target:
            continue
        else:
            there = path.parent / file if file else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(f"{path.name}: {target}")
    assert dead == []


def test_the_readme_has_absolute_links_and_fits_its_place() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    assert [target for path, target in links() if path.name == "README.md" and "://" not in target] == []
    images = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    raw = ADDRESS.replace("github.com", "raw.githubusercontent.com").replace("/blob", "")
    assert images
    assert [one for one in images if not (REPOSITORY / one.removeprefix(raw)).is_file()] == []


def test_first_questions_are_two_clicks_away() -> None:
    assert f"{ADDRESS}docs/explanation/questions.md" in (REPOSITORY / "README.md").read_text()
    answers = page("explanation/questions.md").split("\n## ")[1:]
    assert len(answers) >= 10
    assert all(answer.splitlines()[0].endswith("?") for answer in answers)


def test_the_badges_are_true() -> None:
    text, project = ((REPOSITORY / name).read_text() for name in ("README.md", "pyproject.toml"))
    versions = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert f"Python {versions[0]} to {versions[-1]}]" in text
    [oldest] = re.findall(r'"apache-airflow>=([\d.]+)"', project)
    assert f"[![Airflow {oldest}+]" in text
    assert 'license = "Apache-2.0"' in project


def test_the_workflows_and_forms_are_yaml() -> None:
    files = [*(REPOSITORY / ".github").rglob("*.yml")]
    assert files
    for file in files:
        assert isinstance(yaml.safe_load(file.read_text()), dict)


def test_the_pictures_are_those_of_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("pictures", DOCS / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "pictures", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "IMAGES", tmp_path)
    module.main()
    drawn = sorted(tmp_path.iterdir())
    assert drawn
    for file in drawn:
        assert file.read_text() == (DOCS / "images" / file.name).read_text()
