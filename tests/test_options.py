"""An option is declared once: signature, template fields, types, docstring and the docs' table agree."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import msgspec
import pytest
from msgspec import Meta

from airflow_provider_customerly import operators, transfers
from airflow_provider_customerly.hooks.connection import Extra
from airflow_provider_customerly.operators.base import CustomerlyOperator
from airflow_provider_customerly.provider_info import get_provider_info

if TYPE_CHECKING:
    from collections.abc import Iterator

REFERENCE = (Path(__file__).parent.parent / "docs" / "reference" / "operators.md").read_text()
ATTRIBUTES_OF_AIRFLOW = {"dry_run": ("plan_only", "look_only")}
"""An operator has a method named ``dry_run``, so the argument of that name is kept under another."""


def all_operators() -> Iterator[type[CustomerlyOperator]]:
    for package in (operators, transfers):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if module.name.endswith(".lineage"):  # needs OpenLineage's provider, and holds no operator
                continue
            for kind in vars(importlib.import_module(module.name)).values():
                if isinstance(kind, type) and kind.__module__ == module.name and "arguments" in vars(kind):
                    yield kind


OPERATORS = [pytest.param(kind, id=kind.__name__) for kind in all_operators()]
for_each_operator = pytest.mark.parametrize("operator", OPERATORS)


def parameters_of(operator: type[CustomerlyOperator]) -> dict[str, Any]:
    """The arguments of the operator's own, with their defaults."""
    found: dict[str, Any] = {}
    for kind in reversed(operator.__mro__[: operator.__mro__.index(CustomerlyOperator)]):
        for parameter in inspect.signature(kind.__init__).parameters.values():  # type: ignore[misc]
            if parameter.kind is parameter.KEYWORD_ONLY:
                found[parameter.name] = parameter.default
    return found


def field_of(operator: type[CustomerlyOperator], name: str) -> str:
    names = ATTRIBUTES_OF_AIRFLOW.get(name, (name,))
    [found] = [one for one in names if one in operator.arguments.__struct_fields__] or [name]
    return found


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def test_all_operators_are_looked_at() -> None:
    assert {kind.__name__ for kind in all_operators()} >= {
        "CustomerlyToParquetOperator",
        "CustomerlyStreamToParquetOperator",
        "SqlToCustomerlyOperator",
        "CustomerlyDeleteContactsOperator",
        "CustomerlyTagContactsOperator",
        "CustomerlyReconcileOperator",
    }


@for_each_operator
def test_the_signature_has_the_fields_of_the_arguments(operator: type[CustomerlyOperator]) -> None:
    names = {field_of(operator, name) for name in parameters_of(operator)}
    assert names == set(operator.arguments.__struct_fields__)
    assert set(operator.template_fields) <= names
    assert set(operator.private_fields) <= set(operator.template_fields)


@for_each_operator
def test_defaults_are_the_same(operator: type[CustomerlyOperator]) -> None:
    fields = {field.name: field for field in msgspec.structs.fields(operator.arguments)}
    for name, default in parameters_of(operator).items():
        field = fields[field_of(operator, name)]
        if default is inspect.Parameter.empty or "{{" in str(default):
            assert field.required, name
        else:
            declared = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
            read = operator.arguments.read(field.name, default)
            assert (name, plain(read)) == (name, plain(declared))


@for_each_operator
def test_the_docstring_tells_each_argument(operator: type[CustomerlyOperator]) -> None:
    told = re.findall(r"^:param (\w+):", inspect.getdoc(operator) or "", re.MULTILINE)
    assert sorted(told) == sorted(parameters_of(operator))


def table_of(operator: type[CustomerlyOperator]) -> tuple[dict[str, str], set[str]]:
    """Return the documented arguments with their defaults, and those that cannot be templates."""
    _, mark, after = REFERENCE.partition(f"<!-- options of {operator.__name__} -->\n")
    assert mark, "docs/reference/operators.md has no table of this operator's options"
    table = after.lstrip().split("\n\n")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| ([^|]+) \|$", table, re.MULTILINE))
    sentence = re.search(r"\bAll (?:but (.*?) )?can\s+be\s+templates", after, re.DOTALL)
    assert sentence, "nothing says which of them can be templates"
    return rows, set(re.findall(r"`(\w+)`", sentence[1] or ""))


@for_each_operator
def test_the_reference_has_each_argument_with_its_default(operator: type[CustomerlyOperator]) -> None:
    rows, _ = table_of(operator)
    parameters = parameters_of(operator)
    assert sorted(rows) == sorted(parameters)
    for name, default in parameters.items():
        if "{{" in str(default):
            continue  # told in words
        if default is inspect.Parameter.empty:
            expected = "required"
        elif default is None or default == ():
            expected = "none"
        elif isinstance(default, bool):
            expected = "yes" if default else "no"
        else:
            expected = f"`{default}`" if isinstance(default, str) else str(default)
        assert (name, rows[name].partition(":")[0]) == (name, expected)


@for_each_operator
def test_the_reference_says_what_cannot_be_a_template(operator: type[CustomerlyOperator]) -> None:
    _, others = table_of(operator)
    parameters = parameters_of(operator)
    fixed = {name for name in parameters if field_of(operator, name) not in operator.template_fields}
    assert {name for name in others if name in parameters} == fixed


def test_the_connection_form_has_the_ranges_of_the_hook() -> None:
    [connection] = get_provider_info()["connection-types"]
    limits = {}
    for name, annotation in get_type_hints(Extra, include_extras=True).items():
        metas = [part for one in get_args(annotation) for part in get_args(one) if isinstance(part, Meta)]
        limits[name] = (metas[0].ge, metas[0].le) if metas else (None, None)
    form = {
        name: (field["schema"].get("minimum"), field["schema"].get("maximum"))
        for name, field in connection["conn-fields"].items()
    }
    assert form == limits
