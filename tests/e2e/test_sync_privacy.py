"""What a sync writes down: contacts are named where somebody is to mend them, and nowhere else."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from airflow_process import Airflow, connection
from databases import Database
from warehouse_customers import warehouse_connection

from airflow_provider_customerly.emulator import Choices, Emulator

SYNC = "customerly_contacts_sync"
# Lower case, as it is after emails are compared; no part of it is a word of its own.
MARKER = "qzxw7yv3"
TEST_DAGS = {"AIRFLOW__CORE__DAGS_FOLDER": str(Path(__file__).parent / "dags")}
DEBUG = {"AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG"}
ROWS = 120

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("database", ["sqlite"], indirect=True)]


def email(n: int) -> str:
    return f"{MARKER}.{n}@warehouse.test"


def add_marked_customers(database: Database) -> None:
    """Make the table of customers, with rows that are rejected in every way there is."""
    rows = [(f"c-{n}", email(n), f"{MARKER} {n}", "team", 3) for n in range(ROWS)]
    rows[40] = ("c-40", f"{MARKER} at warehouse.test", *rows[40][2:])
    rows[42] = ("c-42", email(41).upper(), *rows[42][2:])
    rows[43] = (*rows[43][:3], MARKER * 20, 3)
    rows[44] = ("c-45", *rows[44][1:])  # a user_id that belongs to the next row
    database.execute(
        "create table customers (customer_id varchar(20), email varchar(254), name varchar(100), "
        "plan varchar(200), seats integer, internal_note varchar(10))"
    )
    database.insert("customers", [(*row, None) for row in rows])


def holds_marker(path: Path) -> bool:
    if path.suffix == ".parquet":
        return MARKER in str(pq.read_table(path).to_pylist())
    return MARKER.encode() in path.read_bytes()


def test_contacts_are_named_in_the_rejects_alone(
    airflow: Airflow, database: Database, tmp_path: Path
) -> None:
    choices = Choices(refuse_emails=frozenset({email(60)}), lose_emails=frozenset({email(61)}))
    add_marked_customers(database)
    with Emulator(users=20, leads=5, choices=choices) as emulator:
        run = airflow.run(
            "dags",
            "test",
            SYNC,
            AIRFLOW_VAR_CUSTOMERLY_STATE_PATH=str(tmp_path / "state"),
            **DEBUG,
            **connection(emulator),
            **warehouse_connection(database),
        )
    assert airflow.states(SYNC) == [("sync_customers", "failed", 1)], run.stdout
    assert "rows were not delivered" in run.stdout
    assert "DEBUG" in run.stdout.upper()
    synced = airflow.results(SYNC)["sync_customers"]
    assert {reason.partition(" in ")[0] for reason in synced["reasons"]} == {
        "malformed_email",
        "duplicate_email",
        "duplicate_user_id",
        "text_too_long",
        "refused",
        "unexplained",
    }
    assert synced["sent"] == ROWS - sum(synced["reasons"].values())

    assert airflow.places_with(MARKER, run.stdout) == []
    state = tmp_path / "state" / f"{SYNC}.sync_customers"
    files = {path.relative_to(state).as_posix() for path in state.rglob("*") if path.is_file()}
    assert {name for name in files if holds_marker(state / name)} == {synced["rejects"]}
    assert {"sync.json", synced["record"]} < files
    assert any(name.startswith("ledger/") for name in files)


def test_a_plan_names_contacts_and_its_parameters_are_shown_nowhere(
    airflow: Airflow, database: Database, tmp_path: Path
) -> None:
    add_marked_customers(database)
    with Emulator(users=20, leads=5, choices=Choices(refuse_emails=frozenset({email(60)}))) as emulator:
        run = airflow.run(
            "dags",
            "test",
            "sync_planned",
            AIRFLOW_VAR_CUSTOMERLY_STATE_PATH=str(tmp_path / "state"),
            EXCLUDED=email(7),
            **TEST_DAGS,
            **DEBUG,
            **connection(emulator),
            **warehouse_connection(database),
        )
    assert airflow.states("sync_planned") == [("apply", "success", 1), ("plan", "success", 1)], run.stdout
    results = airflow.results("sync_planned")
    assert results["plan"]["rows_read"] == ROWS - 1
    assert results["apply"]["sent"] > 0

    assert airflow.places_with(MARKER, run.stdout) == []
    state = tmp_path / "state" / "planned"
    files = {path.relative_to(state).as_posix() for path in state.rglob("*") if path.is_file()}
    named = {results["plan"]["plan"], results["apply"]["rejects"]}
    assert {name for name in files if holds_marker(state / name)} == named
    assert {name.partition("/")[0] for name in named} == {"plans", "rejects"}


def test_unknown_token_fails_at_once_and_is_shown_nowhere(
    airflow: Airflow, emulator: Emulator, database: Database, tmp_path: Path
) -> None:
    token = "tok-revoked-8d01ab"
    add_marked_customers(database)
    run = airflow.run(
        "dags",
        "test",
        SYNC,
        AIRFLOW_VAR_CUSTOMERLY_STATE_PATH=str(tmp_path / "state"),
        **DEBUG,
        **connection(emulator, password=token),
        **warehouse_connection(database),
    )
    assert airflow.states(SYNC) == [("sync_customers", "failed", 1)], run.stdout
    assert emulator.stats()["by_request"] == {"POST /users": 1}
    assert "Create a new access token in Customerly" in run.stdout
    # 'dags test' prints, at this level, what it is asked to mask.
    output = "\n".join(line for line in run.stdout.splitlines() if "msg=MaskSecret(value=" not in line)
    assert airflow.places_with(token, output, tmp_path / "state") == []
    assert airflow.places_with(MARKER, output) == []
