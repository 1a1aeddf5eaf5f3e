"""Values that Airflow's pages do not show."""

from __future__ import annotations

from typing import Any


class Unshown:
    """Holds the rendered value of a template field; as text, which is what Airflow stores and shows, it is no
    value at all.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "(not shown)"


def shown(value: Any) -> Any:
    """Give the value itself."""
    return value.value if isinstance(value, Unshown) else value
