"""Kills the collector under load, starts it again, and checks that every acknowledged span is there.

Run it as `python scripts/collector_campaign.py --rounds 20`: in each round, clients export the spans of traces in
requests of their own, SIGKILL ends the collector at a random moment while they send (an eighth to a quarter of all
spans is acknowledged between two kills), and what it had answered 200 for must be in the store of the next one.
Then the clients send the rest, and the store must equal one that was never disturbed.
Under `scripts/postgres` the stores are databases of a PostgreSQL server.
"""

import argparse
import http.client
import json
import random
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from campaigns import ENVIRONMENT, FACTORY, Rows, contents, rows, store

CLIENTS = 4
KILLS = 3
"""In each round."""
BEGIN = 1_772_445_600
FORMS = {
    "interaction": "id, content_hash, query, response",
    "context": "interaction_id, rank, passage_hash, doc_id",
    "pending_span": "trace_id, span_id",
}


def spans_of(number: int) -> dict[str, dict[str, Any]]:
    """Spans of one trace by name; root and answer bring a text of their own, the retriever two documents."""
    trace, query, answer = f"{number:032x}", f"Question {number}?", f"Answer {number} [1]."
    passages = [f"Passage {n} of {number}." for n in range(2)]
    shown = "\n\n".join(f"[{n}] {passage}" for n, passage in enumerate(passages, start=1))
    attributes: dict[str, dict[str, str]] = {
        "root": {"openinference.span.kind": "CHAIN", "input.value": query, "output.value": answer},
        "search": {"openinference.span.kind": "RETRIEVER", "input.value": query},
        "call": {
            "openinference.span.kind": "LLM",
            "llm.input_messages.0.message.role": "user",
            "llm.input_messages.0.message.content": f"Context:\n{shown}\n\nQuestion: {query}",
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": answer,
        },
    }
    for n, passage in enumerate(passages):
        attributes["search"][f"retrieval.documents.{n}.document.content"] = passage
        attributes["search"][f"retrieval.documents.{n}.document.id"] = f"doc-{number}-{n}"
    return {
        name: {
            "name": name,
            "traceId": trace,
            "spanId": f"{number:012x}{place:04x}",
            "parentSpanId": "" if name == "root" else f"{number:012x}0000",
            "startTimeUnixNano": str((BEGIN + number) * 10**9 + place),
            "endTimeUnixNano": str((BEGIN + number + 1) * 10**9),
            "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in told.items()],
        }
        for place, (name, told) in enumerate(attributes.items())
    }


class Collector:
    """A collector process on the store that a folder names."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [*FACTORY, "collect", "--port", "0"],
            cwd=folder,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.process.stderr
        said = self.process.stderr.readline().decode()
        if not said.startswith("Listening on "):
            raise SystemExit(f"the collector does not start:\n{said}{self.process.stderr.read().decode()}")
        address = urlsplit(said.removeprefix("Listening on ").strip())
        self.host, self.port = str(address.hostname), address.port

    def end(self, number: int) -> None:
        """Send a signal and wait."""
        self.process.send_signal(number)
        self.process.communicate(timeout=60)


def send(collector: Collector, todo: list[tuple[int, str]], acknowledged: list[tuple[int, str]]) -> None:
    """Export spans one a request, until the collector is gone; note those that it answered 200 for."""
    connection = http.client.HTTPConnection(collector.host, collector.port, timeout=30)
    try:
        while todo:
            number, name = todo[-1]
            body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [spans_of(number)[name]]}]}]})
            connection.request("POST", "/v1/traces", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                acknowledged.append(todo.pop())
            else:
                time.sleep(0.05)
    except (OSError, http.client.HTTPException):
        return  # killed: what had no answer is sent again later
    finally:
        connection.close()


def load(
    collector: Collector, todos: list[list[tuple[int, str]]], kill_at: tuple[int, float] | None
) -> list[tuple[int, str]]:
    """What was acknowledged until everything was, or until the collector was killed: (spans, seconds) later."""
    acknowledged: list[tuple[int, str]] = []
    clients = [threading.Thread(target=send, args=(collector, todo, acknowledged)) for todo in todos]
    for client in clients:
        client.start()
    if kill_at is not None:
        while len(acknowledged) < kill_at[0] and any(client.is_alive() for client in clients):
            time.sleep(0.001)
        time.sleep(kill_at[1])
        collector.end(signal.SIGKILL)
    for client in clients:
        client.join()
    return acknowledged


def missing(url: str, acknowledged: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Acknowledged spans that neither wait in the store nor are told by a record."""
    if not acknowledged:
        return []
    waiting = set(rows(url, "SELECT trace_id, span_id FROM pending_span"))
    roots = {row[0] for row in rows(url, "SELECT source_id FROM interaction WHERE response <> ''")}
    prompts = {row[0] for row in rows(url, "SELECT source_id FROM interaction WHERE prompt_hash <> ''")}
    links = "SELECT source_id FROM interaction JOIN context ON interaction_id = id GROUP BY 1 HAVING count(*) = 2"
    found = {row[0] for row in rows(url, links)}
    told = {"root": roots, "call": prompts, "search": found}
    return [
        (number, name)
        for number, name in acknowledged
        if f"{number:032x}" not in told[name] and (f"{number:032x}", spans_of(number)[name]["spanId"]) not in waiting
    ]


