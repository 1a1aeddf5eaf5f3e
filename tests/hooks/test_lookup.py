import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import S3Server

from airflow_provider_customerly.hooks.lookup import find_connection, find_location

BACKEND = """
from airflow.secrets import BaseSecretsBackend

class Silent(BaseSecretsBackend):
    def get_conn_value(self, conn_id, *args, **kwargs):
        return None

class Unreachable(BaseSecretsBackend):
    def get_conn_value(self, conn_id, *args, **kwargs):
        raise ConnectionError("the vault does not answer")
"""
FIND = """
from airflow_provider_customerly.hooks.lookup import find_connection
try:
    find_connection("crm", "of type Customerly")
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_connection_that_does_not_exist() -> None:
    told = "^There is no connection 'crm_eu': add one of type Customerly, or set AIRFLOW_CONN_CRM_EU.$"
    with pytest.raises(ValueError, match=told):
        find_connection("crm_eu", "of type Customerly")


@pytest.mark.parametrize(
    ("backend", "kind", "told"),
    [
        ("Silent", "ValueError", "There is no connection 'crm'"),
        ("Unreachable", "AirflowNotFoundException", "not found, but Unreachable failed (ConnectionError)."),
    ],
)
def test_a_backend_that_cannot_be_asked_may_have_the_connection(
    tmp_path: Path, backend: str, kind: str, told: str
) -> None:
    (tmp_path / "some_backends.py").write_text(BACKEND)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "AIRFLOW__SECRETS__BACKEND": f"some_backends.{backend}",
    }
    done = subprocess.run(
        [sys.executable, "-c", FIND], env=environment, capture_output=True, text=True, check=True
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith(f"{kind}: ")
    assert told in last


@pytest.mark.parametrize("path", ["/data/crm", "/data/ada@home/crm", "file:///data/crm@home", "data/crm"])
def test_a_local_path_needs_no_connection(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_location(path, "there_is_no_such_connection").is_local


@pytest.mark.parametrize(
    ("path", "conn_id"), [("s3://nowhere@{bucket}/crm", None), ("s3://{bucket}/crm", "nowhere")]
)
def test_the_connection_of_a_path_does_not_exist(s3_server: S3Server, path: str, conn_id: str | None) -> None:
    told = "^There is no connection 'nowhere': add one to the object store, or set AIRFLOW_CONN_NOWHERE.$"
    with pytest.raises(ValueError, match=told):
        find_location(path.format(bucket=s3_server.bucket), conn_id)


@pytest.mark.parametrize("form", ["s3://{connection}@{bucket}/a@b", "s3://{bucket}/a@b"])
def test_a_path_on_s3(s3_server: S3Server, s3_connection: str, form: str) -> None:
    path = form.format(connection=s3_connection, bucket=s3_server.bucket)
    found = find_location(path, None if "://s3_" in path else s3_connection)
    found.write_atomic("one", b"1")
    assert str(found) == f"s3://{s3_server.bucket}/a@b"
    found.delete("one")


@pytest.mark.parametrize("scheme", ["gs", "nosuchscheme"])
def test_a_store_whose_provider_is_not_installed(scheme: str) -> None:
    with pytest.raises(ValueError, match=rf"opens {scheme}:// paths: install the provider of that object"):
        find_location(f"{scheme}://bucket/crm", None)
