"""The documents feed: versions, their order, and what becomes due when they change."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import Engine, select
from typer.testing import CliRunner

from factory.cli.app import app
from logs_schema.document_views import documents_frame, list_documents, load_document
from logs_schema.documents import (
    Document,
    Version,
    current_texts,
    histories,
    latest_documents,
    save_documents,
)
from logs_schema.errors import InputError
from logs_schema.importers.document_feed import import_documents, parse
from logs_schema.records import Context
from logs_schema.rows import DOCUMENT
from logs_schema.store import save_records, writing
from tests.logs_schema.log_examples import record, write_lines

DAY = datetime(2026, 3, 1, tzinfo=UTC)
runner = CliRunner()


def feed(engine: Engine, *documents: Document) -> Any:
    with writing(engine) as connection:
        return save_documents(connection, documents)


def rows(engine: Engine) -> list[Any]:
    columns = [column for column in DOCUMENT.columns if column.name != "imported_at"]
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(*columns).order_by(*DOCUMENT.primary_key))]


ROWS = [
    {"doc_id": "a", "version": 1, "updated_at": "2026-03-01", "text": "First.", "title": "A"},
    {"document_id": "a", "version": "2", "last_modified": "2026-03-05", "content": "Second."},
    {"id": "b", "hash": "77aa", "url": "https://help.example.com/b"},
    {"doc_id": "c", "text": "Undated."},
    {"doc_id": "a", "deleted": True, "updated_at": "2026-03-09"},
]


def test_versions_are_kept_and_a_second_import_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "corpus.jsonl", ROWS)
    (first,) = import_documents(engine, [file]).files
    assert (first.new, first.updated, first.unchanged, first.rejected) == (5, 0, 0, 0)
    before = rows(engine)
    (second,) = import_documents(engine, [file]).files
    assert (second.new, second.updated, second.unchanged) == (0, 0, 5) and rows(engine) == before
    assert histories(engine)["a"] == (
        Version(DAY, "1"),
        Version(DAY + timedelta(days=4), "2"),
        Version(DAY + timedelta(days=8), None, True),
    )
    assert [document.doc_id for document in current_texts(engine)] == ["c"]
    shown = list_documents(engine)
    assert [(d.doc_id, d.versions, d.withdrawn, d.has_text) for d in shown.documents] == [
        ("a", 3, True, False),
        ("b", 1, False, False),
        ("c", 1, False, True),
    ]
    assert list_documents(engine, withdrawn=True).total == 1 and list_documents(engine, limit=1).total == 3
    assert list(documents_frame(engine)["doc_id"]) == ["a", "b", "c"]
    view = load_document(engine, "a")
    assert [version.version for version in view.versions] == ["1", "2", None]
    assert "withdrawn" in view.text() and "7 characters" in view.text()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"version": "1"}, "doc_id is missing"),
        ({"doc_id": "a"}, "which version"),
        ({"doc_id": "a", "withdrawn": True}, "updated_at"),
        ({"doc_id": "a", "version": "1", "withdrawn": "perhaps"}, "withdrawn"),
        ({"doc_id": "a", "text": 5}, "text"),
        ({"doc_id": "a" * 601, "version": "1"}, "doc_id"),
        ({"doc_id": "a", "id": "b", "version": "1"}, "differ"),
        ({"doc_id": "a", "version": "1", "updated_at": "yesterday"}, "not a time"),
    ],
)
def test_what_could_mean_two_things_is_refused(row: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse(row)


def test_a_line_adds_to_what_is_known_and_a_new_hash_drops_the_old_text(engine: Engine) -> None:
    feed(engine, Document(doc_id="a", version="1", text="First."))
    feed(engine, Document(doc_id="a", version="1", title="Title", updated_at=DAY))
    (version,) = load_document(engine, "a").versions
    assert (version.text, version.title, version.updated_at) == ("First.", "Title", DAY)
    counts = feed(engine, Document(doc_id="a", version="1", text_hash="other"))
    (version,) = load_document(engine, "a").versions
    assert counts.updated == 1 and (version.text, version.text_hash, version.title) == (None, "other", "Title")
    with pytest.raises(ValidationError):
        Document(doc_id="a", withdrawn=True)


def test_chunks_are_not_documents(engine: Engine, tmp_path: Path) -> None:
    chunks = [{"doc_id": "a", "version": "1", "text": text} for text in ("First.", "Second.", "First.")]
    file = write_lines(tmp_path / "chunks.jsonl", chunks)
    (report,) = import_documents(engine, [file], rejects=tmp_path / "bad").files
    assert (report.new, report.rejected) == (1, 1)
    assert "chunks are not documents" in Path(report.rejects or "").read_text()


def test_which_version_is_the_newest(engine: Engine) -> None:
    def newest(*versions: dict[str, Any]) -> Version:
        for version in versions:
            feed(engine, Document(doc_id=name, **version))
        return latest_documents(engine)[name]

    name = "numbers"
    assert newest({"version": "10"}, {"version": "9"}) == Version(None, "10")
    name = "dates"
    assert newest({"version": "1", "updated_at": DAY}, {"version": "2"}) == Version(DAY, "1")
    name = "names"
    assert newest({"version": "spring"}, {"version": "autumn"}) == Version(None, "autumn")
    name = "withdrawn"
    assert newest({"version": "1", "updated_at": DAY}, {"withdrawn": True, "updated_at": DAY}).withdrawn
    name = "back"
    later = {"version": "2", "updated_at": DAY + timedelta(1)}
    assert newest({"withdrawn": True, "updated_at": DAY}, later) == Version(DAY + timedelta(1), "2")
    save_records(engine, [record(1, contexts=(Context(text="t", doc_id="dates", updated_at=DAY + timedelta(2)),))])
    assert latest_documents(engine)["dates"] == Version(DAY + timedelta(2), None)


DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {
            "doc_id": st.sampled_from(["a", "b"]),
            "version": st.sampled_from(["1", "2", "3"]),
            "updated_at": st.sampled_from(["2026-03-01", "2026-03-02"]),
            "text": st.sampled_from(["One.", "Two."]),
        }
    ),
    max_size=8,
    unique_by=lambda row: (row["doc_id"], row["version"]),
)


@given(given_rows=DOCUMENTS, data=st.data())
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_rows_come_in_any_order(
    fresh: Callable[[], Engine], tmp_path: Path, given_rows: list[dict[str, Any]], data: st.DataObject
) -> None:
    def run(parts: Sequence[Sequence[dict[str, Any]]]) -> Any:
        engine = fresh()
        for part in parts:
            import_documents(engine, [write_lines(tmp_path / "rows.jsonl", part)])
        found = rows(engine), histories(engine), list(current_texts(engine))
        engine.dispose()
        return found

    shuffled = data.draw(st.permutations(given_rows))
    at = data.draw(st.integers(0, len(given_rows)))
    parts = [part for part in (shuffled[:at], shuffled[at:], shuffled) if part]
    assert run(parts) == run([given_rows] if given_rows else [])


def test_a_batch_that_fails_leaves_the_ones_before_it(engine: Engine, tmp_path: Path) -> None:
    many = [{"doc_id": f"d{n}", "version": "1"} for n in range(600)]
    file = write_lines(tmp_path / "many.jsonl", many)

    def fails(lines: Any, **_: object) -> Any:
        for number, line in enumerate(lines):
            if number == 550:
                raise KeyboardInterrupt
            yield line

    with pytest.raises(KeyboardInterrupt):
        import_documents(engine, [file], track=fails)
    assert len(rows(engine)) == 500
    (report,) = import_documents(engine, [file]).files
    assert (report.new, report.unchanged) == (100, 500)


def test_by_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli_store: str, engine: Engine) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No documents" in runner.invoke(app, ["documents", "list"]).stdout
    (tmp_path / "corpus.csv").write_text('doc_id,version,text\nkb-1,1,"Shoes, \x1b[31mred\n60 days"\nkb-2,,\n')
    result = runner.invoke(app, ["documents", "import", "corpus.csv"])
    assert result.exit_code == 0 and "1 new document version," in result.stdout and "1 row rejected" in result.stdout
    assert json.loads(runner.invoke(app, ["documents", "list", "--json"]).stdout)["total"] == 1
    shown = runner.invoke(app, ["documents", "show", "kb-1"])
    assert "60 days" in shown.stdout and "\x1b" not in shown.stdout
    assert runner.invoke(app, ["documents", "show", "kb-9"]).exit_code == 3
    with pytest.raises(InputError, match="documents list"):
        load_document(engine, "kb-9")
