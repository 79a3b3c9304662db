"""How good and how fast the miner's scorers are.

    scripts/bench mining --data FOLDER [--no-encoder] [--records 100000]

FOLDER holds `groundedness/`, `answerability/` and `logs/`. Quality: every set is scored by a combination that was
fitted on the other families, with 95 % intervals from a bootstrap over clusters. Speed: the same measures as
`plain.py`, row by row, in the same run, on a real log. At last a nightly run over so many new records.
"""

import argparse
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from factory.mining import answers, claims, lexical, passage, text
from factory.mining.calibration import calibration
from factory.mining.combination import shipped
from factory.mining.encoder import PACKAGED, Encoder, sentence_encoder
from factory.mining.fitting import auroc, cluster_interval, cross_calibrated
from factory.mining.intervals import told
from factory.mining.miner import mine
from factory.mining.settings import MiningSettings
from factory.mining.vectors import kept_vectors
from logs_schema.importers.run import import_files
from logs_schema.records import RagRecord
from logs_schema.store import iter_records, open_store, save_records

import judged as sets
import plain

CORES = 2
"""Processes of the nightly run."""
LOG = "clapnq_smollm2.openinference.jsonl"
BEFORE = {"begin_cmu": 0.954, "begin_tc": 0.917, "begin_wow": 0.927, "q2": 0.690, "wice_dev": 0.771}
"""A trial with fewer measures of words and the same way of holding out: what is to be beaten."""


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--no-encoder", action="store_true", help="leave the embeddings stage out")
    parser.add_argument("--records", type=int, default=100_000, help="new records of the nightly run")
    options = parser.parse_args()
    encode = None if options.no_encoder else sentence_encoder()
    faithfulness(options.data)
    sufficiency(options.data, encode)
    speed(real_records(options.data))
    nightly(options.data, options.records, "" if options.no_encoder else PACKAGED)


def faithfulness(folder: Path) -> None:
    """Held-out AUROC, Brier skill and calibration error of each set."""
    judged = sets.read_groundedness(folder)
    found = {name: (sets.measured(one)[0], one) for name, one in judged.items()}
    print("\nFaithfulness, fitted on the other families (95 % intervals over clusters)")
    held_out = sets.leave_one_family_out(found, sets.WORDS)
    for name, logits in held_out.items():
        print(f"  {name:<10} {line(logits, judged[name])}  before {BEFORE[name]:.3f}")
    mean = np.mean([auroc(logits, judged[name].labels) for name, logits in held_out.items()])
    print(f"  mean AUROC {mean:.4f}, before {np.mean(list(BEFORE.values())):.4f}")


def sufficiency(folder: Path, encode: Encoder | None) -> None:
    """What ships (nothing is fitted on this set), and what a fit by cross-validation over titles reaches."""
    ways = {"lexical": sets.ASKED} | ({"semantic": (*sets.ASKED, *sets.CLOSE)} if encode else {})
    for titled in (False, True):
        judged = sets.read_answerability(folder, titled=titled)
        rows = sets.measured(judged, encode)[1]
        print(f"\nSufficiency, ClapNQ, {'title in the text' if titled else 'passage'}:")
        for name, measures in ways.items():
            own = shipped(name).sufficiency
            logits = np.array([own.slope * own.logit(row) + own.offset for row in rows])
            print(f"  {name}, as shipped         {line(logits, judged)}")
            fitted = sets.cross_validated(rows, judged, measures, sets.OWN_STRENGTH)
            print(f"  {name}, cross-validated    {line(fitted, judged)}")


def line(logits: Any, judged: sets.Judged) -> str:
    """AUROC with its interval; calibration by a line fitted on other groups."""
    low, high = cluster_interval(logits, judged.labels, judged.groups)
    probabilities = cross_calibrated(logits, judged.labels, judged.groups)
    found = calibration(list(zip(probabilities.tolist(), judged.labels, strict=True)), [str(g) for g in judged.groups])
    return (
        f"{len(judged.labels):5d} rows  AUROC {auroc(logits, judged.labels):.3f} [{low:.3f}-{high:.3f}]  "
        f"Brier skill {told(found.skill)}  calibration error {told(found.error)}"
    )


