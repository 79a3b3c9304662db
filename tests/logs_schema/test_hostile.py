"""Hostile input as a user's `factory import` meets it: refused with a reason, the rest kept, memory bounded."""

import gzip
import json
import os
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from typer.testing import CliRunner

from factory.cli.app import app
from logs_schema.importers.read import BATCH
from logs_schema.importers.unpack import RATIO_FROM
from logs_schema.records import ID_BYTES, Feedback, FeedbackKind
from logs_schema.rows import IMPORT_RUN, PENDING
from logs_schema.store import load_records, save_feedback
from tests.logs_schema.log_examples import record, snapshot, spans_of, write_lines

ROOT = Path(__file__).parents[2]
MIB = 1 << 20
FACE = "\U0001f600"
"""Four bytes in UTF-8."""


def line(**fields: Any) -> bytes:
    plain = {"trace_id": "t", "timestamp": "2026-03-02T10:00:00Z", "query": "Q?", "response": "A."}
    return json.dumps({**plain, **fields}).encode()


def with_value(name: str, value: bytes) -> bytes:
    """A line with a value that `json.dumps` does not write."""
    return line(**{name: "HERE"}).replace(b'"HERE"', value)


REFUSED: list[tuple[bytes, str]] = [
    (with_value("query", b'"caf\xe9"'), "not UTF-8 at byte"),
    (with_value("query", b'"a\\u0000b"'), "holds a NUL character"),
    (with_value("query", b'"a\0b"'), "not JSON"),
    (b"\0" * 3000, "not JSON"),
    (with_value("query", b'"\\ud83d"'), "holds half of a surrogate pair"),
    (with_value("contexts", b'[{"text": "t", "doc_id": "\\udc00"}]'), "holds half of a surrogate pair"),
    (with_value("latency_ms", b"NaN"), "NaN is not a number"),
    (with_value("latency_ms", b"-Infinity"), "-Infinity is not a number"),
    (with_value("latency_ms", b"1e999"), "latency_ms: Input should be a finite number"),
    (with_value("contexts", b'[{"text": "t", "score": 1e999}]'), "score: Input should be a finite number"),
    (with_value("contexts", b'[{"text": "t", "score": 1%s}]' % (b"0" * 400)), "score: "),
    (line(prompt_tokens=2**31), "prompt_tokens: Input should be less than"),
    (line(prompt_tokens=10**400), "prompt_tokens: "),
    (with_value("prompt_tokens", b"9" * 5000), "4300 digits"),
    (with_value("contexts", b"[" * 100_000), "nested deeper|not JSON"),
    (with_value("contexts", b"[" * 100 + b"]" * 100), "nested deeper than 64"),
    (with_value("contexts", b'{"a":' * 100 + b"1" + b"}" * 100), "nested deeper than 64"),
    (line(timestamp=0), "1970-01-01.* is outside of 2000 to 2098"),
    (line(timestamp="1970-01-01T00:00:00Z"), "is outside of 2000 to 2098"),
    (line(timestamp="2099-01-01T00:00:00Z"), "is outside of 2000 to 2098"),
    (line(timestamp=4_070_908_800), "2099-01-01.* is outside of 2000 to 2098"),
    (line(timestamp=1e300), "is not a time"),
    (line(timestamp=10**400), "is not a time"),
    (line(trace_id="x" * 501), "source_id: String should have at most 500 characters"),
    (line(trace_id=FACE * 500), "source_id: .*longer than 1,000 bytes"),
    (line(source="x" * 101), "source: String should have at most 100 characters"),
    (line(contexts=[{"text": "t", "doc_id": FACE * 600}]), "doc_id: .*longer than 1,000 bytes"),
    (json.dumps({"trace_id": "x" * 9000, "thumbs": "down"}).encode(), "source_id: String should have at most 500"),
    (json.dumps({"trace_id": FACE * 500, "thumbs": "down"}).encode(), "source_id: .*longer than 1,000 bytes"),
]
ODD_IDS = [
    "../../../etc/passwd",
    "/etc/passwd",
    "C:\\Windows\\system32",
    "'; DROP TABLE interaction; --",
    'a"b`c',
    "$(touch owned)",
    "%s%n%x {0} ${HOME}",
    "--yes",
    "a\nb\tc",
    "\u202eright to left",
    "[red]markup[/red]<script>",
    FACE * (ID_BYTES // 4),
    "*?[a-z]",
    "id with  spaces ",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli_store: str) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def factory(*words: str) -> Any:
    return CliRunner().invoke(app, list(words))


def test_hostile_lines_are_refused_with_a_reason_each_and_the_others_are_kept(home: Path, engine: Engine) -> None:
    good = [line(trace_id=f"good-{number}") for number in range(len(REFUSED) + 1)]
    bad = [data for data, _ in REFUSED]
    lines = [each for pair in zip(good, bad, strict=False) for each in pair] + good[-1:]
    (home / "logs.jsonl").write_bytes(b"\n".join(lines))
    done = factory("import", "logs.jsonl", "--json")
    assert done.exit_code == 0, done.output
    (file,) = json.loads(done.stdout)["files"]
    assert (file["new"], file["rejected"]) == (len(good), len(bad))
    told = [json.loads(entry) for entry in Path(file["rejects"]).read_text().splitlines()]
    for number, ((data, reason), entry) in enumerate(zip(REFUSED, told, strict=True), start=1):
        assert (entry["line"], bool(re.search(reason, entry["reason"]))) == (2 * number, True), (
            data[:200],
            entry["reason"],
        )
        assert len(entry["text"]) <= 2000
    assert len(snapshot(engine)["records"]) == len(good)
    assert factory("db", "check").exit_code == 0


def test_ids_with_quotes_and_path_separators_are_ids_and_nothing_else(home: Path, engine: Engine) -> None:
    before = sorted(path.name for path in home.iterdir())
    rows = [json.loads(line(trace_id=name, user_id=name, session_id=name, query=f"Q of {name}?")) for name in ODD_IDS]
    rows = [{**row, "contexts": [{"text": "A passage.", "doc_id": row["trace_id"]}]} for row in rows]
    write_lines(home / "logs.jsonl", [*rows, *({"trace_id": name, "thumbs": "down"} for name in ODD_IDS)])
    assert factory("import", "logs.jsonl").exit_code == 0
    stored = {record.source_id: record for record in snapshot(engine)["records"]}
    assert set(stored) == set(ODD_IDS)
    assert all(record.feedback and record.query == f"Q of {name}?" for name, record in stored.items())
    for name in ODD_IDS:
        shown = factory("logs", "show", "--", name)
        assert shown.exit_code == (3 if name != name.strip() else 0), (name, shown.output)
    forgotten = [word for name in ODD_IDS[:6] for word in (f"--trace={name}",)]
    assert factory("logs", "forget", *forgotten, "--yes").exit_code == 0
    assert {record.source_id for record in snapshot(engine)["records"]} == set(ODD_IDS[6:])
    assert factory("mine").exit_code == 0
    made = {path.name for path in home.iterdir()} - set(before)
    assert made <= {"logs.jsonl", "rejects", "factory.toml", ".groundmill", "store.db-wal", "store.db-shm"}, made


def test_the_longest_ids_fit_into_every_index(home: Path, engine: Engine) -> None:
    rng = random.Random(7)

    def long(characters: int) -> str:
        """So mixed that no database packs it smaller."""
        return "".join(chr(rng.randrange(0x20000, 0x2A000)) for _ in range(characters))

    source, trace, most = long(100), long(ID_BYTES // 4), ID_BYTES // 4
    spans = spans_of(1)[:2]
    for span in spans:
        span["context"] = {"trace_id": trace, "span_id": long(most)}
    spans[1]["attributes"]["retrieval.documents.0.document.id"] = long(most)
    assert factory("import", write_lines(home / "spans.jsonl", spans), "--source", source).exit_code == 0
    with engine.connect() as connection:
        assert len(connection.execute(select(PENDING)).all()) == 2
    name = {"source": source, "source_id": trace}
    people = {"session_id": long(500), "user_id": long(500)}
    event = Feedback(identifier=long(most), kind=FeedbackKind.vote, value=-1)
    assert save_feedback(engine, *name.values(), [event]) == 1
    whole = record(1, **name, **people, feedback=(event,))
    write_lines(home / "native.jsonl", [whole.model_dump(mode="json")])
    assert factory("import", "native.jsonl").exit_code == 0
    assert load_records(engine, [whole.record_id])[whole.record_id].user_id == people["user_id"]
    page = {"doc_id": long(most), "version": long(200), "text": "A page."}
    assert "1 new" in factory("documents", "import", write_lines(home / "pages.jsonl", [page])).stdout


def test_feeds_refuse_what_no_database_stores(home: Path, engine: Engine) -> None:
    rows = [
        b"trace_id,thumbs,comment",
        b"t1,up,fine",
        b"t2,up,a\0b",
        b"t3,up,caf\xe9",
        b"%s,up,long" % (b"x" * 501),
        FACE.encode() * 500 + b",up,long",
        b"t4,down,fine",
    ]
    (home / "votes.csv").write_bytes(b"\n".join(rows))
    votes = json.loads(factory("feedback", "import", "votes.csv", "--json").stdout)["files"][0]
    assert (votes["new"], votes["rejected"]) == (2, 4)
    pages = [
        b'{"doc_id": "a", "text": "x"}',
        b'{"doc_id": "b", "text": "\\u0000"}',
        b'{"doc_id": "\\ud800", "text": "x"}',
    ]
    (home / "pages.jsonl").write_bytes(b"\n".join(pages))
    corpus = json.loads(factory("documents", "import", "pages.jsonl", "--json").stdout)["files"][0]
    assert (corpus["new"], corpus["rejected"]) == (1, 2)
    (home / "chunks.jsonl").write_bytes(b"\n".join(pages))
    assert factory("import", "--chunks", "chunks.jsonl").exit_code == 0


def test_a_file_whose_name_is_no_text_is_read(home: Path, engine: Engine) -> None:
    for name in (b"caf\xe9.jsonl", b"[b]\x1b[31m.jsonl"):
        (home / os.fsdecode(name)).write_bytes(line(trace_id=name.hex()))
        done = factory("import", os.fsdecode(name), "--json")
        assert done.exit_code == 0, done.output
    assert len(snapshot(engine)["records"]) == 2
    with engine.connect() as connection:
        files = connection.scalars(select(IMPORT_RUN.c.file)).all()
    assert sorted(files) == ["[b]\u241b[31m.jsonl", "caf\ufffd.jsonl"]


def peak_of(home: Path, *words: str) -> tuple[int, str]:
    """(MiB of memory at the most, what it printed) of a command in a process of its own."""
    command = [sys.executable, "-c", "from factory.cli.app import main; main()", *words]
    reading, writing = os.pipe()
    process = os.posix_spawn(
        sys.executable,
        command,
        {**os.environ, "PYTHONPATH": str(ROOT)},
        file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_CLOSE, reading)],
    )
    os.close(writing)
    with os.fdopen(reading) as stream:
        said = stream.read()
    _, status, usage = os.wait4(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0, said
    return usage.ru_maxrss // 1024, said


@pytest.mark.slow
def test_giant_lines_and_bombs_take_little_memory(home: Path, engine: Engine) -> None:
    good = line(trace_id="good-0") + b"\n"
    (home / "small.jsonl").write_bytes(good)
    least, _ = peak_of(home, "import", "small.jsonl")
    logs = home / "logs"
    logs.mkdir()
    kinds = {
        "text": (b'{"query": "', b"x"),
        "deep": (b'{"contexts": ', b"["),
        "objects": (b"", b'{"a":'),
        "nul": (b"", b"\0"),
    }
    for number, (name, (head, filling)) in enumerate(kinds.items(), start=1):
        with (logs / f"{name}.jsonl").open("wb") as stream:
            stream.write(line(trace_id=f"good-{number}") + b"\n" + head)
            for _ in range(100):
                stream.write(filling * (MIB // len(filling)))
            stream.write(b"\n" + line(trace_id=f"end-{number}") + b"\n")
    with gzip.open(logs / "bomb.jsonl.gz", "wb") as packed:
        packed.write(line(trace_id="good-9") + b"\n")
        for _ in range(RATIO_FROM // MIB + 2):
            packed.write(b"x" * MIB)
    peak, said = peak_of(home, "import", "logs", "--json")
    files = {Path(file["file"]).name: file for file in json.loads(said)["files"]}
    assert {name: (file["new"], file["rejected"]) for name, file in files.items()} == {
        "bomb.jsonl.gz": (1, 1),
        **{f"{name}.jsonl": (2, 1) for name in kinds},
    }
    assert peak - least < 100, f"{peak} MiB for giant lines, {least} MiB for a small one"
    assert len(snapshot(engine)["records"]) == 2 * len(kinds) + 2


@pytest.mark.slow
def test_giant_lines_take_little_memory_in_a_process_that_reads_ahead(home: Path, engine: Engine) -> None:
    many = [line(trace_id=f"plain-{number}") for number in range(8 * BATCH)]
    (home / "plain.jsonl").write_bytes(b"\n".join(many))
    least, _ = peak_of(home, "import", "plain.jsonl")
    with gzip.open(home / "logs.jsonl.gz", "wb", compresslevel=1) as packed:
        for number in range(6):  # just within the limit, and no bomb
            packed.write(line(trace_id=f"long-{number}", query=random.Random(number).randbytes(7 * MIB).hex()) + b"\n")
        packed.writelines(b"%s\n" % one.replace(b"plain-", b"many-") for one in many)
        for number, (data, _) in enumerate(REFUSED):
            packed.write(b"%s\n%s\n" % (data, line(trace_id=f"between-{number}")))
        for head, filling in ((b'{"query": "', b"x"), (b'{"contexts": ', b"["), (b"", b'{"a":'), (b"", b"\0")):
            packed.write(head)
            for _ in range(100):
                packed.write(filling * (MIB // len(filling)))
            packed.write(b"\n" + line(trace_id=f"after-{head + filling!r}") + b"\n")
    peak, said = peak_of(home, "import", "logs.jsonl.gz", "--json")
    (file,) = json.loads(said)["files"]
    assert (file["new"], file["rejected"]) == (len(many) + len(REFUSED) + 4 + 6, len(REFUSED) + 4)
    assert peak - least < 200, f"{peak} MiB with giant lines, {least} MiB without, of the larger process"
