import re
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import BaseHook
from structlog.testing import capture_logs

from airflow_provider_customerly.client import (
    CustomerlyAuthError,
    CustomerlyRequestError,
    CustomerlyUnavailable,
)
from airflow_provider_customerly.emulator import Emulator
from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.hooks.failures import fail_at_once

TOKEN = "tok-5b1e9c"


pytestmark = pytest.mark.emulator(users=230, leads=40, token=TOKEN)


def test_nothing_is_looked_up_before_it_is_needed() -> None:
    hook = CustomerlyHook("there_is_no_such_connection")
    with pytest.raises(
        ValueError,
        match=r"no connection 'there_is_no_such_connection'. Add an Airflow connection of type Customerly",
    ):
        _ = hook.client


def test_connection_to_hook_and_back(connect: Any) -> None:
    hook = CustomerlyHook()
    assert hook.get_conn() is hook.client
    assert hook.client.list_tags() is not None


def test_airflow_makes_the_hook_from_the_connection(connect: Any) -> None:
    hook = BaseHook.get_connection("customerly_default").get_hook()
    assert isinstance(hook, CustomerlyHook)
    assert hook.customerly_conn_id == "customerly_default"


def test_arguments_beat_the_connection_which_beats_the_default(connect: Any) -> None:
    connect(extra={"page_size": 50, "max_concurrency": 2})
    assert CustomerlyHook().client.page_size == 50
    assert CustomerlyHook(page_size=70).client.page_size == 70
    assert CustomerlyHook(page_size=70).client.max_concurrency == 2
    connect()
    assert CustomerlyHook().client.page_size == 100


def test_token_and_secret_are_masked(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr("airflow_provider_customerly.hooks.customerly.mask_secret", masked.append)
    connect(extra={"hash_secret": "pepper"})
    hook = CustomerlyHook()
    assert (hook.client.base_url, hook.hash_secret) == (hook.client.base_url, "pepper")
    assert masked == [TOKEN, "pepper"]


def test_misspelt_extra_is_warned_about(connect: Any) -> None:
    connect(extra={"page_sise": 50})
    with capture_logs() as lines:
        _ = CustomerlyHook().client
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == [
        "Connection 'customerly_default': unknown extra fields: page_sise"
    ]


def test_http_is_refused_beyond_this_machine(connect: Any) -> None:
    connect(host="http://crm.example/v1")
    with pytest.raises(ValueError, match=r"'customerly_default'.*allow_insecure_http"):
        _ = CustomerlyHook().client
    connect(host="http://crm.example/v1", extra={"allow_insecure_http": True})
    assert CustomerlyHook().client.base_url == "http://crm.example/v1"


@pytest.mark.parametrize("auth_header", ["bearer", "legacy"])
def test_test_connection(connect: Any, emulator: Emulator, auth_header: str) -> None:
    connect(extra={"auth_header": auth_header})
    assert CustomerlyHook().test_connection() == (True, f"{emulator.url} answered and knows the token.")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"password": "revoked-77"}, "Access token not found"),
        ({"password": ""}, "no access token"),
        ({"extra": {"page_size": 500}}, "page_size"),
        ({"host": "http://127.0.0.1:9/v1"}, "127.0.0.1|connect|reach"),
    ],
)
def test_test_connection_says_what_is_wrong(connect: Any, fields: dict[str, Any], told: str) -> None:
    connect(**fields)
    ok, message = CustomerlyHook().test_connection()
    assert not ok
    assert re.search(told, message), message
    assert "revoked-77" not in message
    assert "customerly_default" not in message


@pytest.mark.parametrize(("contact_type", "count"), [("users", 230), ("leads", 40)])
def test_contacts(connect: Any, contact_type: Any, count: int) -> None:
    batches = list(CustomerlyHook().iter_contacts(contact_type))
    assert all(isinstance(batch, pa.RecordBatch) for batch in batches)
    frame = CustomerlyHook().get_contacts_df(contact_type)
    assert (
        len(frame) == frame["crmhero_user_id"].nunique() == sum(batch.num_rows for batch in batches) == count
    )
    assert frame.dtypes["last_update"] == pd.ArrowDtype(pa.timestamp("us", tz="UTC"))
    assert frame.dtypes["crmhero_user_id"] == pd.ArrowDtype(pa.int64())


@pytest.mark.emulator(users=800, churn_per_request=2, churn_weights={"update": 1})
@pytest.mark.usefixtures("connect")
def test_contacts_that_change_while_they_are_read_come_once_in_their_newest_version() -> None:
    frame = CustomerlyHook().get_contacts_df("users")
    assert len(frame) == frame["crmhero_user_id"].nunique() == 800


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (CustomerlyAuthError("the token is not known"), AirflowFailException),
        (CustomerlyRequestError("the request is wrong"), AirflowFailException),
        (CustomerlyUnavailable("no answer"), CustomerlyUnavailable),
        (KeyError("a mistake of ours"), KeyError),
        (ValueError("a bad argument"), AirflowFailException),
    ],
)
def test_only_what_another_try_cannot_mend_skips_the_retries(
    raised: Exception, expected: type[Exception]
) -> None:
    with pytest.raises(expected) as caught, fail_at_once(ValueError):
        raise raised
    assert str(raised) in str(caught.value)


def test_a_value_error_is_retried_unless_it_is_named() -> None:
    with pytest.raises(ValueError, match="in the middle"), fail_at_once():
        raise ValueError("in the middle")
