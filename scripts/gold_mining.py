"""How good the queue's order and the routes are on your own logs, when gold answers are known for them.

    python scripts/gold_mining.py --logs LOGS.jsonl --gold GOLD.jsonl --passages PASSAGES.jsonl

GOLD as for `gold_logs.py`, with `gold_doc_id`. PASSAGES has one JSON object a document of the corpus: `title, text`,
the n-th line (from 0) being document PREFIX-000n as the logs name it. Nothing is fitted on either.

Queue: precision among the first 50 of each failure, beside a random order and beside thumbs-down alone.
Routing: from records whose gold passage was retrieved that passage is taken away, while the corpus still holds it:
how many of them go to the retrieval list as `retrieval_miss`, and how many others do. 95 % intervals: Wilson for
shares, a bootstrap over records for lifts.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from gold_logs import is_bad, is_good_context

from factory.mining.findings import load_finding
from factory.mining.intervals import share, told
from factory.mining.miner import mine
from factory.mining.settings import MiningSettings
from factory.mining.waiting import list_queue
from logs_schema.database import open_store, writing
from logs_schema.documents import Document, save_documents
from logs_schema.importers.run import import_files
from logs_schema.records import RagRecord
from logs_schema.settings import HouseSettings
from logs_schema.store import iter_records, save_records
from logs_schema.taxonomy import ROUTES, Failure, Route

FIRST = 50
RESAMPLES = 2000
HOUSE = HouseSettings()
Gold = dict[str, Any]


def deserved(failure: str, gold: Gold) -> bool:
    """Whether a record is what the failure claims: a bad answer, with or without a good context."""
    return is_bad(gold) and is_good_context(gold) is not (failure == Failure.missing_abstention.value)


def everything(count: int, **given: Any) -> MiningSettings:
    """Settings under which all that is flagged is queued."""
    limits = {"budget": 10 * count, "audit_share": 0, "per_user": count, "per_session": count}
    return MiningSettings(**{**limits, **given})


def lift(order: Sequence[int], truth: Sequence[bool], against: Sequence[int]) -> str:
    """Precision of the first 50 over that of all in `against`, with a bootstrap interval over records."""
    rng = np.random.default_rng(17)
    right, rank = np.array(truth, dtype=float), np.full(len(truth), len(truth))
    rank[list(order)] = np.arange(len(order))
    inside = np.zeros(len(truth), dtype=bool)
    inside[list(against)] = True

    def ratio(sample: Any) -> float:
        ranked = sample[rank[sample] < len(truth)]
        first = ranked[np.argsort(rank[ranked], kind="stable")][:FIRST]
        base = right[sample[inside[sample]]]
        good = len(first) and len(base) and base.mean() > 0
        return float(right[first].mean() / base.mean()) if good else float("nan")

    everyone = np.arange(len(truth))
    values = [ratio(rng.choice(everyone, len(everyone))) for _ in range(RESAMPLES)]
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return f"{ratio(everyone):.2f} [{low:.2f}, {high:.2f}]"


def queue_lines(records: Sequence[RagRecord], known: dict[str, Gold], engine: Any) -> list[str]:
    """Precision at 50 and lifts, per failure."""
    names = [record.record_id for record in records]
    at = {name: n for n, name in enumerate(names)}
    down = [n for n, record in enumerate(records) if any((event.value or 0) < 0 for event in record.feedback)]
    entries = list_queue(engine).entries
    lines = [f"Queue, {len(names)} records, {len(down)} with a thumbs-down; precision among the first {FIRST}:"]
    kinds = sorted({entry.failure for entry in entries if entry.failure})
    good = [kind for kind in kinds if kind != Failure.missing_abstention.value]
    groups: list[tuple[str, list[str]]] = [(kind, [kind]) for kind in kinds]
    for said, some in [*groups, ("all good-context kinds", good)]:
        order = [at[entry.record_id] for entry in entries if entry.failure in some]
        truth = [deserved(some[0], known[name]) for name in names]
        first = order[:FIRST]
        everyone = list(range(len(names)))
        lines.append(
            f"  {said:<24}{told(share(sum(truth[n] for n in first), len(first))):<30}"
            f"random {told(share(sum(truth), len(truth))):<30}lift {lift(order, truth, everyone):<20}"
            f"thumbs-down {told(share(sum(truth[n] for n in down), len(down))):<30}lift {lift(order, truth, down)}"
        )
    order = [at[entry.record_id] for entry in entries][:FIRST]
    bad = [is_bad(known[name]) for name in names]
    lines.append(f"  any bad answer, first {FIRST} of all: {told(share(sum(bad[n] for n in order), len(order)))}, "
                 f"random {told(share(sum(bad), len(bad)))}")  # fmt: skip
    return lines


def routing_lines(findings: dict[str, set[str]], removed: set[str], untouched: dict[str, Gold]) -> list[str]:
    """Precision and recall of `retrieval_miss`, and of the whole retrieval list."""
    miss, lists = {Failure.retrieval_miss.value}, {f.value for f in Failure if ROUTES[f] is Route.retrieval}

    def line(said: str, causes: set[str], others: Sequence[str]) -> str:
        hits = sum(bool(findings[name] & causes) for name in removed)
        false = sum(bool(findings[name] & causes) for name in others)
        return (
            f"  {said:<58}recall {told(share(hits, len(removed))):<30}"
            f"precision {told(share(hits, hits + false))} ({false} of {len(others)} others)"
        )

    good = [name for name, gold in untouched.items() if is_good_context(gold)]
    absent = [name for name, gold in untouched.items() if not gold["answerable"]]
    return [
        line("retrieval_miss, against good contexts", miss, good),
        line("retrieval_miss, against those and unanswerable questions", miss, [*good, *absent]),
        line("any retrieval cause, against good contexts", lists, good),
    ]


def measure(logs: Path, gold: Path, passages: Path, prefix: str) -> list[str]:
    """All lines."""
    rows = [json.loads(line) for line in gold.read_text(encoding="utf-8").splitlines()]
    by_trace = {row["trace_id"]: row for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        engine = open_store(f"sqlite:///{folder}/plain.db")
        import_files(engine, [str(logs)], source="gold")
        records = [record for batch in iter_records(engine) for record in batch if record.source_id in by_trace]
        known = {record.record_id: by_trace[record.source_id] for record in records}
        mine(engine, everything(len(records)), HOUSE)
        lines = queue_lines(records, known, engine)
        engine.dispose()

        taken = [
            without(record, known[record.record_id]["gold_doc_id"])
            for record in records
            if is_good_context(known[record.record_id])
        ]
        names = [record.record_id for record in (*records, *taken)]
        rows = [json.loads(line) for line in passages.read_text(encoding="utf-8").splitlines()]
        feed = [
            Document(doc_id=f"{prefix}-{n:04d}", version="1", title=row["title"], text=row["text"])
            for n, row in enumerate(rows)
        ]
        for said, documents in (("in the documents feed", feed), ("in contexts of other records only", [])):
            corpus = open_store(f"sqlite:///{folder}/{len(documents)}.db")
            with writing(corpus) as connection:
                save_documents(connection, documents)
            save_records(corpus, [*records, *taken])
            mine(corpus, everything(2 * len(records)), HOUSE)
            findings = {name: causes(load_finding(corpus, name)) for name in names}
            corpus.dispose()
            removed = {record.record_id for record in taken}
            lines += ["", f"Routing, {len(taken)} records whose gold passage was taken away; it is {said}:"]
            lines += routing_lines(findings, removed, known)
        return lines


def without(record: RagRecord, document: str) -> RagRecord:
    """The record as if a document had not been retrieved."""
    kept = tuple(context for context in record.contexts if context.doc_id != document)
    return record.model_copy(update={"source": "taken away", "contexts": kept})


def causes(finding: Any) -> set[str]:
    """Everything that a finding says."""
    return {failure.value for failure in (finding.failure, *finding.secondary)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--gold", type=Path, required=True)
    parser.add_argument("--passages", type=Path, required=True)
    parser.add_argument("--prefix", default="clapnq", help="of the document ids in the logs")
    options = parser.parse_args()
    for file in (options.logs, options.gold, options.passages):
        if not file.is_file():
            raise SystemExit(f"gold_mining: there is no file {file}.")
    print("\n".join(measure(options.logs, options.gold, options.passages, options.prefix)))


if __name__ == "__main__":
    main()
