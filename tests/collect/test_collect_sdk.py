import json
import os
import signal
import subprocess
import sys

from sqlalchemy import Engine

from logs_schema.store import iter_records
from tests.collect.conftest import Start
from tests.collect.otlp_examples import ROOT

TOKEN = "a-token-that-nobody-else-knows"


def application(url: str, token: str, batch: int, *questions: str) -> str:
    """What the application said on stderr: the exporter logs there what it could not send."""
    program = str(ROOT / "tests/collect/langchain_app.py")
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, url, token, str(batch), *questions],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stderr


def test_an_instrumented_application_exports_straight_to_the_store(engine: Engine, start: Start) -> None:
    running = start("--source", "desk", "--json", FACTORY_COLLECT_TOKEN=TOKEN)
    said = application(running.url, TOKEN, 4, "Refund window?", "How much is postage?", "Do I pay for returns?")
    assert "Failed to export" not in said
    code, out, error = running.end(signal.SIGTERM)
    assert (code, TOKEN in out + error, "Traceback" in error) == (0, False, False)
    report = json.loads(out)
    assert (report["refused"], report["rejected"], report["new"]) == (0, 0, 3)
    assert report["requests"] > 5 and report["spans"] - report["kept"] == 1
    records = sorted((record for batch in iter_records(engine) for record in batch), key=lambda r: r.query)
    assert [record.query for record in records] == ["Do I pay for returns?", "How much is postage?", "Refund window?"]
    for record in records:
        assert record.source == "desk" and record.response == f"30 days [1]. ({record.query})"
        assert [context.text for context in record.contexts] == ["Refunds are made within 30 days.", "Postage is free."]
        assert record.prompt and record.prompt.system == "Use the passages."
