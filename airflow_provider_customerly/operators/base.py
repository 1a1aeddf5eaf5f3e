"""The base of all operators: it renders, checks and hides arguments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

import jinja2
import msgspec
from airflow.sdk import BaseOperator
from airflow.sdk.definitions._internal.templater import render_template_to_string  # type: ignore[attr-defined]
from jinja2.nativetypes import NativeEnvironment

from airflow_provider_customerly.hooks.customerly import CustomerlyHook
from airflow_provider_customerly.operators.progress import shown_while_running
from airflow_provider_customerly.operators.result import leave_failure, leave_link
from airflow_provider_customerly.operators.run_link import CustomerlyRunLink
from airflow_provider_customerly.values.arguments import Arguments, is_given

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow.sdk import Context

T = TypeVar("T", bound=Arguments)

_CONTAINERS: tuple[Any, ...] = (list, dict, Sequence, Mapping)
_JINJA = ("{{", "{%", "{#")


class CustomerlyOperator(BaseOperator):
    """Base of all operators.

    A subclass calls ``check_literals`` at the end of its constructor, and does its work in ``carry_out``.
    After rendering, a private field holds an ``Unshown``: read it with ``shown``.
    """

    arguments: ClassVar[type[Arguments]]
    """Has a field for each argument."""
    private_fields: ClassVar[Sequence[str]] = ()
    """Template fields that may hold personal data: Airflow's pages do not show their rendered values."""
    operator_extra_links = (CustomerlyRunLink(),)

    _result: dict[str, Any] | None = None
    """The result of this attempt so far."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Do the work and return the result. A failure also leaves a result, for the run page."""
        self._result = None  # an operator of a test may run twice
        leave_link(self, context)
        try:
            with shown_while_running(context):
                return self.carry_out(context)
        except Exception as error:
            leave_failure(self, context, self._result, error)
            raise

    @abstractmethod
    def carry_out(self, context: Context) -> dict[str, Any]:
        """Do the work and return the result: counts and file names, no personal data."""

    def keep(self, result: dict[str, Any]) -> None:
        """Keep the result of this attempt so far, in case it fails."""
        self._result = result

    @property
    def connection_id(self) -> str:
        """The connection of type ``customerly``."""
        given: str = self.customerly_conn_id  # type: ignore[attr-defined]
        return given if is_given(given) else CustomerlyHook.default_conn_name

    def check_literals(self) -> None:
        """Check the arguments that no template or other task can change, when the DAG is parsed.

        :raises ValueError: an argument is invalid. The message names the operator, the task and the argument.
        """
        known: dict[str, Any] = {}
        try:
            for field in msgspec.structs.fields(self.arguments):
                value = getattr(self, field.name)
                if field.name in self.template_fields and self._may_change(value):
                    continue
                is_set = field.required or is_given(value)
                known[field.name] = self._check(field.name, value) if is_set else _default(field)
            for rule in self.arguments.rules:
                with suppress(_NotKnownYet):
                    rule(_Known(known))
        except ValueError as error:
            raise ValueError(f"{type(self).__name__} {self.task_id!r}: {error}") from None

    def _check(self, name: str, value: Any) -> Any:
        try:
            return self.arguments.read(name, value, self.private_fields)
        except ValueError as error:
            if name in self.template_fields or not self._may_change(value):
                raise
            raise ValueError(f"{error} This argument cannot be a template.") from None

    def _may_change(self, value: Any) -> bool:
        """Return whether the value may change in a run: it is a template or the output of a task."""
        if isinstance(value, str):
            dag = self.get_dag()
            own_marks = any(name.endswith("_string") for name in (dag and dag.jinja_environment_kwargs) or ())
            return own_marks or any(mark in value for mark in _JINJA)
        if isinstance(value, dict):
            return any(map(self._may_change, value.values()))
        if isinstance(value, list | tuple | set | frozenset):
            return any(map(self._may_change, value))
        return hasattr(value, "iter_references") or callable(value)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # Both mapped and other tasks pass here, after rendering and before Airflow stores rendered values.
        render = super()._do_render_template_fields
        if parent is not self:
            render(parent, template_fields, context, jinja_env, seen_oids)
            return
        fields = list(template_fields)
        texts = []
        if isinstance(jinja_env, NativeEnvironment):
            # Native rendering turns text that looks like a number into one: the id 1e5 becomes 100000.
            texts = [name for name in fields if self._is_text(name)]
            render(parent, texts, context, _to_text(jinja_env), seen_oids)
            self.rendered_natively = frozenset(fields) - frozenset(texts)
        render(parent, [name for name in fields if name not in texts], context, jinja_env, seen_oids)
        for name in self.private_fields:
            if getattr(self, name) is not None:
                setattr(self, name, Unshown(shown(getattr(self, name))))

    def _render(self, template: Any, context: Any, dag: Any = None) -> Any:
        if template.environment.code_generator_class is jinja2.Environment.code_generator_class:
            return render_template_to_string(template, context)
        return super()._render(template, context, dag)

    rendered_natively: frozenset[str] = frozenset()
    """Fields that were rendered natively, in which text may have become a number."""

    def _is_text(self, name: str) -> bool:
        """Return whether a field is text or a list of texts, rather than one template that renders a list."""
        if name == "parameters":  # a query may need numbers
            return False
        annotation = get_type_hints(self.arguments)[name]
        is_container = any(get_origin(part) in _CONTAINERS for part in _members(annotation))
        return not (is_container and isinstance(getattr(self, name), str))


def checked(kind: type[T], operator: CustomerlyOperator) -> T:
    """Return the rendered arguments of an operator as their declared types.

    :param kind: the operator's ``arguments``.
    :raises ValueError: an argument is invalid. The message says what it must be and, unless it is private,
        what it is.
    """
    given = {name: shown(getattr(operator, name)) for name in kind.__struct_fields__}
    return kind.of(given, operator.private_fields)


class Unshown:
    """A rendered value of a template field. Its text form, which Airflow stores and shows, hides it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "(not shown)"


def shown(value: Any) -> Any:
    """Return the value itself."""
    return value.value if isinstance(value, Unshown) else value


class _NotKnownYet(Exception):  # noqa: N818
    """The argument is a template."""


class _Known:
    """The arguments that are known when the DAG is parsed."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known

    def __getattr__(self, name: str) -> Any:
        if name in self._known:
            return self._known[name]
        raise _NotKnownYet


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _members(annotation: Any) -> Sequence[Any]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else [annotation]


def _to_text(native: jinja2.Environment) -> jinja2.Environment:
    """Return the environment with its filters and macros, but without native types."""
    text = native.overlay()
    text.code_generator_class = jinja2.Environment.code_generator_class
    return text
