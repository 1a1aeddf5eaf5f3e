"""Compare the newest export with a warehouse, row by row and field by field."""

from airflow_provider_customerly.reconcile.options import ReconcileOptions
from airflow_provider_customerly.reconcile.run import ReconcileLimitError, reconcile

__all__ = ["ReconcileLimitError", "ReconcileOptions", "reconcile"]
