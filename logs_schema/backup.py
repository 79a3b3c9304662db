"""An online copy of a SQLite database that has been opened and checked before it gets its name."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from logs_schema.database import BUSY_SECONDS
from logs_schema.errors import ConfigurationError, FactoryError, not_written
from logs_schema.files import file_atomic


def copy_database(source: Path, target: Path) -> dict[str, int]:
    """Copy a database that others may be using, as it is at one moment; rows by table, the same in both.

    The copy (mode 0600) appears under its name only when SQLite finds it sound and every table has as
    many rows as the original had at that moment.

    Raises:
        ConfigurationError: the target exists, or cannot be written.
        FactoryError: the copy is not sound.
    """
    if target.exists():
        raise ConfigurationError(f"{target} exists already: name another file, such as one with today's date.")
    try:
        with file_atomic(target) as partial:
            with _open(source) as original, _open(partial) as copy:
                original.execute("BEGIN")  # counts and copy see the same moment
                expected = _counts(original)
                original.backup(copy)
                copy.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
            _verify(partial, expected)
    except OSError as error:
        raise not_written(error, target) from error
    except sqlite3.Error as error:
        raise FactoryError(f"The backup of {source} failed ({error}): nothing was kept of it.") from error
    return expected


def _verify(file: Path, expected: dict[str, int]) -> None:
    with _open(file) as copy:
        found = [row[0] for row in copy.execute("PRAGMA integrity_check")]
        broken = copy.execute("PRAGMA foreign_key_check").fetchall()
        counts = _counts(copy)
    if found != ["ok"] or broken or counts != expected:
        raise FactoryError(
            f"The backup is not what the store holds ({'; '.join(found[:3])}; {len(broken)} broken references): "
            "nothing was kept of it. Look at the store with `factory db check`."
        )


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    names = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    quoted = {name: name.replace('"', '""') for (name,) in names}
    return {name: connection.execute(f'SELECT count(*) FROM "{each}"').fetchone()[0] for name, each in quoted.items()}


@contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        yield connection
