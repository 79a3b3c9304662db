import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from logs_schema.forgetting import forget_traces
from logs_schema.importers import native, reading, run
from logs_schema.importers.batch import Done
from logs_schema.importers.formats import load
from logs_schema.importers.read import read_lines
from logs_schema.importers.run import import_files
from logs_schema.importers.tally import TABLES, Tally
from logs_schema.keys import store_key_in
from logs_schema.pii.replace import cleaner
from logs_schema.records import Feedback, FeedbackKind, Trace, record_id
from logs_schema.rows import INTERACTION
from logs_schema.scratch import scratch
from logs_schema.settings import PiiSettings
from logs_schema.store import save_feedback, writing
from tests.logs_schema.log_examples import snapshot, write_lines


def line(trace: str, **fields: Any) -> dict[str, Any]:
    plain = {"trace_id": trace, "timestamp": "2026-03-02T10:00:00Z", "query": f"{trace}?", "response": "A."}
    return {**plain, "contexts": [{"text": "Shared passage.", "doc_id": "d"}], **fields}


def thumbs(value: float) -> list[Feedback]:
    return [Feedback(identifier="thumbs", kind=FeedbackKind.vote, value=value)]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Traces whose lines were parsed."""
    seen: list[str] = []
    parse = native.parse

    def noted(value: dict[str, Any], source: str) -> Any:
        seen.append(value["trace_id"])
        return parse(value, source)

    monkeypatch.setattr(reading, "load", lambda name: load(name)._replace(parse=noted))
    return seen


def counts(engine: Engine, file: str, **options: Any) -> tuple[int, int, int, int]:
    (one,) = import_files(engine, [file], **options).files
    return one.new, one.updated, one.unchanged, one.forgotten


def test_a_line_that_the_store_holds_is_not_read_again(engine: Engine, tmp_path: Path, parsed: list[str]) -> None:
    file = write_lines(tmp_path / "a.jsonl", [line("t1", thumbs="up"), line("t2")])
    assert counts(engine, file) == (2, 0, 0, 0)
    before = snapshot(engine)
    del parsed[:]
    report = import_files(engine, [file])
    assert (parsed, report.files[0].unchanged, report.coverage.records) == ([], 2, 2)
    assert snapshot(engine) == before
    write_lines(tmp_path / "a.jsonl", [line("t1", thumbs="up"), line("t2", response="B."), line("t3")])
    assert counts(engine, file) == (1, 1, 1, 0)
    assert parsed == ["t2", "t3"]


@pytest.mark.parametrize(
    "options",
    [{"source": "other"}, {"occurred_at": datetime(2026, 1, 1, tzinfo=UTC)}, {"clean": PiiSettings()}],
)
def test_read_in_another_way_it_is_read(
    engine: Engine, tmp_path: Path, parsed: list[str], options: dict[str, Any]
) -> None:
    file = write_lines(tmp_path / "a.jsonl", [line("t1", query="Mail jane@shop.example?")])
    import_files(engine, [file])
    del parsed[:]
    if "clean" in options:
        options = {"clean": cleaner(engine, options["clean"])}
    import_files(engine, [file], **options)
    assert parsed == ["t1"]
    import_files(engine, [file], **options)
    assert parsed == ["t1"]
    if "clean" in options:
        assert "jane" not in snapshot(engine)["records"][0].query


def test_after_feedback_it_is_read(engine: Engine, tmp_path: Path, parsed: list[str]) -> None:
    file = write_lines(tmp_path / "a.jsonl", [line("t1", thumbs="up")])
    import_files(engine, [file])
    save_feedback(engine, "production", "t1", thumbs(-1))
    assert counts(engine, file) == (0, 1, 0, 0)
    assert snapshot(engine)["records"][0].feedback[0].value == 1
    del parsed[:]
    assert counts(engine, file) == (0, 0, 1, 0)
    assert parsed == []


def test_a_forgotten_record_stays_out(engine: Engine, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [line("t1"), line("t2")])
    import_files(engine, [file])
    with writing(engine) as connection:
        forget_traces(connection, store_key_in(connection), [Trace("production", "t1")])
    assert counts(engine, file) == (0, 0, 1, 1)
    assert [record.source_id for record in snapshot(engine)["records"]] == ["t2"]


def test_a_line_of_several_records_is_always_read(engine: Engine, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", [line("t1"), {"trace_id": "t1", "thumbs": "down"}])
    import_files(engine, [file])
    with engine.connect() as connection:
        assert connection.scalars(select(INTERACTION.c.line_hash)).all() != [None]
    before = snapshot(engine)
    assert counts(engine, file) == (0, 0, 1, 0)
    assert snapshot(engine) == before


lines = st.builds(
    lambda trace, answer, told: (
        {"trace_id": trace, "thumbs": told or "up"}
        if answer is None
        else line(trace, response=answer, **({"thumbs": told} if told else {}))
    ),
    st.sampled_from(["t1", "t2"]),
    st.sampled_from(["A.", "B.", None]),
    st.sampled_from([None, "up", "down"]),
)
steps = st.one_of(
    st.lists(lines, min_size=1, max_size=4),
    st.sampled_from([("t1", 1.0), ("t2", -1.0)]),
    st.sampled_from(["t1", "t2"]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(steps, min_size=2, max_size=5), st.integers(1, 4))
@example([[line("t1"), line("t1", response="B.")], [line("t1", response="B."), line("t1")]], 4)
@example([[line("t1", thumbs="up")], ("t1", -1.0), [line("t1", thumbs="up")]], 1)
def test_leaving_lines_out_makes_no_difference(
    fresh: Callable[[], Engine], tmp_path_factory: pytest.TempPathFactory, some: list[Any], size: int
) -> None:
    """Files, feedback and forgetting in any order, each file twice: as if every line were read."""
    folder = tmp_path_factory.mktemp("files")
    quick, thorough = fresh(), fresh()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "BATCH", size)
        for number, step in enumerate(some):
            for engine in (quick, thorough):
                with pytest.MonkeyPatch.context() as every_line:
                    if engine is thorough:
                        every_line.setattr(run, "records_of", lambda *_: {})
                    _take(engine, step, folder / f"{number}.jsonl")
            assert snapshot(quick) == snapshot(thorough)
    quick.dispose()
    thorough.dispose()


def _take(engine: Engine, step: Any, path: Path) -> None:
    if isinstance(step, list):
        file = write_lines(path, step)
        import_files(engine, [file])
        import_files(engine, [file])
    elif isinstance(step, tuple):
        save_feedback(engine, "production", step[0], thumbs(step[1]))
    else:
        with writing(engine) as connection:
            forget_traces(connection, store_key_in(connection), [Trace("production", step)])


fates = st.sampled_from(["new", "updated", "unchanged", "forgotten"])


@given(st.lists(st.dictionaries(st.sampled_from("abc"), fates), max_size=6))
def test_the_tally_counts_each_record_once(batches: list[Done]) -> None:
    expected: dict[str, str] = {}
    with scratch(TABLES) as tables:
        tally = Tally(tables)
        for done in batches:
            tally.add(done)
            for name, fate in done.items():
                known = expected.get(name)
                kept = known is not None and (fate == "unchanged" or (fate == "updated" and known == "new"))
                expected[name] = known if known and kept else fate
        found = tally.end_file()
        assert sum(found.values()) == len(expected)
        assert found == {fate: list(expected.values()).count(fate) for fate in set(expected.values())}
        assert [name for page in tally.touched() for name in page] == sorted(expected)
        assert tally.end_file() == {} and list(tally.waiting()) == []


def test_the_tally_gives_everything_a_page_at_a_time() -> None:
    names = [record_id("s", str(number)) for number in range(1201)]
    with scratch(TABLES) as tables:
        tally = Tally(tables)
        tally.add(dict.fromkeys(names, "new"))
        tally.wait(names)
        pages = list(tally.waiting())
        assert [name for page in pages for name in page] == sorted(names)
        assert max(map(len, pages)) == 500
        tally.end_file()
        assert [name for page in tally.touched() for name in page] == sorted(names)


numbers = st.integers() | st.floats(allow_nan=True) | st.integers(-(2**70), 2**70)
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text(max_size=5), values, max_size=4), st.booleans(), st.none() | st.integers(0, 200))
@example({"n": 2**64, "m": -(2**63) - 1, "x": -0.0}, True, None)
@example({"\ud800": "half"}, True, None)
def test_json_is_read_as_the_standard_library_reads_it(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any], plain: bool, cut: int | None
) -> None:
    path = tmp_path_factory.mktemp("json") / "x.jsonl"
    data = json.dumps(value, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    data = data if cut is None else data[:cut] + data[cut + 1 :]
    path.write_bytes(data + b"\n{}\n")
    first = next(iter(read_lines(str(path))))
    if first.value is None:
        return
    expected = json.loads(data)
    assert first.value == expected and repr(first.value) == repr(expected)


def test_whole_numbers_of_any_size_stay_whole(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"trace_id": 123456789012345678901234567890, "n": [18446744073709551616, -0]}\n')
    (read,) = read_lines(str(tmp_path / "x.jsonl"))
    assert read.value == {"trace_id": 123456789012345678901234567890, "n": [18446744073709551616, 0]}
