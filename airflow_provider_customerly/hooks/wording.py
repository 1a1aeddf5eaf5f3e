"""Says in words what a setting may be, read from its type, to those who gave something else."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from msgspec import Meta

if TYPE_CHECKING:
    import msgspec


def wanted(kind: type[msgspec.Struct], name: str) -> str | None:
    """Tell what a field may be, such as ``a whole number, 1 or more``; None where its type tells too little.

    That it may be None is left out: what None stands for is for the caller to say.
    """
    return _in_words(get_type_hints(kind, include_extras=True)[name], Meta())


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
    return {bool: "true or false", str: "text"}.get(annotation)


def _range(limits: Meta) -> str:
    if limits.ge is None:
        return ""
    return f", {limits.ge:g} or more" if limits.le is None else f" from {limits.ge:g} to {limits.le:g}"
