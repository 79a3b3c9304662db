"""What a night does when logs cannot be used, or no Argilla is there: all the rest, and it says what was wrong."""

import json
import socket
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from factory.cli.app import app
from factory.jobs import last_run
from tests.logs_schema.log_examples import write_lines

runner = CliRunner()
GOOD = {"query": "q", "response": "r", "contexts": [{"text": "t"}], "timestamp": "2026-01-01"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli_store: str) -> Path:
    """A project of two log files, one of which is garbage, whose Argilla never ran."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (tmp_path / "factory.toml").write_text(
        f'[imports]\nfiles = ["logs/*.jsonl"]\n[labeling]\napi_url = "http://127.0.0.1:{port}"\n'
    )
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/aa.jsonl").write_text("garbage\n")
    write_lines(tmp_path / "logs/b.jsonl", [GOOD])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_stages_that_ran_are_told_before_what_is_missing(home: Path, engine: Engine) -> None:
    result = runner.invoke(app, ["nightly"])
    assert result.exit_code == 4, "not ready: the server was never started"
    assert "b.jsonl: native, 1 line: 1 new record," in result.stdout and "\nmine: " in result.stdout
    assert "aa.jsonl is not a log of JSON objects" in result.stderr
    assert "There is no API key for Argilla" in result.stderr and "`factory label serve`" in result.stderr
    run = last_run(engine, "nightly")
    assert run and run.outcome and run.outcome.startswith("failed: ") and "no API key" in run.outcome
    assert run.report and list(run.report) == ["import", "mine"]


def test_as_json_too(home: Path) -> None:
    result = runner.invoke(app, ["nightly", "--json"])
    report = json.loads(result.stdout)
    assert list(report["stages"]) == ["import", "mine"]
    assert (report["stages"]["mine"]["mined"], report["exit_code"]) == (1, result.exit_code) == (1, 4)
    assert report["problem"] in result.stderr


@pytest.mark.parametrize("alone", [False, True])
def test_a_garbage_file_stops_neither_mining_nor_pushing(
    home: Path, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from labeling.pull import PullReport
    from labeling.push import PushReport

    counts = dict.fromkeys(("pushed", "already_there", "drafts", "waiting"), 0)
    sent = PushReport(target="there", dataset_created=False, by_reason={}, **counts)
    counts = dict.fromkeys(("new", "changed", "unchanged", "withdrawn"), 0)
    nothing = {"by_decision": {}, "incomplete": (), "unsupported": (), "supported_from": None}
    fetched = PullReport(target="there", **counts, **nothing)
    monkeypatch.setattr("labeling.push.push", lambda *_, **__: sent)
    monkeypatch.setattr("labeling.pull.pull", lambda *_, **__: fetched)
    if alone:
        (home / "logs/b.jsonl").unlink()
    result = runner.invoke(app, ["nightly"])
    assert result.exit_code == 3, result.output
    for stage in ("import: ", "mine: ", "push: Pushed 0 records", "pull: Pulled reviews"):
        assert stage in result.stdout
    assert "aa.jsonl is not a log of JSON objects" in result.stderr
