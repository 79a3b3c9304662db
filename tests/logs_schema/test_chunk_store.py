import gzip
import itertools
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from factory.cli.app import app
from logs_schema.errors import InputError
from logs_schema.importers.run import import_files
from logs_schema.importers.spans import Span, record_of
from logs_schema.records import Context, Message
from tests.logs_schema import trace_examples as traces
from tests.logs_schema.log_examples import snapshot, write_lines

LINE = {"trace_id": "t1", "timestamp": "2026-03-02T10:00:00Z", "query": "Q?", "response": "A."}


def chunks_of(*numbers: int, **more: object) -> list[dict[str, object]]:
    return [
        {"doc_id": f"doc-{number}-{n}", "text": text, "title": f"Title {n}", **more}
        for number in numbers
        for n, text in enumerate(traces.passages_of(number))
    ]


def test_chunks_mend_contexts_now_and_later(engine: Engine, tmp_path: Path) -> None:
    logs = write_lines(tmp_path / "a.jsonl", traces.genai(1, texts=False) + traces.genai(2, texts=False))
    first = import_files(engine, [logs])
    assert (first.coverage.contexts, first.coverage.contexts_with_text) == (4, 0)
    assert "factory import --chunks" in first.text()
    assert all(record.prompt is None for record in snapshot(engine)["records"])
    store = write_lines(tmp_path / "chunks.jsonl", chunks_of(1, 2, 3))
    (given,) = import_files(engine, [], chunks=[store]).texts
    assert (given.read, given.contexts, given.records, given.newer, given.rejected) == (6, 4, 2, 0, 0)
    mended = snapshot(engine)
    for number, record in enumerate(mended["records"], start=1):
        assert [context.text for context in record.contexts] == traces.passages_of(number)
        assert record.contexts[0].title == "Title 0" and record.contexts[0].score == 0.9
        # with the texts the logged messages show the template
        assert record.prompt and record.prompt.user == "Context:\n{contexts}\n\nQuestion: {query}"
    again = import_files(engine, [logs], chunks=[store])
    assert (again.files[0].updated, again.texts[0].contexts, again.coverage.contexts_with_text) == (0, 0, 4)
    assert snapshot(engine) == mended


def test_chunks_with_the_logs_or_after_them_give_the_same_store(
    engine: Engine, tmp_path: Path, fresh: Callable[[], Engine]
) -> None:
    logs = write_lines(tmp_path / "a.jsonl", traces.genai(1, texts=False))
    store = write_lines(tmp_path / "chunks.jsonl", chunks_of(1))
    import_files(engine, [logs])
    import_files(engine, [], chunks=[store])
    other = fresh()
    import_files(other, [logs], chunks=[store])
    assert snapshot(other) == snapshot(engine)
    other.dispose()


def test_texts_of_whole_records_are_kept_when_the_line_comes_again(engine: Engine, tmp_path: Path) -> None:
    contexts = [{"doc_id": "doc-1-0"}, {"doc_id": "unknown"}]
    logs = write_lines(tmp_path / "a.jsonl", [{**LINE, "contexts": contexts}])
    store = write_lines(tmp_path / "chunks.jsonl", chunks_of(1))
    import_files(engine, [logs], chunks=[store])
    again = import_files(engine, [logs])
    assert (again.files[0].updated, again.files[0].unchanged) == (0, 1)
    (record,) = snapshot(engine)["records"]
    assert [context.text for context in record.contexts] == [traces.passages_of(1)[0], ""]


def test_a_text_that_was_changed_after_the_answer_is_not_what_the_model_saw(engine: Engine, tmp_path: Path) -> None:
    logs = write_lines(tmp_path / "a.jsonl", traces.genai(1, texts=False))
    store = write_lines(tmp_path / "chunks.jsonl", chunks_of(1, updated_at="2026-07-01T00:00:00Z"))
    report = import_files(engine, [logs], chunks=[store])
    assert (report.texts[0].contexts, report.texts[0].newer) == (0, 2)
    assert "2 contexts stay without" in report.text()
    older = write_lines(tmp_path / "older.jsonl", chunks_of(1, updated_at="2026-01-01T00:00:00Z"))
    assert import_files(engine, [], chunks=[older]).texts[0].contexts == 2


def test_rows_that_cannot_be_used(engine: Engine, tmp_path: Path) -> None:
    rows = [*chunks_of(1), {"doc_id": "x"}, {"text": "lost"}, {"doc_id": "y" * 700, "text": "long"}]
    store = write_lines(tmp_path / "chunks.jsonl", rows)
    (report,) = import_files(engine, [], chunks=[store], rejects=tmp_path / "rejects").texts
    assert (report.read, report.rejected) == (5, 3)
    with pytest.raises(InputError, match=r"chunks.jsonl, row 3: text is missing"):
        import_files(engine, [], chunks=[store], strict=True)
    logs = write_lines(tmp_path / "logs.jsonl", [LINE])
    with pytest.raises(InputError, match=r"is no chunk store: it needs rows with doc_id and text, .*'trace_id'"):
        import_files(engine, [], chunks=[logs])


