import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import Engine

from logs_schema.importers.run import import_files
from tests.collect.conftest import Start
from tests.collect.otlp_examples import COMMAND, PROTOBUF, ROOT, Running, protobuf
from tests.logs_schema.log_examples import snapshot, spans_of, write_lines

TRACES = 24


def send(running: Running, spans: list[dict[str, Any]], refused: list[str]) -> None:
    """Each span in a request of its own, again while the collector is too busy."""
    with requests.Session() as session:
        for span in spans:
            while (
                answer := session.post(running.url, protobuf([span]), headers=PROTOBUF, timeout=60)
            ).status_code == 503:
                pass
            if answer.status_code != 200:
                refused.append(answer.text)


@pytest.mark.slow
def test_two_collectors_and_an_import_bring_the_spans_of_the_same_traces_at_once(
    start: Start, engine: Engine, fresh: Callable[[], Engine], tmp_path: Path
) -> None:
    traces = [spans_of(number, thumbs="thumbs_down") for number in range(1, TRACES + 1)]
    files = tmp_path / "files"
    files.mkdir()
    for number, spans in enumerate(traces):
        write_lines(files / f"{number:02}.jsonl", [spans[2], spans[number % 2]])
    refused: list[str] = []
    senders = [
        threading.Thread(target=send, args=(start("--source", "desk"), [spans[which] for spans in traces], refused))
        for which in (0, 1)
    ]
    command = [*COMMAND, "import", "files", "--source", "desk"]
    importing = subprocess.Popen(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    said, _ = importing.communicate(timeout=300)
    assert (importing.returncode, refused) == (0, []), said.decode()
    alone = fresh()
    import_files(
        alone, [write_lines(tmp_path / "all.jsonl", [span for spans in traces for span in spans])], source="desk"
    )
    found = snapshot(engine)
    assert found == snapshot(alone)
    assert len(found["records"]) == TRACES and found["waiting"] == []
