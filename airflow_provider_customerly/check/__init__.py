"""Check in a few read-only requests whether an account behaves as this package assumes."""

from airflow_provider_customerly.check.findings import Finding
from airflow_provider_customerly.check.report import Report, run_check

__all__ = ["Finding", "Report", "run_check"]
