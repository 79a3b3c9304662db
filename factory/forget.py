"""Forgetting a trace, a user or a document everywhere: the store, files on disk, and Argilla.

The store comes first, in one transaction that also notes what is left to do outside of it. So a run
that was cut off is completed by the next one, whatever that is asked to forget.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, select, update

from factory.erase_files import FilesGone, erase_from_files, erase_rejects
from factory.settings import Settings
from logs_schema.database import pack, writing
from logs_schema.errors import FactoryError, InputError
from logs_schema.forgetting import (
    FILES,
    NOTHING,
    Gone,
    Taint,
    forget_documents,
    forget_feedback_by,
    forget_traces,
    forgotten_examples,
    push_again,
    tainted,
)
from logs_schema.keys import store_key, store_key_in
from logs_schema.marks import FORGOTTEN, Kind, mark
from logs_schema.pii.replace import cleaner
from logs_schema.records import Trace, Value
from logs_schema.rows import CHUNK, CONTEXT, FEEDBACK, INTERACTION, PENDING, chunks, put
from logs_schema.tables import now
from logs_schema.wording import counted
from training.registry import adapter_list

ROWS = {
    "records": ("record",),
    "contexts": ("context",),
    "passages": ("passage",),
    "feedback": ("feedback event",),
    "spans": ("waiting span",),
    "findings": ("finding",),
    "queued": ("queue entry", "queue entries"),
    "reviews": ("review",),
    "documents": ("document version",),
}
"""What people call the rows of `forgetting.Gone`."""


class Taught(Value):
    """An adapter whose training data held forgotten rows."""

    adapter_id: str
    state: str
    """As in `factory adapters list`."""
    rows: Taint


class ForgetReport(Value):
    """What was forgotten, and what that touches."""

    dry_run: bool
    named: int
    """Traces, users and documents that were asked for."""
    traces: int
    """Traces found: those named, those of the users, and those that were shown the documents."""
    rows: dict[str, int]
    """Table → rows deleted from the store."""
    datasets: dict[str, Taint]
    """Dataset version → its rows that are forgotten now; their text is out of its files, its id stays."""
    adapters: tuple[Taught, ...]
    files: FilesGone
    in_argilla: int
    """Records deleted from Argilla."""
    left: tuple[str, ...]
    """What could not be deleted yet; running the command again goes on."""

    def text(self) -> str:
        """A few lines."""
        verb = "Would forget" if self.dry_run else "Forgot"
        held = ", ".join(counted(count, *ROWS[name]) for name, count in self.rows.items() if count)
        found = bool(held or self.traces)
        if found:
            lines = [f"{verb} {counted(self.traces, 'trace')}: {held or 'nothing in the store'}."]
        elif self.named:
            lines = [
                "Nothing of what was named is in the store." + ("" if self.dry_run else " Later imports leave it out.")
            ]
        else:
            lines = ["Nothing was named that is to be forgotten."]
        lines += [f"Dataset {name}: forgotten rows {taint.text()}." for name, taint in self.datasets.items()]
        lines += [
            f"Adapter {one.adapter_id} ({one.state}) was made with them: {one.rows.text()}." for one in self.adapters
        ]
        if self.adapters:
            lines.append("Weights cannot be cleaned: run `factory retrain`, and delete the folders of these adapters.")
        if not self.dry_run and (found or self.in_argilla or self.files != FilesGone()):
            lines.append(self.files.text() + f" Records deleted from Argilla: {self.in_argilla:,}.")
        if not self.dry_run and found:
            lines.append("Your own log files and backups still hold what was forgotten; a later import leaves it out.")
        return "\n".join([*lines, *(f"LEFT TO DO: {one}" for one in self.left)])


def forget(
    engine: Engine,
    settings: Settings,
    *,
    traces: Sequence[str] = (),
    users: Sequence[str] = (),
    documents: Sequence[str] = (),
    dry_run: bool = False,
) -> ForgetReport:
    """Delete everything of some traces, of users, and of records that were shown some documents.

    Without names, only what an earlier run left is done.

    Args:
        engine: the store.
        settings: where files and Argilla are.
        traces: trace ids or record ids.
        users: user ids as the application logs them.
        documents: document ids.
        dry_run: change nothing; rows of datasets that borrowed a passage are not looked for.

    Raises:
        InputError: the store knows no such trace.
    """
    names = _as_stored(engine, settings, users)
    with engine.connect() as connection:
        known = forgotten_examples(connection)
        wanted = _wanted(connection, traces, names, documents)
    if not dry_run and (traces or users or documents):
        said = [*traces, *names, *documents, *(one.source_id for one in wanted)]
        rejected = erase_rejects(settings.path("rejects"), said)
    else:
        rejected = 0
    gone = _forget_in_store(engine, wanted, names, documents, dry_run=dry_run, known=known)
    files, in_argilla, left = (FilesGone(), 0, ()) if dry_run else _finish(engine, settings)
    with engine.connect() as connection:
        datasets = gone.datasets if dry_run else tainted(connection, known)
    return ForgetReport(
        dry_run=dry_run,
        named=len(traces) + len(users) + len(documents),
        traces=len(wanted),
        rows=gone.rows._asdict(),
        datasets=datasets,
        adapters=tuple(
            Taught(adapter_id=one.adapter_id, state=one.state, rows=datasets[one.dataset_id])
            for one in adapter_list(engine).adapters
            if one.dataset_id in datasets
        ),
        files=files.model_copy(update={"rejected_lines": rejected}),
        in_argilla=in_argilla,
        left=tuple(left),
    )


# --- in the store -------------------------------------------------------------------------------------


class _InStore(Value):
    rows: Gone
    datasets: dict[str, Taint]


def _forget_in_store(
    engine: Engine,
    traces: Sequence[Trace],
    users: Sequence[str],
    documents: Sequence[str],
    *,
    dry_run: bool,
    known: set[tuple[str, str]],
) -> _InStore:
    with writing(engine) as connection:
        key = store_key_in(connection)
        moment = now()
        rows = NOTHING
        for some in chunks(traces):
            rows += forget_traces(connection, key, some)
        rows = rows._replace(feedback=rows.feedback + (forget_feedback_by(connection, users) if users else 0))
        rows += forget_documents(connection, key, documents)
        left: dict[str, Any] = {"record_id": None, "left_to_do": {FILES: []}, "forgotten_at": moment}
        marks = [{**mark(key, Kind.user, name)._asdict(), **left} for name in users]
        put(connection, FORGOTTEN, marks, replace=True)
        result = _InStore(rows=rows, datasets=tainted(connection, known))
        if dry_run:
            connection.rollback()
    return result


def _as_stored(engine: Engine, settings: Settings, users: Sequence[str]) -> list[str]:
    """The users' ids as they are, and as an import that replaces personal data stores them."""
    clean = cleaner(engine, settings.pii) if users else None
    return sorted({*users, *(clean.identifier(name) for name in users if clean)})


