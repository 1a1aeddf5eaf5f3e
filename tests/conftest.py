import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
import tenacity
from hypothesis import HealthCheck, settings

# Read by Airflow at its first import: nothing of a developer's own Airflow may be seen or touched, nor
# that of another process that runs tests.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="airflow-home-")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"

# How long an example takes, or its making, says nothing on a busy machine. Each run has the same examples, so
# that one which fails does so for everybody, and not for whoever happens to draw it.
settings.register_profile(
    "certain", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("certain")

NEEDS_SERVICE = "needs service"

pytest_plugins = ["databases", "emulators", "places"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """In CI every service is there: a test that skips for want of one has failed."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if reason.removeprefix("Skipped: ").startswith(NEEDS_SERVICE):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}: {reason} (a skip like this fails the run when CI is set)"
    return report


@pytest.fixture
def no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a client's tries follow each other at once."""
    from airflow_provider_customerly.client import call

    monkeypatch.setattr(call, "_backoff", tenacity.wait_none())


@pytest.fixture
def empty_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the looks at an empty list follow each other at once."""
    from airflow_provider_customerly.reading import list_end

    monkeypatch.setattr(list_end, "_PAUSE", 0)
