"""What became of each record of an import, on disk: memory stays flat however many there are."""

import sqlite3
from collections.abc import Iterable, Iterator

from logs_schema.importers.batch import Done

PAGE = 500
TABLES = """
CREATE TABLE fate (id TEXT PRIMARY KEY, fate TEXT) WITHOUT ROWID;
CREATE TABLE touched (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE waiting (trace TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Tally:
    """Counts in a `scratch` database with `TABLES`."""

    def __init__(self, tables: sqlite3.Connection) -> None:
        self._database = tables

    def add(self, done: Done) -> None:
        """Note what a batch did: a record that is new in this file stays new when a later line changes it."""
        self._database.executemany(
            "INSERT INTO fate VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET fate = excluded.fate "
            "WHERE excluded.fate IN ('new', 'forgotten') OR (excluded.fate = 'updated' AND fate.fate <> 'new')",
            done.items(),
        )

    def wait(self, traces: Iterable[str]) -> None:
        """Note traces of which spans may be missing."""
        self._database.executemany("INSERT OR IGNORE INTO waiting VALUES (?)", ((trace,) for trace in traces))

    def waiting(self) -> Iterator[list[str]]:
        """Those traces, in order, some at a time."""
        return self._pages("trace", "waiting")

    def end_file(self) -> dict[str, int]:
        """How many records became what in this file; counting begins anew, the records stay known as touched."""
        counts = dict(self._database.execute("SELECT fate, count(*) FROM fate GROUP BY fate").fetchall())
        self._database.executescript(
            "INSERT OR IGNORE INTO touched SELECT id FROM fate; DELETE FROM fate; DELETE FROM waiting;"
        )
        return counts

    def touched(self) -> Iterator[list[str]]:
        """The records of all files, in order, some at a time."""
        return self._pages("id", "touched")

    def _pages(self, column: str, table: str) -> Iterator[list[str]]:
        after = ""
        while True:
            query = f"SELECT {column} FROM {table} WHERE {column} > ? ORDER BY {column} LIMIT {PAGE}"
            page = [name for (name,) in self._database.execute(query, (after,))]
            if not page:
                return
            yield page
            after = page[-1]
