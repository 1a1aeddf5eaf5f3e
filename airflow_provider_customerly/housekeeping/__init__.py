"""Looking after what exports and syncs leave behind: what is there, whether it is intact, and removing it."""

from airflow_provider_customerly.housekeeping.reset import Removal
from airflow_provider_customerly.housekeeping.survey import Survey, survey
from airflow_provider_customerly.housekeeping.verify import Verification, verify

__all__ = ["Removal", "Survey", "Verification", "survey", "verify"]
