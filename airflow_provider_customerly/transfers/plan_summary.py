"""Summarise a plan in Markdown for the person who approves it, without personal data."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from airflow_provider_customerly.values.words import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROWS = {
    "rows_read": "rows read from the warehouse",
    "new": "**to be sent**: new contacts",
    "changed": "**to be sent**: contacts with changed fields",
    "again": "**to be sent** again",
    "unchanged": "not sent: already delivered and unchanged since",
    "invalid": "not sent: they break a rule",
    "still_refused": "not sent: Customerly refused them before, and they have not changed",
}
_VANISHED = {
    "keep": "left unchanged",
    "untag": "to lose the tags of this sync",
    "unsubscribe": "to be **unsubscribed**",
    "delete": "to be **deleted**",
}
_MOST_FIELDS = 20
_MOST_PREVIEWED = 10
_LONGEST = 60


def plan_summary(result: Mapping[str, Any] | None, run_page: str | None = None) -> str:
    """Return a summary of a dry run in Markdown.

    :param result: the result of ``SqlToCustomerlyOperator`` with ``dry_run=True``.
    :param run_page: URL of a page about that run, if there is one.
    :raises ValueError: there is no result, or it is not from a dry run.
    """
    planned = _checked(result)
    blocks = [_headline(planned), _table(("rows", ""), _counts(planned))]
    blocks += _vanished(planned)
    blocks += _guard(planned)
    if fields := planned.get("changed_fields"):
        blocks.append(_table(("rows", "field that changes"), _fields(fields)))
    if reasons := planned.get("reasons"):
        blocks.append(_table(("rows", "why they are not sent"), _fields(reasons)))
    blocks += _comparison(planned)
    blocks += _preview(planned)
    blocks += _cannot_undo(planned)
    blocks.append(_where(planned))
    if run_page:
        blocks.append(f"[More about this plan]({run_page})")
    return "\n\n".join(blocks)


def needs_approval(result: Mapping[str, Any] | None, at_most: int) -> bool:
    """Return whether a plan needs approval: a guard would stop it, or it changes many contacts.

    :param result: the result of ``SqlToCustomerlyOperator`` with ``dry_run=True``.
    :param at_most: number of contacts that a plan may change without approval.
    :raises ValueError: there is no result, or it is not from a dry run.
    """
    planned = _checked(result)
    # If the result does not say what happens to vanished contacts, the plan may delete them.
    touched = _to_send(planned) + (planned["vanished"] if planned.get("on_vanished") != "keep" else 0)
    return bool(planned["breach"]) or touched > at_most


def _checked(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if result is None or result.get("outcome") != "planned":
        raise ValueError(
            "There is no plan. Pass the result of a SqlToCustomerlyOperator with dry_run=True, such as "
            "ti.xcom_pull(task_ids='plan'), and make sure that this task pushes its XCom."
        )
    return result


def _to_send(planned: Mapping[str, Any]) -> int:
    return int(planned["new"] + planned["changed"] + planned["again"])


def _headline(planned: Mapping[str, Any]) -> str:
    what = f"{planned['contact_type']} of the sync {_code(planned['sync_name'])}"
    begun = (
        f"**{_number(_to_send(planned))}** of {_number(planned['rows_read'])} rows are to be sent: {what}."
    )
    return f"{begun} It undoes the run {_code(planned['undoes'])}." if planned.get("undoes") else begun


def _counts(planned: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    for name, meaning in _ROWS.items():
        if planned[name] or name == "rows_read":
            yield planned[name], meaning


def _fields(counts: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    most = sorted(counts.items(), key=lambda item: -item[1])
    for name, count in most[:_MOST_FIELDS]:
        yield count, _code(name)
    if len(most) > _MOST_FIELDS:
        yield sum(count for _, count in most[_MOST_FIELDS:]), "others"


def _vanished(planned: Mapping[str, Any]) -> Iterator[str]:
    if count := planned["vanished"]:
        what = _VANISHED.get(planned.get("on_vanished", ""), "see `on_vanished` of the task")
        contacts = "contact is" if count == 1 else "contacts are"
        yield f"**{_number(count)}** {contacts} no longer in the warehouse: {what}."


def _guard(planned: Mapping[str, Any]) -> Iterator[str]:
    if breach := planned["breach"]:
        yield f"> **A guard would stop this plan.** {_plain(breach)}"


def _comparison(planned: Mapping[str, Any]) -> Iterator[str]:
    if not (told := planned.get("comparison")):
        return
    same = told.get("already_so", 0)
    to_the_second = re.sub(r"\.\d+", "", str(told.get("export_time")))
    yield (
        f"Compared with the export of {_code(to_the_second)}, {duration(told.get('age_seconds', 0))} old: "
        f"{_number(same)} {'row is' if same == 1 else 'rows are'} already the same in Customerly."
    )
    if edited := told.get("edited_in_customerly"):
        done = {"overwrite": "**overwritten**", "keep": "kept", "reject": "kept, and their rows refused"}
        contacts = "contact was" if edited == 1 else "contacts were"
        yield (
            f"**{_number(edited)}** {contacts} edited in Customerly since the last delivery. These edits "
            f"will be {done.get(told.get('on_edited', ''), _code(told.get('on_edited')))}."
        )
        if fields := told.get("edited_fields"):
            yield _table(("contacts", "field edited in Customerly"), _fields(fields))


def _preview(planned: Mapping[str, Any]) -> Iterator[str]:
    rows = list(planned.get("preview") or ())[:_MOST_PREVIEWED]
    if rows:
        lines = [f"- {_previewed(row)}" for row in rows]
        yield "For example:\n\n" + "\n".join(lines)


def _previewed(row: Mapping[str, Any]) -> str:
    if row["row"] is None:
        return f"a contact that left the warehouse: {row['action']}"
    changes = _changes(row["fields"])
    return f"row {row['row']}, {row['action']}" + (f": {changes}" if changes else "")


def _changes(fields: Mapping[str, Mapping[str, Any] | None]) -> str:
    return ", ".join(
        _code(name) if values is None else f"{_code(name)} {_change(values)}"
        for name, values in fields.items()
    )


def _change(values: Mapping[str, Any]) -> str:
    new = _code(json.dumps(values.get("new"), ensure_ascii=False))
    return f"{_code(json.dumps(values['old'], ensure_ascii=False))} → {new}" if "old" in values else new


def _cannot_undo(planned: Mapping[str, Any]) -> Iterator[str]:
    names = {
        "created": ("contact", "created by the run"),
        "deleted": ("contact", "deleted by the run or gone since"),
        "unsubscribed": ("contact", "unsubscribed by the run"),
        "tags": ("row", "with tags"),
        "empty": ("row", "with a value that was empty before"),
        "unknown": ("row", "with a value that is not known"),
    }
    told = planned.get("cannot_undo") or {}
    lost = [
        f"{_number(told[name])} {noun if told[name] == 1 else f'{noun}s'} {rest}"
        for name, (noun, rest) in names.items()
        if told.get(name)
    ]
    if lost:
        yield f"It cannot undo: {', '.join(lost)}."


def _where(planned: Mapping[str, Any]) -> str:
    return (
        "To list the rows, which contain personal data, run\n\n"
        f"    airflow customerly state plan {_plain(planned['path'])} {_plain(planned['plan'])}"
    )


def _table(titles: tuple[str, str], rows: Iterator[tuple[int, str]]) -> str:
    lines = [f"| {titles[0]} | {titles[1]} |", "|---:|---|"]
    lines += [f"| {_number(count)} | {text} |" for count, text in rows]
    return "\n".join(lines)


def _number(count: int) -> str:
    return f"{count:,}"


def _code(value: Any) -> str:
    """Return text that Markdown shows unchanged, even in a table."""
    text = _plain(str(value)).replace("`", "'").replace("|", "¦")
    return f"`{text[:_LONGEST]}…`" if len(text) > _LONGEST else f"`{text}`"


def _plain(text: str) -> str:
    return " ".join(text.split())
