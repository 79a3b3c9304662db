import asyncio
import json
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from logs_schema import rag_feedback, rag_log, recording
from logs_schema.importers.run import import_files
from logs_schema.recorder import plain
from logs_schema.store import iter_records

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _own_writer(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(recording, "_writer", recording.Writer())
    yield
    assert recording.flush()


def written(folder: Path) -> list[dict[str, Any]]:
    assert recording.flush()
    files = sorted(folder.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().split(b"\n") if line]


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_what_was_recorded_imports_and_importing_it_again_changes_nothing(tmp_path: Path, engine: Engine) -> None:
    with rag_log(
        tmp_path,
        query="How long?",
        source="desk",
        history=[{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}],
        session_id="s-1",
        user_id="u-1",
        tags=["web"],
    ) as log:
        log.contexts(["Within 30 days.", {"text": "Postage is free.", "doc_id": "kb-2", "score": np.float32(0.5)}])
        log.response("30 days [1].", model="tiny", prompt_tokens=7, completion_tokens=3, prompt_version="v2")
        log.feedback(thumbs="down", by="u-1")
    log.feedback(correction="30 days.", identifier="ticket-1")
    rag_feedback(tmp_path, log.trace_id, source="desk", comment="hm")
    assert recording.flush()
    report = import_files(engine, [str(tmp_path / "*.jsonl")])
    assert [(f.new, f.rejected) for f in report.files] == [(1, 0)]
    ((record,),) = iter_records(engine)
    assert (record.source, record.source_id, record.query) == ("desk", log.trace_id, "How long?")
    assert [context.text for context in record.contexts] == ["Within 30 days.", "Postage is free."]
    assert (record.contexts[1].doc_id, record.contexts[1].score) == ("kb-2", 0.5)
    assert (record.response, record.model, record.prompt_version) == ("30 days [1].", "tiny", "v2")
    assert (record.prompt_tokens, record.completion_tokens, record.error) == (7, 3, None)
    assert (record.session_id, record.user_id, record.tags, len(record.history)) == ("s-1", "u-1", ("web",), 2)
    assert record.latency_ms is not None and 0 < record.latency_ms < 10_000
    assert sorted((event.kind.value, event.value) for event in record.feedback) == [
        ("annotation", None),
        ("correction", None),
        ("vote", -1.0),
    ]
    again = import_files(engine, [str(tmp_path / "*.jsonl")])
    assert [(f.new, f.updated, f.rejected) for f in again.files] == [(0, 0, 0)]


def test_an_exception_in_the_block_is_recorded_and_raised(tmp_path: Path, engine: Engine) -> None:
    class Unprintable(Exception):
        def __repr__(self) -> str:
            raise RuntimeError

        __str__ = __repr__

    for error in (ValueError("the index is gone"), Unprintable(), KeyboardInterrupt(), asyncio.CancelledError()):
        with pytest.raises(type(error)), rag_log(tmp_path, query="q") as log:
            log.contexts(["passage"])
            raise error
    with rag_log(tmp_path, query="q"):
        pass
    errors = [line["error"] for line in written(tmp_path)]
    assert errors[0] == "ValueError('the index is gone')" and "Unprintable" in errors[1]
    assert errors[4] == "the application recorded no response"
    (report,) = import_files(engine, [str(tmp_path / "*.jsonl")]).files
    assert (report.new, report.rejected) == (5, 0)


class Hostile:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def _raise(self, *_: object) -> Any:
        raise RuntimeError

    __str__ = __repr__ = __iter__ = __len__ = __bool__ = __eq__ = __float__ = __call__ = _raise
    __hash__ = object.__hash__


class HostileDict(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError

    __iter__ = keys = __getitem__ = items


class HostileText(str):
    __slots__ = ()

    def replace(self, *_: Any, **__: Any) -> str:
        raise RuntimeError

    __str__ = __repr__ = encode = __len__ = replace  # type: ignore[assignment]


loop: list[Any] = []
loop.append(loop)
ODD: tuple[Any, ...] = (
    *(Hostile(), Hostile, HostileDict(a=1), HostileText("x"), loop, b"bytes", object(), {1, 2}, iter([1])),
    *(math.nan, math.inf, 10**5000, -(10**20), 1j, np.float64(2), np.int8(3), np.zeros(3), np.bool_(True)),
    *("\0", "\ud800", "a\nb", "\u2028", Path("p"), {Hostile(): 1}, {None: 1, 2: 3}, [[[]]], (), lambda: None),
    *(None, True, 1.5, "text", UTC, datetime(2026, 1, 1, tzinfo=UTC), ValueError("v")),
)
shapes = st.recursive(  # of numbers of odd values: hypothesis itself would trip over some of them
    st.integers(0, len(ODD) - 1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "k"]), inner, max_size=2),
    max_leaves=6,
)


