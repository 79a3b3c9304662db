import gzip
import io
import json
import re
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logs_schema.errors import InputError
from logs_schema.importers.read import Line, expand, read_lines

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('a"\\{}[],\né', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\[', max_size=3), inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(st.text('k"\\{', max_size=3), values, max_size=3)


def lines_of(path: Path, data: bytes, **limits: int) -> list[Line]:
    path.write_bytes(data)
    return list(read_lines(str(path), **limits))


@settings(max_examples=80, deadline=None)
@given(st.lists(objects, min_size=1, max_size=5), st.booleans(), st.sampled_from([None, 2]), st.booleans())
def test_every_way_to_write_objects_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory, some: list[dict[str, Any]], packed: bool, indent: int | None, bom: bool
) -> None:
    path = tmp_path_factory.mktemp("read") / "logs"
    many_lines = "\n".join(json.dumps(value) for value in some)
    written = [many_lines, json.dumps(some, indent=indent), json.dumps(some, ensure_ascii=False)]
    if some[0]:
        written.append("\n".join(json.dumps(value, indent=2) for value in some))
    for text in written:
        data = (b"\xef\xbb\xbf" if bom else b"") + text.encode()
        assert [line.value for line in lines_of(path, gzip.compress(data) if packed else data)] == some


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": "\\u0000"}', "NUL"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "not a number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "nested deeper"),
        (b'{"a": ' + b"[" * 100_000, "nested deeper|not JSON"),
        (b'{"a": 1', "not JSON"),
        (b'"text"', "not a JSON object"),
        (b'{"a": "' + b"x" * 3000 + b'"}', "longer than 2,000 bytes"),
    ],
)
def test_bad_lines_come_with_a_reason_and_do_not_stop_the_others(tmp_path: Path, data: bytes, reason: str) -> None:
    limit = 2000 if b"xxx" in data else 1 << 20
    found = lines_of(tmp_path / "logs", b'{"n": 1}\n\n' + data + b'\n{"n": 2}\n', limit=limit)
    assert [line.value for line in found] == [{"n": 1}, None, {"n": 2}]
    assert [line.number for line in found] == [1, 3, 4]
    assert re.search(reason, found[1].reason or "")
    assert len(found[1].text) <= 2000


def test_an_element_of_an_array_that_is_too_long_is_set_aside(tmp_path: Path) -> None:
    data = json.dumps([{"n": 1}, {"n": "x" * 5000}, {"n": 2}]).encode()
    assert [line.value for line in lines_of(tmp_path / "logs", data, limit=1000)] == [{"n": 1}, None, {"n": 2}]


def test_long_lines_are_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "logs"
    with path.open("wb") as stream:
        stream.write(b'{"n": "')
        for _ in range(64):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}\n{"n": 2}\n')
    tracemalloc.start()
    found = list(read_lines(str(path), limit=1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [line.value for line in found] == [None, {"n": 2}]
    assert peak < 8 << 20


def test_damaged_compression_keeps_what_came_before(tmp_path: Path) -> None:
    whole = gzip.compress(
        b"".join(b'{"n": %d, "x": "%s"}\n' % (n, bytes(str(n * n), "ascii") * 9) for n in range(9000))
    )
    found = lines_of(tmp_path / "logs.gz", whole[: len(whole) // 2])
    assert found[0].value is not None and len(found) > 1000
    assert "cannot be read from here on" in (found[-1].reason or "")


@pytest.mark.parametrize(
    "data", [b"\x7fELF\0\0\0", "{}".encode("utf-16"), gzip.compress(b"PAR1\0\0", mtime=0), b"\x1f\x8bnot gzip"]
)
def test_binary_files_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"binary file|cannot be read"):
        lines_of(tmp_path / "logs", data)


def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(io.BytesIO(b'{"a": 1}\n'))))
    assert [line.value for line in read_lines("-")] == [{"a": 1}]


def test_names_are_checked_all_at_once(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "[odd].jsonl").write_text("{}\n")
    assert expand([f"{tmp_path}/?.jsonl", f"{tmp_path}/a.jsonl"]) == [f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"]
    assert expand([f"{tmp_path}/[odd].jsonl"]) == [f"{tmp_path}/[odd].jsonl"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError) as caught:
        expand([str(tmp_path / "none"), f"{tmp_path}/*.zip", f"{tmp_path}/gone", f"{tmp_path}/empty.jsonl"])
    for part in ("holds no log files", "no file matches", "there is no file", "is empty"):
        assert part in str(caught.value)
