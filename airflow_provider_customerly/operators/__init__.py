"""Airflow operators that act on Customerly alone."""
