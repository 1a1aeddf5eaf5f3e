"""Every code block of the README and the docs: run where that is possible here, else parsed.

Before a block, a comment may say what it is: ``<!-- not run: why -->``, ``<!-- file: name -->``, or the
dialect of SQL, ``<!-- duckdb: run -->`` or ``<!-- snowflake: parse -->``. Python that no comment speaks of is
run. The blocks of a page share their names, as the cells of a notebook do, and ``/data`` is a folder of the
test. The tasks of the DAGs that they define are run against the emulator, unless they write to a bucket.
"""

from __future__ import annotations

import ast
import configparser
import json
import subprocess
import sys
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import airflow.sdk
import duckdb
import pytest
import sqlglot
import yaml
from airflow.sdk import DAG
from docs_blocks import PAGES, REPOSITORY, Block, blocks
from uv import find_uv_bin

from airflow_provider_customerly.export import export_contacts, read_contacts
from airflow_provider_customerly.operators.base import CustomerlyOperator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from databases import Database
    from emulators import Connect

    from airflow_provider_customerly.client import Client

LANGUAGES = {"python", "sh", "sql", "sql+jinja", "json", "yaml", "ini", "text", ""}
DAY = "2026-11-23"
TEST_PAGE = REPOSITORY / "docs" / "how-to" / "test-your-dags.md"
RECIPES = REPOSITORY / "docs" / "how-to" / "load-into-a-warehouse.md"
NOT_KNOWN = {"copy", "begin", "commit"}
"""Statements that sqlglot reads as a command, without looking into them."""

