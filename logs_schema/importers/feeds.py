"""What feedback and documents files have in common: read, parse, save; a batch is one transaction."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection, Engine

from logs_schema.errors import ConfigurationError, InputError
from logs_schema.importers.csv_rows import FORMATS, read_rows
from logs_schema.importers.fields import reason_of
from logs_schema.importers.read import BATCH, Line, batches, expand
from logs_schema.importers.rejects import Rejects
from logs_schema.importers.reports import FeedReport, FileReport, set_aside
from logs_schema.pii.replace import Cleaner
from logs_schema.rows import IMPORT_RUN
from logs_schema.scores import Track
from logs_schema.store import SaveCounts, writing
from logs_schema.tables import now
from logs_schema.visible import visible

T = TypeVar("T")
_HUMP = re.compile("(?<=[a-z])(?=[A-Z])")


class Saved(NamedTuple):
    """What saving a batch did."""

    counts: SaveCounts
    refused: Sequence[tuple[Line, str]] = ()
    """Rows that could not be saved, with the reasons."""
    waiting: int | None = None
    """Of what was kept: what waits for its trace. None where nothing ever waits."""


def import_feed(
    engine: Engine,
    files: Sequence[str],
    *,
    what: str,
    format: str,
    parse: Callable[[dict[str, Any]], T],
    save: Callable[[Connection, Sequence[tuple[Line, T]]], Saved],
    strict: bool,
    rejects: Path | None,
    clean: Cleaner | None,
    track: Track,
) -> FeedReport:
    """Import files (names, folders, patterns, `-` for stdin) row by row; importing one again changes nothing.

    Of several files, one that cannot be read as rows is set aside, and the others are imported.

    Args:
        engine: the store.
        files: what to import.
        what: what is counted.
        format: one of `csv_rows.FORMATS`.
        parse: a row's value; raises ValueError with the reason when it cannot be used.
        save: keeps a batch in the transaction that it is handed.
        strict: stop at the first row or file that cannot be used.
        rejects: folder for the rows that cannot be used; None only counts them.
        clean: takes personal data out of the rejected rows; `parse` takes it out of the others.
        track: progress, over the rows of each file.

    Raises:
        InputError: a file is missing or empty, or the only one cannot be used; with `strict`, a file or a row cannot.
        ConfigurationError: the format or the rejects folder cannot be used.
    """
    if format not in FORMATS:
        raise ConfigurationError(f"There is no format {format[:40]!r}. Known are {', '.join(FORMATS)}.")

    def one(file: str) -> FileReport:
        started_at, total, read = now(), SaveCounts(), 0
        waiting: int | None = None
        with Rejects(rejects, file, clean) as bad:
            for chunk in batches(track(read_rows(file, format), description=visible(file)), BATCH):
                read += len(chunk)
                parsed: list[tuple[Line, T]] = []
                for line in chunk:
                    found = _parsed(line, parse)
                    if isinstance(found, _Refusal):
                        _refuse(bad, line, found.reason, strict)
                    else:
                        parsed.append((line, found))
                with writing(engine) as connection:
                    saved = save(connection, parsed)
                    for line, reason in saved.refused:
                        _refuse(bad, line, reason, strict)
                total += saved.counts
                waiting = None if saved.waiting is None else (waiting or 0) + saved.waiting
        counts = {**total.model_dump(exclude={"forgotten"}), "rejected": bad.count}
        if not read:
            raise InputError(f"{file} holds no rows.")
        with writing(engine) as connection:
            run = {"file": visible(file), "format": what, "started_at": started_at, "finished_at": now()}
            connection.execute(IMPORT_RUN.insert().values(**run, **counts))
        path = str(bad.path) if bad.count and bad.path else None
        told = {"file": visible(file), "format": format, "rejects": path}
        return FileReport(**told, read=read, forgotten=total.forgotten, waiting=waiting, **counts)

    names = expand(files)
    reports = []
    for file in names:
        try:
            reports.append(one(file))
        except InputError as error:
            if strict or len(names) == 1:
                raise
            reports.append(set_aside(file, error, rejects, clean))
    replaced = dict(sorted(clean.counts.items())) if clean else {}
    return FeedReport(what=what, files=tuple(reports), replaced=replaced)


class _Refusal(NamedTuple):
    reason: str


def _parsed(line: Line, parse: Callable[[dict[str, Any]], T]) -> T | _Refusal:
    if line.value is None:
        return _Refusal(line.reason or "not a row")
    try:
        return parse(line.value)
    except ValidationError as error:
        return _Refusal(reason_of(error))
    except ValueError as error:
        return _Refusal(str(error))


def _refuse(rejects: Rejects, line: Line, reason: str, strict: bool) -> None:
    if strict:
        raise InputError(f"{rejects.file}, line {line.number}: {reason}. Without --strict it would be set aside.")
    rejects.add(line, reason)


def pick(row: dict[str, Any], names: Sequence[str]) -> Any:
    """The field that a row gives under one of the names; None when it gives none.

    Raises:
        ValueError: it gives two, and they differ.
    """
    given = {name: row[name] for name in names if row.get(name) not in (None, "") and row[name] == row[name]}
    if len({repr(value) for value in given.values()}) > 1:
        raise ValueError(f"{' and '.join(given)} are given and differ: leave one out")
    return next(iter(given.values()), None)


def folded(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its names in one form: `Trace ID`, `trace-id` and `traceId` become `trace_id`.

    Raises:
        ValueError: two names become one, and their values differ.
    """
    found: dict[str, Any] = {}
    for name, value in row.items():
        plain = _HUMP.sub("_", name.strip()).replace(" ", "_").replace("-", "_").lower()
        if found.setdefault(plain, value) != value:
            raise ValueError(f"{plain} is given twice, and differs: leave one out")
    return found
