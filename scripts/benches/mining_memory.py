"""Measure the memory and the time of mining at growing sizes of the store, and of a run that finds nothing new.

`scripts/benches/mining_memory.py [--sizes 10000 100000] [--workers N]` makes a store a size, of made-up records with
five contexts each out of 20,000 distinct passages, and mines it twice. Every step runs in a process of its own, whose
peak memory is read at its end.
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from made_logs import Words

PASSAGES = 20_000
BEGAN = datetime(2026, 1, 5, tzinfo=UTC)
SAVED = 2_000
"""Records saved at a time."""


def records(count: int) -> Iterator[Any]:
    """The same records every time: a third answers from a passage, a third makes it up, a third refuses."""
    from logs_schema.records import Context, RagRecord

    rng = random.Random(17)
    words = Words(rng)
    corpus = [words.text(96) for _ in range(PASSAGES)]
    for number in range(count):
        picked = rng.sample(range(PASSAGES), 5)
        sentence = corpus[picked[0]].split(". ")[3]
        answer = (f"{sentence} [1].", f"{words.text(12)[:-1]} [1].", "I don't know.")[number % 3]
        yield RagRecord(
            source="bench",
            source_id=f"trace-{number}",
            occurred_at=BEGAN + timedelta(seconds=number),
            query=" ".join(sentence.split()[2:8]) + "?",
            contexts=tuple(Context(text=corpus[n], doc_id=f"doc-{n // 4}", updated_at=BEGAN) for n in picked),
            response=answer,
            user_id=f"user-{number % 997}",
            session_id=f"session-{number // 3}",
        )


def make(url: str, count: str) -> dict[str, Any]:
    """Fill a store."""
    from sqlalchemy import update

    from logs_schema.rows import INTERACTION, chunks
    from logs_schema.store import open_store, save_records

    engine = open_store(url)
    for some in chunks(records(int(count)), SAVED):
        save_records(engine, some)
    with engine.begin() as connection:  # sessions of what came in the last minutes are always read again
        connection.execute(update(INTERACTION).values(imported_at=BEGAN))
    return {}


def mine(url: str, workers: str) -> dict[str, Any]:
    """Mine a store as `factory mine` does."""
    from factory.mining.miner import mine as mine_store
    from factory.mining.settings import MiningSettings, SignalSettings
    from logs_schema.settings import HouseSettings
    from logs_schema.store import open_store

    settings = MiningSettings(workers=int(workers))
    started = time.perf_counter()
    report = mine_store(open_store(url), settings, HouseSettings(), signals=SignalSettings())
    return {
        "mined": report.mined,
        "seconds": time.perf_counter() - started,
        "of a worker": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10,
    }


STEPS = {"make": make, "mine": mine}


def apart(step: str, *arguments: str) -> dict[str, Any]:
    """What a step gives, run in a process of its own, and its peak memory in MB."""
    command = [sys.executable, __file__, "--step", step, *arguments]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.step:
        name, *rest = given.step
        print(json.dumps(STEPS[name](*rest) | {"MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}))
        return
    print("| records | mined in | a second | peak memory | of a worker | nothing new: in | peak memory |")
    print("|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'store.db'}"
            apart("make", url, str(size))
            first = apart("mine", url, str(given.workers))
            second = apart("mine", url, str(given.workers))
        assert (first["mined"], second["mined"]) == (size, 0)
        speed = f"{size / first['seconds']:,.0f}"
        worker = f"{first['of a worker']} MB" if given.workers > 1 else ""
        line = f"| {size:,} | {first['seconds']:.0f} s | {speed} | {first['MB']} MB | {worker} "
        print(f"{line}| {second['seconds']:.2f} s | {second['MB']} MB |", flush=True)


if __name__ == "__main__":
    main()
