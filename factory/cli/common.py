"""What every command shares: settings, the store, progress, and how a report is printed."""

import sys
from collections.abc import Iterable, Iterator, Sized
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from logs_schema.visible import visible

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from factory.settings import Settings

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")]


class Report(Protocol):
    """A command's result: a pydantic model that can tell itself as text."""

    def text(self) -> str:
        """Plain text for a terminal."""
        ...

    def model_dump_json(self, *, indent: int | None = None) -> str:
        """The same as JSON."""
        ...


class ImportedReport(Report, Protocol):
    """The report of a command that imports files."""

    def problem(self) -> str | None:
        """What to say of files of which nothing could be used."""
        ...


def settings_of(ctx: typer.Context) -> "Settings":
    """Settings, loaded once a command from `--config`, the environment and the defaults."""
    from factory.settings import Settings, load

    root = ctx.find_root()
    if not isinstance(root.obj, Settings):
        config: Path | None = root.params.get("config")
        root.obj = load(config)
    settings: Settings = root.obj
    return settings


def store_of(ctx: typer.Context) -> "Engine":
    """The store that the settings name, until the command ends; a new SQLite file is created and migrated."""
    from logs_schema.store import open_store

    store = open_store(settings_of(ctx).store_url)
    ctx.call_on_close(store.dispose)
    return store


def emit(report: Report, as_json: bool) -> None:
    """Print a report to stdout: text for people, JSON for programs."""
    typer.echo(report.model_dump_json(indent=2) if as_json else visible(report.text()))


def emit_import(report: ImportedReport, as_json: bool) -> None:
    """Print what an import did, then refuse files of which nothing could be used.

    Raises:
        InputError: there are such files.
    """
    from logs_schema.errors import InputError

    emit(report, as_json)
    problem = report.problem()
    if problem:
        raise InputError(problem)


def track(items: Iterable[T], *, description: str = "", total: int | None = None) -> Iterator[T]:
    """Yield the items under a progress bar on stderr; without a terminal there, just yield them."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import track as rich_track

    known = total if total is not None else len(items) if isinstance(items, Sized) else None
    yield from rich_track(
        items, description=escape(description), total=known, console=Console(stderr=True), transient=True
    )


def moment_of(text: str, option: str) -> datetime:
    """A date, or the moment that lies an age such as 12h, 30d or 8w back.

    Raises:
        ConfigurationError: it is neither.
    """
    import re
    from datetime import UTC, timedelta

    from logs_schema.errors import ConfigurationError
    from logs_schema.tables import now

    age = re.fullmatch(r"(\d{1,5})([hdw])", text.strip(), re.ASCII)
    try:
        if age:
            return (
                now() - int(age[1]) * {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}[age[2]]
            )
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigurationError(
            f"{option} {text!r} is neither an age such as 180d nor a date such as 2026-01-31."
        ) from error
