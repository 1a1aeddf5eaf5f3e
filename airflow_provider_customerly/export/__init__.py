"""Contacts to typed Parquet datasets, committed in one step."""

from airflow_provider_customerly.export.contacts import export_contacts, export_snapshot
from airflow_provider_customerly.export.differences import changes
from airflow_provider_customerly.export.guards import ExportGuardError, UnprovenError
from airflow_provider_customerly.export.options import ExportOptions
from airflow_provider_customerly.export.read import read_contacts, read_deletions
from airflow_provider_customerly.export.schema import contact_schema
from airflow_provider_customerly.export.streams import export_stream, read_stream

__all__ = [
    "ExportGuardError",
    "ExportOptions",
    "UnprovenError",
    "changes",
    "contact_schema",
    "export_contacts",
    "export_snapshot",
    "export_stream",
    "read_contacts",
    "read_deletions",
    "read_stream",
]
