"""Kills commands at random moments, runs them again, and compares the store with one that was never disturbed.

Run it as `python scripts/kill_campaign.py --rounds 20`: each round imports and mines the demo's logs, with feedback and
a corpus, and imports many more, in a new store, with SIGKILL after a random time until the command comes through, and
checks the store.
Under `scripts/postgres` the stores are databases of a PostgreSQL server.
"""

import argparse
import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from campaigns import ENVIRONMENT, FACTORY, Rows, contents, store

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "benches"))

COMMANDS = (
    ["import", "logs.jsonl", "--source", "killed"],
    ["feedback", "import", "feedback.csv", "--source", "killed"],
    ["documents", "import", "documents.jsonl"],
    ["mine"],
    ["import", "many.jsonl", "--source", "many"],
    ["db", "check"],
)
TABLES = {
    "interaction": "id, source_id, content_hash, query, response",
    "context": "interaction_id, rank, passage_hash, doc_id, version",
    "passage": "hash, text",
    "feedback": "source_id, identifier, kind, value",
    "pending_span": "trace_id, span_id",
    "joined_span": "trace_id, span_id",
    "document": "doc_id, key, version, text_hash, withdrawn",
    "finding": "interaction_id, miner_version, record_hash, failure, secondary, route, confidence, why",
    "queue": "interaction_id, reason, failure, priority",
}
VOTES = 5
"""Feedback events on each trace."""
MANY = 5000
"""Made-up records, which a process beside the command reads: so many that it has started long before the end."""


def run(folder: Path, words: list[str], kill_after: float | None) -> int:
    """Exit code of one command; -9 when it was killed."""
    command = subprocess.Popen(
        [*FACTORY, *words], cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _, error = command.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        command.send_signal(signal.SIGKILL)
        command.communicate()
        return -signal.SIGKILL
    if command.returncode:
        raise SystemExit(f"factory {' '.join(words)} failed after a kill:\n{error.decode()}")
    return 0


def write_inputs(folder: Path) -> None:
    """The demo's logs, votes on each of their traces, documents as a feed tells them, and many records."""
    from made_logs import write

    write(folder / "many.jsonl", MANY)
    logs = HERE / "helpcentre" / "logs.jsonl"
    shutil.copyfile(logs, folder / "logs.jsonl")
    spans = [json.loads(line) for line in logs.read_text(encoding="utf-8").splitlines()]
    traces = sorted({span["context"]["trace_id"] for span in spans})
    with (folder / "feedback.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["trace_id", "identifier", "thumbs", "comment"])
        for number, trace in enumerate(traces):
            table.writerows([trace, f"v{n}", "down" if (number + n) % 3 else "up", f"vote {n}"] for n in range(VOTES))
    told = {
        span["attributes"][f"retrieval.documents.{n}.document.id"]: span["attributes"][
            f"retrieval.documents.{n}.document.content"
        ]
        for span in spans
        for n in range(10)
        if f"retrieval.documents.{n}.document.id" in span["attributes"]
    }
    lines = [
        json.dumps({"doc_id": name, "version": "2", "text": f"{text} As of today."}) for name, text in told.items()
    ]
    (folder / "documents.jsonl").write_text("\n".join(sorted(lines)), encoding="utf-8")


def one(root: Path, rng: random.Random | None) -> tuple[Rows, int]:
    """The store after all commands, and how many kills it took."""
    folder = Path(tempfile.mkdtemp(dir=root))
    write_inputs(folder)
    kills = 0
    with store(folder) as url:
        with (folder / "factory.toml").open("a") as settings:
            settings.write("[pii]\nenabled = false\n")  # placeholders hang on the store's own key: no two stores agree
        for words in COMMANDS:
            longest = 2.0
            while run(folder, words, rng.uniform(0.05, longest) if rng else None):
                kills += 1
                longest *= 1.15
        return contents(url, TABLES), kills


def main() -> None:
    """Run the rounds; the first difference ends it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, _ = one(Path(folder), None)
        empty = [table for table in TABLES if table != "pending_span" and not undisturbed[table]]
        if empty:
            raise SystemExit(f"the undisturbed store holds no rows of {', '.join(empty)}")
        total = 0
        for number in range(1, options.rounds + 1):
            disturbed, kills = one(Path(folder), rng)
            total += kills
            differing = [table for table in TABLES if disturbed[table] != undisturbed[table]]
            if differing:
                raise SystemExit(f"round {number}, after {kills} kills: {', '.join(differing)} differ")
            print(f"round {number}: {kills} kills, the same store", flush=True)
    print(f"{options.rounds} rounds, {total} kills: every store equals the undisturbed one")


if __name__ == "__main__":
    main()
