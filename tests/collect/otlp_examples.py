"""OTLP requests in both encodings, made from the same span dicts, and a collector in a process of its own."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-c", "from factory.cli.app import main; main()"]
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


def nanoseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1e6) * 1000


def protobuf(spans: Sequence[dict[str, Any]]) -> bytes:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for given in spans:
        span = scope.spans.add(
            name=given["name"],
            trace_id=bytes.fromhex(given["context"]["trace_id"]),
            span_id=bytes.fromhex(given["context"]["span_id"]),
            parent_span_id=bytes.fromhex(given["parent_id"] or ""),
            start_time_unix_nano=nanoseconds(given["start_time"]),
            end_time_unix_nano=nanoseconds(given["end_time"]),
        )
        for key, value in given["attributes"].items():
            _fill(span.attributes.add(key=key).value, value)
    return request.SerializeToString()


def _fill(target: AnyValue, value: Any) -> None:
    match value:
        case bool():
            target.bool_value = value
        case int():
            target.int_value = value
        case float():
            target.double_value = value
        case str():
            target.string_value = value
        case bytes():
            target.bytes_value = value
        case list():
            target.array_value.SetInParent()
            for item in value:
                _fill(target.array_value.values.add(), item)
        case dict():
            target.kvlist_value.SetInParent()
            for key, item in value.items():
                _fill(target.kvlist_value.values.add(key=key).value, item)


def as_json(spans: Sequence[dict[str, Any]]) -> bytes:
    written = [
        {
            "name": span["name"],
            "traceId": span["context"]["trace_id"],
            "spanId": span["context"]["span_id"],
            **({"parentSpanId": span["parent_id"]} if span["parent_id"] else {}),
            "startTimeUnixNano": str(nanoseconds(span["start_time"])),
            "endTimeUnixNano": str(nanoseconds(span["end_time"])),
            "attributes": [{"key": key, "value": _typed(value)} for key, value in span["attributes"].items()],
        }
        for span in spans
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": written}]}]}).encode()


def _typed(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case str():
            return {"stringValue": value}
        case bytes():
            return {"bytesValue": base64.b64encode(value).decode()}
        case list():
            return {"arrayValue": {"values": [_typed(item) for item in value]}}
        case dict():
            return {"kvlistValue": {"values": [{"key": key, "value": _typed(item)} for key, item in value.items()]}}
    return {}


class Running:
    """A collector process on a store."""

    def __init__(self, folder: Path, store: str, *words: str, toml: str = "", **environment: str) -> None:
        self.store = store
        (folder / "factory.toml").write_text(f'[store]\nurl = "{store}"\n{toml}')
        self.process = subprocess.Popen(
            [*COMMAND, "collect", "--port", "0", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr
        said = self.process.stderr.readline()
        if not said.startswith("Listening on "):
            raise AssertionError(said + self.process.stderr.read())
        self.url = said.removeprefix("Listening on ").strip()
        self.base = self.url.removesuffix("/v1/traces")
        deadline = time.monotonic() + 20
        while not self.answers() and time.monotonic() < deadline:
            time.sleep(0.02)

    def answers(self) -> bool:
        import requests

        try:
            return requests.get(f"{self.base}/health", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        """(exit code, standard output, the rest of standard error)."""
        self.process.send_signal(number)
        out, error = self.process.communicate(timeout=40)
        return self.process.returncode, out, error
