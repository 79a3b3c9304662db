import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from typer.testing import CliRunner

from factory.cli.app import app
from logs_schema.store import save_feedback, save_records
from logs_schema.views import record_view, store_stats
from tests.logs_schema.log_examples import record, spans_of, vote, write_lines
from tests.stores import sqlite_only

runner = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_url: str) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTORY_STORE__URL", store_url)
    return tmp_path


def test_import_then_look_at_it(home: Path) -> None:
    write_lines(home / "spans.jsonl", [*spans_of(1, thumbs="thumbs_down"), {"attributes": {}, "context": {}}])
    result = runner.invoke(app, ["import", "*.jsonl", "--source", "desk", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["files"][0]["new"], report["files"][0]["rejected"]) == (1, 1)
    assert Path(report["files"][0]["rejects"]).parent == home / "rejects"
    shown = runner.invoke(app, ["logs", "show", f"{1:032x}"]).stdout
    for part in (
        "What does passage one of 1 say?",
        "[2] Title 1 · doc-1-1 · updated 2026-01-01",
        "thumbs_down",
        "not mined",
    ):
        assert part in shown.replace("vote · -1", "thumbs_down")
    assert "1, 2026-03-02 12:01" in runner.invoke(app, ["logs", "stats"]).stdout
    checked = json.loads(runner.invoke(app, ["db", "check", "--json"]).stdout)
    assert checked["sound"] and checked["rows"]["interaction"] == 1
    assert "already has schema" in runner.invoke(app, ["db", "upgrade"]).stdout


@pytest.mark.parametrize("name", ["gone.jsonl", "*.zip", ".", "empty.jsonl"])
def test_files_that_cannot_be_used_exit_with_3_and_one_sentence(home: Path, name: str) -> None:
    (home / "empty.jsonl").touch()
    result = runner.invoke(app, ["import", name])
    assert result.exit_code == 3
    assert result.stderr.startswith("factory: ") and len(result.stderr.splitlines()) == 1


def test_strict_exits_with_3(home: Path) -> None:
    write_lines(home / "bad.jsonl", [{"query": "q", "response": "r"}])
    assert runner.invoke(app, ["import", "bad.jsonl", "--strict"]).exit_code == 3


def test_a_file_without_one_usable_line_exits_with_3_and_says_where_the_reasons_are(home: Path) -> None:
    write_lines(home / "bad.jsonl", [{"query": "q", "response": "r"}])
    result = runner.invoke(app, ["import", "bad.jsonl"])
    assert result.exit_code == 3
    assert "The one line of bad.jsonl could not be used as native" in result.stderr
    assert list((home / "rejects").iterdir())


def test_standard_input(home: Path) -> None:
    given = json.dumps({"query": "q", "response": "r", "timestamp": "2026-01-01"})
    assert "1 line: 1 new record," in runner.invoke(app, ["import", "-"], input=given).stdout


def test_logs_do_not_steer_the_terminal(engine: Engine) -> None:
    save_records(engine, [record(1, query="\x1b[31mred\u202e", response="\x07")])
    shown = runner.invoke(app, ["logs", "show", "trace-1"]).stdout
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


@sqlite_only
def test_a_damaged_store_is_told(engine: Engine) -> None:
    save_records(engine, [record(1)])
    raw = engine.raw_connection()
    raw.cursor().execute("PRAGMA foreign_keys=OFF")
    raw.cursor().execute("DELETE FROM passage")
    raw.close()
    result = runner.invoke(app, ["db", "check"])
    assert result.exit_code == 1 and "of context refers to a row of passage that is gone" in result.stdout


def test_the_figures(engine: Engine) -> None:
    assert "no records" in store_stats(engine).text()
    save_records(engine, [record(1, model="m", session_id="s"), record(2)])
    save_feedback(engine, "desk", "trace-1", [vote()])
    figures = store_stats(engine)
    assert (figures.records, figures.models, figures.feedback) == (2, {"m": 1, "unknown": 1}, {"vote": 1})
    assert (figures.contexts, figures.passages, figures.documents) == (4, 3, 3)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO finding (interaction_id, miner_version, record_hash, failure, secondary, route, "
                "confidence, scores, evidence, why, mined_at) VALUES (:id, 'm', 'old', 'unfaithful', '[]', "
                "'behaviour', 0.5, '{}', '[]', 'It says more than the passage.', '2026-03-02')"
            ),
            {"id": record(1).record_id},
        )
    view = record_view(engine, "trace-1")
    assert view.finding and view.finding.outdated and "It says more than the passage." in view.text()


