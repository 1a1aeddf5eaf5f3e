from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sync_helpers import Sync

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_customerly.emulator import Emulator


@pytest.fixture
def sync(emulator: Emulator, tmp_path: Path) -> Sync:
    return Sync(emulator, tmp_path)
