"""Working space on disk for what grows with the store: tables of a private SQLite file that goes when it is closed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from logs_schema.errors import no_room

CACHE_KIB = 8 << 10


@contextmanager
def scratch(tables: str) -> Iterator[sqlite3.Connection]:
    """An empty database with these tables, in the folder for temporary files; nobody else sees it.

    Args:
        tables: statements that create them.

    Raises:
        FactoryError: that folder's disk is full.
    """
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        try:
            connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            connection.execute("PRAGMA journal_mode=OFF")
            connection.executescript(tables)
            yield connection
        except sqlite3.OperationalError as error:
            if "full" not in str(error) and "I/O" not in str(error):
                raise
            raise no_room("the folder for temporary files", error) from error
