"""`factory mine`, `factory findings` and `factory queue`."""

from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, settings_of, store_of, track
from logs_schema.taxonomy import Failure, Route

findings_app = typer.Typer(no_args_is_help=True, help="What the miner found: list findings, or look at one.")
mine_app = typer.Typer(
    invoke_without_command=True,
    help="Find bad answers whose context was good in what was imported, and fill the review queue.",
)
queue_app = typer.Typer(no_args_is_help=True, help="What waits for review.")


@mine_app.callback()
def mine(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Find bad answers whose context was good in what was imported, and fill the review queue."""
    if ctx.invoked_subcommand is not None:
        return
    from factory.mining.miner import mine as mine_store
    from logs_schema.errors import NotReadyError

    settings = settings_of(ctx)
    report = mine_store(store_of(ctx), settings.mining, settings.house, signals=settings.signals, track=track)
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


@mine_app.command("calibrate")
def mine_calibrate(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Fit the scores' probabilities on your own reviews, and keep them if they are better."""
    from factory.mining.calibrate import calibrate
    from factory.mining.encoder import sentence_encoder

    settings = settings_of(ctx)
    name = settings.mining.encoder
    encode = sentence_encoder(name) if name else None
    emit(calibrate(store_of(ctx), settings.house, encode=encode, encoder=name), as_json)


@queue_app.command("show")
def queue_show(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List the records that wait for review, in the order in which curators get them."""
    from factory.mining.findings import list_queue

    emit(list_queue(store_of(ctx)), as_json)
