"""Export contacts to typed Parquet tables with atomic commits."""

from airflow_provider_customerly.export.changes import changes
from airflow_provider_customerly.export.columns import contact_schema
from airflow_provider_customerly.export.delta import DeltaError
from airflow_provider_customerly.export.guards import ExportGuardError, UnprovenError
from airflow_provider_customerly.export.options import ExportOptions
from airflow_provider_customerly.export.read import read_contacts, read_deletions
from airflow_provider_customerly.export.run import export_contacts, export_snapshot
from airflow_provider_customerly.export.streams import export_stream, read_stream

__all__ = [
    "DeltaError",
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
