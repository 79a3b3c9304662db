"""`factory trace`: where a record went, and what an adapter was taught by."""

from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, store_of


def trace(
    ctx: typer.Context,
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="Trace, record, review, example, dataset or adapter id.")
    ],
    as_json: AsJson = False,
) -> None:
    """Follow a log line to the adapters that it taught, or an adapter back to its rows, reviewers and records."""
    from factory.lineage import trace as trace_lineage

    emit(trace_lineage(store_of(ctx), identifier), as_json)
