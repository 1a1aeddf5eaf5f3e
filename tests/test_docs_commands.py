"""The commands, connections and settings of the README and the docs are accepted by those who read them."""

from __future__ import annotations

import configparser
import re
import shlex
import subprocess
from typing import TYPE_CHECKING

import pytest
from airflow.cli import cli_parser
from airflow.sdk import Connection
from docs_blocks import PAGES, REPOSITORY, blocks

from airflow_provider_customerly.cli import __main__ as cli
from airflow_provider_customerly.emulator import __main__ as emulator
from airflow_provider_customerly.hooks.connection import client_arguments, unknown_extra
from airflow_provider_customerly.provider_info import get_provider_info

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Iterator

OURS = {
    "airflow customerly": cli.parser,
    "python -m airflow_provider_customerly.cli": cli.parser,
    "python -m airflow_provider_customerly.emulator": emulator.parser,
}
COMMAND = re.compile(r"(?:^|[\s=])((?:airflow|python -m airflow_provider_customerly\.\w+) .*)")
INLINE = re.compile(r"`((?:airflow|python -m airflow_provider_customerly\.\w+) [^`]*)`")


def words(line: str) -> list[str]:
    """Return the words of a line's first command, as a shell would."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found = []
    for word in lexer:
        if word in ("|", ">", "&", "&&", "||"):
            break
        found.append(word.strip("[]"))
    return found


def parser_of(command: list[str]) -> tuple[ArgumentParser, list[str]]:
    for name, parser in OURS.items():
        start = name.split()
        if command[: len(start)] == start:
            return parser(), command[len(start) :]
    return cli_parser.get_parser(), command[1:]


def in_blocks() -> Iterator[str]:
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.text.splitlines():
                yield from COMMAND.findall(line.partition("  #")[0])


def in_sentences() -> Iterator[str]:
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        yield from INLINE.findall(text)


def test_each_command_in_a_block_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    commands = list(in_blocks())
    assert len(commands) > 25
    for line in commands:
        parser, arguments = parser_of(words(line))
        try:
            parser.parse_args(arguments)
        except SystemExit:
            pytest.fail(f"{line}\n{capsys.readouterr().err}")


def test_each_command_in_a_sentence_is_one_though_it_may_lack_its_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for line in in_sentences():
        parser, arguments = parser_of([word for word in words(line) if word != "..."])
        if not arguments:
            continue
        try:
            parser.parse_args(arguments)
        except SystemExit:
            error = capsys.readouterr().err
            assert "arguments are required" in error, (line, error)


def test_each_connection_and_extra_is_one() -> None:
    """A shell sets the variable, and Airflow and the hook read it."""
    for block in (block for page in PAGES for block in blocks(page, "sh")):
        for line in block.text.splitlines():
            if not line.startswith("export AIRFLOW_CONN_CUSTOMERLY"):
                continue
            shown = f'{line}\nprintf %s "$AIRFLOW_CONN_CUSTOMERLY_DEFAULT"'
            value = subprocess.run(["bash", "-c", shown], capture_output=True, text=True, check=True).stdout
            read = Connection.from_json if value.startswith("{") else Connection.from_uri
            connection = read(value, conn_id="shown")
            assert connection.conn_type == "customerly", str(block)
            assert client_arguments(connection)["token"], str(block)
            assert unknown_extra(connection) == [], str(block)


def test_each_extra_that_is_installed_exists() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    extras = project.partition("[project.optional-dependencies]\n")[2].partition("\n\n")[0]
    known = {line.partition(" = ")[0] for line in extras.splitlines()}
    named = {
        extra
        for page in PAGES
        for group in re.findall(r"airflow-provider-customerly\[([\w,]+)\]", page.read_text())
        for extra in group.split(",")
    }
    assert named == known


def test_each_setting_of_airflow_is_one_of_ours() -> None:
    for block in (block for page in PAGES for block in blocks(page, "ini")):
        shown = configparser.ConfigParser()
        shown.read_string(block.text)
        for section in shown.sections():
            assert set(shown[section]) <= set(get_provider_info()["config"][section]["options"]), str(block)
