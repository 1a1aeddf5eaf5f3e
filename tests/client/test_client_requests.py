"""What goes over the wire: addresses, headers and bodies, exactly as the vendor lists them."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import requests
from scripted_server import Reply, ScriptedServer

from airflow_provider_customerly import __version__
from airflow_provider_customerly.client import Client, CustomerlyProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

LIST = "page=2&per_page=50&sort=last_update&sort_direction=asc"
WHO = [{"email": "a@b.test"}]


@pytest.mark.parametrize(
    ("call", "method", "target", "body"),
    [
        (lambda c: c.fetch_page("users", 2, 50), "GET", f"/users/list?{LIST}", None),
        (lambda c: c.fetch_page("leads", 2, 50), "GET", f"/leads/list?{LIST}", None),
        (
            lambda c: c.fetch_page("users", 0, 1, sort="name", sort_direction="desc"),
            "GET", "/users/list?page=0&per_page=1&sort=name&sort_direction=desc", None,
        ),
        (lambda c: c.delete_contact("users", email="a+b@c.d"), "DELETE", "/users?email=a%2Bb%40c.d", None),
        (lambda c: c.delete_contact("users", user_id="/ &"), "DELETE", "/users?user_id=%2F%20%26", None),
        (lambda c: c.delete_contact("leads", email="a@b.test"), "DELETE", "/leads?email=a%40b.test", None),
        (
            lambda c: c.upsert_contacts("leads", [{"email": "a@b.c", "attributes": {"n": Decimal("1.5")}}]),
            "POST", "/leads", {"leads": [{"email": "a@b.c", "attributes": {"n": 1.5}}]},
        ),
        (lambda c: c.unsubscribe_user("a/b?c"), "POST", "/users/unsubscribe/a%2Fb%3Fc", {}),
        (
            lambda c: c.tag("t", users=WHO),
            "POST", "/tags", {"tag": "t", "untag": False, "users": WHO, "leads": []},
        ),
        (
            lambda c: c.untag("t", leads=WHO),
            "POST", "/tags", {"tag": "t", "untag": True, "users": [], "leads": WHO},
        ),
        (lambda c: c.list_tags(), "GET", "/tags", None),
        (lambda c: c.list_accounts(), "GET", "/accounts/", None),
        (lambda c: c.list_knowledge_collections(), "GET", "/knowledge/collections", None),
        (
            lambda c: c.list_knowledge_articles(9, page=1),
            "GET", "/knowledge/articles/?knowledge_base_collection_id=9&page=1&per_page=50", None,
        ),
        (lambda c: c.list_knowledge_articles(), "GET", "/knowledge/articles/?page=0&per_page=50", None),
        (
            lambda c: c.check(),
            "GET", "/users/list?page=0&per_page=1&sort=last_update&sort_direction=asc", None,
        ),
    ],
)  # fmt: skip
def test_request(call: Callable[[Client], object], method: str, target: str, body: Any) -> None:
    with ScriptedServer(Reply(body={"data": []})) as server, Client("tok", server.url) as client:
        call(client)
        (seen,) = server.seen
    assert (seen.method, seen.target) == (method, f"/v1{target}")
    assert (json.loads(seen.body) if seen.body else None) == body
    assert seen.headers.get("Content-Type") == (None if body is None else "application/json")


def test_headers() -> None:
    with ScriptedServer(Reply(body={"data": []})) as server, Client(" tok\n", server.url) as client:
        client.list_tags()
        headers = server.seen[0].headers
    assert headers["Authorization"] == "Bearer tok"
    assert (
        headers["User-Agent"] == f"airflow-provider-customerly/{__version__} requests/{requests.__version__}"
    )
    assert headers["Accept-Encoding"] == "gzip"


def test_legacy_header_and_no_other() -> None:
    with (
        ScriptedServer(Reply(body={"data": []})) as server,
        Client("tok", server.url, auth_header="legacy") as client,
    ):
        client.list_tags()
        headers = server.seen[0].headers
    assert headers["Authentication"] == "AccessToken: tok"
    assert "Authorization" not in headers


def test_credentials_of_a_netrc_file_do_not_replace_the_token(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with ScriptedServer(Reply(body={"data": []})) as server, Client("tok", server.url) as client:
        client.list_tags()
        assert server.seen[0].headers["Authorization"] == "Bearer tok"


def test_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(Reply(body={"data": ["via proxy"]})) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.removesuffix("/v1"))
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with Client("tok", "http://api.test/v1", allow_insecure_http=True) as client:
            assert client.list_tags() == ["via proxy"]
        assert proxy.seen[0].target == "http://api.test/v1/tags"


@pytest.mark.parametrize(
    ("data", "tags"),
    [
        (["a", "b"], ["a", "b"]),
        ([], []),
        ({}, []),
        (None, []),
        ({"0": "a", "2": "b"}, ["a", "b"]),
        ({"7": "a"}, ["a"]),
        ({"tags": ["a", "b"]}, ["a", "b"]),
        ({"tags": {"1": "a", "4": "b"}}, ["a", "b"]),
        ({"tags": []}, []),
    ],
)
def test_list_as_php_sends_it(data: object, tags: list[str]) -> None:
    replies = [Reply(body={"data": data})] * 3
    with ScriptedServer(*replies) as server, Client("tok", server.url) as client:
        assert client.list_tags() == tags
        assert client.list_knowledge_collections() == tags
        assert client.list_knowledge_articles() == tags


@pytest.mark.parametrize(
    "data", [{"message": "a"}, {"a": "x", "b": "y"}, {"tags": ["a"], "more": []}, "a", 7]
)
@pytest.mark.usefixtures("no_backoff")
def test_what_is_no_list_is_not_made_one(data: object) -> None:
    replies = [Reply(body={"data": data})] * 20
    with ScriptedServer(*replies) as server, Client("tok", server.url, retry_budget=0) as client:
        for read in (client.list_tags, client.list_accounts, client.list_knowledge_collections):
            with pytest.raises(CustomerlyProtocolError, match="unexpected shape"):
                read()


def test_answer_of_an_upsert_comes_back_as_sent() -> None:
    data = {"inserted": 1, "not_added": [{"email": "x", "message": "no"}]}
    with ScriptedServer(Reply(body={"data": data})) as server, Client("tok", server.url) as client:
        assert client.upsert_contacts("users", [{"email": "a@b.test"}, {"email": "x"}]) == data


def test_no_content_is_a_success() -> None:
    with ScriptedServer(Reply(204)) as server, Client("tok", server.url) as client:
        client.unsubscribe_user("u1")
        assert client.requests_sent == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.fetch_page("people", 0, 50),
        lambda c: c.fetch_page("users", 0, 101),
        lambda c: c.get_contact("users"),
        lambda c: c.get_contact("users", email="a@b.test", user_id="7"),
        lambda c: c.get_contact("leads", user_id="7"),
        lambda c: c.get_contact("users", email=""),
        lambda c: c.unsubscribe_user(".."),
        lambda c: c.unsubscribe_user(""),
        lambda c: c.tag("t"),
    ],
)
def test_wrong_use_is_refused_before_anything_is_sent(call: Callable[[Client], object]) -> None:
    with ScriptedServer(Reply(body={"data": []})) as server, Client("tok", server.url) as client:
        with pytest.raises(ValueError, match=r"Pass|Use|Set"):
            call(client)
        assert server.seen == []


@pytest.mark.parametrize(
    ("token", "settings", "named"),
    [
        (" ", {}, "token is empty"),
        ("abc\r\nX: y", {}, "token holds"),
        ("tok", {"base_url": "api.customerly.io/v1"}, "incomplete"),
        ("tok", {"base_url": "ftp://api.customerly.io"}, "incomplete"),
        ("tok", {"base_url": "https://me:pw@api.customerly.io"}, "Remove the rest"),
        ("tok", {"base_url": "http://api.customerly.io/v1"}, "allow_insecure_http"),
        ("tok", {"auth_header": "basic"}, "auth_header"),
        ("tok", {"page_size": 101}, "page_size"),
        ("tok", {"page_size": 0}, "page_size"),
        ("tok", {"max_concurrency": 0}, "max_concurrency"),
        ("tok", {"timeout": 0}, "timeout"),
        ("tok", {"requests_per_second": -1}, "requests_per_second"),
        ("tok", {"retry_budget": -1}, "retry_budget"),
    ],
)
def test_settings_that_cannot_work(token: str, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named) as caught:
        Client(token, **settings)
    assert "pw" not in str(caught.value)
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://127.0.0.2/v1/", "http://[::1]:8/v1"])
def test_plain_http_to_this_machine_is_allowed(url: str) -> None:
    assert Client("tok", url).base_url == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://API.Customerly.io:443/v1", "https://api.customerly.io/v1"),
        ("https://api.customerly.io:8443/v1/", "https://api.customerly.io:8443/v1"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("https://[::1]:443/v1", "https://[::1]/v1"),
    ],
)
def test_one_address_has_one_form(url: str, same: str) -> None:
    assert Client("tok", url).base_url == same


def test_missing_ca_bundle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/bundle.pem")
    with pytest.raises(ValueError, match=r"/nowhere/bundle\.pem"):
        Client("tok")
