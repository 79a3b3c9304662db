"""What every log format gives: how it is recognised, and what one of its lines parses to."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from logs_schema.importers.spans import Span
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
