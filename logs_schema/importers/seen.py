"""Lines that the store holds as they are: reading them again would change nothing, so that is left out.

A record keeps the hash of the line that it is as. Whatever else changes the record (feedback, a text from a chunk
store, another line about the same trace) takes that hash off, and deleting the record deletes it.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from pathlib import Path

from sqlalchemy import Connection

from logs_schema.importers.read import Line
from logs_schema.pii.replace import Cleaner
from logs_schema.records import content_hash
from logs_schema.rows import records_of_lines

PACKAGE = Path(__file__).parents[1]


def way_of_reading(format: str, source: str, occurred_at: datetime | None, clean: Cleaner | None) -> bytes:
    """Everything beside a line itself that decides what record it becomes."""
    moment = occurred_at and occurred_at.isoformat()
    return content_hash([_code(), format, source, moment, clean and clean.identity]).encode()


def line_hash(way: bytes, line: Line) -> str | None:
    """Hash of a line and the way of reading it; None when its bytes are not known."""
    return hashlib.sha256(way + line.data).hexdigest()[:32] if line.data else None


def records_of(connection: Connection, hashes: Iterable[str | None]) -> dict[str, str]:
    """Hash of a line → the record that is as it says, of those lines that the store holds so."""
    return records_of_lines(connection, sorted({hash for hash in hashes if hash}))


@cache
def _code() -> str:
    """Hash of the code that reads logs: another version may read a line differently."""
    files = sorted(PACKAGE.glob("*.py")) + sorted(PACKAGE.glob("importers/*.py")) + sorted(PACKAGE.glob("pii/*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
