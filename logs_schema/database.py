"""Opening the store: SQLite by default, PostgreSQL where one machine is outgrown; and its migrations."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from logs_schema.errors import ConfigurationError, FactoryError, NotReadyError, no_room

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 30
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-8192",
)
"""Settings of every connection to SQLite; the cache is in KiB."""
WIDE_CACHE_KIB = 64 << 10
"""Holds what a transaction of an import changes in the indexes of a large store."""
CONNECT_SECONDS = 10
WRITE_LOCK = 7_201_663
"""Key of the PostgreSQL advisory lock that whoever writes to a store holds."""
BUSY_STATES = {"55P03", "40P01", "40001"}
"""SQLSTATEs of PostgreSQL: lock not available, deadlock, serialization failure."""
FULL_STATES = {"53100", "58030"}
"""Disk full, I/O error."""
REFUSED_STATES = {"25006", "42501"}
"""Read-only, insufficient privilege."""


def open_store(url: str) -> Engine:
    """Engine of the store at an SQLAlchemy URL; an empty one is migrated to the newest schema.

    SQLite: the folder and the file (mode 0600) are created when they are missing.

    Raises:
        ConfigurationError: the URL, the file or the server is not usable, or a newer version made the store.
        NotReadyError: the store is older than this version.
    """
    engine = _engine(url)
    head = _script().get_current_head()
    with ExitStack() as refused:
        refused.callback(engine.dispose)
        with _explained(engine.url), engine.connect() as connection:
            current = _revision(connection)
            empty = current is None and not inspect(connection).get_table_names()
        if empty:
            _upgrade(engine)
        elif current != head:
            _refuse_foreign(engine.url, current)
            raise NotReadyError(
                f"The store {_shown(engine.url)} has schema {current}, this version needs {head}: "
                "run `factory db upgrade`."
            )
        refused.pop_all()
    return engine


def upgrade(url: str) -> tuple[str | None, str]:
    """Migrate the store to the newest schema, in one transaction; (old, new) revision.

    Raises:
        ConfigurationError: as `open_store`.
    """
    engine = _engine(url)
    try:
        return _upgrade(engine)
    finally:
        engine.dispose()


@contextmanager
def writing(engine: Engine, *, patience: float | None = None, cache_kib: int | None = None) -> Iterator[Connection]:
    """A transaction that holds the store's write lock from its beginning: for code that reads, then writes.

    There is one writer at a time, and it sees all that was committed before: two of them that join spans of one
    trace, or share passages, would else lose what the other is about to write. Readers never wait for it. On SQLite
    it is the file's own lock, on PostgreSQL an advisory one, which the server frees when the writer is gone.

    Args:
        engine: the store.
        patience: seconds to wait for the lock; None means `BUSY_SECONDS`.
        cache_kib: what this connection to SQLite may keep in memory from now on.

    Raises:
        NotReadyError: another process has held the lock for so long.
    """
    milliseconds = int((BUSY_SECONDS if patience is None else patience) * 1000)
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execution_options(isolation_level="READ COMMITTED")  # a snapshot would be older than the lock
        with connection.begin():
            if connection.dialect.name == "sqlite":
                raw = connection.connection.dbapi_connection
                if isinstance(raw, sqlite3.Connection):
                    raw.execute(f"PRAGMA busy_timeout={milliseconds}")
                    if cache_kib:
                        raw.execute(f"PRAGMA cache_size=-{cache_kib}")
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = {max(1, milliseconds)}")
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITE_LOCK})
            yield connection


def pack(file: Path) -> None:
    """Rewrite a SQLite file and empty its write-ahead log, so that no byte of what was deleted stays in them.

    Raises:
        NotReadyError: another process keeps the file busy.
    """
    with closing(sqlite3.connect(file, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        try:
            connection.execute("VACUUM")
            busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError as error:
            raise NotReadyError(
                f"{file} could not be packed ({error}): what was deleted is still in its bytes"
            ) from error
    if busy:
        raise NotReadyError(f"{file}-wal is being read by another process: what was deleted is still in its bytes")


def _engine(text_url: str) -> Engine:
    try:
        url = make_url(text_url)
    except (ArgumentError, ValueError) as error:
        raise ConfigurationError(
            "[store] url is not a database URL; write sqlite:///groundmill.db or "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE (percent-encode special characters of the password)."
        ) from error
    if url.drivername in {"postgresql", "postgres"}:
        url = url.set(drivername="postgresql+psycopg")
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        return _sqlite(url)
    if url.drivername == "postgresql+psycopg":
        return _postgresql(url)
    raise ConfigurationError(
        f"[store] url begins with {url.drivername}://, which is not supported: use sqlite:/// or postgresql+psycopg://."
    )


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or url.query:
        raise ConfigurationError("[store] url must name a SQLite file, without options: sqlite:///groundmill.db")
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ConfigurationError(
            f"The store {path} cannot be opened for writing: {error.strerror}. Choose another file in [store] url."
        ) from error
    engine = create_engine(url)

    @event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where _begin says, not where the driver guesses
        for pragma in (f"busy_timeout={int(BUSY_SECONDS * 1000)}", *PRAGMAS):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "before_cursor_execute")
    def _begin(connection: Connection, cursor: Any, statement: str, *_: object) -> None:
        verb = statement.split(maxsplit=1)[0].upper()
        raw = connection.connection.dbapi_connection
        if verb != "BEGIN" and isinstance(raw, sqlite3.Connection) and not raw.in_transaction:
            connection.exec_driver_sql("BEGIN" if verb in {"SELECT", "PRAGMA"} else "BEGIN IMMEDIATE")

    @event.listens_for(engine, "handle_error")
    def _explain(context: ExceptionContext) -> FactoryError | None:
        original = context.original_exception
        return _sqlite_error(path, str(original)) if isinstance(original, sqlite3.DatabaseError) else None

    return engine


def _sqlite_error(path: Path, message: str) -> FactoryError | None:
    if "locked" in message:
        return _busy(str(path))
    if "full" in message or "I/O error" in message:
        return no_room(path, message)
    if "malformed" in message:
        return FactoryError(f"The store {path} is damaged ({message}): restore it from a copy of `factory db backup`.")
    if "readonly" in message or "unable to open" in message:
        return ConfigurationError(f"The store {path} cannot be written ({message}): mend its permissions.")
    return None


def _busy(store: str) -> NotReadyError:
    return NotReadyError(f"Another command is writing to {store} and does not finish: run this again later.")


def _postgresql(url: URL) -> Engine:
    try:
        engine = create_engine(
            url,
            isolation_level="REPEATABLE READ",  # who reads in several statements sees one moment, as on SQLite
            pool_pre_ping=True,
            connect_args={"connect_timeout": CONNECT_SECONDS},
        )
    except ImportError as error:
        raise ConfigurationError(
            "The PostgreSQL driver is not installed: run pip install 'groundmill[postgres]'."
        ) from error

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: object) -> None:
        connection.execute("SET TIME ZONE 'UTC'")  # the last hours of the year 9999 have no other
        connection.commit()

    @event.listens_for(engine, "handle_error")
    def _explain(context: ExceptionContext) -> FactoryError | None:
        if context.is_pre_ping:  # the pool replaces the connection by itself
            return None
        gone = context.connection is not None and context.is_disconnect
        return _postgresql_error(_shown(url), context.original_exception, gone)

    return engine


def _postgresql_error(store: str, error: BaseException, gone: bool) -> FactoryError | None:
    state = getattr(error, "sqlstate", None)
    if gone:
        return NotReadyError(f"The server of {store} has ended the connection: run this again when it answers.")
    if state in BUSY_STATES:
        return _busy(store)
    if state in FULL_STATES:
        return no_room(store, _first_line(error))
    if state in REFUSED_STATES:
        return ConfigurationError(f"The store {store} cannot be written ({_first_line(error)}): mend its permissions.")
    return None


def _first_line(error: BaseException | None) -> str:
    return next(iter(str(error).splitlines()), "no reason given")


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config


def _revision(connection: Connection) -> str | None:
    revision: str | None = MigrationContext.configure(connection).get_current_revision()
    return revision


def _upgrade(engine: Engine) -> tuple[str | None, str]:
    config = _config()
    with _explained(engine.url), writing(engine) as connection:
        old = _revision(connection)
        if old is not None or inspect(connection).get_table_names():
            _refuse_foreign(engine.url, old)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        new = _revision(connection)
    return old, str(new)


def _refuse_foreign(url: URL, revision: str | None) -> None:
    if revision is None:
        raise ConfigurationError(
            f"{_shown(url)} holds tables of another application: give the factory a database of its own in [store] url."
        )
    if revision not in {script.revision for script in _script().walk_revisions()}:
        raise ConfigurationError(
            f"The store {_shown(url)} has schema {revision}, which this version does not know: "
            "install the newer groundmill that made it."
        )


def _shown(url: URL) -> str:
    """The URL without password or options, for messages."""
    return url.set(query={}).render_as_string(hide_password=True)


@contextmanager
def _explained(url: URL) -> Iterator[None]:
    """Turn a database's refusal into one sentence; the driver's text never holds the password."""
    try:
        yield
    except DBAPIError as error:
        raise ConfigurationError(f"The store {_shown(url)} cannot be opened: {_first_line(error.orig)}") from error
    except SQLAlchemyError as error:
        raise ConfigurationError(f"The store {_shown(url)} cannot be opened: {type(error).__name__}") from error
