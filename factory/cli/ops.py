"""`factory init`, `nightly`, `retrain`, `status`: what people and schedules run."""

from pathlib import Path
from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, settings_of, store_of, track
from logs_schema.errors import FactoryError


def init(
    folder: Annotated[Path, typer.Argument(help="Folder to write it in.")] = Path(),
) -> None:
    """Write a commented factory.toml with every setting at its default."""
    from factory.config_template import init as write

    typer.echo(f"Wrote {write(folder)}. Next: factory import FILE…")


def nightly(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Import, mine, push to the curators and pull their reviews, in this order, under one lock."""
    from factory.nightly import nightly as run

    report = run(store_of(ctx), settings_of(ctx), track=track)
    emit(report, as_json)
    if report.problem:
        error = FactoryError(report.problem)
        error.exit_code = report.exit_code
        raise error


def retrain(
    ctx: typer.Context,
    if_due: Annotated[bool, typer.Option("--if-due", help="Do nothing while too few reviews are new.")] = False,
    as_json: AsJson = False,
) -> None:
    """Build the data, train, evaluate, gate, and promote as configured; goes on where it was stopped."""
    from factory.retrain import retrain as run
    from logs_schema.errors import GateRefusedError

    report = run(store_of(ctx), settings_of(ctx), if_due=if_due, track=track)
    emit(report, as_json)
    if not report.passed:
        raise GateRefusedError(report.why)


def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show whether the factory is healthy and what waits for whom; exit code 4 when something is wrong."""
    from factory.mining.calibrate import fits_in_force
    from factory.mining.miner import miner_version
    from factory.status import status as look

    settings = settings_of(ctx)
    engine = store_of(ctx)
    version = miner_version(settings.mining, settings.house, fits_in_force(engine, settings.mining))
    report = look(engine, schedule=settings.schedule, miner_version=version)
    emit(report, as_json)
    if report.problems:
        raise typer.Exit(4)
