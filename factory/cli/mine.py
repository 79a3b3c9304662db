"""`factory mine`, `factory findings` and `factory queue`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, moment_of, settings_of, store_of, track
from logs_schema.taxonomy import Failure, MiningEngine, Route, WorkKind


class Period(StrEnum):
    """Length of a period in a course over time."""

    week = "week"
    month = "month"


findings_app = typer.Typer(no_args_is_help=True, help="What the miner found: list findings, or look at one.")
mine_app = typer.Typer(
    invoke_without_command=True,
    help="Find bad answers whose context was good in what was imported, and fill the review queue.",
)
queue_app = typer.Typer(no_args_is_help=True, help="What waits for review.")


@mine_app.callback()
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
    if ctx.invoked_subcommand is not None:
        return
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
    full: Annotated[bool, typer.Option("--full", help="Show whole passages.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show one finding: what was asked, retrieved and answered, why it is flagged, and what happens next."""
    from rich.console import Console

    from factory.mining.findings import load_finding
    from factory.mining.quality import precision_of
    from factory.mining.render import render_finding
    from factory.mining.waiting import next_step
    from logs_schema.store import load_records, resolve_id

    engine = store_of(ctx)
    record_id = resolve_id(engine, record)
    finding = load_finding(engine, record_id)
    if as_json:
        typer.echo(finding.model_dump_json(indent=2))
    else:
        exchange = load_records(engine, [record_id])[record_id]
        rules = settings_of(ctx).mining
        confirmed, following = precision_of(engine, finding.failure), next_step(engine, finding)
        shown = render_finding(exchange, finding, rules, confirmed=confirmed, next_step=following, full=full)
        Console(highlight=False, markup=False, emoji=False).print(shown, soft_wrap=True, end="")


@mine_app.command("calibrate")
def mine_calibrate(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Fit the scores' probabilities on your own reviews, and keep them if they are better."""
    from factory.mining.calibrate import calibrate

    settings = settings_of(ctx)
    emit(calibrate(store_of(ctx), settings.mining, settings.house), as_json)


@mine_app.command("report")
def mine_report(
    ctx: typer.Context,
    by: Annotated[Period, typer.Option("--by", help="Length of the periods in the course over time.")] = Period.month,
    as_json: AsJson = False,
) -> None:
    """Show how good the miner is by your own reviews: precision, recall and calibration, with intervals."""
    from factory.mining.quality import quality

    emit(quality(store_of(ctx), by=by.value), as_json)


@queue_app.command("show")
def queue_show(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Records to show at most.")] = 30,
    as_json: AsJson = False,
) -> None:
    """Show the records that wait for review, in the order in which curators get them, and why each has its place."""
    from factory.mining.waiting import list_queue

    emit(list_queue(store_of(ctx), limit=limit), as_json)


def worklist(
    ctx: typer.Context,
    kind: Annotated[WorkKind | None, typer.Option("--kind", "-k", help="Only this kind.")] = None,
    since: Annotated[
        str | None, typer.Option("--since", help="Only records from then on: a date, or an age such as 30d.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Items to show at most.")] = 20,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it to this file; .csv and .json say in which form.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV, safe to open in a spreadsheet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what the RAG team can mend: missed, outdated, cut-off and missing content, by document or topic."""
    from factory.mining import worklist_file
    from factory.mining.worklist import worklist as read_worklist
    from logs_schema.errors import ConfigurationError
    from logs_schema.visible import visible
    from logs_schema.wording import counted

    if as_csv and as_json:
        raise ConfigurationError("Give --csv or --json, not both.")
    moment = moment_of(since, "--since") if since else None
    found = read_worklist(store_of(ctx), kind=kind, since=moment, limit=limit)
    ending = out.suffix.lower() if out and not (as_csv or as_json) else ""
    if as_csv or ending == ".csv":
        text = worklist_file.as_csv(found)
    elif as_json or ending == ".json":
        text = found.model_dump_json(indent=2) + "\n"
    else:
        text = visible(found.text()) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        worklist_file.write(text, out)
        typer.echo(f"Wrote {len(found.items):,} of {counted(found.total, 'item')} to {out}.", err=True)
