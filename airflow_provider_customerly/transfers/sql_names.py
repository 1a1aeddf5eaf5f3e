"""Names of tables, checked and quoted: they go into statements as text, so nothing else may be in them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.providers.common.sql.hooks.sql import DbApiHook

_PART = r"""[^\W\d][\w$]*|"[^"`\[\]]+"|`[^"`\[\]]+`|\[[^"`\[\]]+\]"""
_NAME = re.compile(rf"(?:{_PART})(?:\.(?:{_PART}))*")


def check_table_name(table: str) -> str:
    """Return the name.

    :raises ValueError: it is not the name of a table: identifiers, quoted where needed, joined by dots.
    """
    if not _NAME.fullmatch(table):
        raise ValueError(
            f"{table!r} is not the name of a table. Write it like contacts or crm.contacts, and a part with "
            'other signs than letters, digits and _ in quotes: crm."Contacts 2".'
        )
    return table


def quoted(table: str, hook: DbApiHook) -> str:
    """Write a checked name the way the hook's database does.

    A part in quotes stays exact, in the database's own quotes. One without stays as it is, so that it is
    folded to upper or lower case as usual, unless it is a reserved word that the hook knows.
    """
    dialect = hook.dialect
    return ".".join(
        dialect.escape_word_format.format(part[1:-1]) if part[0] in '"`[' else dialect.escape_word(part)
        for part in re.findall(_PART, table)
    )
