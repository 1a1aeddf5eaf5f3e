"""Read a list that changes while it is read, without missing a contact, and prove it."""

from airflow_provider_customerly.reading.certificate import Certificate
from airflow_provider_customerly.reading.locate import locate
from airflow_provider_customerly.reading.reading import Reading, start_reading

__all__ = ["Certificate", "Reading", "locate", "start_reading"]
