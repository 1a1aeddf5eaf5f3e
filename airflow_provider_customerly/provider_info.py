"""What this package tells Airflow about itself: its connection type and form, hooks and operators.

Airflow reads this module while its own configuration loads, so nothing of Airflow is imported here.
"""

from __future__ import annotations

from typing import Any

_INTEGRATION = "Customerly"


def get_provider_info() -> dict[str, Any]:
    """Return the provider metadata; the entry point ``apache_airflow_provider`` names this function."""
    return {
        "package-name": "airflow-provider-customerly",
        "name": _INTEGRATION,
        "description": "Lossless exports of `Customerly <https://www.customerly.io/>`__ contacts to Parquet.",
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://www.customerly.io/",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_customerly.hooks.customerly"],
            }
        ],
        "transfers": [
            {
                "source-integration-name": _INTEGRATION,
                "target-integration-name": "Parquet",
                "python-module": "airflow_provider_customerly.transfers.customerly_to_parquet",
            }
        ],
        "connection-types": [
            {
                "connection-type": "customerly",
                "hook-class-name": "airflow_provider_customerly.hooks.customerly.CustomerlyHook",
                "hook-name": "Customerly",
                "conn-fields": _CONNECTION_FIELDS,
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "port", "login"],
                    "relabeling": {"password": "Access token", "host": "Base URL"},
                    "placeholders": {
                        "password": "Project Settings > Installation > Public API",
                        "host": "https://api.customerly.io/v1",
                    },
                },
            }
        ],
    }


# The form stores a field's default in every connection saved with it, so the defaults stay in the client
# and are only told in the descriptions.
_CONNECTION_FIELDS: dict[str, Any] = {
    "auth_header": {
        "label": "Authorization header",
        "description": "bearer (default): 'Authorization: Bearer'. legacy: 'Authentication: AccessToken:'.",
        "schema": {"type": ["string", "null"], "enum": ["bearer", "legacy"]},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "How long one answer may take. Default 30.",
        "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
    },
    "requests_per_second": {
        "label": "Requests per second",
        "description": "An upper limit shared by all threads of one task. Default: no limit.",
        "schema": {"type": ["number", "null"], "minimum": 0.01, "maximum": 1000},
    },
    "max_concurrency": {
        "label": "Concurrent requests",
        "description": "Most requests in flight at once. Default 4; 16 where the account allows it.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 64},
    },
    "page_size": {
        "label": "Page size",
        "description": "Contacts asked for in one request. Default 100, the most that is known to work.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 100},
    },
    "retry_budget": {
        "label": "Retry budget (seconds)",
        "description": "How long an outage may last before the task's try fails. Default 120.",
        "schema": {"type": ["number", "null"], "minimum": 0, "maximum": 3600},
    },
    "allow_insecure_http": {
        "label": "Allow http://",
        "description": "Send the token unencrypted to a host other than this machine.",
        "schema": {"type": ["boolean", "null"]},
    },
    "hash_secret": {
        "label": "Secret for hashed columns",
        "description": "Mixed into hash_columns, so that hashes of known emails cannot be looked up.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
}