def test_the_command(engine: Engine, store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTORY_STORE__URL", store_url)
    write_lines(tmp_path / "logs.jsonl", traces.genai(1, texts=False))
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in chunks_of(1)).encode())
    (tmp_path / "chunks.jsonl.gz").write_bytes(packed)
    runner = CliRunner()
    assert runner.invoke(app, ["import", "logs.jsonl"]).exit_code == 0
    mended = runner.invoke(app, ["import", "--chunks", "chunks.jsonl.gz"])
    assert mended.exit_code == 0 and "gave a text to 2 contexts of 1 record" in mended.stdout
    nothing = runner.invoke(app, ["import"])
    assert nothing.exit_code == 2 and "--chunks" in nothing.stderr
    wrong = runner.invoke(app, ["import", "logs.jsonl", "--format", "ragtime"])
    assert wrong.exit_code == 2 and "Known are auto, " in wrong.stderr


def test_a_root_that_never_comes_is_done_without_though_only_ids_were_logged(
    engine: Engine, tmp_path: Path, fresh: Callable[[], Engine]
) -> None:
    _, search, call, _ = traces.genai(1, texts=False)
    logs = write_lines(tmp_path / "a.jsonl", [call, search])
    parts = [write_lines(tmp_path / f"{n}.jsonl", [line]) for n, line in enumerate((search, call))]
    stored = []
    for store, files in ((engine, [logs]), (fresh(), parts)):
        for file in files:
            import_files(store, [file])
        (record,) = snapshot(store)["records"]
        assert (record.query, record.response) == (traces.query_of(1), traces.answer_of(1))
        assert [context.doc_id for context in record.contexts] == ["doc-1-0", "doc-1-1"] and record.prompt is None
        import_files(store, [], chunks=[write_lines(tmp_path / "chunks.jsonl", chunks_of(1))])
        stored.append(snapshot(store))
        (record,) = stored[-1]["records"]
        assert [context.text for context in record.contexts] == traces.passages_of(1) and record.prompt
        store.dispose()
    assert stored[0] == stored[1]


def test_such_a_record_gets_its_texts_though_the_messages_do_not_show_them(engine: Engine, tmp_path: Path) -> None:
    _, search, call, _ = traces.genai(1, texts=False)
    written = json.dumps(call).replace("Order 1 may be returned", "An order is returned")
    logs = write_lines(tmp_path / "a.jsonl", [search, json.loads(written)])
    store = write_lines(tmp_path / "chunks.jsonl", chunks_of(1))
    for _ in range(2):
        import_files(engine, [logs], chunks=[store])
        (record,) = snapshot(engine)["records"]
        assert [context.text for context in record.contexts] == traces.passages_of(1) and record.prompt is None


def span(number: int, kind: str, *texts: str, **told: object) -> Span:
    moment = datetime(2026, 3, 2, 10, 0, number, tzinfo=UTC)
    documents = tuple(Context(text=text, doc_id=f"d-{number}-{n}") for n, text in enumerate(texts))
    given = {"trace_id": "t", "span_id": f"s{number}", "parent_id": "elsewhere", "started": moment, "ended": moment}
    return Span.model_validate({**given, "kind": kind, "documents": documents, **told})


def test_more_spans_never_take_away_a_record_and_the_call_that_saw_the_passages_answers() -> None:
    asked = (Message(role="user", content="Context:\n[1] Refunds within 30 days.\n\nQuestion: Refund window?"),)
    spans = [
        span(1, "LLM", messages=[Message(role="user", content="Rewrite: refund?")], output="Refund window?"),
        span(2, "RETRIEVER", "", "", query="Refund window?"),
        span(3, "RETRIEVER", "Refunds within 30 days.", query="Refund window?"),
        span(4, "LLM", messages=asked, output="30 days [1]."),
        span(5, "LLM", messages=[Message(role="user", content="Suggest a question.")], output="And postage?"),
        span(6, "LLM", messages=asked),
    ]
    made = {
        chosen: record_of(chosen, "desk")
        for size in range(1, len(spans) + 1)
        for chosen in itertools.combinations(spans, size)
    }
    for chosen, found in made.items():
        for more in spans:
            if found and more not in chosen:
                assert made[tuple(one for one in spans if one in (*chosen, more))]
    seen = made[spans[2], spans[3], spans[4]]
    assert seen and seen[0].response == "30 days [1]." and seen[0].prompt
    bare = made[spans[0], spans[1], spans[3]]
    assert bare and bare[0].response == "30 days [1]." and bare[0].prompt is None
    assert made[spans[0], spans[1]] is None
