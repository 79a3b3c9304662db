"""The nightly job: import what is new, mine it, push the queue to the curators, pull their reviews."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from factory.callables import abstention_detector
from factory.jobs import job
from factory.settings import Settings
from logs_schema.errors import FactoryError, InputError
from logs_schema.importers.reports import ImportReport
from logs_schema.records import Value
from logs_schema.scores import Track


class NightlyReport(Value):
    """What each stage did, in order."""

    stages: dict[str, Any]
    """Stage → its report, of those that ended."""
    texts: tuple[str, ...]
    """What each stage says; one with nothing to do tells why."""
    problem: str | None = None
    """What files could not be used, and what stopped the stage after the last; None when all is well."""
    exit_code: int = 0
    """Of the error that the problem is; 0 without one."""

    def text(self) -> str:
        """The stages, one after the other."""
        return "\n\n".join(self.texts)


def nightly(engine: Engine, settings: Settings, *, track: Track) -> NightlyReport:
    """Import → mine → push → pull under one lock.

    Logs that cannot be used stop nothing: what can be is mined and pushed. Any other stage that fails is the last one,
    and leaves the ones before it done. The report says both.

    Raises:
        NotReadyError: another job runs.
    """
    from factory.mining.lexical import groundedness
    from factory.mining.miner import mine
    from labeling.pull import pull
    from labeling.push import correction_draft, push

    stages: dict[str, Any] = {}
    texts: list[str] = []
    wrong: list[FactoryError] = []

    def done(name: str, report: Any) -> None:
        stages[name] = report.model_dump(mode="json")
        texts.append(f"{name}: {report.text()}")

    with job(engine, "nightly", settings.path(".groundmill/factory.lock")) as running:
        running.report = stages
        files = log_files(settings)
        if not files:
            texts.append(f"import: no file matches {', '.join(settings.imports.files)} in {settings.root}")
        try:
            if files:
                imported = _import(engine, files, settings, track)
                done("import", imported)
                problem = imported.problem()
                wrong += [InputError(problem)] if problem else []
        except InputError as error:
            texts.append(f"import: {error}")
            wrong.append(error)
        try:
            done("mine", mine(engine, settings.mining, settings.house, signals=settings.signals, track=track))
            labeling = settings.labeling.located(settings.root)
            done("push", push(engine, labeling, settings.house, draft=correction_draft, track=track))
            abstains = abstention_detector(settings)
            done(
                "pull",
                pull(engine, labeling, settings.house, is_abstention=abstains, groundedness=groundedness, track=track),
            )
        except FactoryError as error:
            wrong.append(error)
        problem = " ".join(str(error) for error in wrong)
        if problem:
            running.outcome = f"failed: {problem}"
    return NightlyReport(
        stages=stages, texts=tuple(texts), problem=problem or None, exit_code=wrong[-1].exit_code if wrong else 0
    )


def _import(engine: Engine, files: list[str], settings: Settings, track: Track) -> ImportReport:
    from logs_schema.importers.run import import_files
    from logs_schema.pii.replace import cleaner

    imports = settings.imports
    return import_files(
        engine,
        files,
        format=imports.format,
        source=imports.source,
        strict=False,
        rejects=settings.path("rejects"),
        chunks=[str(settings.path(pattern)) for pattern in imports.chunks],
        clean=cleaner(engine, settings.pii),
        workers=imports.workers,
        track=track,
    )


def log_files(settings: Settings) -> list[str]:
    """Files that the configured patterns match, sorted; a freshly rotated, empty one is left out."""
    found: set[Path] = set()
    for pattern in settings.imports.files:
        anchor = Path(pattern).anchor
        folder = Path(anchor) if anchor else settings.root
        found |= {path for path in folder.glob(pattern.removeprefix(anchor)) if path.is_file() and path.stat().st_size}
    return [str(path) for path in sorted(found)]
