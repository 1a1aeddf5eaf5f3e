"""What the plugin adds to Airflow, and that it costs the processes nothing that load it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from starlette.testclient import TestClient

from airflow_provider_customerly.plugin.pages import FOLDER, Pages
from airflow_provider_customerly.plugin.run_page import CustomerlyPlugin, views

FILES = sorted(path.name for path in FOLDER.iterdir())
SCRIPTS = [name for name in FILES if name.endswith(".js")]


@pytest.fixture
def client() -> TestClient:
    return TestClient(Pages())


def test_entry_point_finds_it() -> None:
    [found] = [point for point in entry_points(group="airflow.plugins") if point.name == "customerly"]
    assert found.load() is CustomerlyPlugin


def test_importing_it_imports_neither_data_libraries_nor_the_rest_of_the_package() -> None:
    code = """
import json, sys
import airflow.plugins_manager, airflow.configuration, airflow_provider_customerly
before = set(sys.modules)
import airflow_provider_customerly.plugin.run_page
print(json.dumps(sorted(set(sys.modules) - before)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    added = json.loads(told.splitlines()[-1])
    ours = {name for name in added if name.startswith("airflow_provider_customerly")}
    assert ours == {
        "airflow_provider_customerly.plugin",
        "airflow_provider_customerly.plugin.pages",
        "airflow_provider_customerly.plugin.run_page",
    }
    # Not the web framework either: a worker loads plugins, too, and serves no pages.
    assert {name.partition(".")[0] for name in set(added) - ours} <= {"__future__"}


def test_the_tab_is_there_only_when_asked_for() -> None:
    assert [view["destination"] for view in views(with_tab=False)] == ["nav"]
    assert [view["destination"] for view in views(with_tab=True)] == ["nav", "task_instance"]
    assert len({view["url_route"] for view in views(with_tab=True)}) == 2
    for view in views(with_tab=True):
        for name in ("href", "icon", "icon_dark_mode"):
            file = view[name].removeprefix("customerly/").partition("?")[0]
            assert file in FILES
    assert CustomerlyPlugin.external_views == views(with_tab=False)


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_served_and_nothing_from_elsewhere_is_allowed(client: TestClient, name: str) -> None:
    answer = client.get(f"/{name}")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache"
    again = client.get(f"/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/", "/none.js", "/../pages.py", "/%2e%2e/pages.py", "/static/run.html"])
def test_nothing_else_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("name", FILES)
def test_files_name_no_other_host(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert set(re.findall(r"https?://[^\s\"'`<>)]+", text)) <= {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_put_text_in_as_text(name: str) -> None:
    text = (FOLDER / name).read_text()
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text) == []
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_files_that_are_there_and_names_that_those_export(name: str) -> None:
    text = (FOLDER / name).read_text()
    for names, file in re.findall(r"import \{([^}]+)\} from \"\./([^\"]+)\"", text):
        exported = re.findall(
            r"export (?:async )?(?:function|class|const) (\w+)", (FOLDER / file).read_text()
        )
        wanted = [one.strip() for one in names.split(",") if one.strip()]
        assert set(wanted) <= set(exported), (name, file)
        body = re.sub(r"import \{[^}]+\} from [^;]+;", "", text)
        assert [one for one in wanted if not re.search(rf"\b{one}\b", body)] == [], (
            f"{name} does not use them"
        )
