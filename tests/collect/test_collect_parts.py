import asyncio
import gzip
import hashlib
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from sqlalchemy import Engine

from factory.collect import app as collecting
from factory.collect import decode as decoding
from factory.collect import writer
from factory.collect.decode import JSON, PROTOBUF, Signal, decode, parts
from factory.collect.intake import PIECE, Budget, Share, Unpacking, read
from factory.collect.refusal import Refusal
from factory.collect.settings import CollectSettings
from factory.collect.writer import Writer
from logs_schema.importers.batch import save_parsed
from logs_schema.importers.parsed import Parsed
from logs_schema.records import Feedback, FeedbackKind, Trace
from logs_schema.store import load_records, writing
from tests.collect.otlp_examples import as_json, protobuf
from tests.logs_schema.log_examples import snapshot, spans_of

keys = st.sampled_from(
    [
        *("input.value", "output.value", "retrieval.documents.0.document.content", "llm.model_name", "user.id"),
        *("retrieval.documents.0.document.score", "openinference.span.kind", "gen_ai.operation.name", "gen_ai.prompt"),
        *("gen_ai.retrieval.documents", "http.url", "annotations.0.annotation.label", "llm.token_count.prompt", ""),
    ]
)
leaves = (
    st.text(max_size=8)
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.binary(max_size=4)
    | st.none()
)
values = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys | st.text(max_size=4), v, max_size=3), max_leaves=5
)
changes = st.lists(st.tuples(st.integers(0, 5), st.dictionaries(keys, values, max_size=3)), max_size=3)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3, unique=True), changes)
def test_both_encodings_of_the_same_spans_give_the_same_store(
    fresh: Callable[[], Engine], numbers: list[int], more: list[tuple[int, dict[str, Any]]]
) -> None:
    spans = [span for number in numbers for span in spans_of(number, thumbs="thumbs_up", keep=[1, 0])]
    for index, attributes in more:
        spans[index % len(spans)]["attributes"] |= attributes
    stores = [fresh(), fresh()]
    found = [
        decode(protobuf(spans), PROTOBUF, Signal.traces, "desk"),
        decode(as_json(spans), JSON, Signal.traces, "desk"),
    ]
    assert found[0] == found[1] and found[0][1] == len(spans)
    for store, (parsed, _) in zip(stores, found, strict=True):
        save_parsed(store, parsed, "desk")
    assert snapshot(stores[0]) == snapshot(stores[1])
    for store in stores:
        store.dispose()


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200)
    | st.builds(
        lambda body, at, byte: body[:at] + byte + body[at + 1 :],
        st.just(protobuf(spans_of(1))),
        st.integers(0, 2000),
        st.binary(min_size=1, max_size=1),
    ),
    st.sampled_from(Signal),
)
def test_broken_protobuf_is_refused_or_read_but_never_trips(body: bytes, signal: Signal) -> None:
    try:
        decode(body, PROTOBUF, signal, "desk")
    except Refusal as refusal:
        assert refusal.status == HTTPStatus.BAD_REQUEST


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=60)
    | st.recursive(
        leaves.filter(lambda v: not isinstance(v, bytes)),
        lambda v: (
            st.lists(v)
            | st.dictionaries(
                st.sampled_from(["resourceSpans", "scopeSpans", "spans", "attributes", "key", "value"]), v
            )
        ),
    )
)
def test_odd_json_is_refused_or_read_but_never_trips(value: Any) -> None:
    try:
        decode(json.dumps(value).encode(), JSON, Signal.traces, "desk")
    except Refusal as refusal:
        assert refusal.status == HTTPStatus.BAD_REQUEST


def test_counting_parts_agrees_with_the_parser_and_bounds_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    request = ExportTraceServiceRequest.FromString(protobuf(spans_of(1)))
    spans = request.resource_spans[0].scope_spans[0].spans
    expected = 2 + len(spans) + sum(2 * len(span.attributes) for span in spans)
    assert parts(request.SerializeToString(), ExportTraceServiceRequest) == expected
    scope = b"\x12\x00" * 600_000
    many = b"".join(b"\x0a" + _length(inner) + inner for inner in [b"\x12" + _length(scope) + scope])
    assert len(ExportTraceServiceRequest.FromString(many).resource_spans[0].scope_spans[0].spans) == 600_000
    monkeypatch.setattr(decoding, "PARTS_LIMIT", 10_000)
    tracemalloc.start()
    for body, media_type in ((many, PROTOBUF), (b'{"resourceSpans":[' + b"{}," * 20_000 + b"{}]}", JSON)):
        with pytest.raises(Refusal) as refused:
            decode(body, media_type, Signal.traces, "desk")
        assert refused.value.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_a_request_of_very_many_spans_is_refused_and_a_score_that_is_no_number_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spans = spans_of(1)
    spans[1]["attributes"]["retrieval.documents.0.document.score"] = float("nan")
    parsed, came = decode(protobuf(spans), PROTOBUF, Signal.traces, "desk")
    assert (came, list(parsed.problems)) == (3, [])
    assert parsed.spans[1].documents[0].score is None
    monkeypatch.setattr(decoding, "SPANS_LIMIT", 2)
    with pytest.raises(Refusal, match="more than 2 spans"):
        decode(protobuf(spans), PROTOBUF, Signal.traces, "desk")


