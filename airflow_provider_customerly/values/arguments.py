"""Read arguments as their declared types, from the many forms in which a DAG or template passes them."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import msgspec
import numpy as np
from msgspec import Meta

from airflow_provider_customerly.values.plain import plain

if TYPE_CHECKING:
    from typing_extensions import Self

Rule = Callable[[Any], None]

_NOT_GIVEN = frozenset({"", "None", "null"})
"""How a template renders a value that is not set."""
_TIME = r"[T ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
_DAY = re.compile(rf"([0-9]{{4}})(?:-([0-9]{{2}})-([0-9]{{2}})(?:{_TIME})?|([0-9]{{2}})([0-9]{{2}}))")
_DURATION = re.compile(r"(?:([0-9]+) days?, )?([0-9]+):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?")
_SCALARS = (bool, int, float, Decimal, date)


def is_given(value: Any) -> bool:
    """Return whether an optional argument is set: not None, nor None as a template renders it."""
    return value is not None and not (isinstance(value, str) and value.strip() in _NOT_GIVEN)


class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """Base class for the arguments of a job. Each is declared once, with its type, range and default."""

    expected: ClassVar[Mapping[str, str]] = {}
    """What an argument must be, if its type does not say enough: ``must be a list of columns``."""
    rules: ClassVar[Sequence[Rule]] = ()
    """Functions that take the arguments and raise ``ValueError`` if they contradict each other."""

    @classmethod
    def of(cls, given: Mapping[str, Any], private: Sequence[str] = ()) -> Self:
        """Return the arguments as their declared types.

        Optional arguments that are not set (see ``is_given``) get their default.

        :param given: the arguments by name.
        :param private: names of arguments whose values no error may quote.
        :raises ValueError: an argument is invalid. The message says which one, what it must be and what it
            is.
        """
        if unknown := set(given) - set(cls.__struct_fields__):
            raise ValueError(
                f"Unknown option: {', '.join(sorted(unknown))}. "
                f"Choose from: {', '.join(cls.__struct_fields__)}."
            )
        arguments = cls(
            **{
                field.name: cls.read(field.name, given.get(field.name), private)
                for field in msgspec.structs.fields(cls)
                if field.required or is_given(given.get(field.name))
            }
        )
        for rule in cls.rules:
            rule(arguments)
        return arguments

    @classmethod
    def read(cls, name: str, value: Any, private: Sequence[str] = ()) -> Any:
        """Return one argument as its declared type.

        :raises ValueError: see ``of``.
        """
        return read_argument(cls, name, value, cls.expected, private)

    def check(self) -> None:
        """Check arguments that were not created by ``of``.

        :raises ValueError: see ``of``.
        """
        type(self).of({name: getattr(self, name) for name in self.__struct_fields__})


def read_argument(
    kind: type[msgspec.Struct],
    name: str,
    value: Any,
    expected: Mapping[str, str],
    private: Sequence[str] = (),
) -> Any:
    """Return one argument as the type of its field in ``kind``. See ``Arguments``.

    :raises ValueError: it is invalid. The message says what it must be and what it is.
    """
    annotation = _annotations(kind)[name]
    if not is_given(value) and NoneType in get_args(annotation):
        return None
    try:
        return msgspec.convert(_relative(value, annotation), annotation, strict=False)
    except (msgspec.ValidationError, ValueError, OverflowError, TypeError) as error:
        words = _in_words(annotation, Meta())
        must_be = expected.get(name) or (f"must be {words}" if words else f"is invalid: {error}")
        what = f"of type {type(value).__name__}" if name in private else repr(value)
        raise ValueError(f"{name} {must_be}. It is {what}.") from None


@cache
def _annotations(kind: type[msgspec.Struct]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def wanted(kind: type[msgspec.Struct], name: str) -> str | None:
    """Describe what a field may be, such as ``a whole number, 1 or more``; None if its type says too little.

    None is not mentioned, because only the caller knows what it stands for.
    """
    return _in_words(_annotations(kind)[name], Meta())


def _relative(value: Any, annotation: Any) -> Any:
    """Return a value as the declared type if it is a related one: a path as text, a datetime as a date."""
    origin, parts = get_origin(annotation), get_args(annotation)
    value = _known(value)
    if origin is Annotated:
        return _relative(value, parts[0])
    if origin in (Union, UnionType):
        kinds = [part for part in parts if part is not NoneType]
        return value if value is None else _relative(value, kinds[0]) if len(kinds) == 1 else _listed(value)
    if origin is Literal:
        return value.strip() if isinstance(value, str) else value
    if origin in (list, Sequence) and isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_relative(one, parts[0]) for one in value]
    if origin in (dict, Mapping) and isinstance(value, Mapping):
        return {_relative(key, parts[0]): _relative(one, parts[1]) for key, one in value.items()}
    return _BY_TYPE.get(annotation, _as_it_is)(value)


def _known(value: Any) -> Any:
    """Convert a value of numpy, pandas or pathlib to a built-in type."""
    if isinstance(value, np.ndarray) or type(value).__name__ in ("Series", "Index"):
        return value.tolist()
    if isinstance(value, Set):
        return sorted(value, key=str)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Enum):
        return value.value
    if hasattr(value, "storage_options") and hasattr(value, "protocol"):  # such as an ObjectStoragePath
        return str(value)
    return value if isinstance(value, timedelta) else plain(value)


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else value


def _as_it_is(value: Any) -> Any:
    return value


def _text(value: Any) -> Any:
    """Convert a number to text, because native template rendering turns text such as 2026 into a number."""
    return str(value) if isinstance(value, _SCALARS) else value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
    if isinstance(value, Decimal):
        value = int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _flag(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _day(value: Any) -> Any:
    if isinstance(value, date):
        return date(value.year, value.month, value.day)
    if found := _DAY.fullmatch(str(value).strip()):
        return date(*(int(part) for part in found.groups() if part))
    raise ValueError("no day")


def _duration(value: Any) -> Any:
    if isinstance(value, np.timedelta64):
        value = value.astype("timedelta64[us]").item()
    if isinstance(value, timedelta):
        return timedelta(seconds=value.total_seconds())
    if isinstance(value, str):
        value = value.strip()
        if found := _DURATION.fullmatch(value):  # the text of a timedelta
            days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
            return timedelta(days, hours=hours, minutes=minutes, seconds=seconds)
    if isinstance(value, bool):
        raise ValueError("no duration")
    return value


_BY_TYPE = {
    str: _text,
    int: _number,
    float: _number,
    bool: _flag,
    date: _day,
    timedelta: _duration,
}


def _in_words(annotation: Any, limits: Meta) -> str | None:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        others = [part for part in parts if part is not NoneType]
        return _in_words(others[0], limits) if len(others) == 1 else None
    if origin is Annotated:
        return _in_words(*parts)
    if origin is Literal:
        return f"{', '.join(parts[:-1])} or {parts[-1]}"
    if annotation is int:
        return f"a whole number{_range(limits)}"
    if annotation is float:
        return f"a number{_range(limits)}"
    return {
        bool: "true or false",
        str: "text",
        date: "a day as YYYY-MM-DD",
        timedelta: "a duration such as PT10M or P7D",
    }.get(annotation)


def _range(limits: Meta) -> str:
    if limits.ge is None:
        return ""
    lowest, highest = (None if limit is None else f"{limit:.10g}" for limit in (limits.ge, limits.le))
    return f", {lowest} or more" if highest is None else f" from {lowest} to {highest}"
