"""Importing log files: read, recognise, parse, join, save; a batch is one transaction."""

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine

from logs_schema.coverage import Coverage, coverage_in
from logs_schema.database import WIDE_CACHE_KIB, writing
from logs_schema.errors import ConfigurationError, InputError
from logs_schema.garbage import paused
from logs_schema.importers.ahead import Ahead, Readers
from logs_schema.importers.batch import Batch, Done, claim_waiting, save_batch, save_so_far
from logs_schema.importers.fields import FIRST_YEAR, LAST_YEAR
from logs_schema.importers.formats import AUTO, check_name, recognise
from logs_schema.importers.joining import count_waiting
from logs_schema.importers.read import BATCH, SAMPLE, Line, batches, expand, raw_lines, valued
from logs_schema.importers.reading import Read, Way, reader
from logs_schema.importers.rejects import Rejects
from logs_schema.importers.reports import FileReport, ImportReport, set_aside
from logs_schema.importers.seen import records_of
from logs_schema.importers.tally import TABLES, Tally
from logs_schema.importers.texts import import_texts
from logs_schema.pii.replace import Cleaner
from logs_schema.rows import IMPORT_RUN
from logs_schema.scores import Track, untracked
from logs_schema.scratch import scratch
from logs_schema.tables import now
from logs_schema.visible import visible

SWEEP = 32
"""Batches between two looks for reference cycles among what is young: few are made."""


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
    workers: int = 0,
    track: Track = untracked,
) -> ImportReport:
    """Import log files (names, glob patterns, `-` for stdin); importing one again changes nothing.

    Of several files, one that cannot be read or has no known format is set aside, and the others are imported.

    Args:
        engine: the store.
        files: what to import.
        format: one of `formats.NAMES`.
        source: name of the application, where a line does not give one.
        strict: stop at the first line or file that cannot be used.
        rejects: folder for the lines that cannot be used; None only counts them.
        occurred_at: moment of records whose format tells none (evaluation sets); else `fields.UNDATED`.
        chunks: chunk stores, which give a text to stored contexts that have none (see `texts.import_texts`).
        clean: takes personal data out of everything before it is stored (see `pii.replace.cleaner`).
        workers: processes that read lines ahead of this one, which writes, when there are many; the result is the same
            with any. A script that asks for some needs `if __name__ == "__main__":`.
        track: progress, over the lines of each file.

    Raises:
        InputError: a file is missing or empty, or the only one cannot be used; with `strict`, a file or a line cannot.
        ConfigurationError: the source name, the format or the rejects folder cannot be used.
    """
    check_name(format)
    check_source(source)
    if occurred_at and not FIRST_YEAR <= occurred_at.year <= LAST_YEAR:
        raise ConfigurationError(f"--occurred-at is a day of the years {FIRST_YEAR} to {LAST_YEAR}.")
    began = time.monotonic()
    stores = expand(chunks)
    names = expand(files)
    how = _How(format, source, strict, rejects, occurred_at, clean, alone=len(names) == 1)
    with scratch(TABLES) as tables:
        tally = Tally(tables)
        with paused(), closing(Readers(engine, clean, workers)) as readers:
            reports = [_import_file(engine, file, how, readers, tally, track) for file in names]
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
    alone: bool
    """It is one file."""


def _import_file(engine: Engine, file: str, how: _How, readers: Readers, tally: Tally, track: Track) -> FileReport:
    lines = raw_lines(file)
    try:
        sample = next(batches(lines, SAMPLE), [])
        format = recognise([valued(line) for line in sample], file, how.format).name
    except InputError as error:
        if how.strict or how.alone:
            raise
        return set_aside(file, error, how.rejects, how.clean)
    with writing(engine) as connection:
        begun = connection.execute(
            IMPORT_RUN.insert().values(file=visible(file), format=format, **_counts({}, 0), started_at=now())
        )
        run = begun.inserted_primary_key
    read = 0
    rated = False
    way = Way(format, how.source, how.occurred_at)
    several = batches(track(chain(sample, lines), description=visible(file)), BATCH)
    with Rejects(how.rejects, file, how.clean) as rejects:
        for number, ahead in enumerate(readers.batches(several, way)):
            read += len(ahead.lines)
            rated = _save(engine, ahead, _Here(reader(way, how.clean), how, rejects), tally) or rated
            if number % SWEEP == 0:
                gc.collect(0)
        for some in tally.waiting():
            done: Done = {}
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
    return FileReport(file=visible(file), format=format, read=read, rejects=path, forgotten=forgotten, **counts)


class _Here(NamedTuple):
    """How this process reads what was not read ahead, and what it does with what cannot be used."""

    read: Callable[[Line], Read]
    how: _How
    rejects: Rejects


def _save(engine: Engine, ahead: Ahead, here: _Here, tally: Tally) -> bool:
    """Save a batch of lines; whether there is feedback in it."""
    with engine.connect() as connection:
        known = records_of(connection, ahead.hashes)
    batch, done = _batch(ahead, known, here)
    if batch:
        with writing(engine, cache_kib=WIDE_CACHE_KIB) as connection:
            tally.wait(save_batch(connection, batch, here.how.source, done))
    tally.add(done)
    return bool(batch.feedback)


def _batch(ahead: Ahead, known: Mapping[str, str], here: _Here) -> tuple[Batch, Done]:
    """What the lines hold that the store does not, and the records that are in the store as their line says.

    Args:
        ahead: lines of the file.
        known: hash of a line → the record that is as it says; the batches that were written meanwhile count.
        here: how to read the others.
    """
    records = [known.get(hash) if hash else None for hash in ahead.hashes]
    read = {place: _read(ahead, place, here) for place, record in enumerate(records) if record is None}
    touched = {name for one in read.values() for name in one.touches(here.how.source)}
    for place, record in enumerate(records):
        if record in touched:  # the order of the lines counts
            read[place] = _read(ahead, place, here)
    batch = Batch()
    for place, one in sorted(read.items()):
        batch.add(one, ahead.hashes[place])
    return batch, dict.fromkeys((name for name in records if name and name not in touched), "unchanged")


def _read(ahead: Ahead, place: int, here: _Here) -> Read:
    line = ahead.lines[place]
    read = ahead.read.get(place) or here.read(line)
    if here.how.clean:
        here.how.clean.counts.update(read.replaced)
    if read.problems and here.how.strict:
        where = f"{here.rejects.file}, line {line.number}"
        raise InputError(f"{where}: {read.problems[0]}. Without --strict it would be set aside.")
    for reason in read.problems:
        here.rejects.add(line, reason)
    return read


def check_source(source: str) -> None:
    """Refuse what is no name of an application.

    Raises:
        ConfigurationError: says what is.
    """
    if not 0 < len(source) <= 100 or "\0" in source:
        raise ConfigurationError("The source is the name of an application, of 1 to 100 characters.")


def _counts(fates: Mapping[str, int], rejected: int) -> dict[str, int]:
    return {**{name: fates.get(name, 0) for name in ("new", "updated", "unchanged")}, "rejected": rejected}