def test_a_garbage_file_among_others_is_set_aside(home: Path) -> None:
    (home / "logs").mkdir()
    (home / "logs/aa.jsonl").write_text("garbage\n")
    write_lines(home / "logs/ab.jsonl", [{"something": "else"}])
    write_lines(home / "logs/b.jsonl", [{"query": "q", "response": "r", "timestamp": "2026-01-01"}])
    strict = runner.invoke(app, ["import", "logs", "--strict"])
    assert strict.exit_code == 3 and not strict.stdout and "aa.jsonl is not a log" in strict.stderr
    result = runner.invoke(app, ["import", "logs"])
    assert result.exit_code == 3
    assert "b.jsonl: native, 1 line: 1 new record," in result.stdout
    assert "aa.jsonl: set aside" in result.stdout and "The format of logs/ab.jsonl is not known" in result.stdout
    assert "aa.jsonl is not a log of JSON objects" in result.stderr and "1 more file nothing" in result.stderr
    files = json.loads(runner.invoke(app, ["import", "logs", "--json"]).stdout)["files"]
    assert [bool(file["problem"]) for file in files] == [True, True, False]
    assert "not a log" in Path(files[0]["rejects"]).read_text()
    alone = runner.invoke(app, ["import", "logs/aa.jsonl"])
    assert alone.exit_code == 3 and not alone.stdout


def test_feedback_that_waits_for_its_trace_is_told_apart(home: Path, engine: Engine) -> None:
    write_lines(home / "votes.jsonl", [{"trace_id": f"trace-{n}", "thumbs": "up"} for n in (1, 2, 3)])
    command = ["feedback", "import", "votes.jsonl", "--source", "desk"]
    early = runner.invoke(app, command)
    assert early.exit_code == 0
    assert "3 feedback events: 0 are about stored records, 3 wait for their trace" in early.stdout
    assert "3 feedback events for their trace" in runner.invoke(app, ["logs", "stats"]).stdout
    save_records(engine, [record(1)])
    again = runner.invoke(app, command)
    assert "3 feedback events: 1 is about a stored record, 2 wait for their trace" in again.stdout
    figures = store_stats(engine)
    assert (figures.feedback, figures.feedback_waiting) == ({"vote": 1}, {"vote": 2})
    assert "waiting feedback  vote 2" in figures.text()


@pytest.mark.parametrize("what", ["feedback", "documents"])
def test_rows_of_which_none_could_be_used_exit_with_3_and_garbage_among_files_is_set_aside(
    home: Path, what: str
) -> None:
    write_lines(home / "bad.jsonl", [{"nothing": 1}, {"nothing": 2}])
    result = runner.invoke(app, [what, "import", "bad.jsonl"])
    assert result.exit_code == 3 and "0 new" in result.stdout
    assert "None of the 2 rows of bad.jsonl could be used as " in result.stderr
    (home / "empty.csv").write_text("trace_id,thumbs\n")
    write_lines(home / "good.jsonl", [{"trace_id": "t", "thumbs": "up", "doc_id": "d", "text": "t", "version": "1"}])
    result = runner.invoke(app, [what, "import", "empty.csv", "good.jsonl"])
    assert result.exit_code == 3 and "empty.csv holds no rows" in result.stderr
    assert "good.jsonl: 1 row: 1 new" in result.stdout
    assert runner.invoke(app, [what, "import", "empty.csv", "good.jsonl", "--strict"]).exit_code == 3
