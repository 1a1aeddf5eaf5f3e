import json
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import airflow
import jsonschema
import msgspec
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Asset

from airflow_provider_customerly.hooks.connection import Extra
from airflow_provider_customerly.provider_info import get_provider_info

AIRFLOW = Path(airflow.__file__).parent
CONNECTION_TYPE = get_provider_info()["connection-types"][0]


def form_at_api() -> dict[str, Any]:
    """What `GET /ui/connections/hook_meta` tells the browser about our connection type."""
    if not hasattr(ProvidersManager, "iter_connection_type_hook_ui_metadata"):
        pytest.skip("this Airflow does not build the form from the provider's metadata")
    from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService

    forms = HookMetaService.hook_meta_data()
    form = next(form for form in forms if form.connection_type == "customerly")
    content: dict[str, Any] = json.loads(form.model_dump_json(by_alias=True))
    return content


def test_matches_airflows_schema() -> None:
    jsonschema.validate(get_provider_info(), json.loads((AIRFLOW / "provider_info.schema.json").read_text()))


def test_entry_point_finds_it() -> None:
    found = [
        point.load()()
        for point in entry_points(group="apache_airflow_provider")
        if point.value.startswith("airflow_provider_customerly.")
    ]
    assert found == [get_provider_info()]


def test_every_name_in_it_can_be_imported() -> None:
    info = get_provider_info()
    for module in [m for kind in ("hooks", "operators") for one in info[kind] for m in one["python-modules"]]:
        import_module(module)
    for transfer in info["transfers"]:
        import_module(transfer["python-module"])
    for dotted in (
        *info["extra-links"],
        *info["cli"],
        *(plugin["plugin-class"] for plugin in info["plugins"]),
    ):
        module, _, name = dotted.rpartition(".")
        assert hasattr(import_module(module), name)
    module, _, name = CONNECTION_TYPE["hook-class-name"].rpartition(".")
    assert getattr(import_module(module), name).conn_type == "customerly"


def test_airflow_finds_the_links_and_takes_our_assets_as_they_are() -> None:
    manager = ProvidersManager()
    [link] = get_provider_info()["extra-links"]
    assert link in manager.extra_links_class_names
    assert "customerly" in manager.asset_uri_handlers
    # As Airflow takes the schemes that nobody has registered: a slash follows a host without a path.
    assert Asset(name="customerly_users", uri="customerly://users").uri == "customerly://users/"


def test_form_and_hook_know_the_same_fields() -> None:
    assert set(CONNECTION_TYPE["conn-fields"]) == set(Extra.__struct_fields__)


@pytest.mark.parametrize("name", Extra.__struct_fields__)
def test_form_and_hook_accept_the_same_values(name: str) -> None:
    """At and just beyond the form's limits: what the browser lets through, the hook takes, and no more."""
    schema = CONNECTION_TYPE["conn-fields"][name]["schema"]
    inside = schema.get("enum", []) + [schema[bound] for bound in ("minimum", "maximum") if bound in schema]
    outside = ["surely not this"] if "enum" in schema else []
    if "minimum" in schema:
        outside = [schema["minimum"] - 1, schema["maximum"] + 1]
    for value in inside:
        assert getattr(msgspec.convert({name: value}, Extra), name) == value
    for value in outside:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({name: value}, Extra)


def test_form_shown_by_airflow() -> None:
    form = form_at_api()
    assert form["hook_name"] == "Customerly"
    assert form["standard_fields"]["password"]["title"] == "Access token"
    assert form["standard_fields"]["host"]["title"] == "Base URL"
    assert all(form["standard_fields"][name]["hidden"] for name in ("url_schema", "login"))
    assert "443" in form["standard_fields"]["port"]["placeholder"]
    assert form["extra_fields"]["page_size"]["schema"] == {
        "type": ["integer", "null"],
        "minimum": 20,
        "maximum": 100,
        "title": "Page size",
    }
    # A value here would be stored with every connection that is saved, needed or not.
    assert {field["value"] for field in form["extra_fields"].values()} == {None}
    assert form["extra_fields"]["hash_secret"]["schema"]["format"] == "password"
