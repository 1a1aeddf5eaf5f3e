from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sync_helpers import Sync

from airflow_provider_customerly.emulator import Emulator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(users=40, leads=10) as running:
        yield running


@pytest.fixture
def sync(emulator: Emulator, tmp_path: Path) -> Sync:
    return Sync(emulator, tmp_path)