def made(shape: Any) -> Any:
    if isinstance(shape, list):
        return [made(inner) for inner in shape]
    return {key: made(inner) for key, inner in shape.items()} if isinstance(shape, dict) else ODD[shape]


@settings(max_examples=80, deadline=None)
@given(st.lists(shapes, min_size=12, max_size=12))
def test_no_value_breaks_the_application_or_the_file(
    tmp_path_factory: pytest.TempPathFactory, given_shapes: list[Any]
) -> None:
    some = iter([made(shape) for shape in given_shapes])
    folder = tmp_path_factory.mktemp("odd")
    with rag_log(folder, query=next(some), trace_id=next(some), tags=next(some), history=next(some)) as log:
        log.contexts(next(some))
        log.response(next(some), messages=next(some), model=next(some), prompt_tokens=next(some))
        log.feedback(thumbs=next(some), value=next(some), correction=next(some))
    with rag_log(folder, query="next") as log:
        log.response("still works")
    lines = written(folder)
    assert lines[-1]["response"] == "still works"
    assert len(lines) + sum(line.get("dropped_before", 0) for line in lines) == 3


def test_plain_values_are_kept_and_foreign_ones_named() -> None:
    assert plain({"a": (1, 2.5, True, None), "b": {"c": "d"}}) == {"a": [1, 2.5, True, None], "b": {"c": "d"}}
    assert plain([math.nan, Hostile(), "a\0b", Path("x/y"), np.int64(4)]) == [None, "<Hostile>", "ab", "x/y", 4]


def test_many_threads_and_processes_share_a_folder(tmp_path: Path) -> None:
    program = (
        "import sys, threading\nfrom logs_schema import rag_log\n"
        "def work(name):\n"
        "    for n in range(50):\n"
        "        with rag_log(sys.argv[1], query='q' * 5000, trace_id=f'{name}-{n}') as log: log.response('a')\n"
        "threads = [threading.Thread(target=work, args=(f'{sys.argv[2]}-{t}',)) for t in range(3)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    running = [subprocess.Popen([*command, str(n)], cwd=ROOT) for n in range(3)]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert {line["trace_id"] for line in written(tmp_path)} == {
        f"{p}-{t}-{n}" for p in range(3) for t in range(3) for n in range(50)
    }


