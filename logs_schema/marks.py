"""Marks of what was forgotten: keyed hashes, so that a later import leaves it out.

A hash that nobody can turn back is all that is kept of a trace, a user or a document.
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, Table, exists, select

from logs_schema.keys import keyed
from logs_schema.rows import chunks
from logs_schema.tables import Forgotten

FORGOTTEN: Table = Forgotten.__table__  # type: ignore[attr-defined]


class Kind(StrEnum):
    """What can be forgotten."""

    trace = "trace"
    """With each of its spans, as what feedback may name."""
    user = "user"
    document = "document"


class Mark(NamedTuple):
    """What the store remembers of something forgotten."""

    kind: Kind
    hash: str


def mark(key: bytes, kind: Kind, *names: str) -> Mark:
    """The mark of a trace (source and trace id), a user or a document."""
    return Mark(kind, keyed(key, "forgotten", kind.value, *names).hex()[:32])


def any_marks(connection: Connection) -> bool:
    """Whether anything was ever forgotten."""
    return bool(connection.scalar(select(exists(select(FORGOTTEN.c.hash)))))


def known_marks(connection: Connection, marks: Iterable[Mark]) -> dict[Mark, datetime]:
    """Those of the marks that the store holds, and since when."""
    found: dict[Mark, datetime] = {}
    for some in chunks(sorted({each.hash for each in marks})):
        rows = connection.execute(select(FORGOTTEN).where(FORGOTTEN.c.hash.in_(some)))
        found |= {Mark(Kind(row.kind), row.hash): row.forgotten_at for row in rows}
    return found
