"""How long each part of an Airflow waits for another that has locked their SQLite database."""

import sys

LOCKED = 120
"""Seconds, as many as a slow machine may need; the default is 5."""

# Airflow's API server notes in its event loop who asked for what. If another of its threads holds the lock
# then, which must get back to that loop to end its transaction, it waits for itself as long as this lasts.
connect_args = {"timeout": 10 if "api-server" in sys.argv else LOCKED}
