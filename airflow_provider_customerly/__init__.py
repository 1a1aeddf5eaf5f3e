"""Apache Airflow provider for Customerly: contacts to typed Parquet, warehouse rows to contacts."""

__version__ = "0.3.0"
