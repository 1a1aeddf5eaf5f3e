"""Check and quote table names, which become part of SQL statements."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook

_PART = r"""[^\W\d][\w$]*|"[^"`\[\]]+"|`[^"`\[\]]+`|\[[^"`\[\]]+\]"""
_NAME = re.compile(rf"(?:{_PART})(?:\.(?:{_PART}))*")


def check_table_name(table: str) -> str:
    """Return the name if it is valid: identifiers joined by dots, in quotes if needed.

    :raises ValueError: it is not the name of a table.
    """
    if not _NAME.fullmatch(table):
        raise ValueError(
            f"{table!r} is not the name of a table. Write it like contacts or crm.contacts, and put parts "
            "with "
            'characters other than letters, digits and _ in quotes: crm."Contacts 2".'
        )
    return table


def quoted(table: str, hook: DbApiHook) -> str:
    """Return a checked name, quoted for the hook's database.

    A part in quotes keeps its case, in the database's own quotes. A part without quotes stays unquoted, so
    that the database folds its case as usual, unless it is a reserved word that the hook knows.
    """
    dialect = hook.dialect
    return ".".join(
        dialect.escape_word_format.format(part[1:-1]) if part[0] in '"`[' else dialect.escape_word(part)
        for part in re.findall(_PART, table)
    )
