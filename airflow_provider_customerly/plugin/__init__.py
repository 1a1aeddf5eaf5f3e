"""The run page in Airflow's UI: a plugin that serves static files and nothing else.

Airflow loads plugins in each of its processes, so this package imports little, and none of the others.
"""
