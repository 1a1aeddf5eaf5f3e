"""Warehouse rows to contacts: what changed is sent, and what became of every row is known."""

from airflow_provider_customerly.sync.guards import Limit, SyncGuardError
from airflow_provider_customerly.sync.options import Options
from airflow_provider_customerly.sync.prepare import Source
from airflow_provider_customerly.sync.record import RunRecord
from airflow_provider_customerly.sync.rejects import Reject
from airflow_provider_customerly.sync.run import (
    SyncRejectsError,
    apply_plan,
    plan_contacts,
    sync_contacts,
)

__all__ = [
    "Limit",
    "Options",
    "Reject",
    "RunRecord",
    "Source",
    "SyncGuardError",
    "SyncRejectsError",
    "apply_plan",
    "plan_contacts",
    "sync_contacts",
]
