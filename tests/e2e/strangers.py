"""An auth manager that lets one user see no DAG: Airflow's simple one has the same roles for all DAGs."""

from typing import Any

from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

STRANGER = "stranger"


class StrangerAuthManager(SimpleAuthManager):
    def is_authorized_dag(self, *, user: Any, **arguments: Any) -> bool:
        return user.username != STRANGER and super().is_authorized_dag(user=user, **arguments)
