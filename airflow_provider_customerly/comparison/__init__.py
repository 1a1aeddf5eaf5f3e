"""Look up what Customerly held at the newest export, and compare it with warehouse values."""

from airflow_provider_customerly.comparison.held import Contact, HeldContacts
from airflow_provider_customerly.comparison.newest import Export, find_export
from airflow_provider_customerly.comparison.sameness import UNKNOWN, is_empty, is_same, readings

__all__ = [
    "UNKNOWN",
    "Contact",
    "Export",
    "HeldContacts",
    "find_export",
    "is_empty",
    "is_same",
    "readings",
]
