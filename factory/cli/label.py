"""`factory label`: the review by curators in Argilla."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from factory.cli.common import AsJson, emit, settings_of, store_of, track

if TYPE_CHECKING:
    from labeling.settings import LabelingSettings

label_app = typer.Typer(no_args_is_help=True, help="Review by curators in Argilla: serve, push, pull.")


@label_app.command()
def install(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Install the embedded Argilla server into an environment of its own, once."""
    from labeling.server.install import install, server_env

    emit(install(server_env(_labeling(ctx).server_env), track), as_json)


@label_app.command()
def serve(
    ctx: typer.Context,
    background: Annotated[
        bool, typer.Option("--background", help="Leave the server running and return once it answers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start the embedded Argilla server; Ctrl-C stops it."""
    import signal

    from labeling.server.serve import attend, start

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    report, process = start(_labeling(ctx), background=background)
    if background:
        emit(report, as_json)
    else:
        attend(process, Path(report.home), lambda: emit(report, as_json))


@label_app.command()
def stop(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Stop the embedded Argilla server."""
    from labeling.server.serve import stop

    emit(stop(Path(_labeling(ctx).home)), as_json)


@label_app.command()
def status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show how far the review is: queue, dataset, and each curator."""
    from labeling.status import status

    emit(status(store_of(ctx), _labeling(ctx)), as_json)


@label_app.command()
def push(
    ctx: typer.Context,
    limit: Annotated[int | None, typer.Option(min=1, help="Send at most this many records.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send queued records to Argilla."""
    from labeling.push import correction_draft, push

    settings = settings_of(ctx)
    report = push(
        store_of(ctx), _labeling(ctx), settings.house, draft=correction_draft, limit=limit, track=track
    )  # fmt: skip
    emit(report, as_json)


@label_app.command()
def pull(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Fetch the curators' decisions from Argilla."""
    from factory.callables import abstention_detector
    from factory.mining.lexical import groundedness
    from labeling.pull import pull

    settings = settings_of(ctx)
    report = pull(
        store_of(ctx),
        _labeling(ctx),
        settings.house,
        is_abstention=abstention_detector(settings),
        groundedness=groundedness,
        track=track,
    )
    emit(report, as_json)


def _labeling(ctx: typer.Context) -> "LabelingSettings":
    settings = settings_of(ctx)
    return settings.labeling.located(settings.root)
