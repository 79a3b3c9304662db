"""Several processes on one SQLite file: nothing is lost, and nobody is told that the database is locked."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from logs_schema.importers.run import import_files
from logs_schema.rows import FINDING, INTERACTION
from logs_schema.store import open_store
from tests.logs_schema.log_examples import record, snapshot, write_lines
from tests.stores import sqlite_only

ROOT = Path(__file__).parents[2]
EACH = 2000
COMMAND = "import sys; from factory.cli.app import main; sys.argv[0] = 'factory'; main()"
READ = """
import sys
from pathlib import Path
from sqlalchemy import event
from logs_schema.coverage import coverage_report
from logs_schema.store import iter_records, iter_unmined, open_store

engine, rounds, most = open_store(sys.argv[1]), 0, 0
while not Path(sys.argv[2]).exists():
    ids = [identifier for batch in iter_unmined(engine, "x") for identifier in batch]
    assert len(ids) == len(set(ids)) and len(ids) >= most, (len(ids), most)
    assert all(len(record.contexts) == 2 for batch in iter_records(engine) for record in batch)
    assert coverage_report(engine).coverage.records >= len(ids)
    most, rounds = len(ids), rounds + 1
print(rounds, most)
"""
pytestmark = [pytest.mark.slow, sqlite_only]


def logs(path: Path, first: int) -> str:
    """Lines whose contexts are shared between files."""
    values = []
    for number in range(first, first + EACH):
        one = record(number).model_dump(mode="json", exclude_none=True)
        one["contexts"][1]["text"] = f"Shared notice {number % 97}."
        values.append({**one, "thumbs": "down"} if number % 10 == 0 else one)
    return write_lines(path, values)


def start(folder: Path, *words: str) -> "subprocess.Popen[str]":
    return begin(COMMAND, "--config", str(folder / "factory.toml"), *words)


def begin(program: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end(process: "subprocess.Popen[str]") -> str:
    out, error = process.communicate(timeout=500)
    assert process.returncode == 0, error
    assert "locked" not in out + error
    return out


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "factory.toml").write_text('[store]\nurl = "sqlite:///store.db"\n')
    return tmp_path


def test_two_imports_and_a_reader(folder: Path, fresh: Callable[[], Engine]) -> None:
    files = [logs(folder / "a.jsonl", 0), logs(folder / "b.jsonl", EACH // 2)]
    url = f"sqlite:///{folder / 'store.db'}"
    open_store(url).dispose()
    arguments = [url, str(folder / "done")]
    reader = begin(READ, *arguments)
    writers = [start(folder, "import", file) for file in files]
    for writer in writers:
        end(writer)
    (folder / "done").touch()
    rounds, _ = map(int, end(reader).split())
    assert rounds > 1
    at_once, one_by_one = open_store(url), fresh()
    import_files(one_by_one, files)
    assert snapshot(at_once) == snapshot(one_by_one)
    assert len(snapshot(at_once)["records"]) == EACH * 3 // 2
    at_once.dispose()


def test_an_import_while_mining(folder: Path) -> None:
    first, second = logs(folder / "a.jsonl", 0), logs(folder / "b.jsonl", EACH)
    end(start(folder, "import", first))
    for process in [start(folder, "mine"), start(folder, "import", second)]:
        end(process)
    end(start(folder, "mine"))
    engine = open_store(f"sqlite:///{folder / 'store.db'}")
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(INTERACTION)) == 2 * EACH
        assert connection.scalar(select(func.count()).select_from(FINDING)) == 2 * EACH
    engine.dispose()


def test_the_first_commands_on_a_new_store(folder: Path) -> None:
    files = [logs(folder / f"{name}.jsonl", EACH * number) for number, name in enumerate("abc")]
    for process in [start(folder, "import", file) for file in files]:
        end(process)
    engine = open_store(f"sqlite:///{folder / 'store.db'}")
    assert len(snapshot(engine)["records"]) == 3 * EACH
    engine.dispose()
