"""A Python client for the Customerly REST API, with typed errors, retries and pacing."""

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

__all__ = [
    "CONTACT_TYPES",
    "Client",
    "ContactType",
    "CustomerlyAuthError",
    "CustomerlyError",
    "CustomerlyNotFound",
    "CustomerlyProtocolError",
    "CustomerlyRateLimited",
    "CustomerlyRequestError",
    "CustomerlyUnavailable",
]
