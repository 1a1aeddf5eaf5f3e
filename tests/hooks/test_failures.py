from __future__ import annotations

import json

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_customerly.hooks.failures import fail_at_once
from airflow_provider_customerly.storage.location import refuse_relative


def test_an_error_of_ours_says_all_by_itself() -> None:
    with pytest.raises(AirflowFailException, match="relative") as failed, fail_at_once(ValueError):
        refuse_relative("some/folder")
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__


def test_what_a_library_raises_is_shown_with_its_origin() -> None:
    with pytest.raises(AirflowFailException) as failed, fail_at_once(ValueError):
        json.loads("{")
    assert isinstance(failed.value.__cause__, json.JSONDecodeError)
