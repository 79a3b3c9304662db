import shutil
import sqlite3
import stat
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

import logs_schema.database as database
from logs_schema.errors import ConfigurationError, FactoryError, NotReadyError
from logs_schema.store import open_store, save_records, upgrade
from tests.logs_schema.log_examples import record
from tests.stores import sqlite_only

HEAD = ScriptDirectory(str(database.MIGRATIONS)).get_current_head()


@sqlite_only
def test_a_new_store_is_private_and_has_the_newest_schema(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "store.db"
    engine = open_store(f"sqlite:///{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, SQLModel.metadata) == []
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()


@sqlite_only
def test_upgrading_tells_what_it_did_and_may_be_repeated(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    assert upgrade(url) == (None, HEAD)
    assert upgrade(url) == (HEAD, HEAD)


def test_an_older_store_asks_for_the_upgrade(
    tmp_path: Path, engine: Engine, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_records(engine, [record(1)])
    folder = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, folder)
    (folder / "versions" / "next.py").write_text(
        f"from alembic import op\nrevision = 'next'\ndown_revision = '{HEAD}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE later (id INTEGER PRIMARY KEY)')\n"
    )
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    with pytest.raises(NotReadyError, match="factory db upgrade"):
        open_store(store_url)
    assert upgrade(store_url) == (HEAD, "next")
    newer = open_store(store_url)
    with newer.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM interaction")).scalar() == 1
    monkeypatch.undo()
    for use in (open_store, upgrade):
        with pytest.raises(ConfigurationError, match="does not know: install the newer"):
            use(store_url)
    newer.dispose()


def test_a_migration_that_fails_changes_nothing(
    tmp_path: Path, engine: Engine, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, folder)
    (folder / "versions" / "next.py").write_text(
        f"from alembic import op\nrevision = 'next'\ndown_revision = '{HEAD}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE half (id INTEGER)')\n    op.execute('SELECT * FROM nowhere')\n"
    )
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    with pytest.raises(ConfigurationError, match="nowhere"):
        upgrade(store_url)
    monkeypatch.undo()
    assert "half" not in inspect(engine).get_table_names()


@sqlite_only
def test_other_databases_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.close()
    for use in (open_store, upgrade):
        with pytest.raises(ConfigurationError, match="another application"):
            use(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite://", "must name a SQLite file"),
        ("sqlite:///:memory:", "must name a SQLite file"),
        ("sqlite:///x.db?mode=ro", "must name a SQLite file"),
        ("mysql://u:secret@h/d", "mysql:// .*not supported|begins with mysql"),
        ("no url at all", "not a database URL"),
        ("postgresql+psycopg://u:sec/ret@h:x/d", "not a database URL|cannot be opened"),
        ("postgresql://u:secret@127.0.0.1:1/d?sslpassword=secret", "Connection refused"),
        ("sqlite:////proc/none/store.db", "cannot be opened"),
    ],
)
def test_wrong_urls_are_explained_without_the_password(url: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        open_store(url)
    assert "secret" not in str(caught.value) and "ret@" not in str(caught.value)


@sqlite_only
def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to look at" * 100)
    with pytest.raises(ConfigurationError, match="not a database"):
        open_store(f"sqlite:///{path}")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        open_store(f"sqlite:///{tmp_path}")


@sqlite_only
def test_a_damaged_file_is_told_in_a_sentence(engine: Engine) -> None:
    save_records(engine, [record(n) for n in range(300)])
    with engine.connect() as connection:
        path = Path(str(engine.url.database))
        first = connection.execute(text("SELECT rootpage FROM sqlite_master WHERE name = 'interaction'")).scalar_one()
        connection.rollback()
    engine.dispose()
    with path.open("r+b") as stream:
        stream.seek((first - 1) * 4096)
        stream.write(b"\xff" * 4096)
    with pytest.raises(FactoryError, match=r"is damaged .*restore it from a copy"), engine.connect() as connection:
        connection.execute(text("SELECT count(response) FROM interaction")).scalar_one()


def test_a_missing_driver_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigurationError, match=r"groundmill\[postgres\]"):
        open_store("postgresql+psycopg://u@127.0.0.1/d")


def test_the_promotion_log_is_append_only(engine: Engine) -> None:
    insert = "INSERT INTO promotion (id, action, by, created_at) VALUES (1, 'promote', 'ann', '2026-01-01')"
    with engine.begin() as connection:
        connection.execute(text(insert))
    for statement in (
        "UPDATE promotion SET by = 'eve'",
        "DELETE FROM promotion",
        insert.replace("INSERT", "INSERT OR REPLACE", 1) if engine.dialect.name == "sqlite" else "TRUNCATE promotion",
    ):
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as connection:
            connection.execute(text(statement))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT by FROM promotion")).scalars().all() == ["ann"]


def test_a_store_that_stays_locked_says_so(engine: Engine, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0)
    other = open_store(store_url)
    with database.writing(engine), pytest.raises(FactoryError, match="run this again later"):
        save_records(other, [record(1)])
    other.dispose()
