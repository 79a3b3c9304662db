import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, select

from logs_schema.coverage import Coverage, coverage_in
from logs_schema.errors import ConfigurationError, InputError
from logs_schema.importers import run
from logs_schema.importers.formats import FORMATS, load
from logs_schema.importers.read import BATCH
from logs_schema.importers.rejects import Rejects
from logs_schema.importers.run import import_files
from logs_schema.rows import IMPORT_RUN
from logs_schema.store import open_store
from tests.logs_schema.log_examples import snapshot, spans_of, write_lines

KILLED = """
import os, signal, sys
from logs_schema.importers.run import import_files
from logs_schema.store import open_store

def dies(items, **_):
    for number, item in enumerate(items):
        if number == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        yield item

import_files(open_store(sys.argv[1]), [sys.argv[2]], rejects=__import__("pathlib").Path(sys.argv[4]), track=dies)
"""


def line(number: int, **fields: Any) -> dict[str, Any]:
    plain = {"trace_id": f"t{number}", "timestamp": "2026-03-02T10:00:00Z", "query": f"Q{number}?", "response": "A."}
    return {**plain, "contexts": [f"Passage {number % 7}."], **fields}


def many_spans(traces: int) -> list[dict[str, Any]]:
    """Spans of many traces, so shuffled that a trace's spans are in different batches."""
    spans = [span for number in range(1, traces + 1) for span in spans_of(number, thumbs="thumbs_up")]
    return [spans[index * 401 % len(spans)] for index in range(len(spans))]


