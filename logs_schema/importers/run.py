"""Importing log files: read, recognise, parse, join, save; a batch is one transaction."""

import gc
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from pydantic import Field, ValidationError
from sqlalchemy import Engine

from logs_schema.coverage import Coverage, coverage_in, percent
from logs_schema.errors import ConfigurationError, InputError
from logs_schema.garbage import paused
from logs_schema.importers.batch import Batch, Done, claim_waiting, save_batch, save_so_far
from logs_schema.importers.fields import FIRST_YEAR, LAST_YEAR, reason_of
from logs_schema.importers.formats import AUTO, check_name, recognise
from logs_schema.importers.joining import count_waiting
from logs_schema.importers.parsed import Format, Parsed, cleaned, dated
from logs_schema.importers.read import BATCH, SAMPLE, Line, batches, expand, read_lines
from logs_schema.importers.rejects import Rejects
from logs_schema.importers.seen import line_hash, records_of, way_of_reading
from logs_schema.importers.tally import Tally
from logs_schema.importers.texts import TextsReport, import_texts
from logs_schema.pii.replace import Cleaner, replaced_text
from logs_schema.records import Value
from logs_schema.rows import IMPORT_RUN
from logs_schema.scores import Track, untracked
from logs_schema.store import writing
from logs_schema.tables import now
from logs_schema.visible import visible


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
    forgotten: int = 0
    """Records that were left out because they had been forgotten."""
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
    replaced: dict[str, int] = Field(default_factory=dict)
    """Kind of personal data → placeholders put in its place."""
    seconds: float

    def text(self) -> str:
        """Plain text for a terminal."""
        lines = []
        for file in self.files:
            lines.append(
                f"{file.file}: {file.format}, {file.read:,} lines: {file.new:,} new records, {file.updated:,} updated, "
                f"{file.unchanged:,} unchanged, {file.rejected:,} lines rejected"
            )
            if file.forgotten:
                lines.append(f"  {file.forgotten:,} records were forgotten earlier and are left out")
            if file.rejects:
                lines.append(f"  rejected lines and reasons: {file.rejects}")
        lines += [given.text() for given in self.texts]
        held = self.coverage
        lines.append(
            f"Of {held.records:,} records: {percent(held.with_feedback, held.records)} with feedback, "
            f"{percent(held.with_prompt, held.records)} with a known prompt; "
            f"of {held.contexts:,} contexts: {percent(held.contexts_with_text, held.contexts)} with text."
        )
        lines += [f"  {lack}" for lack in held.lacks()]
        lines += replaced_text(self.replaced)
        if self.pending:
            lines.append(f"{self.pending:,} traces wait for the rest of their spans.")
        read = sum(file.read for file in self.files)
        lines.append(f"{read:,} lines in {self.seconds:.1f} s.")
        return "\n".join(lines)


