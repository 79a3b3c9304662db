import csv
import io
import json
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from factory.cli.app import app
from factory.mining.hops import read_hops
from factory.mining.lexical import passages
from factory.mining.miner import mine
from factory.mining.settings import MiningSettings
from factory.mining.worklist import HINTS, Worklist, worklist
from factory.mining.worklist_file import as_csv
from logs_schema.database import writing
from logs_schema.documents import Document, save_documents
from logs_schema.records import Context, Feedback, FeedbackKind, RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.store import save_records
from logs_schema.taxonomy import WorkKind

HELMETS = "Helmets are strongly recommended for adults and compulsory for riders aged 16 and 17."
BATTERY = "The battery of the Cargo bike lasts about 60 kilometres and charges within four hours at a wall socket."
DUNNO = "I don't know."


def listed(engine: Engine, records: list[RagRecord], documents: tuple[Document, ...] = (), **given: Any) -> Worklist:
    if documents:
        with writing(engine) as connection:
            save_documents(connection, documents)
    save_records(engine, records)
    mine(engine, MiningSettings(), HouseSettings())
    return worklist(engine, **given)


def missed(make: Any, number: int, **given: Any) -> RagRecord:
    fields = {
        "query": f"how long does the battery of the cargo bike last until it charges ({number})",
        "response": DUNNO,
    }
    record: RagRecord = make(number, **{**fields, **given})
    return record


FEED = (Document(doc_id="battery", version="1", title="The battery", text=BATTERY),)


def test_misses_are_grouped_by_the_document_that_was_not_retrieved(engine: Engine, make: Any) -> None:
    vote = (Feedback(identifier="v", kind=FeedbackKind.vote, value=-1),)
    records = [missed(make, n, user_id=f"u{n}", feedback=vote if n else ()) for n in range(5)]
    (item,) = listed(engine, records, FEED).items
    assert (item.kind, item.documents, item.title) == ("retrieval_miss", ("battery",), "The battery")
    assert (item.records, item.people, item.unhappy, item.feedback) == (5, 5, 4, -1.0)
    assert len(item.examples) == 3 and item.hint == HINTS["retrieval_miss"] and "rerank" in item.hint
    assert (item.first_seen, item.last_seen) == (records[0].occurred_at, records[-1].occurred_at)


def test_gaps_are_grouped_by_topic(engine: Engine, make: Any) -> None:
    asked = ["can I take the kangaroo trailer on a ferry", "is the kangaroo trailer allowed on a ferry",
             "who invented the zeppelin hangar"]  # fmt: skip
    records = [make(n, query=query, response=DUNNO, contexts=()) for n, query in enumerate(asked)]
    found = listed(engine, records, FEED)
    assert [(item.kind, item.records, item.documents) for item in found.items] == [
        ("knowledge_gap", 2, ()), ("knowledge_gap", 1, ()),
    ]  # fmt: skip
    assert found.items[0].title in asked[:2] and found.searched


def test_stale_truncated_and_unknown_causes(engine: Engine, make: Any) -> None:
    old = Context(text="Nothing of use.", doc_id="plans", title="Plans", updated_at=make().occurred_at - timedelta(90))
    new = Document(doc_id="plans", version="2", updated_at=make().occurred_at - timedelta(9))
    records = [
        make(0, query="is there a discount for students", contexts=(old,), response=DUNNO),
        make(1, query="do you deliver to the island of Sylt", truncated=True, response=DUNNO),
        make(2, query="do you deliver plans to Sylt by boat on Sundays", response=DUNNO),
    ]
    found = listed(engine, records, (new,))
    kinds = {item.kind: item for item in found.items}
    assert kinds["stale_context"].documents == ("plans",)
    assert kinds["truncated_context"].title == "desk" and kinds["truncated_context"].documents == ()
    assert "insufficient_context" in kinds and not found.searched and "No documents with texts" in found.text()
    assert worklist(engine, kind=WorkKind.stale_context).total == 1
    assert worklist(engine, since=records[2].occurred_at).records.get("stale_context") is None


