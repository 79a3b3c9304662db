"""The nightly job: import what is new, mine it, push the queue to the curators, pull their reviews."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from factory.callables import abstention_detector
from factory.jobs import job
from factory.settings import Settings
from logs_schema.records import Value
from logs_schema.scores import Track


class NightlyReport(Value):
    """What each stage did, in order."""

    stages: dict[str, Any]
    """Stage → its report; a stage with nothing to do tells why."""
    texts: tuple[str, ...]

    def text(self) -> str:
        """The stages, one after the other."""
        return "\n\n".join(self.texts)


def nightly(engine: Engine, settings: Settings, *, track: Track) -> NightlyReport:
    """Import → mine → push → pull under one lock; a failed stage leaves the ones before it done.

    Raises:
        NotReadyError: another job runs, or no Argilla answers.
    """
    from factory.mining.lexical import groundedness
    from factory.mining.miner import mine
    from labeling.pull import pull
    from labeling.push import correction_draft, push
    from logs_schema.importers.run import import_files
    from logs_schema.pii.replace import cleaner

    stages: dict[str, Any] = {}
    texts: list[str] = []

    def done(name: str, report: Any) -> None:
        stages[name] = report.model_dump(mode="json")
        texts.append(f"{name}: {report.text()}")

    with job(engine, "nightly", settings.path(".groundmill/factory.lock")) as running:
        files = log_files(settings)
        if files:
            imports = settings.imports
            done(
                "import",
                import_files(
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
                ),
            )
        else:
            texts.append(f"import: no file matches {', '.join(settings.imports.files)} in {settings.root}")
        done("mine", mine(engine, settings.mining, settings.house, signals=settings.signals, track=track))
        labeling = settings.labeling.located(settings.root)
        done("push", push(engine, labeling, settings.house, draft=correction_draft, track=track))
        abstains = abstention_detector(settings)
        done(
            "pull",
            pull(engine, labeling, settings.house, is_abstention=abstains, groundedness=groundedness, track=track),
        )
        running.report = stages
    return NightlyReport(stages=stages, texts=tuple(texts))


def log_files(settings: Settings) -> list[str]:
    """Files that the configured patterns match, sorted; a freshly rotated, empty one is left out."""
    found: set[Path] = set()
    for pattern in settings.imports.files:
        anchor = Path(pattern).anchor
        folder = Path(anchor) if anchor else settings.root
        found |= {path for path in folder.glob(pattern.removeprefix(anchor)) if path.is_file() and path.stat().st_size}
    return [str(path) for path in sorted(found)]
