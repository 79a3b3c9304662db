"""`factory import`, `factory logs` and `factory db`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, emit_import, moment_of, settings_of, store_of, track
from logs_schema.errors import ConfigurationError
from logs_schema.importers.formats import NAMES

logs_app = typer.Typer(no_args_is_help=True, help="What was imported: read one record, or see figures over all.")
db_app = typer.Typer(no_args_is_help=True, help="The store's database: upgrade its schema, check that it is sound.")


def import_(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="Log files, folders, glob patterns, or - for standard input."),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", "-f", help=f"{', '.join(NAMES)}.  [default: from the settings]"),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", "-s", help="Application that wrote the logs.  [default: from the settings]"),
    ] = None,
    chunks: Annotated[
        list[str] | None,
        typer.Option(
            "--chunks",
            metavar="FILE",
            help="Chunk store with the texts of contexts that were logged by id: rows of doc_id and text.  "
            "[default: from the settings]",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first line or file that cannot be used.")
    ] = False,
    rejects: Annotated[
        Path | None,
        typer.Option("--rejects", help="Folder for the lines that cannot be used.  [default: rejects]"),
    ] = None,
    occurred_at: Annotated[
        datetime | None,
        typer.Option(
            "--occurred-at", help="When it was asked, in UTC, for formats that do not tell.  [default: 2000-01-01]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Import production logs; importing a file again changes nothing."""
    from logs_schema.importers.run import import_files
    from logs_schema.pii.replace import cleaner

    if not files and not chunks:
        raise ConfigurationError("Missing argument FILE: name the log files to import, or a chunk store with --chunks.")
    settings = settings_of(ctx)
    store = store_of(ctx)
    report = import_files(
        store,
        files or [],
        format=format or settings.imports.format,
        source=source or settings.imports.source,
        strict=strict,
        rejects=rejects or settings.path("rejects"),
        occurred_at=occurred_at and occurred_at.replace(tzinfo=UTC),
        chunks=chunks or [str(settings.path(pattern)) for pattern in settings.imports.chunks],
        clean=cleaner(store, settings.pii),
        workers=settings.imports.workers,
        track=track,
    )
    emit_import(report, as_json)


@logs_app.command("show")
def show(
    ctx: typer.Context,
    record: Annotated[str, typer.Argument(help="Record id, the first characters of one, or a trace id.")],
    as_json: AsJson = False,
) -> None:
    """Show one record: query, contexts, response, feedback and finding."""
    from logs_schema.views import record_view

    emit(record_view(store_of(ctx), record), as_json)


@logs_app.command("stats")
def stats(
    ctx: typer.Context,
    weeks: Annotated[int, typer.Option("--weeks", "-w", min=1, help="Weeks to show at most.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Show figures over everything that was imported, and by source and week."""
    from logs_schema.views import store_stats

    emit(store_stats(store_of(ctx), last_weeks=weeks), as_json)


@logs_app.command("coverage")
def coverage(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", help="Only records from then on: a date, or an age such as 30d.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only records of this application.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which fields the logs hold, what mining cannot do without the others, and what to log."""
    from logs_schema.coverage import coverage_report

    moment = moment_of(since, "--since") if since else None
    emit(coverage_report(store_of(ctx), since=moment, source=source), as_json)


@db_app.command("upgrade")
def upgrade(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Bring the store's schema to the one that this version needs."""
    from logs_schema.database import upgrade as upgrade_store
    from logs_schema.views import UpgradeReport

    old, new = upgrade_store(settings_of(ctx).store_url)
    emit(UpgradeReport(old=old, new=new), as_json)
