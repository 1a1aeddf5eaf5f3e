"""Arguments of operators, checked once their templates are rendered: a template gives all of them as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T", bound=msgspec.Struct)


def checked(kind: type[T], expected: Mapping[str, str], operator: object) -> T:
    """Return the arguments of an operator with their types.

    :param kind: has a field for each argument, which is the operator's attribute of that name.
    :param expected: argument to what it must be, where msgspec's own words do not say enough.
    :raises ValueError: one of them cannot be meant; the text names it, what it was and what it must be.
    """
    arguments = {name: getattr(operator, name) for name in kind.__struct_fields__}
    try:
        return msgspec.convert(arguments, kind, strict=False)
    except msgspec.ValidationError as error:
        problem, _, where = str(error).partition(" - at `$.")
        name = where.split("[")[0].split(".")[0].rstrip("`")
        wanted = expected.get(name, f"is not usable: {problem}")
        raise ValueError(f"{name} {wanted}. It is {arguments[name]!r}.") from None
