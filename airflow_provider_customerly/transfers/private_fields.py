"""Template fields whose values Airflow's pages do not show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import jinja2
    from airflow.sdk import Context


class PrivateFieldsOperator(BaseOperator):
    """Base of operators with fields that may name contacts.

    Once rendered, such a field holds an `Unshown`: read it with `shown`.
    """

    private_fields: ClassVar[Sequence[str]] = ()

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # The one place that mapped and other tasks both come through after rendering and before Airflow
        # stores what was rendered.
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if parent is self:
            for name in self.private_fields:
                if getattr(self, name) is not None:
                    setattr(self, name, Unshown(shown(getattr(self, name))))


class Unshown:
    """Holds the rendered value of a template field; as text, which is what Airflow stores and shows, it is no
    value at all.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return "(not shown)"


def shown(value: Any) -> Any:
    """Give the value itself."""
    return value.value if isinstance(value, Unshown) else value
