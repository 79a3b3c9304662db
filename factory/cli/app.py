"""The `factory` command: its groups, its global options, and how errors become exit codes."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from factory import __version__
from factory.cli import care, collect, dataset, feeds, label, logs, mine, ops, trace, train
from logs_schema.errors import FactoryError, disk_error


class FactoryGroup(TyperGroup):
    """Prints a `FactoryError` as one clear sentence and exits with the code of its kind."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; anything but a `FactoryError` or a disk that refuses is a bug and keeps its traceback."""
        try:
            return super().invoke(ctx)
        except FactoryError as error:
            raise _said(error) from error
        except OSError as error:
            explained = disk_error(error)
            if explained is None:
                raise
            raise _said(explained) from error


def _said(error: FactoryError) -> typer.Exit:
    """Print the sentence; the exit that goes with it."""
    from logs_schema.visible import visible

    typer.echo(f"factory: {visible(str(error))}", err=True)
    return typer.Exit(error.exit_code)


app = typer.Typer(
    cls=FactoryGroup,
    name="factory",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From RAG failure logs to a proven adapter: import, mine, review, build, train, prove, promote.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"groundmill {__version__}")
        raise typer.Exit


@app.callback()
def options(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Configuration file. [default: $FACTORY_CONFIG or factory.toml]"),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Global options; the settings are loaded when a command first asks for them."""


app.command()(ops.init)
app.command("import")(logs.import_)
app.command()(collect.collect)
app.command()(mine.worklist)
app.command()(ops.nightly)
app.command()(train.train)
app.command("eval")(train.evaluate)
app.command()(train.gate)
app.command()(train.approve)
app.command()(train.rollback)
app.command()(ops.retrain)
app.command()(ops.status)
app.command()(trace.trace)
logs.logs_app.command("export")(care.export)
logs.logs_app.command("prune")(care.prune)
logs.logs_app.command("forget")(care.forget)
logs.db_app.command("backup")(care.backup)
logs.db_app.command("check")(care.check)
app.add_typer(logs.logs_app, name="logs")
app.add_typer(feeds.feedback_app, name="feedback")
app.add_typer(feeds.documents_app, name="documents")
app.add_typer(mine.mine_app, name="mine")
app.add_typer(mine.findings_app, name="findings")
app.add_typer(mine.queue_app, name="queue")
app.add_typer(label.label_app, name="label")
app.add_typer(dataset.dataset_app, name="dataset")
app.add_typer(train.adapters_app, name="adapters")
app.add_typer(logs.db_app, name="db")


def main() -> None:
    """Entry point of the `factory` command."""
    app()
