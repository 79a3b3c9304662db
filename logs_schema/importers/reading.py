"""What log lines say, read here or in processes of their own: the writer of the store need not wait for it."""

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from pydantic import ValidationError
from sqlalchemy import URL, Dialect

from logs_schema.importers.fields import reason_of
from logs_schema.importers.formats import load
from logs_schema.importers.parsed import Format, Parsed, cleaned, dated
from logs_schema.importers.read import Line, valued
from logs_schema.importers.spans import Span
from logs_schema.pii.replace import Cleaner
from logs_schema.prepared import Prepared, rows_of
from logs_schema.records import Feedback, Trace, record_id


class Read(NamedTuple):
    """What a line says; see `Parsed`."""

    records: Sequence[Prepared] = ()
    spans: Sequence[Span] = ()
    feedback: Sequence[tuple[Trace, Feedback]] = ()
    problems: Sequence[str] = ()
    """Why it, or a part of it, cannot be used."""
    replaced: Mapping[str, int] = {}
    """Kind of personal data → placeholders, where another process put them in."""

    def touches(self, source: str) -> Iterator[str]:
        """Ids of the records that it says something of, spans being of this source."""
        yield from (record.record_id for record in self.records)
        yield from (record_id(source, span.trace_id) for span in self.spans)
        yield from (record_id(*trace) for trace, _ in self.feedback)


class Way(NamedTuple):
    """How the lines of a file are read."""

    format: str
    source: str
    occurred_at: datetime | None


def read_of(parsed: Parsed) -> Read:
    """The same with its records made ready."""
    return Read([Prepared(record) for record in parsed.records], parsed.spans, parsed.feedback, parsed.problems)


def reader(way: Way, clean: Cleaner | None) -> Callable[[Line], Read]:
    """What reads a line this way."""
    format = load(way.format)
    if way.occurred_at:
        format = dated(format, way.occurred_at)
    return lambda line: _read(line, format, way.source, clean)


def _read(line: Line, format: Format, source: str, clean: Cleaner | None) -> Read:
    line = valued(line)
    if line.value is None:
        return Read(problems=[line.reason or "holds nothing"])
    try:
        parsed = format.parse(line.value, source)
        return read_of(cleaned(parsed, clean) if clean else parsed)
    except ValidationError as error:
        return Read(problems=[reason_of(error)])
    except ValueError as error:
        return Read(problems=[str(error)])


# --- in another process ---------------------------------------------------------------------------

_HERE: tuple[Dialect, Cleaner | None] | None = None


def make_ready(driver: str, clean: Cleaner | None) -> None:
    """Make this process ready for `read_all`, for a store of this driver, which it does not open."""
    global _HERE
    gc.disable()  # see `garbage`; `read_all` looks when there is little to look through
    _HERE = URL.create(driver).get_dialect()(), clean


def read_all(work: tuple[Way, Sequence[Line]]) -> list[Read]:
    """What each of the lines says, with the rows of its records."""
    assert _HERE is not None
    gc.collect(0)
    dialect, clean = _HERE
    way, lines = work
    read = reader(way, clean)
    found = []
    for line in lines:
        if clean:
            clean.counts.clear()
        said = read(line)
        found.append(said._replace(replaced=dict(clean.counts)) if clean else said)
    rows_of(dialect, [record for each in found for record in each.records])
    return found
