"""Lines that are read in processes of their own become what they become without them."""

import gzip
import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from sqlalchemy import Engine, select

from logs_schema.errors import FactoryError, InputError
from logs_schema.importers import ahead, run
from logs_schema.importers.ahead import Readers
from logs_schema.importers.run import import_files
from logs_schema.pii.replace import Cleaner
from logs_schema.rows import CONTEXT, FEEDBACK, INTERACTION, JOINED, PASSAGE, PENDING, PROMPT
from logs_schema.settings import PiiSettings
from logs_schema.store import save_feedback
from tests.logs_schema.log_examples import spans_of, write_lines
from tests.programs import gone, start

TABLES = (INTERACTION, CONTEXT, PASSAGE, PROMPT, FEEDBACK, PENDING, JOINED)
KEY = b"k" * 32
BAD = (
    b'{"query": "caf\xe9", "response": "A."}',
    b'{"query": "a\\u0000b", "response": "A."}',
    b'{"trace_id": "t1", "query": 1, "response": "Call 212-555-0147.", "timestamp": "2026-03-02"}',
    b'{"trace_id": "t2", "query": "Q?", "response": "A.", "timestamp": 0}',
    b'{"query": "Q?", "response": "A.", "latency_ms": NaN}',
    b'{"contexts": ' + b"[" * 100 + b"]" * 100 + b"}",
    b"[1, 2]",
    b"not JSON at all, mail ann@example.com",
)
REJECTED = (len(BAD), len(BAD), 0, len(BAD), 2, len(BAD))
"""Lines of each of the files that are rejected, at the least."""


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a few lines, every one of them read in another process."""

    def started(self: Readers) -> bool:
        return self._started is not None and self._started.result() == []

    monkeypatch.setattr(run, "BATCH", 12)
    monkeypatch.setattr(ahead, "ALONE", 0)
    monkeypatch.setattr(Readers, "_at_work", property(started))


def line(rng: random.Random, number: int) -> dict[str, Any]:
    """A line about one of a few traces, so that later ones change what earlier ones said."""
    texts = ["", "Plain.", "Ring +1 212 555 0147.", "Mail ann@example.com or 8.8.4.4.", "Zoë ✓ " * 20]
    contexts = [
        {"text": rng.choice(texts), "doc_id": f"d{rng.randrange(4)}", "updated_at": "2026-01-02T00:00:00+00:00"}
        for _ in range(rng.randrange(4))
    ]
    plain = {"trace_id": f"t{number}", "timestamp": f"2026-03-02T10:00:{rng.randrange(60):02}.5Z"}
    told = {"query": f"{rng.choice(texts)}?", "response": rng.choice(texts), "contexts": contexts}
    extra = [
        {"thumbs": "down"},
        {"score": 1},
        {"correction": "Ask bob@example.com."},
        {"tags": ["a", "b"], "truncated": True, "latency_ms": 12, "user_id": "ann@example.com"},
        {"history": [{"role": "user", "content": "Hi"}]},
        {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Q?"}]},
        {"contexts": [{"text": "x", "groups": ["staff"], "score": 1e-9, "title": "T"}]},
    ]
    kind = rng.randrange(10)
    if kind == 0:
        return {"trace_id": f"t{number}", "thumbs": rng.choice(["up", "down"])}
    return {**plain, **told, **(rng.choice(extra) if kind < 6 else {})}


def in_parquet(file: Path, values: list[dict[str, Any]]) -> None:
    """A row a line, in groups that end within a batch; some have no usable time."""
    names = dict.fromkeys(name for value in values for name in value)
    rows = [{name: value.get(name) for name in names} for value in values]
    rows[20]["timestamp"] = rows[50]["timestamp"] = "1970-01-01T00:00:00Z"
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=32)


def files(folder: Path, seed: int) -> list[str]:
    """Native lines with bad ones, the same packed in every way and again, shuffled spans, and standard input."""
    rng = random.Random(seed)
    lines = [json.dumps(line(rng, rng.randrange(40))).encode() for _ in range(120)]
    for bad in BAD:
        lines.insert(rng.randrange(5, len(lines)), bad)
    lines += rng.sample(lines, 40)
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b"\n".join(lines))
    lines = [*BAD, *rng.sample(lines, 60)]
    rng.shuffle(lines)
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(b"\n".join([json.dumps(line(rng, 99)).encode(), *lines])))
    rng.shuffle(lines)
    (folder / "d.jsonl.zst").write_bytes(zstd.compress(b"\n".join([json.dumps(line(rng, 98)).encode(), *lines])))
    in_parquet(folder / "e.parquet", [line(rng, rng.randrange(40)) for _ in range(60)])
    (folder / "stdin").write_bytes(b"\n".join([json.dumps(line(rng, 97)).encode(), *lines[::-1]]))
    spans = [span for number in range(15) for span in spans_of(number, thumbs="thumbs_up")]
    rng.shuffle(spans)
    write_lines(folder / "c.jsonl", spans)
    named = ("a.jsonl", "b.jsonl.gz", "c.jsonl", "d.jsonl.zst", "e.parquet")
    return [*(str(folder / name) for name in named), "-"]


def stored(engine: Engine) -> list[list[tuple[Any, ...]]]:
    """Every row but the moment when it came."""
    found = []
    with engine.connect() as connection:
        for table in TABLES:
            columns = [column for column in table.c if column.name != "imported_at"]
            found.append(sorted(map(repr, connection.execute(select(*columns)))))
    return found


@pytest.mark.parametrize("private", [False, True])
def test_processes_give_what_one_process_gives(
    small_batches: None,
    fresh: Callable[[], Engine],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    private: bool,
) -> None:
    logs = files(tmp_path / "logs", seed=17)
    seen = []

    def once(engine: Engine, **told: Any) -> dict[str, Any]:
        with (tmp_path / "logs" / "stdin").open("rb") as piped:
            monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=piped))
            return import_files(engine, logs, **told).model_dump(exclude={"seconds"})

    for workers in (0, 2) if private else (0, 1, 2):
        engine = fresh()
        save_feedback(engine, "production", "t3", [])
        rejects = tmp_path / f"rejects-{workers}"
        clean = Cleaner(PiiSettings(), KEY) if private else None
        reports = [once(engine, rejects=rejects, clean=clean, workers=workers) for _ in range(2)]
        told = json.dumps(reports, default=str).replace(str(rejects), "")
        seen.append((told, stored(engine), [(path.name, path.read_bytes()) for path in sorted(rejects.iterdir())]))
        engine.dispose()
    assert all(each == seen[0] for each in seen[1:])
    rows = repr(seen[0][1:])
    assert ("ann@example.com" in rows) is not private
    read = json.loads(seen[0][0])[0]["files"]
    assert [
        (Path(file["file"]).name, file["rejected"] >= least) for file, least in zip(read, REJECTED, strict=True)
    ] == [(Path(name).name, True) for name in logs]


def test_a_strict_import_stops_at_the_same_line(small_batches: None, engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(
        b"\n".join([*(json.dumps(line(random.Random(n), n)).encode() for n in range(30)), BAD[3], BAD[4]])
    )
    with pytest.raises(InputError, match=r"line 31: occurred_at 1970"):
        import_files(engine, [str(tmp_path / "x.jsonl")], strict=True, workers=1)


def test_a_short_import_starts_no_process(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(ahead, "Processes", never)
    rng = random.Random(1)
    file = write_lines(tmp_path / "x.jsonl", [line(rng, n) for n in range(200)])
    assert import_files(engine, [file], workers=1).files[0].read == 200


def test_a_killed_process_is_told_in_one_sentence(small_batches: None, engine: Engine, tmp_path: Path) -> None:
    import multiprocessing

    def track(lines: Any, **_: Any) -> Any:
        for number, each in enumerate(lines):
            for child in multiprocessing.active_children() if number == 60 else ():
                os.kill(child.pid or 0, signal.SIGKILL)
            yield each

    rng = random.Random(1)
    file = write_lines(tmp_path / "x.jsonl", [line(rng, n) for n in range(200)])
    with pytest.raises(FactoryError, match=r"A process that reads log lines died.*import the files again"):
        import_files(engine, [file], workers=1, track=track, rejects=tmp_path / "rejects")
    assert not (tmp_path / "rejects").exists() or not list((tmp_path / "rejects").iterdir())
    assert import_files(engine, [file]).files[0].read == 200


PROGRAM = """
import multiprocessing, os, signal, sys, time
from logs_schema.importers import ahead
from logs_schema.importers.run import import_files
from logs_schema.store import open_store

