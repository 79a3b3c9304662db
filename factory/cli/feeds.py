"""`factory feedback` and `factory documents`: what comes beside the logs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, emit_import, settings_of, store_of, track

feedback_app = typer.Typer(no_args_is_help=True, help="Votes, annotations and corrections that come after the logs.")
documents_app = typer.Typer(no_args_is_help=True, help="The corpus: its documents, their versions, their texts.")

Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Files, folders, patterns, or - for standard input.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first row or file that cannot be used.")]
RejectsFolder = Annotated[
    Path | None, typer.Option("--rejects", help="Folder for the rows that cannot be used.  [default: rejects]")
]


class RowFormat(StrEnum):
    """Formats of feed files."""

    auto = "auto"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


Format = Annotated[RowFormat, typer.Option("--format", "-f", help="Format of the files.")]


@feedback_app.command("import")
def feedback_import(
    ctx: typer.Context,
    files: Files,
    format: Format = RowFormat.auto,
    source: Annotated[
        str | None,
        typer.Option("--source", "-s", help="Application that the traces are of.  [default: from the settings]"),
    ] = None,
    scale: Annotated[
        str | None, typer.Option("--scale", help="WORST:BEST of scores and ratings, such as 1:5.  [default: 0:1]")
    ] = None,
    strict: Strict = False,
    rejects: RejectsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Import feedback by trace, before or after the trace itself; importing a file again changes nothing."""
    from logs_schema.importers.feedback_feed import import_feedback
    from logs_schema.pii.replace import cleaner

    settings = settings_of(ctx)
    store = store_of(ctx)
    report = import_feedback(
        store,
        files,
        format=format.value,
        source=source or settings.imports.source,
        scale=scale,
        strict=strict,
        rejects=rejects or settings.path("rejects"),
        clean=cleaner(store, settings.pii),
        track=track,
    )
    emit_import(report, as_json)


@documents_app.command("import")
def documents_import(
    ctx: typer.Context,
    files: Files,
    format: Format = RowFormat.auto,
    strict: Strict = False,
    rejects: RejectsFolder = None,
    as_json: AsJson = False,
) -> None:
    """Import versions of documents; what they decide is mined again by the next factory mine."""
    from logs_schema.importers.document_feed import import_documents
    from logs_schema.pii.replace import cleaner

    settings = settings_of(ctx)
    store = store_of(ctx)
    report = import_documents(
        store,
        files,
        format=format.value,
        strict=strict,
        rejects=rejects or settings.path("rejects"),
        clean=cleaner(store, settings.pii),
        track=track,
    )
    emit_import(report, as_json)


@documents_app.command("list")
def documents_list(
    ctx: typer.Context,
    withdrawn: Annotated[bool, typer.Option("--withdrawn", help="Only those that were taken down.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Documents to show at most.")] = 30,
    as_json: AsJson = False,
) -> None:
    """List the documents of the corpus with their newest version."""
    from logs_schema.document_views import list_documents

    emit(list_documents(store_of(ctx), limit=limit, withdrawn=withdrawn), as_json)


@documents_app.command("show")
def documents_show(
    ctx: typer.Context,
    document: Annotated[str, typer.Argument(help="Document id.")],
    as_json: AsJson = False,
) -> None:
    """Show a document with all its versions, and the newest text."""
    from logs_schema.document_views import load_document

    emit(load_document(store_of(ctx), document), as_json)
