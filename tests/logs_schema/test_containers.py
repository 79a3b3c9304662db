import gzip
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from logs_schema.errors import ConfigurationError, FactoryError, InputError
from logs_schema.importers import parquet, unpack
from logs_schema.importers.read import Line, batches, expand, read_lines

text = st.text('aZ "\\{}[],:\né✓\u202e', max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(text, values, max_size=4).map(lambda value: {"n": 1, **value})
rows = st.fixed_dictionaries(
    {
        "id": text,
        "score": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "tokens": st.none() | st.integers(0, 2**31),
        "contexts": st.lists(st.fixed_dictionaries({"text": text, "rank": st.none() | st.integers(0, 9)}), max_size=3),
    }
)


def jsonl(some: list[dict[str, Any]]) -> bytes:
    return "\n".join(map(json.dumps, some)).encode()


def wrapped(some: list[dict[str, Any]]) -> bytes:
    metrics = {"all": {"precision": [1.0, 2.0]}, "list": [[1], "]"]}
    return json.dumps({"version": '1.0 \\" {', "results": some, "metrics": metrics}).encode()


WRITERS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "lines": jsonl,
    "lines with CRLF and blanks": lambda some: b"\r\n\r\n".join(jsonl([one]) for one in some) + b"\r\n",
    "array": lambda some: json.dumps(some, ensure_ascii=False).encode(),
    "array over lines": lambda some: json.dumps(some, indent=2).encode(),
    "list in an object": wrapped,
    "list in an object over lines": lambda some: json.dumps({"data": some, "meta": {"page": 1}}, indent=1).encode(),
    "pages one after the other": lambda some: b"\n".join(wrapped([one]) for one in some),
    "objects over lines": lambda some: b"\n".join(json.dumps(one, indent=2).encode() for one in some),
}
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "zstd after a frame to skip": lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd.compress(data),
    "gzip in members": lambda data: b"".join(gzip.compress(data[at : at + 9]) for at in range(0, len(data), 9)),
    "zstd in frames": lambda data: b"".join(zstd.compress(data[at : at + 9]) for at in range(0, len(data), 9)),
}


def read(path: Path, data: bytes, **limits: int) -> list[Line]:
    path.write_bytes(data)
    return list(read_lines(str(path), **limits))


