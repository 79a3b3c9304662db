"""`factory collect`."""

from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, settings_of, store_of


def collect(
    ctx: typer.Context,
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on.  [default: from the settings]")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on.  [default: from the settings]")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", "-s", help="Application that sends the spans.  [default: from the settings]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take in OpenTelemetry spans over OTLP/HTTP, until it is ended by SIGTERM or Ctrl-C."""
    import logging

    from factory.collect.serve import collect as serve
    from logs_schema.pii.replace import cleaner

    settings = settings_of(ctx)
    store = store_of(ctx)
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    report = serve(
        store,
        settings.collect.model_copy(update=given),
        source or settings.imports.source,
        clean=cleaner(store, settings.pii),
        listening=lambda url: typer.echo(f"Listening on {url}", err=True),
    )
    emit(report, as_json)
