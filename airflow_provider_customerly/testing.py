"""The pytest fixture ``customerly_emulator``: a local Customerly for tests of your own DAGs.

Pytest imports this module in every run of everyone who has the package installed, so it imports nothing else
until a test uses the fixture.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from airflow_provider_customerly.emulator import Emulator

REFUSED_EMAIL = "refused@customerly.test"
"""What ``refused_rows`` refuses unless the mark says otherwise."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """What a test's Customerly is like."""

    meaning: str
    emulator: dict[str, Any]
    """Parameters of :class:`~airflow_provider_customerly.emulator.Emulator`."""
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Extra fields of the connection."""


SCENARIOS = {
    "quiet": Scenario("Nothing happens by itself. The default.", {"users": 50, "leads": 10}),
    "moving_list": Scenario(
        "Contacts are created, updated and deleted while the list is read, two in three requests.",
        {"users": 400, "leads": 40, "churn_per_request": 0.66},
    ),
    "outage": Scenario(
        "Every request is answered with 503, until customerly_emulator.faults.clear(). The connection's "
        "retry_budget is 0, so a task fails at once.",
        {"users": 50, "leads": 10, "faults": {"down": 1.0}},
        {"retry_budget": 0},
    ),
    "refused_rows": Scenario(
        f"Rows with the email {REFUSED_EMAIL}, or with one of the mark's refuse=[...], are refused with "
        "status 200, as Customerly does it. The other rows of a batch are stored.",
        {"users": 50, "leads": 10},
    ),
    "bulk_import": Scenario(
        "250 users and 250 leads share one last_update: more than fit on a page. Each request gets them in "
        "another order.",
        {"users": 600, "leads": 300, "tie_group": 250, "shuffle_ties": True},
    ),
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line(
        "markers",
        "customerly(scenario='quiet', *, conn_id='customerly_default', extra={}, refuse=[], **emulator): "
        f"configure the fixture customerly_emulator; scenarios: {', '.join(SCENARIOS)}",
    )


@pytest.fixture
def customerly_emulator(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """Run a local Customerly, and define the Airflow connection ``customerly_default`` to it.

    ``@pytest.mark.customerly(...)`` takes a scenario, another ``conn_id``, fields of the connection's
    ``extra``, and any parameter of ``Emulator``, such as ``users=500``.
    """
    try:
        from airflow_provider_customerly.emulator import Choices, Emulator
    except ModuleNotFoundError as missing:
        pytest.fail(
            f"The fixture customerly_emulator needs {missing.name}. Install the extra: "
            "pip install 'airflow-provider-customerly[emulator]'",
            pytrace=False,
        )
    mark = request.node.get_closest_marker("customerly")
    scenario, options = _read(mark) if mark else ("quiet", {})
    chosen = SCENARIOS[scenario]
    conn_id = options.pop("conn_id", "customerly_default")
    extra = {**chosen.extra, **(options.pop("extra", None) or {})}
    if scenario == "refused_rows":
        refused: Collection[str] = options.pop("refuse", [REFUSED_EMAIL])
        if isinstance(refused, str):
            pytest.fail("@pytest.mark.customerly: refuse takes a list of emails.", pytrace=False)
        emails = frozenset(email.lower() for email in refused)
        choices = dataclasses.replace(options.pop("choices", Choices()), reject_emails=emails)
        options["choices"] = choices
    try:
        emulator = Emulator(**{**chosen.emulator, **options})
    except (TypeError, ValueError) as error:
        pytest.fail(f"@pytest.mark.customerly: {error}", pytrace=False)
    with emulator:
        connection = {**json.loads(emulator.airflow_connection), "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        yield emulator


def _read(mark: pytest.Mark) -> tuple[str, dict[str, Any]]:
    options = dict(mark.kwargs)
    if len(mark.args) > 1 or (mark.args and "scenario" in options):
        pytest.fail(
            "@pytest.mark.customerly takes one scenario. Pass other options by keyword.", pytrace=False
        )
    scenario = options.pop("scenario", mark.args[0] if mark.args else "quiet")
    if scenario not in SCENARIOS:
        known = ", ".join(SCENARIOS)
        pytest.fail(
            f"@pytest.mark.customerly: there is no scenario {scenario!r}. Choose one of: {known}.",
            pytrace=False,
        )
    return scenario, options