def checked(folder: Path, url: str) -> Rows:
    """Every row that does not tell the time of importing, of a store that is sound."""
    done = subprocess.run([*FACTORY, "db", "check"], cwd=folder, env=ENVIRONMENT, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"the store is damaged:\n{done.stdout.decode()}{done.stderr.decode()}")
    return contents(url, FORMS)


def work(traces: int, rng: random.Random) -> list[list[tuple[int, str]]]:
    """Each client's spans, in any order."""
    spans = [(number, name) for number in range(1, traces + 1) for name in ("root", "search", "call")]
    rng.shuffle(spans)
    return [spans[client::CLIENTS] for client in range(CLIENTS)]


def undisturbed(root: Path, traces: int) -> Rows:
    """The store that the spans make when nothing is killed."""
    folder = Path(tempfile.mkdtemp(dir=root))
    with store(folder) as url:
        collector = Collector(folder)
        load(collector, work(traces, random.Random(0)), None)
        collector.end(signal.SIGTERM)
        return checked(folder, url)


def one(root: Path, traces: int, rng: random.Random, expected: Rows) -> tuple[int, int]:
    """(kills, spans that were acknowledged before a kill) of one round."""
    folder = Path(tempfile.mkdtemp(dir=root))
    todos = work(traces, rng)
    before: list[tuple[int, str]] = []
    kills, spans = 0, 3 * traces
    with store(folder) as url:
        while any(todos):
            collector = Collector(folder)
            if lost := missing(url, before):
                raise SystemExit(f"after {kills} kills, {len(lost)} acknowledged spans are gone, such as {lost[:3]}")
            if kills < KILLS:
                before += load(collector, todos, (rng.randint(spans // 8, spans // 4), rng.uniform(0, 0.05)))
                kills += 1
            else:
                load(collector, todos, None)
                collector.end(signal.SIGTERM)
        if checked(folder, url) != expected:
            raise SystemExit(f"after {kills} kills the store differs from the undisturbed one")
    return kills, len(before)


def main() -> None:
    """Run the rounds; the first span that is gone ends it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--traces", type=int, default=300)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        expected = undisturbed(Path(folder), options.traces)
        total = acknowledged = 0
        for number in range(1, options.rounds + 1):
            kills, before = one(Path(folder), options.traces, rng, expected)
            total, acknowledged = total + kills, acknowledged + before
            print(f"round {number}: {kills} kills, {before} spans acknowledged before one: all there", flush=True)
    print(f"{options.rounds} rounds, {total} kills, {acknowledged} spans acknowledged before a kill: none was lost")


if __name__ == "__main__":
    main()
