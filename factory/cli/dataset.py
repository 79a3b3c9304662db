"""`factory dataset …`: build, list, show, verify, compare dataset versions."""

from typing import Annotated

import typer

from factory.cli.common import AsJson, emit, settings_of, store_of, track

dataset_app = typer.Typer(
    no_args_is_help=True, help="Turn reviews into training data: guarded, balanced, split without leaks."
)

DatasetId = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="Dataset id or its beginning. [default: the newest]")
]


@dataset_app.command("build")
def build_dataset(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Build a dataset version from the accepted reviews; the same reviews and settings give the same version."""
    from factory.callables import abstention_detector, general_rows
    from factory.dataset.build import build
    from factory.mining.lexical import groundedness

    settings = settings_of(ctx)
    report = build(
        store_of(ctx),
        settings.dataset,
        settings.house,
        folder=settings.path(settings.dataset.folder),
        groundedness=groundedness,
        is_abstention=abstention_detector(settings),
        general=general_rows(settings),
        track=track,
    )
    emit(report, as_json)


@dataset_app.command("list")
def list_datasets(ctx: typer.Context, as_json: AsJson = False) -> None:
    """List every dataset version, newest first."""
    from factory.dataset.versions import versions

    emit(versions(store_of(ctx)), as_json)


@dataset_app.command("show")
def show_dataset(ctx: typer.Context, dataset_id: DatasetId = None, as_json: AsJson = False) -> None:
    """Show what a dataset version holds, what was left out, and its settings."""
    from factory.dataset.versions import version

    emit(version(store_of(ctx), dataset_id), as_json)


@dataset_app.command("verify")
def verify_dataset(ctx: typer.Context, dataset_id: DatasetId = None, as_json: AsJson = False) -> None:
    """Hash the files of a dataset version again and compare them with its manifest."""
    from factory.dataset.versions import verify

    emit(verify(store_of(ctx), dataset_id), as_json)


@dataset_app.command("diff")
def diff_datasets(
    ctx: typer.Context,
    old: Annotated[str, typer.Argument(help="Id of the older version, or its beginning.")],
    new: Annotated[str | None, typer.Argument(metavar="[NEW]", help="The newer one. [default: the newest]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which rows, records and settings differ between two dataset versions."""
    from factory.dataset.versions import difference

    emit(difference(store_of(ctx), old, new), as_json)
