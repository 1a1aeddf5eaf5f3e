"""A tap on the Meltano SDK, as its template makes one. Its records go to a file, in place of a target."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from typing import TYPE_CHECKING, Any, ClassVar

import common
from singer_sdk import RESTStream, Tap
from singer_sdk import typing as th
from singer_sdk.authenticators import BearerTokenAuthenticator
from singer_sdk.pagination import PageNumberPaginator

if TYPE_CHECKING:
    import requests

PER_PAGE = 100
ANY = {"type": ["null", "string", "integer", "number", "boolean", "object", "array"]}


class Pages(PageNumberPaginator):
    """Pages until one is empty."""

    def has_more(self, response: requests.Response) -> bool:
        """Return whether this page has contacts."""
        return bool(response.json()["data"]["users"])


class Users(RESTStream[int]):
    """The list of users."""

    name = "users"
    path = "/users/list"
    primary_keys: ClassVar[tuple[str, ...]] = ("crmhero_user_id",)
    records_jsonpath = "$.data.users[*]"

    @property
    def url_base(self) -> str:
        """Where the API is."""
        return str(self.config["url"])

    @property
    def authenticator(self) -> BearerTokenAuthenticator:
        """Show the token."""
        return BearerTokenAuthenticator(token=common.TOKEN)

    def get_new_paginator(self) -> Pages:
        """Begin with page 0."""
        return Pages(0)

    def get_url_params(self, context: Any, next_page_token: int | None) -> dict[str, Any]:
        """Ask for a page."""
        return {"page": next_page_token, "per_page": PER_PAGE, "sort": "last_update", "sort_direction": "asc"}


class TapCustomerly(Tap):
    """The tap."""

    name = "tap-customerly"
    config_jsonschema = th.PropertiesList(
        th.Property("url", th.StringType), th.Property("fields", th.ArrayType(th.StringType))
    ).to_dict()

    def discover_streams(self) -> list[Users]:
        """Declare the fields."""
        fields = dict.fromkeys(self.config["fields"], ANY)
        return [Users(self, schema={"type": "object", "properties": fields})]


def fields_of(task: common.Task) -> list[str]:
    """Read the names of the fields from one contact."""
    request = urllib.request.Request(f"{task.url}/users/list?per_page={PER_PAGE}")
    request.add_header("Authorization", f"Bearer {common.TOKEN}")
    with urllib.request.urlopen(request) as answer:
        return list(dict.fromkeys(name for user in json.load(answer)["data"]["users"] for name in user))


if __name__ == "__main__":
    todo = common.task()
    config = {"url": todo.url, "fields": fields_of(todo)}
    output = todo.folder / "records.jsonl"
    with output.open("w") as stream, contextlib.redirect_stdout(stream), common.measured(todo):
        TapCustomerly(config=config).sync_all()
