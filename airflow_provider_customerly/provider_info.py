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
        "description": (
            "Exports `Customerly <https://www.customerly.io/>`__ contacts to Parquet, with proof that none "
            "was skipped, and syncs warehouse rows back to them."
        ),
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "external-doc-url": "https://www.customerly.io/",
                "logo": "/customerly/icon.svg",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_customerly.hooks.customerly"],
            }
        ],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": ["airflow_provider_customerly.operators.contacts"],
            }
        ],
        "transfers": [
            {
                "source-integration-name": _INTEGRATION,
                "target-integration-name": "Parquet",
                "python-module": "airflow_provider_customerly.transfers.customerly_to_parquet",
            },
            {
                "source-integration-name": _INTEGRATION,
                "target-integration-name": "Parquet",
                "python-module": "airflow_provider_customerly.transfers.customerly_stream_to_parquet",
            },
            {
                "source-integration-name": "Common SQL",
                "target-integration-name": _INTEGRATION,
                "python-module": "airflow_provider_customerly.transfers.sql_to_customerly",
            },
        ],
        "extra-links": ["airflow_provider_customerly.operators.run_link.CustomerlyRunLink"],
        "plugins": [
            {
                "name": "customerly",
                "plugin-class": "airflow_provider_customerly.plugin.run_page.CustomerlyPlugin",
            }
        ],
        # Assets such as customerly://users: names of our own, which Airflow takes as they are.
        "asset-uris": [{"schemes": ["customerly"], "handler": None}],
        "config": {
            "customerly": {
                "description": "The run page of Customerly tasks.",
                "options": {
                    "run_tab": {
                        "description": "Also show the run page as a tab of each task instance. Airflow "
                        "shows such a tab on every task of the installation, whoever's it is.",
                        "version_added": "0.3.0",
                        "type": "boolean",
                        "example": "True",
                        "default": "False",
                    }
                },
            }
        },
        "cli": ["airflow_provider_customerly.cli.definition.get_customerly_cli_commands"],
        "connection-types": [
            {
                "connection-type": "customerly",
                "hook-class-name": "airflow_provider_customerly.hooks.customerly.CustomerlyHook",
                "hook-name": "Customerly",
                "conn-fields": _CONNECTION_FIELDS,
                "ui-field-behaviour": {
                    # Airflow 3.3.1 and 3.3.2 refuse to test a saved connection that has no port, so the form
                    # asks for one. The hook takes https with port 443 for https.
                    "hidden-fields": ["schema", "login"],
                    "relabeling": {"password": "Access token", "host": "Base URL"},
                    "placeholders": {
                        "password": "In Customerly: Project Settings > Installation > Public API",
                        "host": "Leave empty for https://api.customerly.io/v1",
                        "port": "443 makes the Test button work for a saved connection",
                    },
                },
            }
        ],
    }


# The form stores a field's default in every connection saved with it, so the defaults stay in the client
# and only the descriptions mention them, as well as the ranges, which the form does not show.
_CONNECTION_FIELDS: dict[str, Any] = {
    "requests_per_second": {
        "label": "Requests per second",
        "description": "Most requests that one task sends in a second. Default: no limit.",
        "schema": {"type": ["number", "null"], "minimum": 0.01, "maximum": 1000},
    },
    "max_concurrency": {
        "label": "Concurrent requests",
        "description": "Most requests that one task sends at once, 1 to 64. Default 4. "
        "Fewer are sent while Customerly is slow or refuses them.",
        "schema": {"type": ["integer", "null"], "minimum": 1, "maximum": 64},
    },
    "page_size": {
        "label": "Page size",
        "description": "Contacts asked for in one request, 20 to 100. Default 100.",
        "schema": {"type": ["integer", "null"], "minimum": 20, "maximum": 100},
    },
    "timeout": {
        "label": "Timeout (seconds)",
        "description": "How long one answer may take, 1 to 600. Default 30.",
        "schema": {"type": ["number", "null"], "minimum": 1, "maximum": 600},
    },
    "retry_budget": {
        "label": "Retry budget (seconds)",
        "description": "How long a task waits for the end of an outage before it fails and Airflow's own "
        "retries take over, 0 to 3600. Default 120.",
        "schema": {"type": ["number", "null"], "minimum": 0, "maximum": 3600},
    },
    "hash_secret": {
        "label": "Secret for hashed columns",
        "description": "Needed by exports with hash_columns, used by records of erasures: any long random "
        "text, mixed into the hashes so that known emails cannot be looked up. A new secret changes every "
        "hash.",
        "schema": {"type": ["string", "null"], "format": "password"},
    },
    "auth_header": {
        "label": "Authorization header",
        "description": "How the token is sent. Default: bearer. legacy is Customerly's older header, "
        "'Authentication: AccessToken'.",
        "schema": {"type": ["string", "null"], "enum": ["bearer", "legacy"]},
    },
    "allow_insecure_http": {
        "label": "Allow http://",
        "description": "Default: off. On, the token may travel unencrypted to a host other than this "
        "machine.",
        "schema": {"type": ["boolean", "null"]},
    },
}
