"""What OpenLineage is told of a task. Its provider may not be installed: import this only when it asks."""

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
from airflow_provider_customerly.transfers.sql_source import SqlSource

if TYPE_CHECKING:
    from airflow_provider_customerly.hooks.customerly import CustomerlyHook
    from airflow_provider_customerly.transfers.customerly_to_parquet import CustomerlyToParquetOperator
    from airflow_provider_customerly.transfers.sql_to_customerly import SqlToCustomerlyOperator

_PLACEHOLDER = re.compile(r"%s|%\(\w+\)s")


def export_lineage(
    operator: CustomerlyToParquetOperator, result: dict[str, Any] | None
) -> OperatorLineage[Any, Any]:
    """Tell that a list of Customerly became a dataset, and what was committed.

    :param result: what `execute` returned; None if it did not come so far.
    """
    if result is None:
        return OperatorLineage()
    location = find_location(operator.path, operator.path_conn_id).join(result["contact_type"])
    # The newest commit: that of this run may have been folded into it.
    newest = storage.Dataset(location).newest()
    schema = newest.schema if newest else []
    columns = [SchemaDatasetFacetFields(name=column.name, type=column.type) for column in schema]
    written = OutputStatisticsOutputDatasetFacet(rowCount=result["rows"], size=result["bytes"])
    return OperatorLineage(
        inputs=[Dataset(*_customerly(operator.hook, result))],
        outputs=[
            OutputDataset(
                *_folder(location),
                facets={"schema": SchemaDatasetFacet(fields=columns)},
                outputFacets={"outputStatistics": written},
            )
        ],
    )


def sync_lineage(
    operator: SqlToCustomerlyOperator, result: dict[str, Any] | None
) -> OperatorLineage[Any, Any]:
    """Tell that tables of the warehouse went to Customerly, and how many contacts it accepted.

    :param result: what `execute` returned, or left when rows were rejected; None if it did not come so far.
    """
    if result is None:
        return OperatorLineage()
    outputs = []
    if result["outcome"] != "planned":
        written = OutputStatisticsOutputDatasetFacet(rowCount=result["sent"])
        outputs.append(
            OutputDataset(*_customerly(operator.hook, result), outputFacets={"outputStatistics": written})
        )
    inputs = [] if operator.plan_path else _tables(operator)
    return OperatorLineage(inputs=inputs, outputs=outputs)


def _customerly(hook: CustomerlyHook, result: dict[str, Any]) -> tuple[str, str]:
    host = urlsplit(hook.client.base_url).netloc
    return f"customerly://{host}", result["contact_type"]


def _folder(location: storage.Location) -> tuple[str, str]:
    if location.is_local:
        return "file", location.root
    scheme, bucket, key, *_ = urlsplit(str(location))
    return f"{scheme}://{bucket}", key.strip("/")


def _tables(operator: SqlToCustomerlyOperator) -> list[Dataset]:
    """Give the tables that the query reads; none if the database's hook cannot name itself to OpenLineage.

    Of what the parser finds, only this is passed on: the text of a query may hold values.
    """
    conn_id = operator.sql_conn_id or ""
    source = SqlSource(conn_id, sql=operator.sql, table=operator.table)
    # The parser does not know the placeholders that Python's drivers take.
    statement = _PLACEHOLDER.sub("NULL", source.statement)
    found = get_openlineage_facets_with_sql(source.hook, statement, conn_id, None)
    return found.inputs if found else []
