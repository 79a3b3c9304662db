"""`factory logs export|prune|forget` and `factory db backup|check`: care of what was logged."""

from pathlib import Path
from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, moment_of, settings_of, store_of, track


def export(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="Parquet file to write; an existing one is replaced.")],
    since: Annotated[
        str | None, typer.Option("--since", help="Only records from then on: a date, or an age such as 30d.")
    ] = None,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only records of this application.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write records with contexts, feedback, findings and reviews to a Parquet file."""
    from logs_schema.export import export_parquet

    moment = moment_of(since, "--since") if since else None
    emit(export_parquet(store_of(ctx), file, since=moment, source=source, track=track), as_json)


def prune(
    ctx: typer.Context,
    older_than: Annotated[str, typer.Option("--older-than", help="An age such as 180d, or a date.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete old records, except those that people reviewed or datasets rest on."""
    from logs_schema.pruning import prune as prune_store

    emit(prune_store(store_of(ctx), moment_of(older_than, "--older-than"), dry_run=dry_run), as_json)


def forget(
    ctx: typer.Context,
    trace: Annotated[list[str] | None, typer.Option("--trace", help="Trace id or record id.")] = None,
    user: Annotated[list[str] | None, typer.Option("--user", help="User id, as the application logs it.")] = None,
    document: Annotated[
        list[str] | None,
        typer.Option("--document", help="Document id: the document, and every record that was shown it."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete everything of a trace, a user or a document, everywhere; alone, go on where a run was cut off."""
    from factory.forget import forget as forget_everywhere
    from factory.jobs import job
    from logs_schema.errors import ConfigurationError, NotReadyError

    settings = settings_of(ctx)
    store = store_of(ctx)
    traces, users, documents = trace or [], user or [], document or []
    if dry_run or ((traces or users or documents) and not yes):
        report = forget_everywhere(store, settings, traces=traces, users=users, documents=documents, dry_run=True)
        emit(report, as_json)
        if dry_run:
            return
        import sys

        if not sys.stdin.isatty():
            raise ConfigurationError("Forgetting cannot be undone: say --yes, or --dry-run to only look.")
        typer.confirm("Delete all of this? It cannot be undone.", abort=True, err=True)
    with job(store, "forget", settings.path(".groundmill/factory.lock")) as running:
        report = forget_everywhere(store, settings, traces=traces, users=users, documents=documents)
        running.outcome = "left something to do" if report.left else "done"
    emit(report, as_json)
    if report.left:
        raise NotReadyError("Not everything could be deleted yet: the report says what is left to do.")


def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="File to write; it must not exist yet.")],
    as_json: AsJson = False,
) -> None:
    """Copy the store, and the embedded Argilla's database beside it, while they are used; check the copies."""
    from factory.backup import backup as back_up

    settings = settings_of(ctx)
    emit(back_up(store_of(ctx), file, Path(settings.labeling.located(settings.root).home)), as_json)


def check(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Check the database, and hash passages, datasets and adapters again."""
    from factory.check import check as check_all
    from logs_schema.errors import FactoryError

    report = check_all(store_of(ctx))
    emit(report, as_json)
    if not report.sound:
        raise FactoryError("Something is damaged: the lines above say what. Restore it from a backup.")