def test_cycles_are_collected_while_the_coverage_is_read(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query makes some, and there is one for every few hundred records."""
    collecting: list[bool] = []

    def noted(connection: Connection, ids: Sequence[str]) -> Coverage:
        collecting.append(gc.isenabled())
        return coverage_in(connection, ids)

    monkeypatch.setattr(run, "coverage_in", noted)
    import_files(engine, [write_lines(tmp_path / "logs.jsonl", [line(1), line(2)])])
    assert collecting == [True]


def test_the_report_counts_records_and_says_what_they_hold(engine: Engine, tmp_path: Path) -> None:
    file = write_lines(
        tmp_path / "logs.jsonl", [line(1, thumbs="up"), line(2), line(2), {"trace_id": "t1", "query": 1}]
    )
    report = import_files(engine, [file], rejects=tmp_path / "rejects")
    (one,) = report.files
    assert (one.format, one.read, one.new, one.updated, one.unchanged, one.rejected) == ("native", 4, 2, 0, 0, 1)
    held = report.coverage
    assert (held.records, held.with_feedback, held.with_prompt, held.contexts, held.contexts_with_text) == (
        2,
        1,
        0,
        2,
        2,
    )
    assert "Of 2 records: 50 % with feedback" in report.text()
    changed = write_lines(tmp_path / "logs.jsonl", [line(1, thumbs="down"), line(2), line(3)])
    (two,) = import_files(engine, [changed]).files
    assert (two.new, two.updated, two.unchanged) == (1, 1, 1)
    with engine.connect() as connection:
        runs = connection.execute(select(IMPORT_RUN).order_by(IMPORT_RUN.c.id)).all()
    assert [(run.new, run.updated, run.unchanged, run.rejected) for run in runs] == [(2, 0, 0, 1), (1, 1, 1, 0)]
    assert all(run.finished_at >= run.started_at for run in runs)


def test_rejects_are_kept_apart_and_replaced(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "rejects"
    logs = tmp_path / "od d; name\n.jsonl"
    bad = {"query": "x" * 5000, "response": 1, "timestamp": "2026-03-02"}
    report = import_files(engine, [write_lines(logs, [line(1), bad, line(2, timestamp=0)])], rejects=folder)
    (kept,) = folder.iterdir()
    assert str(kept) == report.files[0].rejects and kept.stat().st_mode & 0o777 == 0o600
    entries = [json.loads(entry) for entry in kept.read_text().splitlines()]
    assert [(entry["line"], set(entry)) for entry in entries] == [
        (2, {"file", "line", "reason", "text"}),
        (3, {"file", "line", "reason", "text"}),
    ]
    assert len(entries[0]["text"]) == 2000 and "response" in entries[0]["reason"]
    import_files(engine, [write_lines(logs, [line(1), bad])], rejects=folder)
    assert len(kept.read_text().splitlines()) == 1
    import_files(engine, [write_lines(logs, [line(1)])], rejects=folder)
    assert list(folder.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".jsonl") == [logs.name]


def test_strict_stops_at_the_first_bad_line(engine: Engine, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "logs.jsonl", [line(1), {"query": "", "response": ""}, line(2)])
    with pytest.raises(InputError, match=r"logs.jsonl, line 2: occurred_at is missing"):
        import_files(engine, [file], strict=True, rejects=tmp_path / "rejects")
    assert not (tmp_path / "rejects").exists()


@pytest.mark.parametrize(
    "value",
    [
        {"trace_id": "t", "timestamp": 1772446504, "question": "q", "answer": "a", "contexts": ["c"], "thumbs": "down"},
        {"trace_id": "t", "question": "q", "answer": "a", "contexts": ["c"]},
        {"question": "q", "response": "a", "contexts": ["c"], "status": "ok"},
        {"id": "t", "timestamp": 1772446504, "input": "q", "output": "a", "contexts": ["c"]},
    ],
)
def test_a_log_that_another_format_would_read_in_part_is_not_guessed(
    engine: Engine, tmp_path: Path, value: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"is not known: its first object holds '\w+', '\w+', '\w+'"):
        import_files(engine, [write_lines(tmp_path / "x.jsonl", [value])])


def test_a_native_line_with_an_answer_is_no_feedback(engine: Engine, tmp_path: Path) -> None:
    named = {"trace_id": "t", "thumbs": "down", "response": "a"}
    report = import_files(engine, [write_lines(tmp_path / "x.jsonl", [line(1), named])], rejects=tmp_path / "rejects")
    assert (report.files[0].new, report.files[0].rejected) == (1, 1)
    assert "query is missing" in next((tmp_path / "rejects").iterdir()).read_text()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"prompt": "x", "completion": "y"}\n', "its first object holds 'prompt', 'completion'"),
        ("hello\nworld\n", "line 1: not JSON"),
        ("\n\n", "holds no log lines"),
        ("[]", "holds no log lines"),
    ],
)
def test_an_unknown_format_says_what_was_seen(engine: Engine, tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(InputError, match=told):
        import_files(engine, [str(tmp_path / "x.jsonl")])


def test_a_source_must_be_a_name(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="1 to 100 characters"):
        import_files(engine, [write_lines(tmp_path / "x.jsonl", [line(1)])], source="x" * 101)


def test_a_rejects_folder_that_cannot_be_written(tmp_path: Path, engine: Engine) -> None:
    (tmp_path / "rejects").write_text("a file")
    file = write_lines(tmp_path / "x.jsonl", [line(1), line(2, timestamp=0)])
    with pytest.raises(ConfigurationError, match="--rejects"):
        import_files(engine, [file], rejects=tmp_path / "rejects")


def test_waiting_traces_are_told_and_join_later(engine: Engine, tmp_path: Path) -> None:
    spans = spans_of(1)
    first = import_files(engine, [write_lines(tmp_path / "a.jsonl", spans[1:2])])
    assert first.pending == 1 and first.coverage.records == 0 and "1 trace waits" in first.text()
    second = import_files(engine, [write_lines(tmp_path / "b.jsonl", [spans[0], *spans[2:]])])
    assert (second.pending, second.files[0].new, snapshot(engine)["waiting"]) == (0, 1, [])


def test_a_trace_without_a_model_call_is_a_record_that_can_still_grow(engine: Engine, tmp_path: Path) -> None:
    import_files(engine, [write_lines(tmp_path / "a.jsonl", spans_of(1)[:2])])
    before = snapshot(engine)
    assert before["records"][0].model is None and len(before["waiting"]) == 2
    import_files(engine, [write_lines(tmp_path / "b.jsonl", spans_of(1)[2:])])
    after = snapshot(engine)
    assert after["records"][0].model == "tiny" and after["waiting"] == []


@pytest.mark.parametrize("kind", ["spans", "native"])
def test_a_killed_import_run_again_gives_the_same_store(fresh: Callable[[], Engine], tmp_path: Path, kind: str) -> None:
    bad: list[Any] = [{"nothing": "of use"}]
    values = many_spans(300) if kind == "spans" else [line(n, thumbs="down") for n in range(1000)]
    file = write_lines(tmp_path / "logs.jsonl", values[:700] + bad + values[700:])
    rejects = tmp_path / "rejects"
    undisturbed, disturbed = fresh(), fresh()
    whole = import_files(undisturbed, [file], rejects=rejects)
    expected, kept = snapshot(undisturbed), sorted(path.read_text() for path in rejects.iterdir())
    assert len(kept) == 1 and len(expected["records"]) == whole.coverage.records >= 300
    for at in (BATCH + 60, 890):
        arguments = [str(disturbed.url), file, str(at), str(rejects)]
        killed = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False, env=os.environ)
        assert killed.returncode == -signal.SIGKILL
    import_files(disturbed, [file], rejects=rejects)
    assert snapshot(disturbed) == expected
    assert sorted(path.read_text() for path in rejects.iterdir()) == kept
    undisturbed.dispose()
    disturbed.dispose()


def test_rejects_of_files_with_the_same_name_do_not_meet(tmp_path: Path) -> None:
    names = {Rejects(tmp_path, str(tmp_path / folder / "logs.jsonl")).path for folder in ("a", "b")}
    assert len(names) == 2


def test_a_store_made_by_an_import_opens_again(store_url: str, engine: Engine, tmp_path: Path) -> None:
    import_files(engine, [write_lines(tmp_path / "x.jsonl", [line(n) for n in range(3)])])
    again = open_store(store_url)
    assert len(snapshot(again)["records"]) == 3
    again.dispose()


def test_a_wrong_explicit_format_says_what_was_seen(engine: Engine, tmp_path: Path) -> None:
    spans = write_lines(tmp_path / "spans.jsonl", spans_of(1))
    with pytest.raises(InputError, match=r"spans.jsonl is not native .*'name', 'context'.* the look of openinference"):
        import_files(engine, [spans], format="native")
    other = write_lines(tmp_path / "other.jsonl", [{"prompt": "x"}])
    with pytest.raises(InputError, match=r"'prompt'; it has the look of no known format"):
        import_files(engine, [other], format="native")
    with pytest.raises(ConfigurationError, match=r"no log format 'csv'. Known are auto, "):
        import_files(engine, [other], format="csv")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_a_module_of_its_name(name: str) -> None:
    assert load(name).known_by == FORMATS[name]
    assert not load(name).looks({}) and not load(name).looks({"prompt": "x", "completion": "y"})
