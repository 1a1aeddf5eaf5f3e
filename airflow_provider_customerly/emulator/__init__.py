"""A local Customerly to develop and test DAGs without an account. It only listens on loopback."""

from airflow_provider_customerly.emulator.choices import Choices
from airflow_provider_customerly.emulator.server import Emulator
from airflow_provider_customerly.emulator.store import Store

__all__ = ["Choices", "Emulator", "Store"]