def real_records(folder: Path) -> list[RagRecord]:
    """The log's records, read as the product reads them."""
    with tempfile.TemporaryDirectory() as place:
        store = open_store(f"sqlite:///{place}/bench.db")
        import_files(store, [str(folder / "logs" / LOG)], source="bench", rejects=Path(place))
        records = [record for batch in iter_records(store) for record in batch]
        store.dispose()
    return records


def speed(records: list[RagRecord], some: int = 100) -> None:
    """Records a second against the plain way, on the same records, and that both give the same measures."""
    house = sets.HOUSE
    part = records[:some]
    forget()
    began = time.process_time()
    expected = [(plain.faithfulness_measures(record), plain.sufficiency_measures(record)) for record in part]
    slow = len(part) / (time.process_time() - began)
    forget()
    began = time.process_time()
    readings = [lexical.read(record, house) for record in records]
    fast = len(records) / (time.process_time() - began)
    worst = 0.0
    for record, (faithful, sufficient) in zip(part, expected, strict=True):
        judged = claims.claims(record.response, [(context.text, context.title or "") for context in record.contexts])
        got = claims.whole(judged) if judged else {}
        asked = answers.of_the_whole(
            answers.answer_in(record, [(c.text, c.title or "") for c in record.contexts]).holding
        )
        assert got.keys() == faithful.keys() and asked.keys() == sufficient.keys()
        differences = [abs(got[name] - faithful[name]) for name in got]
        worst = max(worst, *differences, *(abs(asked[name] - sufficient[name]) for name in asked))
    distinct = len({context.text for record in records for context in record.contexts})
    shown = sum(len(record.contexts) for record in records)
    print(
        f"\nSpeed on one core, {len(readings)} records with {shown} passages, {distinct} of them distinct: "
        f"{fast:.0f} records/s, the plain way {slow:.0f}: {fast / slow:.1f} times as fast; "
        f"largest difference of a measure on {len(part)} records {worst:.1e}"
    )


def forget() -> None:
    """Empty every cache, so that both ways begin alike."""
    for cached in (passage.passage, lexical.read, text.tokens, text.sentences, text._norm, text._norms):
        cached.cache_clear()


def nightly(folder: Path, count: int, encoder: str) -> None:
    """A run of `factory mine` over so many new records in a store that holds the vectors of all passages."""
    records = real_records(folder)
    with tempfile.TemporaryDirectory() as place:
        url = f"sqlite:///{place}/bench.db"
        store = open_store(url)
        for batch in _mixed(records, count):
            save_records(store, batch)
        if encoder:
            texts = sorted({context.text for record in records for context in record.contexts})
            kept_vectors(store, sentence_encoder(encoder), encoder)(texts)
        store.dispose()
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:  # one that may have processes of its own
            seconds, refined, peak = pool.submit(_mine, url, encoder).result()
    print(
        f"\nNightly run, {count:,} new records with {3 * count:,} passages, {CORES} processes"
        f"{f', encoder {encoder}, vectors of passages kept' if encoder else ''}: {seconds:.0f} s, "
        f"{count / seconds:.0f} records/s, {refined:,} seen by the encoder; peak memory {peak / 1024:.0f} MiB"
    )


def _mine(url: str, encoder: str) -> tuple[float, int, int]:
    began = time.perf_counter()
    report = mine(open_store(url), MiningSettings(workers=CORES, encoder=encoder), sets.HOUSE)
    refined = sum(stage.saw for stage in report.stages if stage.name == "meanings")
    return time.perf_counter() - began, refined, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _mixed(records: list[RagRecord], count: int, size: int = 500) -> Iterator[list[RagRecord]]:
    """Records of the log with other contexts and a sentence of another answer; no query comes twice."""
    draw = random.Random(17)
    contexts = [context for record in records for context in record.contexts]
    for start in range(0, count, size):
        yield [
            one.model_copy(
                update={
                    "source_id": str(number),
                    "occurred_at": one.occurred_at + timedelta(seconds=number),
                    "query": f"{one.query} {number}",
                    "response": f"{one.response} {draw.choice(records).response[:80]} {number}",
                    "contexts": (*one.contexts[:1], *draw.sample(contexts, 2)),
                }
            )
            for number in range(start, min(start + size, count))
            for one in [draw.choice(records)]
        ]


if __name__ == "__main__":
    main()