def _child(folder: str) -> None:
    with rag_log(folder, query="child") as log:
        log.response("a")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_writes_its_own_lines_and_none_of_its_parent(tmp_path: Path) -> None:
    for number in range(20):
        with rag_log(tmp_path, query=f"parent {number}") as log:
            log.response("a")
    children = [multiprocessing.get_context("fork").Process(target=_child, args=(str(tmp_path),)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    queries = sorted(line["query"] for line in written(tmp_path))
    assert queries == sorted(["child"] * 3 + [f"parent {n}" for n in range(20)])


def test_a_fork_inside_the_writers_lock_does_not_hang_the_child(tmp_path: Path) -> None:
    with rag_log(tmp_path, query="before") as log:
        log.response("a")
    writer = recording._writer
    with writer.changed:
        child = os.fork()
        if child == 0:
            recording.put(str(tmp_path), b'{"query":"child"}')
            os._exit(0 if recording.flush(10) else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert "child" in [line["query"] for line in written(tmp_path)]


def test_asyncio_tasks_record_side_by_side(tmp_path: Path) -> None:
    async def answer(number: int) -> None:
        with rag_log(tmp_path, query=f"q{number}") as log:
            await asyncio.sleep(0.001)
            log.response(f"a{number}")

    async def all_of_them() -> None:
        await asyncio.gather(*(answer(n) for n in range(50)))

    asyncio.run(all_of_them())
    assert sorted((line["query"], line["response"]) for line in written(tmp_path)) == sorted(
        (f"q{n}", f"a{n}") for n in range(50)
    )


def test_a_full_queue_drops_and_says_so_in_the_next_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release, append = threading.Event(), recording.append

    def hung(path: str, data: bytes) -> None:
        release.wait(30)
        append(path, data)

    monkeypatch.setattr(recording, "append", hung)
    monkeypatch.setattr(recording, "QUEUE_BYTES", 2000)
    began = time.monotonic()
    for number in range(200):
        with rag_log(tmp_path, query=f"q{number}") as log:
            log.response("a")
    assert time.monotonic() - began < 2
    assert not recording.flush(0.05)
    release.set()
    lines = written(tmp_path)
    assert len(lines) + sum(line.get("dropped_before", 0) for line in lines) == 200 and len(lines) > 1
    assert "dropped" in caplog.text


def test_a_disk_that_is_full_or_a_folder_that_cannot_be_made_breaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "logs", tmp_path / "file" / "one.jsonl", "\0", tmp_path):
        with rag_log(place, query="q") as log:
            log.response("a")
        assert recording.flush()
    (line,) = written(tmp_path)
    assert line["dropped_before"] == 3


def test_a_line_that_the_disk_cut_off_costs_no_other(tmp_path: Path) -> None:
    program = (
        "import resource, signal, sys\nfrom logs_schema import rag_log, recording\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "def one(query):\n"
        "    with rag_log(sys.argv[1], query=query) as log: log.response('a')\n"
        "    assert recording.flush()\n"
        "one('first')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, resource.RLIM_INFINITY)); one('x' * 2000)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2); one('third')\n"
    )
    assert resource.RLIMIT_FSIZE and signal.SIGXFSZ
    done = python(program, str(tmp_path))
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.iterdir()
    first, cut, third = file.read_bytes().splitlines()
    assert json.loads(first)["query"] == "first" and cut.endswith(b"xxx")
    assert (json.loads(third)["query"], json.loads(third)["dropped_before"]) == ("third", 1)


def test_files_are_private_and_follow_each_other_by_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "ROTATE_BYTES", 1000)
    for _ in range(12):
        with rag_log(tmp_path / "logs", query="q" * 100) as log:
            log.response("a")
    assert len(written(tmp_path / "logs")) == 12
    files = sorted((tmp_path / "logs").iterdir())
    assert len(files) > 2 and all(file.stat().st_size <= 1000 for file in files)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert all(file.name.startswith("rag-20") for file in files)
    with rag_log(tmp_path / "one.jsonl", query="q") as log:
        log.response("a")
    assert recording.flush() and (tmp_path / "one.jsonl").is_file()


def test_the_end_of_the_process_flushes_and_only_the_standard_library_is_loaded(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom logs_schema import rag_log\n"
        "for n in range(500):\n"
        "    with rag_log(sys.argv[1], query=f'q{n}') as log: log.response('a')\n"
        "import atexit\n"
        "print(sorted({'pydantic', 'sqlalchemy', 'sqlmodel', 'numpy'} & set(sys.modules)))\n"
        "raise SystemExit('bye')\n"
    )
    done = python(program, str(tmp_path))
    assert (done.stdout, done.stderr) == ("[]\n", "bye\n")
    assert len(written(tmp_path)) == 500


def test_recording_while_the_interpreter_ends(tmp_path: Path) -> None:
    program = (
        "import atexit, sys\n"
        "def late():\n"
        "    from logs_schema import rag_log, recording\n"
        "    with rag_log(sys.argv[1], query='late') as log: log.response('a')\n"
        "    assert recording.flush()\n"
        "atexit.register(late)\n"
    )
    done = python(program, str(tmp_path))
    assert done.returncode == 0 and not done.stderr
    assert [line["query"] for line in written(tmp_path)] == ["late"]
