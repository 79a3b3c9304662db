"""What every log format gives: how it is recognised, and what one of its lines parses to."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from logs_schema.importers.fields import UNDATED, reason_of
from logs_schema.importers.spans import Span
from logs_schema.pii.replace import Cleaner
from logs_schema.records import Feedback, RagRecord, Trace


class Parsed(NamedTuple):
    """What one log line holds; any part may be empty, and a line may hold several of each."""

    records: Sequence[RagRecord] = ()
    """Whole records, feedback included."""
    spans: Sequence[Span] = ()
    """Parts of traces, which join to records however many lines, files and days apart they come."""
    feedback: Sequence[tuple[Trace, Feedback]] = ()
    """Events about traces, which may have come before or may come later."""
    problems: Sequence[str] = ()
    """Why parts of the line could not be used; the rest of it is."""


_TRACE: TypeAdapter[Trace] = TypeAdapter(Trace)


def about(source: str, trace_id: str) -> Trace:
    """The trace that feedback names.

    Raises:
        ValueError: no record can have such an id (pydantic's ValidationError is one).
    """
    return _TRACE.validate_python({"source": source, "source_id": trace_id})


class Format(NamedTuple):
    """A log format: a line in `formats.FORMATS`, and the two functions of the module of that name."""

    name: str
    """What `--format` calls it."""
    known_by: str
    """How it is recognised: one line, for help and error messages."""
    looks: Callable[[dict[str, Any]], bool]
    """Whether a JSON object is one of its lines; cheap, and true of no other format's."""
    parse: Callable[[dict[str, Any], str], Parsed]
    """(JSON object, name of the application where the line gives none) to what it holds. Raises ValueError with the
    reason when nothing of the line can be used (pydantic's ValidationError is one)."""


def gathered(values: Iterable[dict[str, Any]], source: str, parse: Callable[[dict[str, Any], str], Parsed]) -> Parsed:
    """What the members of one line hold together; those that cannot be used become problems."""
    records: list[RagRecord] = []
    spans: list[Span] = []
    feedback: list[tuple[Trace, Feedback]] = []
    problems: list[str] = []
    for value in values:
        try:
            parsed = parse(value, source)
        except ValidationError as error:
            problems.append(reason_of(error))
        except ValueError as error:
            problems.append(str(error))
        else:
            records += parsed.records
            spans += parsed.spans
            feedback += parsed.feedback
            problems += parsed.problems
    return Parsed(records, spans, feedback, problems)


def cleaned(parsed: Parsed, clean: Cleaner) -> Parsed:
    """The same without personal data."""
    feedback = [(trace, clean.value(event)) for trace, event in parsed.feedback]
    problems = [clean.text(problem) for problem in parsed.problems]
    return Parsed(clean(parsed.records), clean(parsed.spans), feedback, problems)


def dated(format: Format, moment: datetime) -> Format:
    """The format, with a moment for records whose format tells none."""

    def parse(value: dict[str, Any], source: str) -> Parsed:
        parsed = format.parse(value, source)
        records = [
            record.model_copy(update={"occurred_at": moment}) if record.occurred_at == UNDATED else record
            for record in parsed.records
        ]
        return parsed._replace(records=records)

    return format._replace(parse=parse)
