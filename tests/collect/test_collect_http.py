import gzip
import http.client
import json
import signal
import socket
import threading
import time
import urllib.parse
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import requests
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from sqlalchemy import Engine, NullPool, create_engine, text
from typer.testing import CliRunner

from factory.cli.app import app
from factory.collect.writer import PATIENCE_SECONDS
from logs_schema.forgetting import forget_traces
from logs_schema.keys import store_key_in
from logs_schema.records import Trace
from logs_schema.store import writing
from tests.collect.conftest import Start
from tests.collect.otlp_examples import JSON, PROTOBUF, Running, as_json, protobuf
from tests.logs_schema.log_examples import spans_of
from tests.stores import words_in

MIB = 1 << 20
GZIP, DEFLATE = {"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate"}
ANYWHERE = "0.0.0.0"
TEXTS = {"input.value", "output.value", "user.id", "llm.output_messages.0.message.content"}


def rows(store: str, query: str) -> list[Any]:
    with create_engine(store, poolclass=NullPool).connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def with_lines(collector: Running, data: bytes) -> bytes:
    """The answer to raw bytes."""
    address = urllib.parse.urlsplit(collector.url)
    with socket.create_connection((str(address.hostname), address.port or 0), timeout=10) as connection:
        connection.sendall(data)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
        return answer


def test_an_acknowledged_span_is_committed_whatever_it_came_in(collector: Running) -> None:
    packers = ((bytes, {}), (gzip.compress, GZIP), (zlib.compress, DEFLATE))
    cases = product(((protobuf, PROTOBUF), (as_json, JSON)), packers)
    for number, ((encode, headers), (pack, packed)) in enumerate(cases, start=1):
        body = pack(encode(spans_of(number, thumbs="thumbs_down")))
        answer = requests.post(collector.url, body, headers={**headers, **packed}, timeout=10)
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, headers["Content-Type"])
        assert answer.content == (b"" if headers is PROTOBUF else b"{}")
        assert rows(collector.store, f"SELECT 1 FROM interaction WHERE source_id = '{number:032x}'") == [(1,)]
        assert rows(collector.store, f"SELECT label FROM feedback WHERE source_id = '{number:032x}'")


def test_a_trace_joins_across_requests_in_any_order(collector: Running) -> None:
    for span in reversed(spans_of(20)):
        assert requests.post(collector.url, protobuf([span]), headers=PROTOBUF, timeout=10).status_code == 200
    trace = f"source_id = '{20:032x}'"
    found = rows(collector.store, f"SELECT response, prompt_hash IS NOT NULL FROM interaction WHERE {trace}")
    assert found == [("It says 20.", 1)]
    assert not rows(collector.store, f"SELECT 1 FROM pending_span WHERE trace_id = '{20:032x}'")


def test_spans_of_other_libraries_are_taken_and_not_stored(collector: Running) -> None:
    span = {**spans_of(30)[0], "attributes": {"http.request.method": "GET", "url.path": "/"}}
    assert requests.post(collector.url, protobuf([span]), headers=PROTOBUF, timeout=10).status_code == 200
    assert not rows(collector.store, f"SELECT 1 FROM pending_span WHERE trace_id = '{30:032x}'")


def test_spans_that_cannot_be_used_are_told_and_do_not_cost_the_others(collector: Running) -> None:
    good, bad = spans_of(40), spans_of(41)
    bad[0]["start_time"] = "1970-01-02T00:00:00+00:00"
    bad[1]["attributes"]["input.value"] = "a\0b"
    for encode, headers in ((protobuf, PROTOBUF), (as_json, JSON)):
        answer = requests.post(collector.url, encode([*bad[:2], *good]), headers=headers, timeout=10)
        assert answer.status_code == 200
        if headers is PROTOBUF:
            told = ExportTraceServiceResponse.FromString(answer.content).partial_success
            rejected, message = told.rejected_spans, told.error_message
        else:
            partial = answer.json()["partialSuccess"]
            rejected, message = int(partial["rejectedSpans"]), partial["errorMessage"]
        assert rejected == 2 and "outside of 2000" in message and "NUL" in message
    assert rows(collector.store, f"SELECT 1 FROM interaction WHERE source_id = '{40:032x}'")


def test_log_events_with_the_texts_of_a_call_join_its_span(collector: Running) -> None:
    record = {
        "timeUnixNano": "1772445604000000000",
        "eventName": "gen_ai.choice",
        "traceId": f"{50:032x}",
        "spanId": f"{50:012x}0030",
        "body": {"kvlistValue": {"values": [{"key": "content", "value": {"stringValue": "By an event."}}]}},
    }
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record, {"body": {"stringValue": "GET /"}}]}]}]}
    answer = requests.post(f"{collector.base}/v1/logs", json=body, timeout=10)
    assert (answer.status_code, answer.json()) == (200, {})
    assert rows(collector.store, f"SELECT 1 FROM pending_span WHERE trace_id = '{50:032x}'")


