"""A local Customerly: develop and test DAGs with no account. It listens on loopback only."""

from airflow_provider_customerly.emulator.choices import Choices
from airflow_provider_customerly.emulator.server import Emulator
from airflow_provider_customerly.emulator.store import Store

__all__ = ["Choices", "Emulator", "Store"]
