"""What an Airflow connection means, however it is written."""

import json
from typing import Any

import pytest
from airflow.sdk import BaseHook, Connection

from airflow_provider_customerly.hooks.connection import client_arguments, unknown_extra

PUBLIC = "https://api.customerly.io/v1"


def from_uri(uri: str) -> Connection:
    """The connection that Airflow makes of an environment variable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_CRM", uri)
        return BaseHook.get_connection("crm")


def from_fields(**fields: Any) -> Connection:
    return from_uri(json.dumps({"conn_type": "customerly", "password": "tok-123", **fields}))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (None, PUBLIC),
        ("", PUBLIC),
        ("api.customerly.io", PUBLIC),
        ("api.customerly.io/", PUBLIC),
        ("api.customerly.io/v1", PUBLIC),
        ("https://api.customerly.io", PUBLIC),
        (" https://api.customerly.io/v1/ ", PUBLIC),
        ("https://proxy.example/customerly/v1", "https://proxy.example/customerly/v1"),
        ("https://api.customerly.io/v2", "https://api.customerly.io/v2"),
        ("127.0.0.1:8686", "http://127.0.0.1:8686/v1"),
        ("localhost", "http://localhost/v1"),
        ("127.0.0.2:8686", "http://127.0.0.2:8686/v1"),
        ("[::1]:8686", "http://[::1]:8686/v1"),
        ("https://localhost:8443", "https://localhost:8443/v1"),
        ("https://api.customerly.io:443", PUBLIC),
        ("https://localhost:80", "https://localhost:80/v1"),
        ("http://localhost:80", "http://localhost/v1"),
    ],
)
def test_host(host: str | None, url: str) -> None:
    assert client_arguments(from_fields(host=host)) == {"token": "tok-123", "base_url": url}


@pytest.mark.parametrize("host", [None, "", "api.customerly.io", "https://api.customerly.io/v1"])
def test_port_of_the_scheme_is_no_other_address(host: str | None) -> None:
    assert client_arguments(from_fields(host=host, port=443))["base_url"] == PUBLIC


def test_port_and_path_of_their_own() -> None:
    connection = from_fields(host="crm.example", port=8443, schema="/api/v1/")
    assert client_arguments(connection)["base_url"] == "https://crm.example:8443/api/v1"


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("customerly://:tok%2F%40@", PUBLIC),
        ("customerly://:tok%2F%40@api.customerly.io", PUBLIC),
        ("customerly://:tok%2F%40@api.customerly.io/v1", PUBLIC),
        ("customerly://:tok%2F%40@127.0.0.1:8686", "http://127.0.0.1:8686/v1"),
        ("customerly://:tok%2F%40@127.0.0.1:8686/v1", "http://127.0.0.1:8686/v1"),
        ("customerly://http://:tok%2F%40@crm.example:80/v1", "http://crm.example/v1"),
        ("customerly://:tok%2F%40@http%3A%2F%2F127.0.0.1%3A8686%2Fv1", "http://127.0.0.1:8686/v1"),
    ],
)
def test_uri(uri: str, url: str) -> None:
    assert client_arguments(from_uri(uri)) == {"token": "tok/@", "base_url": url}


@pytest.mark.parametrize(
    "host", ["http://127.0.0.1:8686/v1", "api.customerly.io", "https://api.customerly.io/v1"]
)
def test_uri_that_airflow_makes_of_a_connection_means_the_same(host: str) -> None:
    connection = from_fields(host=host, extra={"page_size": 50, "allow_insecure_http": True})
    assert client_arguments(from_uri(connection.get_uri())) == client_arguments(connection)


EVERY_FIELD = {
    "auth_header": "legacy",
    "timeout": 12.5,
    "requests_per_second": 3.0,
    "max_concurrency": 8,
    "page_size": 50,
    "retry_budget": 60.0,
    "allow_insecure_http": True,
}


@pytest.mark.parametrize("as_text", [False, True])
def test_extra(as_text: bool) -> None:
    extra = {name: str(value) if as_text else value for name, value in EVERY_FIELD.items()}
    assert client_arguments(from_fields(extra=extra)) == {
        "token": "tok-123",
        "base_url": PUBLIC,
        **EVERY_FIELD,
    }


def test_extra_in_a_uri() -> None:
    query = "&".join(f"{name}={value}".lower() for name, value in EVERY_FIELD.items())
    arguments = client_arguments(from_uri(f"customerly://:tok-123@/?{query}"))
    assert arguments == {"token": "tok-123", "base_url": PUBLIC, **EVERY_FIELD}


@pytest.mark.parametrize("empty", [None, ""])
def test_an_emptied_form_field_is_not_set(empty: str | None) -> None:
    extra = dict.fromkeys([*EVERY_FIELD, "hash_secret"], empty)
    assert client_arguments(from_fields(extra=extra)) == {"token": "tok-123", "base_url": PUBLIC}


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"page_size": 101}, "page_size"),
        ({"page_size": 19}, "page_size"),
        ({"page_size": 2.5}, "page_size"),
        ({"page_size": True}, "page_size"),
        ({"max_concurrency": "many"}, "max_concurrency"),
        ({"max_concurrency": 65}, "max_concurrency"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "nan"}, "timeout"),
        ({"timeout": "inf"}, "timeout"),
        ({"requests_per_second": -1}, "requests_per_second"),
        ({"retry_budget": [1]}, "retry_budget"),
        ({"allow_insecure_http": "perhaps"}, "allow_insecure_http"),
        ({"auth_header": "basic"}, "auth_header"),
        ({"auth_header": "Bearer tok-123"}, "auth_header"),
        ([1, 2], "JSON object"),
        ("{page_size: 50}", "JSON object"),
    ],
)
def test_bad_extra_names_the_connection_and_the_field(extra: Any, told: str) -> None:
    connection = Connection(
        conn_id="crm",
        conn_type="customerly",
        password="tok-123",
        extra=extra if isinstance(extra, str) else json.dumps(extra),
    )
    with pytest.raises(ValueError, match=rf"'crm'.*{told}") as error:
        client_arguments(connection)
    assert "tok-123" not in str(error.value)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"password": None}, "no access token"),
        ({"password": "  "}, "no access token"),
        ({"password": "", "login": "hunter2"}, "In a URI it follows a colon"),
        ({"password": "tok-123 tok-123"}, "white space or invalid characters"),
        ({"host": "ftp://api.customerly.io"}, "http or https"),
        ({"host": "https://"}, "http or https"),
        ({"host": "https://api.customerly.io:99999"}, "not a URL"),
        ({"host": "https://someone:hunter2@api.customerly.io"}, "has a user"),
        ({"host": "https://api.customerly.io/v1?token=hunter2"}, "a query"),
        ({"host": None, "port": 8686}, "no host"),
    ],
)
def test_bad_fields_name_the_connection_and_quote_no_secret(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=rf"'crm'.*{told}") as error:
        client_arguments(from_fields(**fields))
    assert "hunter2" not in str(error.value)
    assert "tok-123" not in str(error.value)


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"page_size": 500}, "'page_size' must be a whole number from 20 to 100."),
        ({"page_size": "many"}, "'page_size' must be a whole number from 20 to 100."),
        ({"timeout": 0}, "'timeout' must be a number from 1 to 600."),
        ({"requests_per_second": 0}, "'requests_per_second' must be a number from 0.01 to 1000."),
        ({"auth_header": "Basic"}, "'auth_header' must be bearer or legacy."),
        ({"allow_insecure_http": "perhaps"}, "'allow_insecure_http' must be true or false."),
        ({"hash_secret": ["hunter2"]}, "'hash_secret' must be text."),
    ],
)
def test_bad_extra_says_what_is_right(extra: Any, told: str) -> None:
    with pytest.raises(ValueError, match=f"'crm': extra field {told} Fix it") as error:
        client_arguments(from_fields(extra=extra))
    assert "hunter2" not in str(error.value)


def test_misspelt_fields_are_found() -> None:
    connection = from_fields(extra={"page_sise": 5, "timeout": 5, "hash_secret": "s"})
    assert unknown_extra(connection) == ["page_sise"]
