"""The page of guarantees names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = TESTS.parent / "docs" / "explanation" / "guarantees.md"


def test_each_test_that_the_guarantees_name_exists() -> None:
    exist = {
        node.name
        for file in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    named = re.findall(r"`(test_\w+)`", PAGE.read_text())
    assert len(named) > 40
    assert [name for name in named if name not in exist] == []


def test_each_promise_names_a_test() -> None:
    sections = PAGE.read_text().split("\n## ")
    rows = [
        row
        for section in sections
        if "| promise | test |" in section
        for row in section.splitlines()
        if row.startswith("| ") and row != "| promise | test |"
    ]
    assert len(rows) > 20
    assert [row for row in rows if "`test_" not in row.rsplit("|", 2)[1]] == []
