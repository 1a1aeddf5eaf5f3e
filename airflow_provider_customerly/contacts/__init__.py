"""Erase or tag contacts that are listed by email or user_id."""

from airflow_provider_customerly.contacts.erase import Reach, erase_contacts
from airflow_provider_customerly.contacts.errors import RefusedError, StoppedError, UnfinishedError
from airflow_provider_customerly.contacts.named import Named, NamedBy, collect
from airflow_provider_customerly.contacts.tagging import tag_contacts

__all__ = [
    "Named",
    "NamedBy",
    "Reach",
    "RefusedError",
    "StoppedError",
    "UnfinishedError",
    "collect",
    "erase_contacts",
    "tag_contacts",
]
