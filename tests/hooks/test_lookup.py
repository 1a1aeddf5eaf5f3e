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
LOCATE = """
import sys
sys.modules[sys.argv[1]] = None
if sys.argv[1] != "s3fs":
    from airflow.sdk.io import fs
    fs._register_filesystems = fs._BUILTIN_SCHEME_TO_FS.copy
from airflow_provider_customerly.hooks.lookup import find_location
try:
    find_location("s3://bucket/crm", None)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_connection_that_does_not_exist() -> None:
    told = (
        "^There is no connection 'crm_eu'. Add an Airflow connection of type Customerly, or fix the "
        r"name\. You can also define it in the environment variable AIRFLOW_CONN_CRM_EU\.$"
    )
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


@pytest.mark.parametrize("path", ["/data/crm", "/data/ada@home/crm", "file:///data/crm@home"])
def test_a_local_path_needs_no_connection(path: str) -> None:
    assert find_location(path, "there_is_no_such_connection").is_local


@pytest.mark.parametrize("path", ["data/crm", "./crm", "crm", "../crm", "ada@home/crm"])
def test_a_relative_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"is relative, .* Use an absolute path such as /data/customerly"):
        find_location(path, None)


@pytest.mark.parametrize(
    ("path", "conn_id"), [("s3://nowhere@{bucket}/crm", None), ("s3://{bucket}/crm", "nowhere")]
)
def test_the_connection_of_a_path_does_not_exist(s3_server: S3Server, path: str, conn_id: str | None) -> None:
    told = "^There is no connection 'nowhere'. Add an Airflow connection for the object store, or fix"
    with pytest.raises(ValueError, match=told):
        find_location(path.format(bucket=s3_server.bucket), conn_id)


@pytest.mark.parametrize("form", ["s3://{connection}@{bucket}/a@b", "s3://{bucket}/a@b"])
def test_a_path_on_s3(s3_server: S3Server, s3_connection: str, form: str) -> None:
    path = form.format(connection=s3_connection, bucket=s3_server.bucket)
    found = find_location(path, None if "://s3_" in path else s3_connection)
    found.write_atomic("one", b"1")
    assert str(found) == f"s3://{s3_server.bucket}/a@b"
    found.delete("one")


@pytest.mark.parametrize(
    ("scheme", "told"),
    [
        ("gs", "apache-airflow-providers-google"),
        ("abfss", "apache-airflow-providers-microsoft-azure"),
        ("nosuchscheme", "the Airflow provider of that object store"),
    ],
)
def test_a_store_whose_provider_is_not_installed(scheme: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"handles {scheme}:// paths. Install {told}, or fix the path"):
        find_location(f"{scheme}://bucket/crm", None)


@pytest.mark.parametrize(
    "lacking", [pytest.param("airflow.providers.amazon.aws.fs.s3", marks=pytest.mark.slow), "s3fs"]
)
def test_s3_without_what_opens_it_names_what_to_install(lacking: str) -> None:
    done = subprocess.run([sys.executable, "-c", LOCATE, lacking], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (
        "ValueError: No installed package handles s3:// paths. Install airflow-provider-customerly[s3], "
        "or fix the path."
    )


@pytest.mark.parametrize(
    "path", ["data", "./data", "file://data/crm", "local://data", "file://conn@data", "file://localhost/data"]
)
def test_a_folder_of_the_worker_is_named_in_full(path: str) -> None:
    with pytest.raises(ValueError, match="is relative"):
        find_location(path, None)


@pytest.mark.parametrize("path", ["/data/a b%20", "file:///data/a b%20", "FILE:///data/a b%20"])
def test_a_full_path_is_taken_as_it_is(path: str) -> None:
    assert find_location(path, None).root == "/data/a b%20"