def track(lines, **_):
    for number, line in enumerate(lines):
        if number == 6000:
            print(*(child.pid for child in multiprocessing.active_children()), flush=True)
            {act}
        yield line

if __name__ == "__main__":
    ahead.Readers._at_work = property(lambda self: self._started is not None and self._started.result() == [])
    import_files(open_store(sys.argv[1]), [sys.argv[2]], workers=1, track=track)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("os.killpg(0, signal.SIGINT); time.sleep(60)", -signal.SIGINT),
    ],
)
def test_however_an_import_ends_its_processes_end_and_the_next_one_completes_it(
    fresh: Callable[[], Engine], tmp_path: Path, act: str, status: int
) -> None:
    values = [line(random.Random(n), n) for n in range(7000)]
    file = write_lines(tmp_path / "x.jsonl", values)
    disturbed, undisturbed = fresh(), fresh()
    started = start(tmp_path, PROGRAM.format(act=act), disturbed.url.render_as_string(hide_password=False), file)
    out, err = started.communicate(timeout=600)
    assert (started.returncode, err.count("Traceback")) == (status, int(status == -signal.SIGINT)), err
    children = [int(pid) for pid in out.split()]
    assert children and all(gone(pid) for pid in children)
    import_files(disturbed, [file], workers=1)
    import_files(undisturbed, [file])
    assert stored(disturbed) == stored(undisturbed)
    disturbed.dispose()
    undisturbed.dispose()