def import_files(
    engine: Engine,
    files: Sequence[str],
    *,
    format: str = AUTO,
    source: str = "production",
    strict: bool = False,
    rejects: Path | None = None,
    occurred_at: datetime | None = None,
    chunks: Sequence[str] = (),
    clean: Cleaner | None = None,
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
        occurred_at: moment of records whose format tells none (evaluation sets); else `fields.UNDATED`.
        chunks: chunk stores, which give a text to stored contexts that have none (see `texts.import_texts`).
        clean: takes personal data out of everything before it is stored (see `pii.replace.cleaner`).
        track: progress, over the lines of each file.

    Raises:
        InputError: a file is missing, empty or of no known format; with `strict`, a line is bad.
        ConfigurationError: the source name, the format or the rejects folder cannot be used.
    """
    check_name(format)
    check_source(source)
    if occurred_at and not FIRST_YEAR <= occurred_at.year <= LAST_YEAR:
        raise ConfigurationError(f"--occurred-at is a day of the years {FIRST_YEAR} to {LAST_YEAR}.")
    began = time.monotonic()
    stores = expand(chunks)
    how = _How(format, source, strict, rejects, occurred_at, clean)
    with Tally() as tally, paused():
        reports = [_import_file(engine, file, how, tally, track) for file in expand(files)]
        texts = import_texts(engine, stores, strict=strict, rejects=rejects, clean=clean, track=track)
        with engine.connect() as connection:
            coverage = sum((coverage_in(connection, some) for some in tally.touched()), Coverage())
            pending = count_waiting(connection)
    return ImportReport(
        files=tuple(reports),
        texts=texts,
        pending=pending,
        coverage=coverage,
        replaced=dict(sorted(clean.counts.items())) if clean else {},
        seconds=round(time.monotonic() - began, 3),
    )


class _How(NamedTuple):
    """How files are read; see `import_files`."""

    format: str
    source: str
    strict: bool
    rejects: Path | None
    occurred_at: datetime | None
    clean: Cleaner | None


def _import_file(engine: Engine, file: str, how: _How, tally: Tally, track: Track) -> FileReport:
    lines = read_lines(file)
    sample = next(batches(lines, SAMPLE), [])
    format = recognise(sample, file, how.format)
    way = way_of_reading(format.name, how.source, how.occurred_at, how.clean)
    if how.occurred_at:
        format = dated(format, how.occurred_at)
    with writing(engine) as connection:
        begun = connection.execute(
            IMPORT_RUN.insert().values(file=visible(file), format=format.name, **_counts({}, 0), started_at=now())
        )
        run = begun.inserted_primary_key
    read = 0
    rated = False
    with Rejects(how.rejects, file, how.clean) as rejects:
        for chunk in batches(track(chain(sample, lines), description=visible(file)), BATCH):
            read += len(chunk)
            hashes = [line_hash(way, line) for line in chunk]
            with engine.connect() as connection:
                known = records_of(connection, hashes)
            batch, done = _parse(chunk, hashes, known, format, how, rejects)
            rated = rated or bool(batch.feedback)
            if batch:
                with writing(engine) as connection:
                    tally.wait(save_batch(connection, batch, how.source, done))
            tally.add(done)
            gc.collect(0)
        for some in tally.waiting():
            done = {}
            with writing(engine) as connection:
                save_so_far(connection, how.source, some, done)
            tally.add(done)
        if rated:
            done = {}
            with writing(engine) as connection:
                claim_waiting(connection, how.source, done)
            tally.add(done)
    fates = tally.end_file()
    counts = _counts(fates, rejects.count)
    with writing(engine) as connection:
        finished = IMPORT_RUN.update().where(IMPORT_RUN.c.id == (run[0] if run else None))
        connection.execute(finished.values(finished_at=now(), **counts))
    path = str(rejects.path) if rejects.count and rejects.path else None
    forgotten = fates.get("forgotten", 0)
    return FileReport(file=visible(file), format=format.name, read=read, rejects=path, forgotten=forgotten, **counts)


def _parse(
    lines: Sequence[Line],
    hashes: Sequence[str | None],
    known: Mapping[str, str],
    format: Format,
    how: _How,
    rejects: Rejects,
) -> tuple[Batch, Done]:
    """What the lines hold that the store does not, and the records that are in the store as their line says.

    Args:
        lines: of the file.
        hashes: of the lines.
        known: hash of a line → the record that is as it says.
        format: of the file.
        how: it is read.
        rejects: where lines go that cannot be used.
    """
    records = [known.get(hash) if hash else None for hash in hashes]
    parsed = {n: _read(line, format, how, rejects) for n, line in enumerate(lines) if records[n] is None}
    touched = {name for one in parsed.values() for name in one.touches(how.source)}
    for n, line in enumerate(lines):
        if records[n] in touched:  # the order of the lines counts
            parsed[n] = _read(line, format, how, rejects)
    batch = Batch()
    for n, one in sorted(parsed.items()):
        batch.add(one, hashes[n])
    return batch, dict.fromkeys((name for name in records if name and name not in touched), "unchanged")


def _read(line: Line, format: Format, how: _How, rejects: Rejects) -> Parsed:
    found = Parsed()
    reasons: list[str] = [line.reason] if line.reason else []
    if line.value is not None:
        try:
            parsed = format.parse(line.value, how.source)
            found = cleaned(parsed, how.clean) if how.clean else parsed
        except ValidationError as error:
            reasons = [reason_of(error)]
        except ValueError as error:
            reasons = [str(error)]
        else:
            reasons = list(found.problems)
    if reasons and how.strict:
        place = f"{rejects.file}, line {line.number}"
        raise InputError(f"{place}: {reasons[0]}. Without --strict it would be set aside.")
    for reason in reasons:
        rejects.add(line, reason)
    return found


def check_source(source: str) -> None:
    """Refuse what is no name of an application.

    Raises:
        ConfigurationError: says what is.
    """
    if not 0 < len(source) <= 100 or "\0" in source:
        raise ConfigurationError("The source is the name of an application, of 1 to 100 characters.")


def _counts(fates: Mapping[str, int], rejected: int) -> dict[str, int]:
    return {**{name: fates.get(name, 0) for name in ("new", "updated", "unchanged")}, "rejected": rejected}
