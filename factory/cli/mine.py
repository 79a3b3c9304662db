"""`factory mine`, `factory findings` and `factory queue`."""

from pathlib import Path
from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, settings_of, store_of, track
from logs_schema.taxonomy import Failure, MiningEngine, Route

findings_app = typer.Typer(no_args_is_help=True, help="What the miner found: list findings, or look at one.")
queue_app = typer.Typer(no_args_is_help=True, help="What waits for review.")


def mine(
    ctx: typer.Context,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, max=256, help="Processes, or Ray actors. [default: [mining] workers]"),
    ] = None,
    engine: Annotated[
        MiningEngine, typer.Option("--engine", help="This machine, or the Ray cluster in $RAY_ADDRESS.")
    ] = MiningEngine.local,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", help="With --engine ray: read records from this `logs export`.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find bad answers whose context was good in what was imported, and fill the review queue."""
    from factory.mining.miner import mine as mine_store
    from logs_schema.errors import ConfigurationError, NotReadyError

    if parquet and engine is not MiningEngine.ray:
        raise ConfigurationError("--parquet goes with --engine ray: this machine reads records from the store.")
    settings = settings_of(ctx)
    report = mine_store(
        store_of(ctx),
        settings.mining,
        settings.house,
        signals=settings.signals,
        workers=workers,
        run_on=engine,
        parquet=parquet,
        track=track,
    )
    if report.total == 0:
        raise NotReadyError("The store holds no records to mine: run `factory import FILE` first.")
    emit(report, as_json)


@findings_app.command("list")
def findings_list(
    ctx: typer.Context,
    failure: Annotated[Failure | None, typer.Option("--failure", "-f", help="Only this failure.")] = None,
    route: Annotated[Route | None, typer.Option("--route", "-r", help="Only this route.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Findings to show at most.")] = 30,
    as_json: AsJson = False,
) -> None:
    """List findings, the surest first."""
    from factory.mining.findings import list_findings

    emit(list_findings(store_of(ctx), failure=failure, route=route, limit=limit), as_json)


@findings_app.command("show")
def findings_show(
    ctx: typer.Context,
    record: Annotated[str, typer.Argument(help="Record id, the first characters of one, or a trace id.")],
    as_json: AsJson = False,
) -> None:
    """Show one finding with the places that matter marked in response and passages."""
    from rich.console import Console

    from factory.mining.findings import load_finding
    from factory.mining.render import render_finding
    from logs_schema.store import load_records, resolve_id

    engine = store_of(ctx)
    record_id = resolve_id(engine, record)
    finding = load_finding(engine, record_id)
    if as_json:
        typer.echo(finding.model_dump_json(indent=2))
    else:
        shown = render_finding(load_records(engine, [record_id])[record_id], finding)
        Console(highlight=False, markup=False, emoji=False).print(shown, soft_wrap=True, end="")


@queue_app.command("show")
def queue_show(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the records that wait for review, in the order in which curators get them."""
    from factory.mining.findings import list_queue

    emit(list_queue(store_of(ctx)), as_json)
