"""The work list as CSV, safe to open in a spreadsheet, and written to a file of one's own."""

import csv
from io import StringIO
from pathlib import Path

from factory.mining.worklist import Worklist
from logs_schema.errors import not_written
from logs_schema.files import file_atomic
from logs_schema.visible import visible

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
"""What spreadsheets take for the beginning of a formula (OWASP, CSV injection)."""
_COLUMNS = (
    *("kind", "documents", "title", "records", "questions", "people", "unhappy", "feedback", "confidence"),
    *("first_seen", "last_seen", "hint", "examples", "example_records"),
)


def as_csv(found: Worklist) -> str:
    """A row an item; texts of logs are on one line, and none of them is read as a formula."""
    stream = StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for item in found.items:
        values = item.model_dump() | {
            "documents": " + ".join(item.documents),
            "first_seen": item.first_seen.isoformat(),
            "last_seen": item.last_seen.isoformat(),
            "examples": " | ".join(example.query for example in item.examples),
            "example_records": " ".join(example.record_id for example in item.examples),
        }
        writer.writerow([_cell(values[name]) for name in _COLUMNS])
    return stream.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    line = " ".join(visible(value).split())
    return f"'{line}" if line.startswith(_FORMULA) else line


def write(text: str, file: Path) -> None:
    """Write the list for its owner's eyes only (mode 0600), whole or not at all.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        with file_atomic(file) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise not_written(error, file) from error
