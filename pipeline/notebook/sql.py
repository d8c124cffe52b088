"""The tables of a job as tables of duckdb, which reads what a query needs of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.notebook.extras import needs_extra

if TYPE_CHECKING:
    import duckdb


def query_tables(query: str, tables: Mapping[str, Callable[[], Any]]) -> duckdb.DuckDBPyRelation:
    """What a query of duckdb answers. Those of `tables` are opened whose names stand in it."""
    with needs_extra("duckdb"):
        import duckdb
    connection = duckdb.connect()
    for name, open_table in tables.items():
        if re.search(rf"\b{name}\b", query, re.IGNORECASE):
            connection.register(name, open_table())
    return connection.sql(query)
