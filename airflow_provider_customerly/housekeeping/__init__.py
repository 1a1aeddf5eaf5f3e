"""Inspect, verify and remove the files of exports and syncs."""

from airflow_provider_customerly.housekeeping.reset import Removal
from airflow_provider_customerly.housekeeping.rows import find_plan, find_rejects
from airflow_provider_customerly.housekeeping.runs import NEWEST, Run, list_runs
from airflow_provider_customerly.housekeeping.survey import Survey, survey
from airflow_provider_customerly.housekeeping.verify import Verification, verify

__all__ = [
    "NEWEST",
    "Removal",
    "Run",
    "Survey",
    "Verification",
    "find_plan",
    "find_rejects",
    "list_runs",
    "survey",
    "verify",
]
