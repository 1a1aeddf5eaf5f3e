"""Lineage for OpenLineage, whose provider may not be installed: import this only when it calls."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.openlineage.facet import (
    Dataset,
    OutputDataset,
    OutputStatisticsOutputDatasetFacet,
    SchemaDatasetFacet,
    SchemaDatasetFacetFields,
)
from airflow.providers.openlineage.extractors import OperatorLineage
from airflow.providers.openlineage.sqlparser import get_openlineage_facets_with_sql

from airflow_provider_customerly import storage
from airflow_provider_customerly.hooks.lookup import find_location

if TYPE_CHECKING:
    from airflow_provider_customerly.hooks.customerly import CustomerlyHook
    from airflow_provider_customerly.transfers.sql_source import SqlSource

_PLACEHOLDER = re.compile(r"%s|%\(\w+\)s")


def export_lineage(
    hook: CustomerlyHook, path: str, path_conn_id: str | None, result: dict[str, Any] | None
) -> OperatorLineage[Any, Any]:
    """Return the lineage of an export, from Customerly to a dataset, with what was committed.

    :param result: the result of the operator's ``execute``; None if there is none.
    """
    if result is None:
        return OperatorLineage()
    location = find_location(path, path_conn_id).join(result["contact_type"])
    newest = storage.Dataset(location).newest()
    schema = newest.schema if newest else []
    columns = [SchemaDatasetFacetFields(name=column.name, type=column.type) for column in schema]
    written = OutputStatisticsOutputDatasetFacet(rowCount=result["rows"], size=result["bytes"])
    return OperatorLineage(
        inputs=[Dataset(*_customerly(hook, result))],
        outputs=[
            OutputDataset(
                *_folder(location),
                facets={"schema": SchemaDatasetFacet(fields=columns)},
                outputFacets={"outputStatistics": written},
            )
        ],
    )


def sync_lineage(
    hook: CustomerlyHook, source: SqlSource | None, result: dict[str, Any] | None
) -> OperatorLineage[Any, Any]:
    """Return the lineage of a sync, from tables to Customerly, with the number of accepted contacts.

    :param source: the source of the rows; None if a plan was applied.
    :param result: the result of the operator's ``execute``, also if rows were rejected; None if there is
        none.
    """
    if result is None:
        return OperatorLineage()
    outputs = []
    if result["outcome"] != "planned":
        written = OutputStatisticsOutputDatasetFacet(rowCount=result["sent"])
        outputs.append(OutputDataset(*_customerly(hook, result), outputFacets={"outputStatistics": written}))
    inputs = _tables(source) if source else []
    return OperatorLineage(inputs=inputs, outputs=outputs)


def reconcile_lineage(
    source: SqlSource, export: storage.Location, result: dict[str, Any] | None
) -> OperatorLineage[Any, Any]:
    """Return that tables of the warehouse were compared with an export.

    :param export: folder of its contacts.
    :param result: what the operator's ``execute`` returned; None if it did not get that far.
    """
    return (
        OperatorLineage()
        if result is None
        else OperatorLineage(inputs=[*_tables(source), Dataset(*_folder(export))])
    )


def _customerly(hook: CustomerlyHook, result: dict[str, Any]) -> tuple[str, str]:
    host = urlsplit(hook.client.base_url).netloc
    return f"customerly://{host}", result["contact_type"]


def _folder(location: storage.Location) -> tuple[str, str]:
    if location.is_local:
        return "file", location.root
    scheme, bucket, key, *_ = urlsplit(str(location))
    return f"{scheme}://{bucket}", key.strip("/")


def _tables(source: SqlSource) -> list[Dataset]:
    """Return the tables that the query reads; none if the database's hook does not support OpenLineage.

    Nothing else that the parser finds is passed on, because the text of a query may hold personal data.
    """
    # The parser does not support the placeholders of Python drivers.
    statement = _PLACEHOLDER.sub("NULL", source.statement)
    found = get_openlineage_facets_with_sql(source.hook, statement, source.sql_conn_id, None)
    return found.inputs if found else []
