"""Arguments of operators, checked once their templates are rendered: a template gives all of them as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from airflow_provider_customerly.hooks.wording import wanted
from airflow_provider_customerly.transfers.private_fields import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", bound=msgspec.Struct)


def checked(kind: type[T], expected: Mapping[str, str], operator: object) -> T:
    """Return the arguments of an operator with their types.

    :param kind: has a field for each argument, which is the operator's attribute of that name.
    :param expected: argument to what it must be, where its type does not say enough.
    :raises ValueError: one of them cannot be meant; the text names it, what it must be, and what it was, if
        that is not private.
    """
    arguments = {name: shown(getattr(operator, name)) for name in kind.__struct_fields__}
    try:
        return msgspec.convert(arguments, kind, strict=False)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        name = where.split("[")[0].split(".")[0].rstrip("`")
        words = wanted(kind, name)
        must_be = expected.get(name) or (f"must be {words}" if words else f"is not usable: {problem}")
        value = arguments[name]
        is_private = name in getattr(operator, "private_fields", ())
        what = f"of type {type(value).__name__}" if is_private else repr(value)
        raise ValueError(f"{name} {must_be}. It is {what}.") from None