wrong: list[tuple[str, dict[str, str], bytes, int, str]] = [
    ("content type", {"Content-Type": "text/plain"}, b"{}", 415, "Content-Type"),
    ("no content type", {}, b"{}", 415, "Content-Type"),
    ("encoding", {**JSON, "Content-Encoding": "br"}, b"{}", 415, "Content-Encoding"),
    ("no gzip", {**PROTOBUF, **GZIP}, protobuf(spans_of(1)), 400, "gzip"),
    ("cut gzip", {**PROTOBUF, **GZIP}, gzip.compress(protobuf(spans_of(1)))[:-9], 400, "gzip"),
    ("no deflate", {**PROTOBUF, **DEFLATE}, gzip.compress(protobuf(spans_of(1))), 400, "deflate"),
    ("cut deflate", {**PROTOBUF, **DEFLATE}, zlib.compress(protobuf(spans_of(1)))[:-3], 400, "deflate"),
    ("cut protobuf", PROTOBUF, protobuf(spans_of(1))[:-9], 400, "protobuf"),
    ("no protobuf", PROTOBUF, b"\xff" * 50, 400, "protobuf"),
    ("no JSON", JSON, b'{"resourceSpans": [', 400, "JSON"),
    ("NaN", JSON, b'{"resourceSpans": [], "x": NaN}', 400, "NaN"),
    ("no UTF-8", JSON, b'{"resourceSpans": "\xff"}', 400, "JSON"),
    ("deep", JSON, b'{"resourceSpans":' + b"[" * 100_000, 400, "nested"),
    ("another JSON", JSON, b'{"query": "q"}', 400, "resourceSpans"),
    ("a list", JSON, b"[]", 400, "resourceSpans"),
    ("large", PROTOBUF, b"\0" * (MIB + 1), 413, "1 MiB"),
    ("bomb", {**PROTOBUF, **GZIP}, gzip.compress(b"\0" * (200 * MIB)), 413, "1 MiB"),
    ("deflated bomb", {**JSON, **DEFLATE}, zlib.compress(b"\0" * (200 * MIB)), 413, "1 MiB"),
    ("bomb in members", {**JSON, **GZIP}, gzip.compress(b"\0" * (MIB // 4)) * 5, 413, "1 MiB"),
]


@pytest.mark.parametrize(("headers", "body", "status", "says"), [w[1:] for w in wrong], ids=[w[0] for w in wrong])
def test_what_is_no_request_is_refused_with_a_reason_in_its_own_encoding(
    collector: Running, headers: dict[str, str], body: bytes, status: int, says: str
) -> None:
    answer = requests.post(collector.url, body, headers=headers, timeout=20)
    assert answer.status_code == status, answer.text
    if headers.get("Content-Type") == PROTOBUF["Content-Type"]:
        message = Status.FromString(answer.content).message
    else:
        message = answer.json()["message"]
    assert says in message
    assert requests.post(collector.url, json={}, timeout=10).status_code == 200


def test_a_chunked_body_is_limited_too(collector: Running) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b"\0" * 65536

    assert requests.post(collector.url, pieces(), headers=PROTOBUF, timeout=20).status_code == 413


def test_a_slow_body_is_given_up(collector: Running) -> None:
    head = (
        b"POST /v1/traces HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )
    assert with_lines(collector, head).startswith(b"HTTP/1.1 408 ")


def test_other_paths_and_methods_say_where_to_go(collector: Running) -> None:
    assert requests.get(collector.url, timeout=10).status_code == 405
    answer = requests.post(f"{collector.base}/v1/metrics", json={}, timeout=10)
    assert answer.status_code == 404 and "/v1/traces" in answer.json()["message"]


def test_without_a_token_a_web_page_cannot_send_here(collector: Running) -> None:
    headers = {**JSON, "Host": "rebound.example.com"}
    assert requests.post(collector.url, b"{}", headers=headers, timeout=10).status_code == 401
    assert "access-control-allow-origin" not in requests.options(collector.url, timeout=10).headers


def test_with_a_token_only_the_token_opens(start: Start) -> None:
    token = "0123456789abcdef"
    running = start(FACTORY_COLLECT_TOKEN=token)
    for given, status in (
        (f"Bearer {token}", 200),
        (f"Bearer {token}x", 401),
        (f"Bearer {token[:-1]}", 401),
        (token, 401),
        ("Bearer ", 401),
        ("", 401),
        ("Bearer Ü", 401),
    ):
        headers = {**JSON, **({"Authorization": given.encode()} if given else {})}
        answer = requests.post(running.url, b"{}", headers=headers, timeout=10)  # type: ignore[arg-type]
        assert answer.status_code == status, given
        assert status == 200 or answer.headers["WWW-Authenticate"] == "Bearer"
    assert requests.get(f"{running.base}/health", timeout=10).status_code == 200


def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, *words: str, token: str = "") -> str:
    (folder / "factory.toml").write_text("")
    monkeypatch.setenv("FACTORY_COLLECT_TOKEN", token)
    result = CliRunner().invoke(app, ["-c", str(folder / "factory.toml"), "collect", *words])
    assert result.exit_code == 2 and (not token or token not in result.output)
    return result.output


def test_beyond_this_machine_a_token_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "$FACTORY_COLLECT_TOKEN" in refused(tmp_path, monkeypatch, "--host", ANYWHERE)
    assert "16 or more" in refused(tmp_path, monkeypatch, "--host", ANYWHERE, token="short")
    assert "16 or more" in refused(tmp_path, monkeypatch, token="with some spaces in it")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused(tmp_path, monkeypatch, "--port", str(taken.getsockname()[1]))
        assert "cannot listen" in said


def test_a_host_that_is_no_address_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "no address" in refused(tmp_path, monkeypatch, "--host", "no.such.host.invalid")


def test_what_the_store_cannot_keep_up_with_is_sent_away_for_a_while(start: Start, engine: Engine) -> None:
    running = start(toml="[collect]\nmax_waiting_mib = 1\n")
    bodies = [as_json(spans_of(number)) + b" " * 250_000 for number in range(1, 13)]
    answers: dict[int, requests.Response] = {}

    def send(number: int) -> None:
        answers[number] = requests.post(running.url, bodies[number - 1], headers=JSON, timeout=40)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 13)]
    with writing(engine):
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 20
        while len(answers) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert {answer.status_code for answer in answers.values()} == {503}
        assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers.values())
        assert running.answers()
    for thread in threads:
        thread.join(40)
    stored = {number for number, answer in answers.items() if answer.status_code == 200}
    assert len(stored) + 8 <= 12
    kept = rows(running.store, "SELECT source_id FROM interaction")
    assert {int(row[0], 16) for row in kept} == stored
    for number in set(answers) - stored:
        send(number)
        assert answers[number].status_code == 200