for_each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix()
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder that stands in the place of ``/data``."""
    return tmp_path / "data"


@pytest.fixture
def exported(client: Client, emulator: Any, data: Path) -> Path:
    """Fill it: two full exports, between which a user is deleted and one is updated."""
    export_contacts(client, data / "crm", "users", snapshot_date="2026-11-22")
    [one, other] = json.loads(emulator.store.page("users", 0, 2, "last_update", "asc"))
    emulator.store.delete("users", one["crmhero_user_id"])
    emulator.store.update("users", other["crmhero_user_id"], {"name": "Ada"})
    export_contacts(client, data / "crm", "users", snapshot_date=DAY)
    export_contacts(client, data / "crm", "leads", snapshot_date=DAY)
    export_contacts(client, data / "crm_delta", "users", snapshot_date=DAY, table_format="delta")
    return data


@pytest.fixture
def here(data: Path) -> Callable[[str], str]:
    return lambda text: text.replace("/data/", f"{data}/")


def run_tasks(dag: DAG) -> None:
    """Run the tasks as Airflow would, templates rendered."""
    context: Any = {
        "params": dag.params.dump(),
        "dag_run": SimpleNamespace(run_after=datetime.now(timezone.utc)),
        "ds": DAY,
        "var": {"value": {}},
    }
    for task in dag.topological_sort():
        assert isinstance(task, CustomerlyOperator)
        places = [getattr(task, name, None) for name in ("path", "state_path", "record_path")]
        if not any("://" in str(place) for place in places):
            task.render_template_fields(context)
            task.execute({})


def is_run(block: Block) -> bool:
    return not block.mark.startswith(("not run", "file", "postgres")) and "def test_" not in block.text


@for_each_page
def test_each_block_is_in_a_language_and_parses(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, block
        if block.language == "python":
            ast.parse(block.text, str(block))
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "ini":
            configparser.ConfigParser().read_string(block.text)
        elif block.language == "yaml":
            yaml.safe_load(block.text)
        elif block.language == "sh":
            done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
            assert done.returncode == 0, (str(block), done.stderr)
        elif block.language == "sql" and not block.mark.startswith("file"):
            dialect = block.mark.partition(":")[0]
            for statement in sqlglot.parse(block.text, dialect=dialect):
                assert statement is not None, block


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(is_run(block) for block in blocks(page, "python"))],
    ids=lambda page: page.relative_to(REPOSITORY).as_posix(),
)
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.usefixtures("exported")
@pytest.mark.emulator(users=30, leads=5)
def test_python_runs(
    page: Path,
    here: Callable[[str], str],
    connect: Connect,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(extra={"hash_secret": "pepper"})
    database.execute(
        "create table customers (id varchar(20), email varchar(80), name varchar(80), plan varchar(9))"
    )
    database.insert("customers", [("c-1", "ada@northwind.test", "Ada Byrne", "pro")])
    database.execute("create table erasure_requests (email varchar(80), status varchar(9))")
    database.insert("erasure_requests", [("ada@northwind.test", "approved")])
    made: list[DAG] = []

    def remember(*arguments: Any, **named: Any) -> DAG:
        made.append(DAG(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(airflow.sdk, "DAG", remember)
    names: dict[str, Any] = {"__name__": "docs"}
    for block in blocks(page, "python"):
        if is_run(block):
            exec(compile(here(block.text), str(block), "exec"), names)
            while made:
                run_tasks(made.pop())


@pytest.mark.usefixtures("exported")
@pytest.mark.emulator(users=30, leads=5)
def test_recipes_for_duckdb(here: Callable[[str], str]) -> None:
    with duckdb.connect() as connection:
        counts = []
        for block in blocks(RECIPES, "sql"):
            if block.mark == "duckdb: run":
                connection.execute(here(block.text))
                counts.append(connection.execute("select count(*) from users").fetchone())
        assert counts == [(29,)] * 4
        # From the day before, the merge and the deletion lead to the same table.
        connection.execute(here(f"create or replace table wanted as {select(DAY)}"))
        connection.execute(here(f"create or replace table users as {select('2026-11-22')}"))
        for block in blocks(RECIPES, "sql"):
            if block.mark == "duckdb: run" and block.text.startswith(("merge", "delete")):
                connection.execute(here(block.text))
        columns = "select * exclude snapshot_date"
        both = f"{columns} from users except {columns} from wanted"
        assert connection.execute(both).fetchall() == []
        assert connection.execute("select count(*) from users").fetchone() == (29,)


def select(day: str) -> str:
    return f"select * from read_parquet('/data/crm/users/snapshot_date={day}/*.parquet')"


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
@pytest.mark.usefixtures("exported")
@pytest.mark.emulator(users=30, leads=5)
def test_recipe_for_postgres(data: Path, database: Database) -> None:
    names: dict[str, Any] = {}
    for block in blocks(RECIPES, "python"):
        if block.mark == "postgres: run":
            exec(compile(block.text, str(block), "exec"), names)
    for _ in range(2):
        assert names["load"](str(data / "crm"), "users", database.conn_id) == 29
    table = read_contacts(data / "crm", "users").to_table()
    loaded = database.query("select crmhero_user_id, email, last_update, attributes from users order by 1")
    wanted = table.select(["crmhero_user_id", "email", "last_update", "attributes"]).sort_by(
        "crmhero_user_id"
    )
    assert loaded == [tuple(row.values()) for row in wanted.to_pylist()]


def test_what_the_parser_does_not_know_is_told() -> None:
    for block in blocks(RECIPES, "sql"):
        dialect, _, how = block.mark.partition(": ")
        if block.mark.startswith("file"):
            continue
        assert how in ("run", "parse"), block
        for statement in sqlglot.parse(block.text, dialect=dialect):
            if isinstance(statement, sqlglot.exp.Command):
                assert statement.name.lower().split()[0] in NOT_KNOWN, (str(block), statement)


@pytest.mark.slow
def test_the_page_about_tests_is_a_test(tmp_path: Path) -> None:
    for number, block in enumerate(blocks(TEST_PAGE, "python")):
        name = block.mark.removeprefix("file: ") if block.mark else f"test_block_{number}.py"
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(block.text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "3 passed" in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("exported")
@pytest.mark.emulator(users=30, leads=5)
def test_recipe_for_dbt(here: Callable[[str], str], tmp_path: Path) -> None:
    """In an environment of its own: dbt and Airflow do not agree about their dependencies."""
    uv = find_uv_bin()
    environment = tmp_path / "dbt"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    packages = ["dbt-core>=1.11,<1.12", "dbt-duckdb>=1.10"]
    subprocess.run([uv, "pip", "install", "--quiet", "--python", environment, *packages], check=True)
    project = tmp_path / "project"
    for block in blocks(RECIPES):
        if block.mark.startswith("file: "):
            file = project / block.mark.removeprefix("file: ")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(here(block.text))
    (project / "dbt_project.yml").write_text("name: crm\nversion: '1.0'\nprofile: crm\n")
    target = {"type": "duckdb", "path": str(tmp_path / "crm.duckdb")}
    profile = {"crm": {"target": "dev", "outputs": {"dev": target}}}
    (project / "profiles.yml").write_text(yaml.safe_dump(profile))

    def dbt(*arguments: str) -> str:
        command = [environment / "bin" / "dbt", *arguments, "--profiles-dir", ".", "--no-use-colors"]
        return subprocess.run(command, cwd=project, capture_output=True, text=True).stdout

    assert "PASS=3 WARN=0 ERROR=0" in dbt("build")
    assert "PASS freshness of customerly.users" in dbt("source", "freshness")
    with duckdb.connect(str(tmp_path / "crm.duckdb")) as connection:
        assert connection.execute("select count(*) from crm_users_history").fetchone() == (29,)


@pytest.mark.slow
@pytest.mark.usefixtures("exported")
@pytest.mark.emulator(users=30, leads=5)
def test_spark_reads_a_day(data: Path) -> None:
    sql = pytest.importorskip("pyspark.sql")
    spark = sql.SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    try:
        assert spark.read.parquet(str(data / f"crm/users/snapshot_date={DAY}")).count() == 29
    finally:
        spark.stop()
