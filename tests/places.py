"""Places to write to: the local disk, and S3 over HTTP.

Use the fixture `location` for a test that must hold on both: a `Location` of its own in each, which every
function of the package takes as a path. `str(location)` works as a path too, in this process and in those it
starts. `s3_location` is the one on S3 alone; `s3_connection` names an Airflow connection to the same server.
`pytest.mark.slow_on_s3` leaves S3 to the long lane.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from typing import TYPE_CHECKING, NamedTuple

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

from airflow_provider_customerly.storage import Location

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


class S3Server(NamedTuple):
    """A running S3 with one bucket."""

    endpoint: str
    bucket: str

    @property
    def airflow_connection(self) -> str:
        """The value of an environment variable that defines an Airflow connection to it."""
        fields = {
            "conn_type": "aws",
            "login": KEYS["AWS_ACCESS_KEY_ID"],
            "password": KEYS["AWS_SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": self.endpoint, "region_name": KEYS["AWS_DEFAULT_REGION"]},
        }
        return json.dumps(fields)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parameters = getattr(item, "callspec", None)
        if item.get_closest_marker("slow_on_s3") and parameters and parameters.params.get("location") == "s3":
            item.add_marker("slow")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    found = S3Server(f"http://{host}:{port}", f"bucket-{uuid.uuid4().hex}")
    before = {name: os.environ.get(name) for name in (*KEYS, "AWS_ENDPOINT_URL")}
    os.environ |= {**KEYS, "AWS_ENDPOINT_URL": found.endpoint}
    boto3.client("s3").create_bucket(Bucket=found.bucket)
    yield found
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value
    server.stop()


@pytest.fixture
def s3_location(s3_server: S3Server) -> Location:
    return Location(fsspec.filesystem("s3"), f"{s3_server.bucket}/{uuid.uuid4().hex}")


@pytest.fixture
def s3_connection(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW_CONN_S3_FOR_TESTS", s3_server.airflow_connection)
    return "s3_for_tests"


@pytest.fixture(params=["local", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    if request.param == "local":
        return Location.of(tmp_path / "data")
    found: Location = request.getfixturevalue("s3_location")
    return found


def delta_options(location: Location) -> dict[str, str] | None:
    """Return what ``deltalake`` needs, beside the address, to read a table there."""
    if location.is_local:
        return None
    return {
        "aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"],
        "aws_region": KEYS["AWS_DEFAULT_REGION"],
        "aws_endpoint_url": location.fs.s3.meta.endpoint_url,
        "aws_allow_http": "true",
    }
