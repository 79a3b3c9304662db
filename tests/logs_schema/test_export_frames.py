import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert

from logs_schema import export, frames, rows
from logs_schema.errors import ConfigurationError
from logs_schema.export import export_parquet
from logs_schema.passages import Texts
from logs_schema.records import Context, Message, PromptTemplate, RagRecord
from logs_schema.rows import FINDING, REVIEW
from logs_schema.store import load_records, save_records
from tests.logs_schema.log_examples import NOON, record, vote


def fill(engine: Engine) -> list[RagRecord]:
    full = record(
        1,
        query="=1+1\x1b\u202e",
        history=(Message(role="user", content="Hi"),),
        contexts=(Context(text="", doc_id="d", updated_at=NOON, groups=("a",), score=0.5), Context(text="é")),
        prompt=PromptTemplate(system="S"),
        latency_ms=1.5,
        prompt_tokens=3,
        truncated=False,
        tags=("web",),
        feedback=(vote(occurred_at=NOON, by="u"), vote("v2", 1.0)),
    )
    records = [full, record(2, source="shop", user_id="u-2")]
    save_records(engine, records)
    identifier = full.record_id
    found = {"failure": "unfaithful", "secondary": ["incomplete"], "route": "behaviour", "confidence": 0.5}
    found |= {"miner_version": "m", "record_hash": "h", "scores": {}, "evidence": [], "why": "W", "mined_at": NOON}
    review = {"id": "r", "interaction_id": identifier, "reviewer": "ann", "decision": "answer", "ideal_answer": "A"}
    review |= {"draft_source": "none", "audit": False, "guidelines_version": "1", "record_hash": "0"}
    with engine.begin() as connection:
        connection.execute(insert(FINDING).values(interaction_id=identifier, **found))
        connection.execute(insert(REVIEW).values(reviewed_at=NOON, pulled_at=NOON, **review))
    return records


def test_the_file_holds_the_joined_store(engine: Engine, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    full, plain = load_records(engine, [each.record_id for each in fill(engine)]).values()
    file = tmp_path / "deep" / "logs.parquet"
    report = export_parquet(engine, file)
    assert report.records == 2 and report.bytes == file.stat().st_size and file.stat().st_mode & 0o777 == 0o600
    one, two = pq.read_table(file).to_pylist()
    for row, kept in ((one, full), (two, plain)):
        mine = {name: row[name] for name in RagRecord.model_fields if name not in ("prompt",)}
        assert RagRecord.model_validate({**mine, "prompt": kept.prompt}) == kept
    assert (one["record_id"], one["system_prompt"], one["finding_failure"]) == (full.record_id, "S", "unfaithful")
    assert one["finding_secondary"] == ["incomplete"] and one["reviews"][0]["ideal_answer"] == "A"
    assert two["finding_failure"] is None and two["reviews"] == [] and two["system_prompt"] is None
    assert export_parquet(engine, file, source="shop").records == 1
    assert export_parquet(engine, file, since=NOON + timedelta(minutes=2)).records == 1
    assert export_parquet(engine, file, since=NOON + timedelta(days=2)).records == 0
    assert pq.read_table(file).num_rows == 0 and [path.name for path in file.parent.iterdir()] == ["logs.parquet"]


def test_memory_does_not_grow_with_the_store(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "GROUP", 50)
    monkeypatch.setattr(rows, "_TEXTS", Texts(0))  # what it may hold is bounded, and more than this
    long = "word " * 400

    def peak() -> int:
        tracemalloc.start()
        export_parquet(engine, tmp_path / "x.parquet")
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    save_records(engine, [record(n, response=long) for n in range(100)])
    peak()
    small = peak()
    save_records(engine, [record(n, response=long) for n in range(100, 1000)])
    assert peak() < 1.5 * small


def test_what_cannot_be_written_is_told(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("logs.csv", "file/logs.parquet"):
        with pytest.raises(ConfigurationError, match=r"does not end with|cannot be written"):
            export_parquet(engine, tmp_path / name)


def test_frames_in_one_line(engine: Engine, store_url: str) -> None:
    assert len(frames.interactions(engine)) == 0 == len(frames.reviews(engine))
    full, _ = fill(engine)
    every = frames.interactions(store_url)
    assert list(every["id"]) == [full.record_id, record(2, source="shop").record_id]
    assert list(every["contexts"]) == [2, 2] and list(every["feedback"]) == [2, 0]
    assert every["feedback_value"][0] == 0 and every["occurred_at"][0] == full.occurred_at
    assert len(frames.interactions(engine, source="shop", since=NOON)) == 1
    assert frames.findings(engine)["why"].tolist() == ["W"] and frames.findings(engine)["query"][0] == full.query
    assert frames.reviews(engine)["ideal_answer"].tolist() == ["A"]