def _length(data: bytes) -> bytes:
    size, out = len(data), bytearray()
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    return bytes([*out, size])


PACKERS = {"gzip": gzip.compress, "deflate": zlib.compress}


@given(st.sampled_from(sorted(PACKERS)), st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 50))
def test_packed_data_come_out_as_they_went_in_however_they_are_cut(
    encoding: str, members: list[bytes], step: int
) -> None:
    packed = b"".join(PACKERS[encoding](member * 500) for member in members)
    unpacking, out = Unpacking(encoding), bytearray()
    for at in range(0, len(packed), step):
        for piece in unpacking.pieces(packed[at : at + step]):
            assert len(piece) <= PIECE
            out += piece
    assert bytes(out) == b"".join(member * 500 for member in members)
    assert unpacking.whole == bool(members)


def test_requests_share_a_budget_and_give_it_back() -> None:
    async def stream(*data: bytes) -> AsyncIterator[bytes]:
        for piece in data:
            yield piece

    async def all_of_it() -> None:
        budget = Budget(100)
        first, second = Share(budget), Share(budget)
        assert await read(stream(b"a" * 60), "", 1000, first, 5) == b"a" * 60
        with pytest.raises(Refusal) as refused:
            await read(stream(b"b" * 30, b"b" * 30), "", 1000, second, 5)
        assert refused.value.status == HTTPStatus.SERVICE_UNAVAILABLE and "Retry-After" in refused.value.headers
        second.give_back()
        assert budget.taken == 60
        first.give_back()
        assert budget.taken == 0

    asyncio.run(all_of_it())


def test_more_requests_than_it_holds_are_told_when_to_come_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collecting, "REQUESTS", 2)

    async def all_of_it() -> list[httpx.Response]:
        app = collecting.Collector(engine, CollectSettings(), "desk", None, None).app()
        begun: list[int] = []
        come = asyncio.Event()

        async def slowly(number: int) -> AsyncIterator[bytes]:
            begun.append(number)
            await come.wait()
            yield protobuf(spans_of(number))

        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
        ):

            async def send(number: int) -> httpx.Response:
                return await client.post("/v1/traces", content=slowly(number), headers={"Content-Type": PROTOBUF})

            held = [asyncio.create_task(send(number)) for number in (1, 2)]
            while len(begun) < 2:
                await asyncio.sleep(0.001)
            third = asyncio.create_task(send(3))
            while len(begun) < 3:
                await asyncio.sleep(0.001)
            come.set()
            return [await one for one in (*held, third)] + [await send(3)]

    first, second, third, again = asyncio.run(all_of_it())
    assert [answer.status_code for answer in (first, second, third, again)] == [200, 200, 503, 200]
    assert int(third.headers["Retry-After"]) > 0
    assert len(snapshot(engine)["records"]) == 3


def parsed_of(number: int) -> Parsed:
    return decode(protobuf(spans_of(number)), PROTOBUF, Signal.traces, "desk")[0]


def saved(engine: Engine, *given: Parsed) -> list[object]:
    """Outcome of each, saved at the same time."""

    async def all_of_them() -> list[object]:
        writer = Writer(engine, "desk")
        outcomes = await asyncio.gather(*(writer.save(one) for one in given), return_exceptions=True)
        writer.close()
        return list(outcomes)

    return asyncio.run(all_of_them())


def test_what_the_database_refuses_takes_no_other_request_with_it(engine: Engine) -> None:
    broken = Feedback.model_construct(identifier=None, kind=FeedbackKind.vote)
    poison = Parsed(feedback=[(Trace("desk", "x"), broken)])
    outcomes = saved(engine, parsed_of(1), parsed_of(2), poison, parsed_of(3), parsed_of(4))
    assert [getattr(outcome, "status", None) for outcome in outcomes] == [None, None, 500, None, None]
    assert len(snapshot(engine)["records"]) == 4


def test_a_store_that_another_command_holds_sends_senders_away_until_it_is_free(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "PATIENCE_SECONDS", 0.05)
    with writing(engine):
        outcomes = saved(engine, *(parsed_of(number) for number in range(1, 6)))
    assert [getattr(outcome, "status", None) for outcome in outcomes] == [503] * 5
    assert saved(engine, parsed_of(1)) == [None]
    assert len(snapshot(engine)["records"]) == 1


def test_sending_again_changes_nothing(engine: Engine) -> None:
    saved(engine, parsed_of(1))
    before = snapshot(engine)
    saved(engine, parsed_of(1), parsed_of(1))
    assert snapshot(engine) == before
    digest = hashlib.sha256(b"desk\0" + f"{1:032x}".encode()).hexdigest()[:16]
    assert list(load_records(engine, [digest])) == [digest]
