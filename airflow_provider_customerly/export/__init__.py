"""Contacts to typed Parquet datasets, committed in one step."""

from airflow_provider_customerly.export.read import read_contacts
from airflow_provider_customerly.export.schema import contact_schema
from airflow_provider_customerly.export.snapshot import ExportGuardError, UnprovenError, export_snapshot

__all__ = [
    "ExportGuardError",
    "UnprovenError",
    "contact_schema",
    "export_snapshot",
    "read_contacts",
]
