"""Compares an account with what this package takes for true of the API: a few requests, all of them reads."""

from airflow_provider_customerly.check.findings import Finding
from airflow_provider_customerly.check.report import Report, run_check

__all__ = ["Finding", "Report", "run_check"]