def test_while_another_command_holds_the_store_there_is_an_answer_before_exporters_give_up(
    start: Start, engine: Engine
) -> None:
    assert 2 * PATIENCE_SECONDS <= 5
    running = start()
    answers: dict[int, tuple[requests.Response, float]] = {}

    def send(number: int) -> None:
        begin = time.monotonic()
        answer = requests.post(running.url, protobuf(spans_of(number)), headers=PROTOBUF, timeout=40)
        answers[number] = answer, time.monotonic() - begin

    threads = [threading.Thread(target=send, args=(number,)) for number in range(1, 7)]
    with writing(engine):
        for thread in threads:
            thread.start()
            time.sleep(0.3)  # some come while the first waits, and wait for a commit of their own
        for thread in threads:
            thread.join(40)
        assert [answer.status_code for answer, _ in answers.values()] == [503] * 6
        assert all(int(answer.headers["Retry-After"]) > 0 for answer, _ in answers.values())
        assert max(seconds for _, seconds in answers.values()) < 10  # the timeout of the SDKs
    for number in range(1, 7):
        send(number)
        assert answers[number][0].status_code == 200
    assert rows(running.store, "SELECT count(*) FROM interaction") == [(6,)]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_requests_that_have_begun_are_finished_when_it_is_told_to_end(start: Start, number: int) -> None:
    running = start("--json")
    address = urllib.parse.urlsplit(running.url)
    body = protobuf(spans_of(1))
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
    connection.putrequest("POST", "/v1/traces")
    connection.putheader("Content-Type", "application/x-protobuf")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body[:100])
    time.sleep(0.3)
    running.process.send_signal(number)
    time.sleep(0.3)
    connection.send(body[100:])
    assert connection.getresponse().status == 200
    connection.close()
    out, error = running.process.communicate(timeout=30)
    assert (running.process.returncode, error) == (0, "")
    report = json.loads(out)
    assert (report["requests"], report["new"], report["kept"]) == (1, 1, 3)
    assert rows(running.store, "SELECT count(*) FROM interaction") == [(1,)]


def test_nothing_personal_and_nothing_forgotten_is_stored(
    start: Start, engine: Engine, store_url: str, tmp_path: Path
) -> None:
    with writing(engine) as connection:
        forget_traces(connection, store_key_in(connection), [Trace("production", f"{2:032x}")])
    running = start()
    spans = [*spans_of(1), *spans_of(2)]
    for span in (spans[0], spans[2]):
        attributes = span["attributes"]
        span["attributes"] = {
            name: f"{value} jane@x.example" if name in TEXTS else value for name, value in attributes.items()
        }
    for half in (spans[3:], spans[:3]):
        assert requests.post(running.url, protobuf(half), headers=PROTOBUF, timeout=10).status_code == 200
    code, out, _ = running.end()
    assert code == 0 and "Left out as forgotten: 1" in out and "placeholders: EMAIL" in out
    assert rows(store_url, "SELECT source_id FROM interaction") == [(f"{1:032x}",)]
    assert rows(store_url, "SELECT trace_id FROM pending_span WHERE trace_id LIKE '%2'") == []
    assert not any(b"jane" in file.read_bytes() for file in tmp_path.glob("store.db*"))
    assert "jane" not in words_in(engine)
