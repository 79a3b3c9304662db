"""Backups of a store in use, and the check of everything that was written."""

import json
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert
from typer.testing import CliRunner

from factory.backup import backup
from factory.check import check
from factory.cli.app import app
from logs_schema import backup as copies
from logs_schema.errors import ConfigurationError, FactoryError
from logs_schema.store import iter_records, open_store, save_records
from logs_schema.tables import Adapter
from tests.dataset.world import START, World, asked
from tests.stores import sqlite_only


@sqlite_only
def test_a_backup_of_a_store_that_is_being_written_is_whole(tmp_path: Path) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    save_records(engine, [asked(n, 1, [1, 2]) for n in range(100)])
    home = tmp_path / "argilla"
    home.mkdir()
    with closing(sqlite3.connect(home / "argilla.db")) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; CREATE TABLE records (id); INSERT INTO records VALUES (1)")
    stop = threading.Event()

    def write() -> None:
        for n in range(100, 1000):
            if stop.is_set():
                return
            save_records(engine, [asked(n, 1, [1, 2])])

    writer = threading.Thread(target=write)
    writer.start()
    reports = [backup(engine, tmp_path / f"b{n}.db", home) for n in range(3)]
    stop.set()
    writer.join()
    for n, report in enumerate(reports):
        file = tmp_path / f"b{n}.db"
        assert list(report.files) == [str(file), str(tmp_path / f"b{n}.argilla.db")]
        assert file.stat().st_mode & 0o777 == 0o600 and not file.with_name(f"b{n}.db-wal").exists()
        restored = open_store(f"sqlite:///{file}")
        count = sum(len(batch) for batch in iter_records(restored))
        assert count == report.files[str(file)]["interaction"] >= 100
        restored.dispose()
        with closing(sqlite3.connect(tmp_path / f"b{n}.argilla.db")) as connection:
            assert connection.execute("SELECT id FROM records").fetchall() == [(1,)]
    with pytest.raises(ConfigurationError, match="exists already"):
        backup(engine, tmp_path / "b0.db", home)
    engine.dispose()


@sqlite_only
def test_a_copy_that_is_not_the_store_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    engine.dispose()
    monkeypatch.setattr(copies, "_counts", lambda connection: {"interaction": id(connection)})
    with pytest.raises(FactoryError, match="nothing was kept"):
        backup(engine, tmp_path / "b.db", tmp_path / "none")
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.name.endswith((".partial", "b.db"))) == []
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        backup(engine, tmp_path / "file" / "b.db", tmp_path / "none")


def test_postgresql_is_sent_to_its_own_tool(tmp_path: Path) -> None:
    engine = create_engine("postgresql+psycopg://ann:secret@db.example/logs")
    with pytest.raises(ConfigurationError, match=r"pg_dump .* 'postgresql://ann@db.example/logs'") as told:
        backup(engine, tmp_path / "b.dump", tmp_path)
    assert "secret" not in str(told.value)


def test_the_check_hashes_everything_again(
    world: World, cli_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill(range(30), abstentions=8, audit=3)
    folder = Path(world.build().path)
    found = check(world.engine)
    assert found.sound and found.passages > 20 and (found.datasets, found.adapters) == (1, 0)
    (folder / "train.jsonl").write_text("changed\n")
    made = {"base_model": "tiny", "path": str(tmp_path / "gone"), "sha256": "0", "seed": 1, "config": {}}
    with world.engine.begin() as connection:
        connection.execute(insert(Adapter).values(id="ad" * 8, dataset_id=folder.name, created_at=START, **made))
        connection.exec_driver_sql("UPDATE passage SET text = 'changed' WHERE hash = (SELECT min(hash) FROM passage)")
    said = "\n".join(check(world.engine).problems)
    for part in ("its text is not what was imported", "train.jsonl: changed since", "adapter adadadadadadadad: The"):
        assert part in said
    monkeypatch.chdir(tmp_path)
    damaged = CliRunner().invoke(app, ["db", "check", "--json"])
    assert damaged.exit_code == 1 and len(json.loads(damaged.stdout)["problems"]) == 3


@sqlite_only
def test_a_backup_by_command(cli_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    good = CliRunner().invoke(app, ["db", "backup", "copy.db"])
    assert good.exit_code == 0 and "checked and counted" in good.stdout and (tmp_path / "copy.db").is_file()
    assert CliRunner().invoke(app, ["db", "backup", "copy.db"]).exit_code == 2
