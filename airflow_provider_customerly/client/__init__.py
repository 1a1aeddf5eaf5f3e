"""The Customerly REST API as Python: typed failures, retries, pacing, and lists read without loss."""

from airflow_provider_customerly.client.certificate import Certificate
from airflow_provider_customerly.client.client import Client
from airflow_provider_customerly.client.endpoints import CONTACT_TYPES, ContactType
from airflow_provider_customerly.client.errors import (
    CustomerlyAuthError,
    CustomerlyError,
    CustomerlyNotFound,
    CustomerlyProtocolError,
    CustomerlyRateLimited,
    CustomerlyRequestError,
    CustomerlyUnavailable,
)
from airflow_provider_customerly.client.reading import Reading

__all__ = [
    "CONTACT_TYPES",
    "Certificate",
    "Client",
    "ContactType",
    "CustomerlyAuthError",
    "CustomerlyError",
    "CustomerlyNotFound",
    "CustomerlyProtocolError",
    "CustomerlyRateLimited",
    "CustomerlyRequestError",
    "CustomerlyUnavailable",
    "Reading",
]
