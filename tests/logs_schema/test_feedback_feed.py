"""Feedback files: what is taken, what is refused, and that order does not matter."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select
from typer.testing import CliRunner

from factory.cli.app import app
from factory.mining.sessions import read_sessions
from factory.mining.settings import SignalSettings
from logs_schema.errors import ConfigurationError, InputError
from logs_schema.forgetting import forget_traces
from logs_schema.importers.feedback_feed import Scale, import_feedback, parse, read_scale
from logs_schema.keys import store_key_in
from logs_schema.records import FeedbackKind, RagRecord
from logs_schema.rows import FEEDBACK
from logs_schema.store import Trace, iter_records, save_feedback, save_records, writing
from logs_schema.taxonomy import Signal
from tests.logs_schema.log_examples import record, vote, write_lines

K = FeedbackKind
runner = CliRunner()


def snapshot(engine: Engine) -> tuple[list[RagRecord], list[Any]]:
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(select(FEEDBACK).order_by(*FEEDBACK.primary_key))]
    return [one for batch in iter_records(engine) for one in batch], rows


@pytest.mark.parametrize(
    ("row", "kind", "value"),
    [
        ({"trace_id": "t", "thumbs": "down"}, K.vote, -1),
        ({"traceId": "t", "Thumbs": "👍"}, K.vote, 1),
        ({"Trace ID": 7, "thumbs_up": False}, K.vote, -1),
        ({"source_id": "t", "value": "0.5", "kind": "annotation", "annotator": "kim"}, K.annotation, 0.5),
        ({"trace_id": "t", "score": 0.25}, K.vote, -0.5),
        ({"trace_id": "t", "comment": "the price is old"}, K.annotation, None),
        ({"trace_id": "t", "corrected-answer": "72 euros."}, K.correction, None),
        ({"trace_id": "t", "label": "escalated", "kind": "implicit", "value": -1}, K.implicit, -1),
    ],
)
def test_common_names_are_taken(row: dict[str, Any], kind: FeedbackKind, value: float | None) -> None:
    found = parse(row, "desk")
    assert found.trace == Trace("desk", "7" if "Trace ID" in row else "t")
    assert (found.event.kind, found.event.value) == (kind, value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"thumbs": "up"}, "name the trace"),
        ({"trace_id": "t", "record_id": "0123", "thumbs": "up"}, "one of them"),
        ({"trace_id": "t"}, "says nothing"),
        ({"trace_id": "t", "thumbs": "maybe"}, "neither up nor down"),
        ({"trace_id": "t", "value": 5}, "between -1 and 1"),
        ({"trace_id": "t", "score": 5}, "see --scale"),
        ({"trace_id": "t", "rating": 5}, "--scale 1:5"),
        ({"trace_id": "t", "value": "nan"}, "between"),
        ({"trace_id": "t", "value": True}, "not a number"),
        ({"trace_id": "t", "thumbs": "up", "score": 0}, "leave one out"),
        ({"trace_id": "t", "source_id": "u", "thumbs": "up"}, "differ"),
        ({"trace_id": "t", "traceId": "u", "thumbs": "up"}, "given twice"),
        ({"trace_id": "t", "thumbs": "up", "kind": "guess"}, "kind is none of"),
        ({"trace_id": "t", "thumbs": "up", "kind": "correction"}, "no correction"),
        ({"trace_id": "t", "thumbs": "up", "occurred_at": "soon"}, "not a time"),
        ({"trace_id": "t", "thumbs": "up", "occurred_at": "1970-01-01"}, "outside"),
        ({"trace_id": "t", "thumbs": "up", "identifier": Signal.rephrased.value}, "kept for"),
        ({"trace_id": "t" * 501, "thumbs": "up"}, "at most 500 characters"),
        ({"trace_id": "t", "comment": ["no", "text"]}, "comment"),
    ],
)
def test_what_could_mean_two_things_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(row, "desk")


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1))
def test_any_scale_ends_at_minus_one_and_one(worst: float, best: float, where: float) -> None:
    if abs(best - worst) < 1e-3:
        return
    scale = read_scale(f"{worst!r}:{best!r}")
    assert scale == Scale(worst, best)
    for given_, expected in ((worst, -1), (best, 1)):
        assert parse({"trace_id": "t", "score": given_}, "desk", scale).event.value == pytest.approx(expected)
    inside = min(max(worst + where * (best - worst), min(worst, best)), max(worst, best))
    value = parse({"trace_id": "t", "rating": inside}, "desk", scale).event.value
    assert value == pytest.approx(2 * where - 1, abs=1e-6)


@pytest.mark.parametrize("text", ["5", "1:1", "a:b", "1:2:3", "0:inf", "nan:1"])
def test_a_scale_is_two_numbers(text: str) -> None:
    with pytest.raises(ConfigurationError, match="WORST:BEST"):
        read_scale(text)


ROWS = [
    {"trace_id": "trace-1", "thumbs": "down", "comment": 'He said "no", twice;\nso what?', "by": "kim"},
    {"trace_id": "trace-2", "correction": "Two years, é ✓.", "occurred_at": "2026-03-04T10:00:00Z", "identifier": "c1"},
    {"trace_id": "unknown", "value": "0.5", "kind": "annotation"},
]


def write(folder: Path, kind: str, rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    file = folder / f"feedback.{kind}"
    if kind == "jsonl":
        return write_lines(file, rows)
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), file)
        return str(file)
    with (gzip.open if kind == "csv.gz" else open)(file, "wt", newline="", encoding="utf-8-sig") as stream:
        writer = csv.DictWriter(stream, names, delimiter=";" if kind == "txt" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return str(file)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "csv.gz", "txt", "parquet"])
def test_every_format_says_the_same(kind: str, fresh: Callable[[], Engine], tmp_path: Path) -> None:
    stores = fresh(), fresh()
    for engine, name in zip(stores, (kind, "jsonl"), strict=True):
        save_records(engine, [record(1), record(2)])
        (report,) = import_feedback(engine, [write(tmp_path, name, ROWS)], source="desk").files
        assert (report.read, report.new, report.rejected) == (3, 3, 0)
    assert snapshot(stores[0]) == snapshot(stores[1])
    first = snapshot(stores[0])
    (again,) = import_feedback(stores[0], [write(tmp_path, kind, ROWS)], source="desk").files
    assert (again.new, again.updated, again.unchanged) == (0, 0, 3)
    assert snapshot(stores[0]) == first


FEEDBACK_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "trace_id": st.sampled_from(["trace-1", "trace-2", "trace-3"]),
            "identifier": st.sampled_from(["a", "b", "c"]),
            "value": st.sampled_from([-1, -0.5, 0, 1]),
            "kind": st.sampled_from(["vote", "implicit", "annotation"]),
            "occurred_at": st.integers(1_770_000_000, 1_770_000_099),
        }
    ),
    max_size=8,
    unique_by=lambda row: (row["trace_id"], row["identifier"], row["occurred_at"]),
)


@given(rows=FEEDBACK_ROWS, data=st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_feedback_and_records_come_in_any_order(
    fresh: Callable[[], Engine], tmp_path: Path, rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    def run(steps: Sequence[Any]) -> Any:
        engine = fresh()
        for step in steps:
            if isinstance(step, RagRecord):
                save_records(engine, [step])
            else:
                import_feedback(engine, [write_lines(tmp_path / "rows.jsonl", step)], source="desk")
        found = snapshot(engine)
        engine.dispose()
        return found

    records = [record(1), record(2)]
    at = data.draw(st.integers(0, len(rows)))
    shuffled = data.draw(st.permutations(rows))
    parts = [part for part in (shuffled[:at], shuffled[at:]) if part]
    expected = run([*records, *([rows] if rows else [])])
    assert run(data.draw(st.permutations([*records, *parts]))) == expected
    newest = {}
    for row in sorted(rows, key=lambda row: row["occurred_at"]):
        newest[row["trace_id"], row["identifier"]] = row["value"]
    held = {(one.source_id, e.identifier): e.value for one in expected[0] for e in one.feedback}
    assert held == {key: value for key, value in newest.items() if key[0] != "trace-3"}


def test_by_record_id(engine: Engine, tmp_path: Path) -> None:
    save_records(engine, [record(1)])
    rows = [{"record_id": record(1).record_id, "thumbs": "up"}, {"record_id": "0" * 16, "thumbs": "up"}]
    (report,) = import_feedback(engine, [write_lines(tmp_path / "f.jsonl", rows)], rejects=tmp_path / "bad").files
    assert (report.new, report.rejected) == (1, 1)
    assert "import its log first" in Path(report.rejects or "").read_text()
    assert snapshot(engine)[0][0].feedback[0].value == 1


def test_signals_cannot_be_forged_and_stay(engine: Engine, tmp_path: Path) -> None:
    save_records(engine, [record(1)])
    save_feedback(engine, "desk", "trace-1", [vote(Signal.abandoned.value, -0.2)])
    rows = [{"trace_id": "trace-1", "thumbs": "up", "id": Signal.abandoned.value}]
    with pytest.raises(InputError, match="line 1: the identifier"):
        import_feedback(engine, [write_lines(tmp_path / "f.jsonl", rows)], source="desk", strict=True)
    assert snapshot(engine)[0][0].feedback == (vote(Signal.abandoned.value, -0.2),)


def test_hostile_rows_are_set_aside(engine: Engine, tmp_path: Path) -> None:
    file = tmp_path / "bad.csv"
    good = b"trace-1,up,fine\n"
    rows = [b"trace-1,up\n", b"a,b,c,d\n", b"trace-1,up,\xff\xfe\n", b"trace-1,up,nul\0\n", b'trace-1,up,"x"y\n']
    file.write_bytes(b"trace_id,thumbs,comment\n" + good + b"".join(rows) + b"\n" + good + b'trace-1,up,"never closed')
    (report,) = import_feedback(engine, [str(file)], source="desk", rejects=tmp_path / "bad").files
    assert (report.new, report.rejected) == (1, 6)
    reasons = [json.loads(line)["reason"] for line in Path(report.rejects or "").read_text().splitlines()]
    assert sum("cells" in reason for reason in reasons) == 2 and sum("UTF-8" in reason for reason in reasons) == 2


@pytest.mark.parametrize("content", [b"a,a\n1,2\n", b"a,,b\n1,2,3\n", b"trace_id,thumbs\n"])
def test_files_without_a_header_or_rows_are_refused(engine: Engine, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"header|no rows"):
        import_feedback(engine, [str(tmp_path / "f.csv")])


def test_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store_url: str, engine: Engine) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTORY_STORE__URL", store_url)
    save_records(engine, [record(1)])
    (tmp_path / "stars.csv").write_text("trace id,stars,date\ntrace-1,1,2026-03-05\ntrace-1,six,2026-03-05\n")
    command = ["feedback", "import", "stars.csv", "--source", "desk", "--scale", "1:5"]
    result = runner.invoke(app, command)
    assert result.exit_code == 0 and "1 new feedback event," in result.stdout and "1 row rejected" in result.stdout
    assert json.loads(runner.invoke(app, [*command, "--json"]).stdout)["files"][0]["unchanged"] == 1
    (event,) = snapshot(engine)[0][0].feedback
    assert (event.value, event.occurred_at) == (-1, datetime(2026, 3, 5, tzinfo=UTC))
    assert runner.invoke(app, [*command, "--strict"]).exit_code == 3
    assert runner.invoke(app, ["feedback", "import", "gone.csv"]).exit_code == 3
    assert runner.invoke(app, ["feedback", "import", "stars.csv", "--scale", "x"]).exit_code == 2
    piped = runner.invoke(app, ["feedback", "import", "-", "--format", "csv"], input="trace_id,thumbs\nt,up\n")
    assert "1 new" in piped.stdout


def test_feedback_on_what_was_forgotten_is_left_out_and_counted(engine: Engine, tmp_path: Path) -> None:
    with writing(engine) as connection:
        forget_traces(connection, store_key_in(connection), [Trace("production", "gone")])
    lines = [{"trace_id": name, "thumbs": "down"} for name in ("gone", "here")]
    report = import_feedback(engine, [write_lines(tmp_path / "votes.jsonl", lines)])
    assert (report.files[0].new, report.files[0].forgotten) == (
        1,
        1,
    ) and "1 was left out, for it was forgotten earlier" in report.text()
    assert [row[1] for row in snapshot(engine)[1]] == ["here"]


def test_forgetting_reads_sessions_anew(engine: Engine) -> None:
    again = {"session_id": "s", "query": "How long is the warranty?"}
    save_records(engine, [record(1, **again), record(2, **again)])
    assert read_sessions(engine, SignalSettings()).rephrased == 1
    with writing(engine) as connection:
        forget_traces(connection, store_key_in(connection), [Trace("desk", "trace-2")])
    assert read_sessions(engine, SignalSettings()).changed == 1
    assert snapshot(engine)[1] == []