def fed(data: bytes) -> list[Line]:
    """Lines of standard input that comes a few bytes at a time, as from a pipe."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = data

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            size = min(len(buffer), 3, len(self.rest))
            buffer[:size], self.rest = self.rest[:size], self.rest[size:]
            return size

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Pipe())))
        return list(read_lines("-"))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(objects, min_size=1, max_size=4), st.sampled_from(list(WRITERS)), st.sampled_from(list(PACKERS)), st.data()
)
def test_any_records_read_back_equal_from_any_container(
    tmp_path_factory: pytest.TempPathFactory, some: list[dict[str, Any]], writer: str, packer: str, data: st.DataObject
) -> None:
    packed = PACKERS[packer](WRITERS[writer](some))
    stdin = data.draw(st.booleans())
    found = fed(packed) if stdin else read(tmp_path_factory.mktemp("any") / "misleading.parquet", packed)
    assert [line.value for line in found] == some, [line.reason for line in found]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(rows, min_size=1, max_size=9),
    st.integers(1, 4),
    st.sampled_from(["none", "snappy", "zstd", "gzip"]),
    st.booleans(),
)
def test_any_records_read_back_equal_from_parquet(
    tmp_path_factory: pytest.TempPathFactory, some: list[dict[str, Any]], group: int, packing: str, stdin: bool
) -> None:
    kind = pa.schema(
        {
            "id": pa.string(),
            "score": pa.float64(),
            "tokens": pa.int64(),
            "contexts": pa.list_(pa.struct({"text": pa.string(), "rank": pa.int64()})),
        }
    )
    path = tmp_path_factory.mktemp("parquet") / "misleading.jsonl"
    pq.write_table(pa.Table.from_pylist(some, kind), path, row_group_size=group, compression=packing)

    def full(value: dict[str, Any]) -> dict[str, Any]:
        return {key: inner for key, inner in value.items() if inner is not None}

    expected = [full({**row, "contexts": [full(context) for context in row["contexts"]]}) for row in some]
    found = fed(path.read_bytes()) if stdin else list(read_lines(str(path)))
    assert [line.value for line in found] == expected
    assert [line.number for line in found] == list(range(1, len(some) + 1))


def test_columns_of_other_types_become_what_json_would_hold(tmp_path: Path) -> None:
    import datetime as dt

    moment = dt.datetime(2026, 3, 2, 10, 15, 4, 130_000, tzinfo=dt.UTC)
    table = pa.table(
        {
            "at": pa.array([moment], pa.timestamp("ns", "UTC")),
            "naive": pa.array([moment.replace(tzinfo=None)], pa.timestamp("ms")),
            "day": pa.array([moment.date()]),
            "bytes": pa.array([b"caf\xc3\xa9"]),
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
            "dictionary": pa.array(["x"]).dictionary_encode(),
            "lost": pa.array([math.nan]),
            "decimal": pa.array([Decimal("1.00")]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (line,) = read_lines(str(tmp_path / "a.parquet"))
    assert line.value == {
        "at": "2026-03-02T10:15:04.130000+00:00",
        "naive": "2026-03-02T10:15:04.130000",
        "day": "2026-03-02",
        "bytes": "café",
        "map": {"a": 1},
        "dictionary": "x",
        "decimal": 1.0,
    }


def test_a_cell_that_cannot_be_read_costs_its_row_only(tmp_path: Path) -> None:
    huge = 2**53
    table = pa.table({"n": [1, 2, 3, 4], "at": pa.array([0, huge, 0, 0], pa.timestamp("ms")), "text": list("ab\0d")})
    pq.write_table(table, tmp_path / "a.parquet")
    found = list(read_lines(str(tmp_path / "a.parquet")))
    assert [line.value and line.value["n"] for line in found] == [1, None, None, 4]
    assert "cannot be read" in (found[1].reason or "") and found[2].reason == "holds a NUL character"
    pq.write_table(pa.table({"n": [1, 2], "score": [1.0, math.inf]}), tmp_path / "b.parquet")
    assert [line.reason for line in read_lines(str(tmp_path / "b.parquet"))] == [
        None,
        "a value cannot be read: Infinity is not a number",
    ]


def test_without_pyarrow_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"groundmill\[parquet\]"):
        list(read_lines(str(tmp_path / "a.parquet")))


def test_a_trace_that_holds_lists_is_one_record(tmp_path: Path) -> None:
    trace = {"id": "tr-1", "input": "?", "observations": [{"id": "o"}], "scores": [{"id": "s"}]}
    for indent in (None, 2):
        (line,) = read(tmp_path / "trace.json", json.dumps(trace, indent=indent).encode())
        assert line.value == trace
    parts = {"traces": [{"id": "a"}], "observations": [{"id": "b"}], "scores": [{"id": "c"}, {"id": "d"}]}
    assert [line.value for line in read(tmp_path / "parts.json", json.dumps(parts).encode())] == [
        {"id": name} for name in "abcd"
    ]
    assert read(tmp_path / "none.json", b'{"results": []}') == []


def test_folders_are_read_whole_and_in_order(tmp_path: Path) -> None:
    names = ("b.jsonl", "a/z.json.gz", "a/y.PARQUET", "a/b/c.ndjson.zst")
    others = (".hidden.jsonl", "_SUCCESS.json", "readme.txt", "x.1.rejects.jsonl", ".git/a.json", "a/empty.jsonl")
    for name in (*names, *others):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("" if "empty" in name else "{}")
    assert expand([str(tmp_path)]) == sorted(str(tmp_path / name) for name in names)
    assert expand([f"{tmp_path}/**/*.jsonl"]) == [f"{tmp_path}/b.jsonl", f"{tmp_path}/x.1.rejects.jsonl"]


def test_batches_are_bounded_by_count_and_by_size() -> None:
    some = [Line(n, {}, None, "", size) for n, size in enumerate([1, 1, 1, 90, 1, 1])]
    assert [len(batch) for batch in batches(some, 3, 100)] == [3, 3]
    assert [len(batch) for batch in batches(some, 9, 50)] == [4, 2]


# --- hostile --------------------------------------------------------------------------------------

GOOD = b"".join(b'{"n": %d, "x": "%s"}\n' % (n, bytes(str(n**3), "ascii") * 9) for n in range(3000))


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_a_truncated_file_keeps_what_came_before(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    whole = b"".join(pack(GOOD[at : at + 20_000]) for at in range(0, len(GOOD), 20_000))
    found = read(tmp_path / "logs", whole[: len(whole) * 2 // 3])
    assert len(found) > 1000 and all(line.value for line in found[:-1])
    assert "cannot be read from here on" in (found[-1].reason or "")


@pytest.mark.parametrize(
    ("data", "good"), [(b'[{"n": 1}, {"n": 2}, {"n"', 2), (b'{"results": [{"n": 1}', 1), (b'{\n"n": 1}\n{\n"n"', 1)]
)
def test_a_truncated_document_is_told(tmp_path: Path, data: bytes, good: int) -> None:
    found = read(tmp_path / "logs", data)
    assert [line.value is not None for line in found] == [True] * good + [False]
    assert "in the middle of a JSON value" in (found[-1].reason or "")


@pytest.mark.parametrize("data", [b'[{"n": 1}] and more', b'{"data": [{"n": 1}]} and more', b'{\n"n": 1} and more'])
def test_what_follows_a_document_is_told(tmp_path: Path, data: bytes) -> None:
    assert [line.value for line in read(tmp_path / "logs", data)] == [{"n": 1}, None]


def test_a_broken_record_costs_itself_only_in_every_container(tmp_path: Path) -> None:
    bad = ['{"n": NaN}', '{"n": 1e}', '"text"', '{"n": "\\u0000"}', '{"n": %s}' % ("[" * 70 + "]" * 70)]
    some = ['{"n": 1}', *(part for one in bad for part in (one, '{"n": 2}'))]
    for data in ("\n".join(some), f"[{','.join(some)}]", f'{{"data": [{",".join(some)}], "next": null}}'):
        found = read(tmp_path / "logs", data.encode())
        assert [line.value for line in found] == [{"n": 1}, *([None, {"n": 2}] * len(bad))]


@pytest.mark.parametrize("data", [b"PK\x03\x04...", b"BZh91AY", b"\xfd7zXZ\0", b"PAR1 is no Parquet", b"\0" * 99])
def test_other_containers_are_named(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InputError, match=r"zip archive|bzip2|xz|damaged Parquet|binary"):
        read(tmp_path / "logs", data)


def test_a_crash_that_left_nul_bytes_costs_their_line_only(tmp_path: Path) -> None:
    found = read(tmp_path / "logs", b'{"n": 1}\n' + b"\0" * 500 + b'\n{"n": 2}\n')
    assert [line.value for line in found] == [{"n": 1}, None, {"n": 2}]


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize(
    "bomb", [b"\0", b"{}\n", b"[", b'{"n": "xxxxxxxxxxx"}\n'], ids=["NUL", "lines", "deep", "text"]
)
def test_a_bomb_is_stopped_and_what_came_before_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes], bomb: bytes
) -> None:
    monkeypatch.setattr(unpack, "RATIO_FROM", 1 << 17)
    monkeypatch.setattr(unpack, "RATIO_LIMIT", 200)
    packed = pack(b'{"n": 1}\n' + bomb * ((1 << 20) // len(bomb)))
    found = read(tmp_path / "logs", packed, limit=1 << 16)
    assert found[0].value == {"n": 1}
    assert "unpacks to more than" in (found[-1].reason or "")


def test_a_bomb_of_blank_lines_is_stopped_early(tmp_path: Path) -> None:
    packed = gzip.compress(b'{"n": 1}\n' + b"\n" * (64 << 20), 9)
    good, stopped = read(tmp_path / "logs", packed)
    assert good.value == {"n": 1} and "300 times its size" in (stopped.reason or "")
    assert stopped.number < 32 << 20


def test_a_parquet_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "RATIO_FROM", 1 << 18)
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": ["x" * (1 << 18)] * 300}), path, compression="zstd", row_group_size=100)
    found = list(read_lines(str(path)))
    assert len(found) < 300 and "unpacks to more than" in (found[-1].reason or "")
    pq.write_table(pa.table({"n": ["x" * (8 << 20)]}), path, compression="zstd", use_dictionary=False)
    (line,) = read_lines(str(path))
    assert "unpacks to more than" in (line.reason or "")
    monkeypatch.setattr(parquet, "GROUP_LIMIT", 1 << 20)
    (line,) = read_lines(str(path))
    assert "row group" in (line.reason or "")


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"", b"{", b"[", b'{"data": [', b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"PAR1", b"\xef\xbb\xbf"]),
    st.binary(max_size=200) | st.text('{}[]",:\\ \n\0aé').map(str.encode),
)
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, head: bytes, rest: bytes) -> None:
    try:
        for line in read(tmp_path_factory.mktemp("fuzz") / "logs", head + rest, limit=100):
            assert (line.value is None) != (line.reason is None)
    except FactoryError:
        pass


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["plain", "gzip", "zstd", "parquet"]), st.integers(0, 10**6), st.binary(min_size=1, max_size=20))
def test_damage_anywhere_in_a_good_file_raises_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, kind: str, at: int, damage: bytes
) -> None:
    path = tmp_path_factory.mktemp("damage") / "logs"
    some = [{"n": n, "text": "word " * n} for n in range(20)]
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(some), path, row_group_size=5)
    else:
        path.write_bytes(PACKERS[kind](jsonl(some)))
    data = bytearray(path.read_bytes())
    place = at % len(data)
    data[place : place + len(damage)] = damage
    try:
        found = read(path, bytes(data))
    except FactoryError:
        return
    if kind == "plain":
        touched = bytes(jsonl(some))[place : place + len(damage)].count(b"\n") + damage.count(b"\n") + 2
        assert sum(line.value in some for line in found) >= 20 - touched


PEAK = """
import resource, sys
from logs_schema.importers.read import batches, read_lines
import pyarrow.parquet
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
reasons, good = set(), 0
for lines in batches(read_lines(sys.argv[1]), 500):
    good += sum(line.value is not None for line in lines)
    reasons |= {line.reason.split(":")[-1].strip() for line in lines if line.reason}
