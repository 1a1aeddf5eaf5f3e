"""The example DAGs one after the other, as the nights go by: export, scores made of it, and two syncs."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from airflow_process import Airflow, connection
from databases import Database
from warehouse_customers import CUSTOMERS, add_customers, page_of_users, warehouse_connection

from airflow_provider_customerly.emulator import Emulator

EXPORT, SCORES, SYNC = "customerly_nightly_export", "customerly_nightly_scores", "customerly_contacts_sync"
UNDELIVERED = 2

pytestmark = [pytest.mark.slow, pytest.mark.emulator(users=430, leads=60, token="tok-4f1c77d2e9")]


class Nights:
    """An Airflow with a Customerly, a warehouse with customers, and the folders of the example DAGs."""

    def __init__(self, airflow: Airflow, emulator: Emulator, database: Database, folder: Path) -> None:
        self.airflow, self.emulator, self.database = airflow, emulator, database
        self.state = folder / "state"
        self._environment = {
            "AIRFLOW_VAR_CUSTOMERLY_STATE_PATH": str(self.state),
            **connection(emulator),
            **warehouse_connection(database),
        }
        add_customers(database, emulator)

    def run(self, dag_id: str, **params: object) -> dict[str, Any]:
        """Run a DAG to its good end; give what its tasks returned."""
        conf = json.dumps(params)
        run = self.airflow.run("dags", "test", dag_id, "--conf", conf, **self._environment)
        assert run.returncode == 0, run.stdout
        assert {(state, tries) for _, state, tries in self.airflow.states(dag_id)} == {("success", 1)}
        return self.airflow.results(dag_id)

    def user(self, email: str) -> dict[str, Any]:
        store = self.emulator.store
        contact_id = store.find("users", email=email)
        assert contact_id is not None
        user = store.details("users", contact_id)
        assert user is not None
        return user

    def written(self) -> int:
        written: int = self.emulator.stats()["contacts_accepted"]
        return written


@pytest.fixture
def nights(airflow: Airflow, emulator: Emulator, database: Database, tmp_path: Path) -> Nights:
    return Nights(airflow, emulator, database, tmp_path)


def check_first_night(nights: Nights) -> None:
    """Run all three DAGs, and hold Customerly, the warehouse and Airflow against each other."""
    known = next(user for user in page_of_users(nights.emulator) if user.get("user_id"))
    nights.run(EXPORT)
    scores = nights.run(SCORES)
    for contact_type in ("users", "leads"):
        in_warehouse = nights.database.query(f"select count(*) from customerly_{contact_type}_scores")
        synced = scores[f"sync_{contact_type}_scores"]
        assert in_warehouse == [(scores[f"build_{contact_type}_scores"],)]
        assert in_warehouse == [(synced["sent"],)] == [(synced["rows_read"],)]
        assert synced["sent"] > 10
    for email, score, level in nights.database.query("select * from customerly_users_scores"):
        attributes = nights.user(email)["attributes"]
        assert (attributes["engagement_score"], attributes["engagement_level"]) == (score, level)

    synced = nights.run(SYNC)["sync_customers"]
    assert (synced["rows_read"], synced["sent"]) == (CUSTOMERS, CUSTOMERS - UNDELIVERED)
    assert (synced["invalid"], synced["refused"], synced["outcome"]) == (1, 1, "success")
    [(email, name)] = nights.database.query("select email, name from customers where customer_id = 'c-100'")
    arrived = nights.user(email)
    assert (arrived["user_id"], arrived["name"], arrived["user_tags"]) == ("c-100", name, ["warehouse"])
    assert arrived["attributes"] == {"plan": "team", "seats": 21}
    merged = nights.user(known["email"])
    assert merged["crmhero_user_id"] == known["crmhero_user_id"]
    expected = {**known["attributes"], "plan": "team", "seats": 1}
    assert merged["attributes"].items() >= expected.items()
    rejects = pq.read_table(nights.state / f"{SYNC}.sync_customers" / synced["rejects"]).to_pylist()
    assert sorted((reject["row"], reject["reason"]) for reject in rejects) == [
        (201, "malformed_email"),
        (202, "refused"),
    ]

    events = nights.airflow.asset_events()
    exported = {"export_users": 430, "export_leads": 60}
    assert {task: extra["rows"] for task, extra in events[:2]} == exported
    assert events[2:] == [("sync_customers", synced)]


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_a_night_on_postgres(nights: Nights) -> None:
    check_first_night(nights)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_three_nights(nights: Nights) -> None:
    check_first_night(nights)

    before = nights.written()
    scores = nights.run(SCORES)
    for contact_type in ("users", "leads"):
        synced = scores[f"sync_{contact_type}_scores"]
        assert (synced["sent"], synced["unchanged"]) == (0, synced["rows_read"])
        assert synced["unchanged"] == scores[f"build_{contact_type}_scores"]
    synced = nights.run(SYNC)["sync_customers"]
    assert (synced["sent"], synced["unchanged"]) == (0, CUSTOMERS - UNDELIVERED)
    assert (synced["invalid"], synced["refused"]) == (1, 1)
    assert nights.written() == before

    nights.database.execute("update customers set plan = 'business' where customer_id like 'c-10_'")
    synced = nights.run(SYNC)["sync_customers"]
    assert (synced["sent"], synced["changed"]) == (10, 10)
    assert synced["unchanged"] == CUSTOMERS - UNDELIVERED - 10
    assert nights.written() == before + 10
    assert nights.user("customer107@warehouse.test")["attributes"]["plan"] == "business"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_a_person_chooses_for_one_run(nights: Nights) -> None:
    plan = nights.run(SYNC, dry_run=True)["sync_customers"]["plan"]
    assert nights.written() == 0
    assert nights.airflow.asset_events() == []
    assert pq.read_table(nights.state / f"{SYNC}.sync_customers" / plan).num_rows >= CUSTOMERS

    delivered = CUSTOMERS - UNDELIVERED
    assert nights.run(SYNC, plan_path=plan)["sync_customers"]["sent"] == delivered
    before = nights.emulator.stats()["contacts_rejected"]
    again = nights.run(SYNC, retry_rejects=True)["sync_customers"]
    assert (again["sent"], again["refused"], again["unchanged"]) == (0, 1, delivered)
    assert nights.emulator.stats()["contacts_rejected"] > before
    assert nights.run(SYNC, full_resync=True)["sync_customers"]["sent"] == delivered

    nights.database.execute("delete from customers where customer_id like 'c-1%'")
    fewer = nights.run(SYNC, max_vanished="1.0")["sync_customers"]
    assert fewer["vanished"] > CUSTOMERS * 0.1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_export_with_a_looser_guard_for_one_run(nights: Nights) -> None:
    assert nights.run("customerly_contacts_export")["export_users"]["rows"] == 430
    store = nights.emulator.store
    for contact_id in list(store.versions("users"))[100:]:
        store.delete("users", contact_id)
    assert nights.run("customerly_contacts_export", max_shrink=1)["export_users"]["rows"] == 100