def _wanted(
    connection: Connection, traces: Sequence[str], users: Sequence[str], documents: Sequence[str]
) -> list[Trace]:
    pairs = select(INTERACTION.c.source, INTERACTION.c.source_id)
    found: set[Trace] = set()
    for name in traces:
        mine = [pairs.where((INTERACTION.c.source_id == name) | (INTERACTION.c.id == name))]
        mine.append(select(FEEDBACK.c.source, FEEDBACK.c.source_id).where(FEEDBACK.c.source_id == name))
        mine.append(select(PENDING.c.source, PENDING.c.trace_id).where(PENDING.c.trace_id == name))
        held = {Trace(*row) for query in mine for row in connection.execute(query)}
        if not held and not connection.scalar(select(FORGOTTEN.c.hash).where(FORGOTTEN.c.record_id == name)):
            raise InputError(f"The store knows no trace or record {name!r}: give its whole id.")
        found |= held
    if users:
        found |= {Trace(*row) for row in connection.execute(pairs.where(INTERACTION.c.user_id.in_(users)))}
    if documents:
        shown = CONTEXT.c.doc_id.in_(documents)
        held_by = pairs.join(CONTEXT, CONTEXT.c.interaction_id == INTERACTION.c.id).where(shown)
        found |= {Trace(*row) for row in connection.execute(held_by)}
    if users or documents:
        found |= set(_spans_of(connection, set(users), set(documents)))
    return sorted(found)


def _spans_of(connection: Connection, users: set[str], documents: set[str]) -> Iterator[Trace]:
    """Traces with a waiting span of the users, or one that shows the documents."""
    query = select(PENDING.c.source, PENDING.c.trace_id, PENDING.c.span)
    for source, trace_id, span in connection.execute(query.execution_options(yield_per=CHUNK)):
        shown = {each.get("doc_id") for name in ("documents", "reranked") for each in span.get(name, ())}
        if span.get("user_id") in users or shown & documents:
            yield Trace(source, trace_id)


# --- outside of it ------------------------------------------------------------------------------------


def _finish(engine: Engine, settings: Settings) -> tuple[FilesGone, int, list[str]]:
    """Do what all runs so far have left outside the store; (files, records in Argilla, what is still left)."""
    with engine.connect() as connection:
        due = connection.execute(select(FORGOTTEN).where(FORGOTTEN.c.left_to_do.is_not(None))).all()
    if not due:
        return FilesGone(), 0, []
    left: list[str] = []
    on_disk = [row for row in due if FILES in row.left_to_do]
    files = FilesGone()
    if on_disk:
        files = erase_from_files(
            engine,
            records={row.record_id for row in on_disk if row.record_id},
            passages={each for row in on_disk for each in row.left_to_do[FILES]},
            documents={row.hash for row in on_disk if row.kind == Kind.document},
            key=store_key(engine),
            answers=[settings.path(settings.evaluation.folder), settings.path(settings.training.cache)],
        )
    try:
        if engine.url.database and engine.dialect.name == "sqlite":
            pack(Path(engine.url.database))
        _done(engine, [row.hash for row in on_disk], FILES)
    except FactoryError as error:
        left.append(f"{error}; run `factory logs forget` again")
    in_argilla = 0
    labeling = settings.labeling.located(settings.root)
    for target in sorted({work for row in due for work in row.left_to_do if work != FILES}):
        there = [row for row in due if target in row.left_to_do]
        ids = sorted({each for row in there for each in row.left_to_do[target]})
        try:
            from labeling.erase import erase

            in_argilla += erase(labeling, target, ids)
            with writing(engine) as connection:
                push_again(connection, ids)
            _done(engine, [row.hash for row in there], target)
        except (FactoryError, ImportError) as error:  # the client may not be installed here
            left.append(f"{counted(len(ids), 'record')} in Argilla: {error}; then run `factory logs forget` again")
    return files, in_argilla, left


def _done(engine: Engine, hashes: Sequence[str], work: str) -> None:
    for some in chunks(hashes):
        with writing(engine) as connection:
            rows = connection.execute(select(FORGOTTEN).where(FORGOTTEN.c.hash.in_(some))).all()
            for row in rows:
                rest = {name: value for name, value in (row.left_to_do or {}).items() if name != work}
                this = (FORGOTTEN.c.kind == row.kind) & (FORGOTTEN.c.hash == row.hash)
                connection.execute(update(FORGOTTEN).where(this).values(left_to_do=rest or None))
