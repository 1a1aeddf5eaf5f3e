"""Sync warehouse rows to contacts: send what changed, and record the outcome of every row."""

from airflow_provider_customerly.sync.guards import SyncGuardError
from airflow_provider_customerly.sync.options import Limit, Options
from airflow_provider_customerly.sync.prepare import Source
from airflow_provider_customerly.sync.records import RunRecord
from airflow_provider_customerly.sync.rejects import Reject
from airflow_provider_customerly.sync.result import SyncRejectsError
from airflow_provider_customerly.sync.run import (
    apply_plan,
    plan_contacts,
    plan_undo,
    sync_contacts,
    undo_contacts,
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
    "plan_undo",
    "sync_contacts",
    "undo_contacts",
]