@pytest.mark.parametrize(
    ("query", "needs"),
    [
        ("compare the battery range of the cargo bike with the helmet rules for teenagers", True),
        ("what is the difference between insurance in Berlin and in Zurich", True),
        ("which is cheaper, parking in Berlin or parking in Zurich", True),
        ("how do I pay the invoice and where do I send the contract", True),
        ("how do I cancel my subscription to the newspaper", False),
        ("riders aged 16 helmets and cargo battery kilometres", True),
        ("are helmets compulsory for riders aged 16 and 17", False),
    ],
)
def test_questions_that_need_several_documents(make: Any, query: str, needs: bool) -> None:
    contexts = (Context(text=HELMETS, doc_id="helmets"), Context(text=BATTERY, doc_id="battery"))
    hops = read_hops(make(query=query, contexts=contexts), passages(contexts))
    assert (hops is not None) is needs, hops


def test_multi_hop_questions_are_listed_by_their_documents(engine: Engine, make: Any) -> None:
    contexts = (Context(text=HELMETS, doc_id="helmets"), Context(text=BATTERY, doc_id="battery"))
    query = "riders aged 16 helmets and cargo battery kilometres wall socket for tourists abroad"
    (item,) = listed(engine, [make(0, query=query, contexts=contexts, response=DUNNO)]).items
    assert (item.kind, item.documents) == ("multi_hop", ("battery", "helmets")) and "multi-hop" in item.hint


def test_answers_despite_missing_context_are_on_the_list_too(engine: Engine, make: Any) -> None:
    (item,) = listed(engine, [missed(make, 0, response="It lasts for 900 miles.")], FEED).items
    assert item.kind == "retrieval_miss"


def test_spreadsheets_read_no_formula(engine: Engine, make: Any) -> None:
    evil = ["=HYPERLINK(1)&A1 kangaroo", "+1+1 zeppelin trailer", "-2+3 hangar ferry", "@SUM(1) island",
            "\t=1+1 submarine\r\n=2", "＝1+1 volcano"]  # fmt: skip
    found = listed(engine, [make(n, query=q, response=DUNNO, contexts=()) for n, q in enumerate(evil)], limit=None)
    rows = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert len(rows) == len(found.items) > 3
    cells = [cell for row in rows for cell in row.values()]
    assert not any(cell.lstrip()[:1] in ("=", "+", "@", "＝") for cell in cells) and "\t" not in "".join(cells)
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)


def test_the_list_as_table_csv_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    from logs_schema.store import open_store

    monkeypatch.chdir(tmp_path)
    engine = open_store(f"sqlite:///{tmp_path}/groundmill.db")
    listed(engine, [missed(make, n) for n in range(3)], FEED)

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(app, ["worklist", *arguments])

    assert "retrieval_miss" in run().stdout and "1 of 1 item;" in run().stdout
    assert json.loads(run("--json").stdout)["items"][0]["records"] == 3
    assert run("--csv").stdout.startswith("kind,documents,title")
    for name in ("list.csv", "list.json", "list.txt"):
        result = run("--out", name)
        assert result.exit_code == 0 and result.stdout == "" and "Wrote 1 of 1" in result.stderr
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    assert (tmp_path / "list.csv").read_text() == run("--csv").stdout
    assert json.loads((tmp_path / "list.json").read_text())["total"] == 1
    assert run("--json", "--csv").exit_code == 2
    (tmp_path / "folder").mkdir()
    refused = run("--out", "folder")
    assert refused.exit_code == 2 and "folder cannot be written" in refused.stderr
    assert [path.name for path in tmp_path.glob(".*partial")] == []


def test_an_empty_list_says_so(engine: Engine, make: Any) -> None:
    assert "Nothing to mend" in listed(engine, [make(0)]).text()


def test_every_kind_has_a_hint() -> None:
    assert set(HINTS) == set(WorkKind)
