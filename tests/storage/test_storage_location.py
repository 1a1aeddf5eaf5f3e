import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest
from airflow.sdk import ObjectStoragePath
from places import S3Server

from airflow_provider_customerly.storage import Location


@pytest.mark.parametrize("path", ["", " ", "\n"])
def test_a_blank_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path is blank"):
        Location.of(path)


@pytest.mark.parametrize("path", ["s3://my_aws_connection@bucket/crm", "S3A://my_aws_connection@bucket"])
def test_text_that_names_an_airflow_connection_is_refused(path: str) -> None:
    told = r"names the Airflow connection 'my_aws_connection'.*ObjectStoragePath\(path\) from airflow.sdk"
    with pytest.raises(ValueError, match=told):
        Location.of(path)


@pytest.mark.parametrize(
    "path", ["/data/ada@home/crm", "file:///data/ada@home", "memory://ada@home/crm", "s3://bucket/ada@home"]
)
def test_an_at_sign_elsewhere_is_part_of_the_path(s3_server: S3Server, path: str) -> None:
    assert "ada@home" in Location.of(path).root


def test_files_come_back_under_relative_names(location: Location) -> None:
    assert location.list() == {}
    with closing(location.create("a/b=1/one.parquet")) as sink:
        sink.write(b"12")
        sink.write(b"345")
    location.write_atomic("a/two.json", b"{}")
    assert location.list() == {"a/b=1/one.parquet": 5, "a/two.json": 2}
    assert location.list("a/b=1") == {"a/b=1/one.parquet": 5}
    assert location.join("a").list() == {"b=1/one.parquet": 5, "two.json": 2}
    assert location.read("a/b=1/one.parquet") == b"12345"
    with location.open("a/b=1/one.parquet") as stream:
        stream.seek(3)
        assert stream.read() == b"45"


def test_what_another_wrote_is_seen_at_once(location: Location) -> None:
    other = Location.of(str(location))
    assert not location.exists("one")
    assert location.list() == {}
    other.write_atomic("one", b"1")
    assert location.exists("one")
    assert location.list() == {"one": 1}
    other.write_atomic("one", b"22")
    assert location.read("one") == b"22"
    other.delete("one")
    other.delete("one")
    assert not location.exists("one")
    with pytest.raises(FileNotFoundError):
        location.read("one")


def test_a_folder_that_appears_during_a_listing_is_no_file(
    s3_location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = s3_location.fs
    list_keys = store._lsdir

    async def list_before_a_file_is_written(*arguments: Any, **options: Any) -> Any:
        keys = await list_keys(*arguments, **options)
        await store._pipe_file(s3_location.path("journal/1.json"), b"{}")
        return keys

    monkeypatch.setattr(store, "_lsdir", list_before_a_file_is_written)
    assert s3_location.list("journal") == {}
    assert s3_location.list("journal") == {"journal/1.json": 2}


def test_text_names_the_same_place(location: Location) -> None:
    location.write_atomic("one", b"1")
    assert Location.of(str(location)).read("one") == b"1"
    assert Location.of(f"{location}/").root == location.root


def test_a_place_that_takes_files_is_left_as_it_was(location: Location) -> None:
    location.check_writable()
    assert location.list() == {}


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o500)
    place = Location.of("/proc/no/such/place" if os.access(folder, os.W_OK) else folder)
    with pytest.raises(ValueError, match=r"Cannot write to /.*may write"):
        place.check_writable()


def test_a_bucket_that_does_not_exist_is_told(s3_server: S3Server) -> None:
    place = Location(fsspec.filesystem("s3"), "no-such-bucket/crm")
    with pytest.raises(ValueError, match=r"Cannot write to s3://no-such-bucket/crm .*bucket exists"):
        place.check_writable()


@pytest.mark.parametrize("form", ["s3://{connection}@{bucket}/crm", "s3://{bucket}/crm"])
def test_an_airflow_path_uses_its_connection(
    s3_server: S3Server, s3_connection: str, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)  # only the connection knows
    text = form.format(connection=s3_connection, bucket=s3_server.bucket)
    path = ObjectStoragePath(text) if "@" in text else ObjectStoragePath(text, conn_id=s3_connection)
    place = Location.of(path)
    place.write_atomic("one", b"1")
    assert place.root == f"{s3_server.bucket}/crm"
    assert place.list() == {"one": 1}
    place.delete("one")


def test_nobody_else_may_read_what_is_private(tmp_path: Path) -> None:
    location = replace(Location.of(tmp_path / "state"), private=True)
    location.check_writable()
    location.write_atomic("written", b"x")
    location.create_exclusive("created/file", b"x")
    location.copy("written", "copied/file")
    location.move("written", location, "moved/file")
    location.create("streamed/file").close()
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_dir()} == {0o700}
