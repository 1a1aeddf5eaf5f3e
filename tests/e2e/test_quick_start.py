"""The README's quick start and the tutorial, pasted block by block into environments made from the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from airflow_process import reserved_ports
from docs_blocks import REPOSITORY, blocks
from uv import find_uv_bin

pytestmark = pytest.mark.slow


@pytest.fixture
def fresh(tmp_path: Path) -> dict[str, str]:
    """An empty home, an environment of its own, and the wheel where pip looks for packages."""
    uv = find_uv_bin()
    wheels, environment, home = tmp_path / "wheels", tmp_path / "venv", tmp_path / "home"
    home.mkdir()
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", wheels, REPOSITORY], check=True)
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    # The reader's pip is slow: uv answers to its name, and finds the wheel as it would on the package index.
    pip = environment / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nshift\nexec "{uv}" pip install --quiet --find-links "{wheels}" "$@"\n')
    pip.chmod(0o755)
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    cache = os.environ.get("UV_CACHE_DIR", os.path.expanduser("~/.cache/uv"))
    return {
        **keep,
        "HOME": str(home),
        "PATH": f"{environment / 'bin'}{os.pathsep}/usr/local/bin{os.pathsep}/usr/bin{os.pathsep}/bin",
        "VIRTUAL_ENV": str(environment),
        "UV_CACHE_DIR": cache,
        "UV_HTTP_TIMEOUT": "300",  # for a busy network, and a machine that has no time for it
        "UV_HTTP_RETRIES": "10",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "NO_PROXY": "127.0.0.1,localhost",
    }


def paste(texts: list[str], fresh: dict[str, str]) -> list[str]:
    """Paste one text after the other into one shell, and return what each prints."""
    # Minutes pass until the emulator listens: held, nobody else gets the port.
    with reserved_ports(1) as [port]:
        return paste_with(port, texts, fresh)


def paste_with(port: int, texts: list[str], fresh: dict[str, str]) -> list[str]:
    # A person waits for the emulator's "Ready" before the next paste, as long as it runs.
    wait = f"until curl -s -o /dev/null 127.0.0.1:{port}/v1/tags; do kill -0 $!; sleep 0.1; done\n"
    lines = ["set -e", "trap 'kill $(jobs -p)' EXIT"]
    for text in texts:
        lines.append("echo @@@@")
        if "emulator --port" in text and "&\n" not in text:  # it keeps a terminal of its own
            text = text.rstrip() + " &\n"
        lines.append(text.replace("kill %1", "") + (wait if "emulator --port" in text else ""))
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines).replace("8686", str(port))],
        env=fresh,
        cwd=fresh["HOME"],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout.split("@@@@\n")[1:]


def shell(page: str) -> list[str]:
    return [block.text for block in blocks(REPOSITORY / page, "sh")]


def test_the_quick_start_ends_with_rows_on_the_screen_and_in_customerly(fresh: dict[str, str]) -> None:
    texts = [text for text in shell("README.md") if "make demo" not in text]
    _, _, export, sync, erase, check = paste(texts, fresh)
    assert "5000 rows" in export
    assert "crmhero_user_id" in export.partition("DagRun Finished")[2]
    assert '"name":"Ada Byrne"' in sync
    assert '"plan":"pro"' in sync
    assert '"deleted": 1' in erase
    assert "holds" in check
    records = Path(fresh["HOME"]).rglob("*.json")
    assert not [file for file in records if "ada@" in file.read_text()]


def test_the_tutorial_ends_with_rows_on_the_screen_and_in_customerly(fresh: dict[str, str]) -> None:
    export_page = shell("docs/tutorial/first-export.md")
    sync_page = shell("docs/tutorial/first-sync.md")
    # The emulator stands in for the account.
    account_page = [text for text in shell("docs/tutorial/real-connection.md") if "<token>" not in text]
    said = paste([*export_page, *sync_page, *account_page], fresh)
    _, emulator, _, export, files, again, _, sync, rejects, fixed, asked, check = said

    assert "emulator-token" in emulator
    assert "Committed users: 5000 rows (snapshot), complete" in export
    assert "_manifests/" in files
    assert "Committed users: 5000 rows (incremental), complete" in again
    plans = {line.split("│")[1].strip() for line in files.splitlines() if line.count("│") == 4}
    assert {"plan", "pro"} <= plans

    assert "The task is red, as it should be" in sync
    assert "not an email" in rejects
    assert "Synced: rows_read 3, new 1, unchanged 2, sent 1" in fixed
    assert '"email":"kim@northwind.test"' in asked
    assert "holds" in check
