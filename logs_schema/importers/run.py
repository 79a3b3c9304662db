"""Importing log files: read, recognise, parse, join, save; a batch is one transaction."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError
from sqlalchemy import Connection, Engine

from logs_schema.errors import ConfigurationError, InputError
from logs_schema.importers.fields import reason_of
from logs_schema.importers.formats import AUTO, check_name, recognise
from logs_schema.importers.joining import claim_feedback, count_waiting, join, so_far, traces_of, waiting_feedback
from logs_schema.importers.parsed import Format, Parsed
from logs_schema.importers.read import Line, expand, read_lines
from logs_schema.importers.rejects import Rejects
from logs_schema.importers.spans import Span
from logs_schema.importers.texts import TextsReport, import_texts, keep_texts
from logs_schema.records import Feedback, RagRecord, Trace, Value, record_id
from logs_schema.rows import IMPORT_RUN, content_hashes
from logs_schema.rows import chunks as in_parts
from logs_schema.scores import Track
from logs_schema.store import Coverage, coverage_in, save_feedback_in, save_in, writing
from logs_schema.tables import now

BATCH = 500
"""Lines in one transaction."""
SAMPLE = 50
"""Lines by which the format is recognised."""


class FileReport(Value):
    """What importing one file did."""

    file: str
    format: str
    read: int
    """Lines, blank ones not counted."""
    new: int
    """Records that were not in the store."""
    updated: int
    """Records whose content (feedback included) changed."""
    unchanged: int
    rejected: int
    """Lines that could not be used."""
    rejects: str | None = None
    """File that holds them with the reasons."""


class ImportReport(Value):
    """What an import did."""

    files: tuple[FileReport, ...]
    texts: tuple[TextsReport, ...] = ()
    """What chunk stores gave to contexts without text."""
    pending: int
    """Traces in the store that wait for spans before they become a record."""
    coverage: Coverage
    """What the records of these files hold."""
    seconds: float

    def text(self) -> str:
        """Plain text for a terminal."""
        lines = []
        for file in self.files:
            lines.append(
                f"{file.file}: {file.format}, {file.read:,} lines: {file.new:,} new records, {file.updated:,} updated, "
                f"{file.unchanged:,} unchanged, {file.rejected:,} lines rejected"
            )
            if file.rejects:
                lines.append(f"  rejected lines and reasons: {file.rejects}")
        lines += [given.text() for given in self.texts]
        held = self.coverage
        lines.append(
            f"Of {held.records:,} records: {_share(held.with_feedback, held.records)} with feedback, "
            f"{_share(held.with_prompt, held.records)} with a known prompt; "
            f"of {held.contexts:,} contexts: {_share(held.contexts_with_text, held.contexts)} with text."
        )
        if self.pending:
            lines.append(f"{self.pending:,} traces wait for the rest of their spans.")
        read = sum(file.read for file in self.files)
        lines.append(f"{read:,} lines in {self.seconds:.1f} s.")
        return "\n".join(lines)


class Batch(NamedTuple):
    """What a batch of lines parsed to."""

    records: list[RagRecord]
    spans: list[Span]
    feedback: dict[Trace, list[Feedback]]


def untracked(items: Iterable[Any], **_: object) -> Iterator[Any]:
    """The items, without progress."""
    yield from items


def import_files(
    engine: Engine,
    files: Sequence[str],
    *,
    format: str = AUTO,
    source: str = "production",
    strict: bool = False,
    rejects: Path | None = None,
    chunks: Sequence[str] = (),
    track: Track = untracked,
) -> ImportReport:
    """Import log files (names, glob patterns, `-` for stdin); importing one again changes nothing.

    Args:
        engine: the store.
        files: what to import.
        format: one of `formats.NAMES`.
        source: name of the application, where a line does not give one.
        strict: stop at the first line that cannot be used.
        rejects: folder for the lines that cannot be used; None only counts them.
        chunks: chunk stores, which give a text to stored contexts that have none (see `texts.import_texts`).
        track: progress, over the lines of each file.

    Raises:
        InputError: a file is missing, empty or of no known format; with `strict`, a line is bad.
        ConfigurationError: the source name, the format or the rejects folder cannot be used.
    """
    check_name(format)
    check_source(source)
    began = time.monotonic()
    stores = expand(chunks)
    reports, coverage, touched = [], Coverage(), set[str]()
    for file in expand(files):
        report, ids = _import_file(engine, file, format, source, strict, rejects, track)
        reports.append(report)
        if stores:
            touched.update(ids)
        else:
            with engine.connect() as connection:
                coverage += coverage_in(connection, ids)
    texts = import_texts(engine, stores, strict=strict, rejects=rejects, track=track)
    with engine.connect() as connection:
        pending = count_waiting(connection)
        coverage += coverage_in(connection, sorted(touched))
    return ImportReport(
        files=tuple(reports),
        texts=texts,
        pending=pending,
        coverage=coverage,
        seconds=round(time.monotonic() - began, 3),
    )


def _import_file(
    engine: Engine, file: str, format: str, source: str, strict: bool, folder: Path | None, track: Track
) -> tuple[FileReport, list[str]]:
    """The report, and the ids of the records that the file touched."""
    lines = read_lines(file)
    sample = list(islice(lines, SAMPLE))
    seen = recognise(sample, file, format)
    with writing(engine) as connection:
        begun = connection.execute(
            IMPORT_RUN.insert().values(file=file, format=seen.name, **_counts({}, 0), started_at=now())
        )
        run = begun.inserted_primary_key
    read = 0
    done: dict[str, str] = {}
    waiting: set[str] = set()
    rated = False
    with Rejects(folder, file) as rejects:
        for chunk in in_parts(track(chain(sample, lines), description=file), BATCH):
            read += len(chunk)
            batch = _parse(chunk, seen, source, strict, rejects)
            rated = rated or bool(batch.feedback)
            with writing(engine) as connection:
                waiting |= _save(connection, batch, source, done)
        for some in in_parts(sorted(waiting), BATCH):
            with writing(engine) as connection:
                _save_records(connection, so_far(connection, source, some), done)
        if rated:
            with writing(engine) as connection:
                _claim(connection, source, waiting_feedback(connection, source), done)
    with writing(engine) as connection:
        counts = _counts(done, rejects.count)
        finished = IMPORT_RUN.update().where(IMPORT_RUN.c.id == (run[0] if run else None))
        connection.execute(finished.values(finished_at=now(), **counts))
    path = str(rejects.path) if rejects.count and rejects.path else None
    return FileReport(file=file, format=seen.name, read=read, rejects=path, **counts), sorted(done)


def _parse(lines: Sequence[Line], format: Format, source: str, strict: bool, rejects: Rejects) -> Batch:
    batch = Batch([], [], defaultdict(list))
    for line in lines:
        reasons: list[str] = [line.reason] if line.reason else []
        if line.value is not None:
            try:
                parsed = format.parse(line.value, source)
            except ValidationError as error:
                reasons = [reason_of(error)]
            except ValueError as error:
                reasons = [str(error)]
            else:
                batch.records.extend(parsed.records)
                batch.spans.extend(parsed.spans)
                for trace, event in parsed.feedback:
                    batch.feedback[trace].append(event)
                reasons = list(parsed.problems)
        if reasons and strict:
            place = f"{rejects.file}, line {line.number}"
            raise InputError(f"{place}: {reasons[0]}. Without --strict it would be set aside.")
        for reason in reasons:
            rejects.add(line, reason)
    return batch


def check_source(source: str) -> None:
    """Refuse what is no name of an application.

    Raises:
        ConfigurationError: says what is.
    """
    if not 0 < len(source) <= 100 or "\0" in source:
        raise ConfigurationError("The source is the name of an application, of 1 to 100 characters.")


def save_parsed(engine: Engine, parsed: Parsed, source: str) -> dict[str, str]:
    """Save what came otherwise than in a file, in one transaction; id → `new`, `updated` or `unchanged`.

    Traces that are not whole become records as far as their spans tell; their spans go on waiting for more.
    """
    batch = Batch(list(parsed.records), list(parsed.spans), defaultdict(list))
    for trace, event in parsed.feedback:
        batch.feedback[trace].append(event)
    done: dict[str, str] = {}
    with writing(engine) as connection:
        waiting = _save(connection, batch, source, done)
        _save_records(connection, so_far(connection, source, waiting), done)
        if batch.feedback:
            _claim(connection, source, waiting_feedback(connection, source), done)
    return done


def _save(connection: Connection, batch: Batch, source: str, done: dict[str, str]) -> set[str]:
    """Save a batch, note what became of each record, and return the traces that wait."""
    joined = join(connection, source, batch.spans)
    told = [record_id(*trace) for trace in batch.feedback]
    before = content_hashes(connection, told)
    save_feedback_in(connection, batch.feedback)
    _note(connection, before, [identifier for identifier in told if identifier in before], done)
    named = traces_of(connection, source, {trace.source_id for trace in batch.feedback if trace.source == source})
    _claim(connection, source, {**named, **{span.span_id: span.trace_id for span in batch.spans}}, done)
    for trace in joined.known:
        done.setdefault(record_id(source, trace), "unchanged")
    _save_records(connection, [*batch.records, *joined.records], done)
    return set(joined.waiting)


def _claim(connection: Connection, source: str, spans: Mapping[str, str], done: dict[str, str]) -> None:
    """Feedback that names a span goes to the span's trace."""
    traces = [record_id(source, trace) for trace in set(spans.values())]
    before = content_hashes(connection, traces)
    claimed = [record_id(*trace) for trace in claim_feedback(connection, source, spans)]
    _note(connection, before, [identifier for identifier in claimed if identifier in before], done)


def _save_records(connection: Connection, records: Sequence[RagRecord], done: dict[str, str]) -> None:
    ids = [record.record_id for record in records]
    before = content_hashes(connection, ids)
    save_in(connection, keep_texts(connection, records))
    _note(connection, before, ids, done)


def _note(connection: Connection, before: dict[str, str], ids: Sequence[str], done: dict[str, str]) -> None:
    for identifier, after in content_hashes(connection, ids).items():
        if identifier not in before:
            done[identifier] = "new"
        elif before[identifier] != after and done.get(identifier) != "new":
            done[identifier] = "updated"
        else:
            done.setdefault(identifier, "unchanged")


def _counts(done: dict[str, str], rejected: int) -> dict[str, int]:
    tally = Counter(done.values())
    return {**{name: tally[name] for name in ("new", "updated", "unchanged")}, "rejected": rejected}


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "none"
