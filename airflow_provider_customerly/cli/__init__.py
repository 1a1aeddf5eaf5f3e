"""What this package adds to the ``airflow`` command."""
