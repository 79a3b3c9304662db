"""Kills commands at random moments, runs them again, and compares the store with one that was never disturbed.

Run it as `python scripts/kill_campaign.py --rounds 20`: each round imports and mines the demo's logs in a new folder,
with SIGKILL after a random time until the command comes through, and ends with an integrity check.
"""

import argparse
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
FACTORY = str(Path(sys.executable).with_name("factory"))
COMMANDS = (["import", "logs.jsonl", "--source", "killed"], ["mine"], ["db", "check"])
TABLES = {
    "interaction": "id, source_id, content_hash, query, response",
    "context": "interaction_id, rank, passage_hash, doc_id, version",
    "passage": "hash, text",
    "feedback": "source_id, identifier, kind, value",
    "finding": "interaction_id, miner_version, record_hash, failure, secondary, route, confidence, why",
    "queue": "interaction_id, reason, failure, priority",
}


def run(folder: Path, words: list[str], kill_after: float | None) -> int:
    """Exit code of one command; -9 when it was killed."""
    command = subprocess.Popen([FACTORY, *words], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        _, error = command.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        command.send_signal(signal.SIGKILL)
        command.communicate()
        return -signal.SIGKILL
    if command.returncode:
        raise SystemExit(f"factory {' '.join(words)} failed after a kill:\n{error.decode()}")
    return 0


def contents(folder: Path) -> dict[str, list[tuple[object, ...]]]:
    """Every row that does not tell the time."""
    with sqlite3.connect(folder / "groundmill.db") as database:
        return {table: sorted(database.execute(f"SELECT {columns} FROM {table}")) for table, columns in TABLES.items()}


def one(root: Path, rng: random.Random | None) -> tuple[dict[str, list[tuple[object, ...]]], int]:
    """The store after all commands, and how many kills it took."""
    folder = Path(tempfile.mkdtemp(dir=root))
    (folder / "factory.toml").write_text("")
    shutil.copyfile(HERE / "helpcentre" / "logs.jsonl", folder / "logs.jsonl")
    kills = 0
    for words in COMMANDS:
        longest = 2.0
        while run(folder, words, rng.uniform(0.05, longest) if rng else None):
            kills += 1
            longest *= 1.15
    return contents(folder), kills


def main() -> None:
    """Run the rounds; the first difference ends it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        undisturbed, _ = one(Path(folder), None)
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
