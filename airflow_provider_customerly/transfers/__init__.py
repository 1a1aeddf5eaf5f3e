"""Airflow operators that move data between Customerly and somewhere else."""
