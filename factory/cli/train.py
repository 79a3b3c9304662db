"""`factory train`, `eval`, `gate`, `approve`, `rollback` and `adapters`: from a dataset to what runs."""

from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, settings_of, store_of, track

adapters_app = typer.Typer(no_args_is_help=True, help="Trained adapters, and which one runs.")

AdapterOption = Annotated[
    str | None,
    typer.Option("--adapter", metavar="ID", help="Adapter, by its id or the beginning of it. [default: the newest]"),
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides.")]
Note = Annotated[str | None, typer.Option("--note", help="Why, for the log.")]


def train(
    ctx: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="ID", help="Dataset, by its id or the beginning of it. [default: the newest]"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train an adapter on a dataset; a killed run goes on where it was, a finished one is re-used."""
    from training.pipeline import run_training

    settings = settings_of(ctx)
    report = run_training(store_of(ctx), settings.training, root=settings.root, dataset_id=dataset, track=track)
    emit(report, as_json)


def evaluate(ctx: typer.Context, adapter: AdapterOption = None, as_json: AsJson = False) -> None:
    """Compare an adapter with production, base and champion on held-out rows."""
    from factory.callables import abstention_detector
    from factory.mining.lexical import groundedness
    from training.pipeline import run_evaluation

    settings = settings_of(ctx)
    report = run_evaluation(
        store_of(ctx),
        settings.evaluation,
        settings.training,
        root=settings.root,
        is_abstention=abstention_detector(settings),
        groundedness=groundedness,
        adapter_id=adapter,
        track=track,
    )
    emit(report, as_json)


def gate(ctx: typer.Context, adapter: AdapterOption = None, as_json: AsJson = False) -> None:
    """Decide whether an evaluated adapter may replace what runs; exit code 5 when it may not."""
    from logs_schema.errors import GateRefusedError
    from training.pipeline import run_gate

    settings = settings_of(ctx)
    report = run_gate(store_of(ctx), settings.gate, adapter_id=adapter)
    emit(report, as_json)
    if not report.passed:
        failed = ", ".join(check.name for check in report.checks if not check.passed)
        raise GateRefusedError(f"The gate refused adapter {report.adapter_id} ({failed}); what runs today stays.")


def approve(
    ctx: typer.Context,
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="Adapter, by its id or the beginning of it.")],
    by: By,
    note: Note = None,
    as_json: AsJson = False,
) -> None:
    """Make an adapter that passed the gate the champion."""
    from training.registry import approve as approve_adapter

    emit(approve_adapter(store_of(ctx), adapter, by=by, note=note), as_json)


def rollback(ctx: typer.Context, by: By, note: Note = None, as_json: AsJson = False) -> None:
    """Take back the last promotion: the champion before it runs again, or the plain base model."""
    from training.registry import rollback as roll_back

    emit(roll_back(store_of(ctx), by=by, note=note), as_json)


@adapters_app.command("list")
def list_adapters(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Every adapter, newest first, with how far it has come."""
    from training.registry import adapter_list

    emit(adapter_list(store_of(ctx)), as_json)


@adapters_app.command("show")
def show_adapter(
    ctx: typer.Context,
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="Adapter, by its id or the beginning of it.")],
    as_json: AsJson = False,
) -> None:
    """One adapter: its training, its latest evaluation and gate; its files are verified."""
    from training.pipeline import show

    emit(show(store_of(ctx), adapter), as_json)
