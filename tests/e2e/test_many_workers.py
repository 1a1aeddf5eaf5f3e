"""Tasks on several machines, with everything that they share on S3."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pytest
from airflow_process import REPOSITORY
from holding import held_from
from many_workers import ManyWorkers, Worker, airflow_of_many_workers
from warehouse_customers import warehouse_connection

from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.export import read_contacts
from airflow_provider_customerly.sync.journal import Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databases import Database
    from places import S3Server

    from airflow_provider_customerly.storage import Location

pytestmark = pytest.mark.slow

PROJECTS = "customerly_many_projects"
KILLED = "many_workers"
Projects: TypeAlias = dict[str, Emulator]
USERS = 30_000
ROWS, BATCH, CONCURRENCY = 3_000, 10, 4
PAGES_READ, SEGMENT = 200, 4_000  # users per segment of what an export has read
BATCHES_SENT = 44


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManyWorkers]:
    dags = (REPOSITORY / "dags" / f"{PROJECTS}.py", Path(__file__).parent / "dags" / f"{KILLED}.py")
    with airflow_of_many_workers(tmp_path_factory.mktemp("many") / "airflow", *dags) as airflow:
        yield airflow


@pytest.fixture
def projects(airflow: ManyWorkers, s3_server: S3Server, s3_location: Location) -> Iterator[Projects]:
    """Three projects, known to the workers that are started from now on, which keep all they write on S3."""
    path = f"s3://s3_for_tests@{s3_location.root}"
    with ExitStack() as stack:
        found = {
            name: stack.enter_context(Emulator(users=users, leads=30, seed=seed, token=f"tok-{name}"))
            for seed, (name, users) in enumerate((("eu", USERS), ("us", 40), ("labs", 500)))
        }
        airflow.settings |= {
            "AIRFLOW_CONN_S3_FOR_TESTS": s3_server.airflow_connection,
            "AIRFLOW_VAR_CUSTOMERLY_EXPORT_PATH": f"{path}/contacts",
            "AIRFLOW_VAR_CUSTOMERLY_STATE_PATH": f"{path}/state",
        }
        for name, one in found.items():
            airflow.settings[f"AIRFLOW_CONN_CUSTOMERLY_{name.upper()}"] = one.airflow_connection
        yield found


@pytest.fixture
def customers(airflow: ManyWorkers, database: Database) -> Database:
    """A table for the sync."""
    database.execute("create table customers (email varchar(200), seats integer)")
    database.insert("customers", [(f"c{n}@warehouse.test", n) for n in range(ROWS)])
    airflow.settings |= warehouse_connection(database)
    return database


def exported(location: Location, contact_type: Any = "users") -> dict[int, str]:
    """Return id -> `last_update` of each exported contact."""
    table = read_contacts(location, contact_type).to_table(columns=["crmhero_user_id", "last_update"])
    stamps = [f"{stamp:%Y-%m-%d %H:%M:%S}" for stamp in table["last_update"].to_pylist()]
    found = dict(zip(table["crmhero_user_id"].to_pylist(), stamps, strict=True))
    assert len(found) == table.num_rows, "a contact is there twice"
    return found


def seats(project: Emulator) -> dict[str, int]:
    """Return what Customerly holds of the table."""
    truth = project.store.truth("users").values()
    emails = ((str(one["email"]), one["attributes"]) for one in truth)
    return {email: values["seats"] for email, values in emails if email.endswith("@warehouse.test")}


def written(project: Emulator) -> int:
    asked: dict[str, int] = project.stats()["by_request"]
    return asked.get("POST /users", 0)


def noted(location: Location) -> int:
    """How many outcomes the journal of the sync has."""
    pages = location.join("state").join(f"{KILLED}.sync").join("journal")
    return sum(len(msgspec.json.decode(pages.read(name), type=Page).entries) for name in pages.list())


def staged(location: Location) -> int:
    """How many segments the export has left for its next try."""
    return len(location.join("contacts").join("users").list("_staging"))


def test_projects_are_exported_side_by_side(
    airflow: ManyWorkers, projects: Projects, s3_location: Location
) -> None:
    for project in projects.values():
        project.service.latency = 15
    with Worker.started(airflow, "a"), Worker.started(airflow, "b"):
        airflow.unpause(PROJECTS)  # it is due, and its six tasks take both workers
        airflow.wait_until(lambda: all(project.stats()["in_flight"] for project in projects.values()))
        for project in projects.values():
            project.service.latency = 0
        airflow.wait_until(lambda: airflow.ended(PROJECTS))
    airflow.pause(PROJECTS)  # or it is due again where another test counts its tasks
    assert airflow.last_run(PROJECTS) == [
        (f"export_{contact_type}", "success", 1) for contact_type in ("leads", "users") for _ in projects
    ]
    for name, project in projects.items():
        for contact_type in ("users", "leads"):
            there = exported(s3_location.join("contacts").join(name), contact_type)
            assert there == project.store.versions(contact_type)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_when_a_worker_is_killed_another_goes_on(
    airflow: ManyWorkers, projects: Projects, customers: Database, s3_location: Location
) -> None:
    eu, us = projects["eu"], projects["us"]
    with Worker.started(airflow, "a") as first, half_done(airflow, eu, us, s3_location):
        first.signal(signal.SIGKILL)
    airflow.wait_until(lambda: not eu.stats()["in_flight"] and not us.stats()["in_flight"])
    eu.service.stats.reset()
    airflow.take_for_dead()
    with Worker.started(airflow, "b"):
        airflow.wait_until(lambda: airflow.ended(KILLED))

    assert_tried_again(airflow)
    assert exported(s3_location.join("contacts")) == eu.store.versions("users")
    assert eu.stats()["requests"] < USERS / 100 * 0.8  # from the start it would be more than one a page
    synced = airflow.results(KILLED)["sync"]
    assert synced["sent"] + synced["unchanged"] == synced["rows_read"] == ROWS
    assert synced["unchanged"] >= BATCHES_SENT * BATCH
    assert seats(us) == {f"c{n}@warehouse.test": n for n in range(ROWS)}
    # What was answered but not noted when the worker died is sent twice, and no more than that.
    assert us.stats()["contacts_accepted"] <= ROWS + 2 * CONCURRENCY * BATCH


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_worker_that_stood_still_does_no_harm(
    airflow: ManyWorkers, projects: Projects, customers: Database, s3_location: Location
) -> None:
    eu, us = projects["eu"], projects["us"]
    with Worker.started(airflow, "a") as first:
        with half_done(airflow, eu, us, s3_location):
            first.signal(signal.SIGSTOP)
        airflow.wait_until(lambda: not eu.stats()["in_flight"] and not us.stats()["in_flight"])
        customers.execute("update customers set seats = seats + 10000")
        # Not deletions: a contact that the first try had read before it was deleted stays in this export.
        eu.store.churn(50, {"update": 3, "create": 1})
        airflow.take_for_dead()
        with Worker.started(airflow, "b"):
            airflow.wait_until(lambda: airflow.ended(KILLED))
            before = set(s3_location.list())
            first.signal(signal.SIGCONT)
            airflow.wait_until(first.is_idle)

    assert_tried_again(airflow)
    assert exported(s3_location.join("contacts")) == eu.store.versions("users")
    assert seats(us) == {f"c{n}@warehouse.test": n + 10_000 for n in range(ROWS)}
    after = set(s3_location.list())
    assert before <= after
    # It may leave what it had read or heard, and how it ended; never a commit, a part of a table or a ledger.
    assert {Path(name).parts[2] for name in after - before} <= {"_staging", "journal", "rejects", "runs"}


@contextmanager
def half_done(airflow: ManyWorkers, eu: Emulator, us: Emulator, s3_location: Location) -> Iterator[None]:
    """Start an export of one project and a sync to another, and hold both in the middle."""
    eu.service.latency = us.service.latency = 0.0
    airflow.unpause(KILLED)
    with (
        held_from(eu, "GET /users/list", PAGES_READ + 1),
        held_from(us, "POST /users", BATCHES_SENT + 1),
    ):
        airflow.api.trigger(KILLED)
        # What was answered is also kept: all but the pages that do not fill a segment yet.
        airflow.wait_until(lambda: staged(s3_location) >= PAGES_READ * 100 // SEGMENT - 1)
        airflow.wait_until(lambda: noted(s3_location) >= BATCHES_SENT * BATCH)
        assert written(us) < ROWS / BATCH
        yield


def assert_tried_again(airflow: ManyWorkers) -> None:
    tasks = airflow.last_run(KILLED)
    assert [(task, state) for task, state, _ in tasks] == [("export", "success"), ("sync", "success")]
    assert all(tries > 1 for *_, tries in tasks), tasks