print(good, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, *sorted(reasons), sep="|")
"""


def peak(path: Path) -> tuple[int, int, str]:
    """(good records, MiB of memory that reading took, reasons), in a process of its own."""
    run = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    good, memory, *reasons = run.stdout.strip().split("|")
    return int(good), int(memory), "; ".join(reasons)


@pytest.mark.parametrize(
    ("head", "tail"),
    [(b"", b"\n"), (b"[", b"]"), (b'{"results": [', b"]}")],
    ids=["lines", "array", "list in an object"],
)
def test_a_line_of_100_megabytes_takes_little_memory(tmp_path: Path, head: bytes, tail: bytes) -> None:
    path, between = tmp_path / "logs", b"\n" if tail == b"\n" else b","
    with path.open("wb") as stream:
        stream.write(head + b'{"n": 1}' + between + b'{"n": "')
        for _ in range(100):
            stream.write(b"x" * (1 << 20))
        stream.write(b'"}' + between + b'{"n": 2}' + tail)
    good, memory, reasons = peak(path)
    assert good == 2 and "longer than 16,777,216 bytes" in reasons
    assert memory < 100


def test_a_bomb_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "logs.zst"
    with zstd.open(path, "wb") as stream:
        stream.write(b'{"n": 1}\n')
        for _ in range(300):
            stream.write(b"\0" * (1 << 20))
    assert path.stat().st_size < 1 << 16
    good, memory, reasons = peak(path)
    assert good == 1 and "300 times its size" in reasons
    assert memory < 100


def test_a_large_array_and_a_large_table_take_little_memory(tmp_path: Path) -> None:
    some = [{"query": f"{n}?", "contexts": [f"{n} {at} " + "word " * 400 for at in range(5)]} for n in range(3000)]
    with (tmp_path / "a.json").open("w") as stream:
        stream.write("[" + ",\n".join(map(json.dumps, some)) + "]")
    pq.write_table(pa.Table.from_pylist(some), tmp_path / "a.parquet", row_group_size=1500)
    for name in ("a.json", "a.parquet"):
        good, memory, reasons = peak(tmp_path / name)
        assert (good, reasons) == (3000, "") and memory < 60, (name, memory)
