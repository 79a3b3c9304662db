"""Public sets that people judged, measured with the product's own scorers, and held out one family at a time."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from factory.mining.answers import of_the_whole
from factory.mining.claims import claims, whole
from factory.mining.combination import Combination
from factory.mining.encoder import Encoder
from factory.mining.fitting import Measured, fit_combination, folds
from factory.mining.lexical import read, texts_of
from factory.mining.semantic import similarities
from factory.mining.vectors import passage_encoder
from logs_schema.records import Context, RagRecord
from logs_schema.settings import HouseSettings

FAMILIES = {
    "begin_cmu": "CMU-DoG",
    "begin_tc": "TopicalChat",
    "begin_wow": "Wizard of Wikipedia",
    "q2": "Wizard of Wikipedia",
    "wice_dev": "WiCE",
}
"""Set → family: sets of one family share texts, so that they are held out together."""
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
HOUSE = HouseSettings()
WORDS = ("coverage", "window", "order", "chain", "chain_worst", "rarest_worst", "figures_worst", "names_worst",
         "negation_worst")  # fmt: skip
"""Measures of words that faithfulness is fitted on."""
STRENGTH = 0.003
"""A strong ridge: weights that are nearly equal carried over best to families that were held out."""
OWN_STRENGTH = 0.1
"""A weaker one, as for a fit on an application's own records."""
AT_MOST = {"negation_worst": -1.2}
"""Set by hand: too few of these claims are turned round by a negation to weigh it beside the others. It divides the
odds by six. Of 34 such claims that are well supported otherwise (calibrated probability .82 on average) 53 % were
supported: a fourth of the odds."""
ASKED = ("coverage", "sentence", "stretch", "spread", "pairs", "rarest", "unlike")
"""Measures of words that sufficiency rests on."""
CLOSE = ("closest", "closest_three", "overall")


class Judged(NamedTuple):
    """One set: records, what people said, and which belong together."""

    records: list[RagRecord]
    labels: list[bool]
    groups: list[str]


def read_groundedness(folder: Path) -> dict[str, Judged]:
    """The sets `groundedness/*.jsonl`: is the response supported by its contexts?"""
    found = {}
    for name in FAMILIES:
        rows = _rows(folder / "groundedness" / f"{name}.jsonl")
        found[name] = Judged(
            [_record(row["id"], row["query"], row["response"], row["contexts"]) for row in rows],
            [bool(row["supported"]) for row in rows],
            [str(row["group"]) for row in rows],
        )
    return found


def read_answerability(folder: Path, *, titled: bool = False) -> Judged:
    """`answerability/clapnq_dev.jsonl`: does the passage answer the question? Grouped by title."""
    rows = _rows(folder / "answerability" / "clapnq_dev.jsonl")
    return Judged(
        [
            _record(row["id"], row["query"], "-", [f"{row['title']}: {row['text']}" if titled else row["text"]])
            for row in rows
        ],
        [bool(row["answerable"]) for row in rows],
        [str(row["title"]) for row in rows],
    )


def measured(judged: Judged, encode: Encoder | None = None) -> tuple[list[Measured], list[Measured]]:
    """Measures of faithfulness and of sufficiency for each record; with an encoder sufficiency also by meaning."""
    # Every sentence counts here, also of a refusal: the sets ask of the response as a whole.
    readings = [
        read(record, HOUSE)._replace(judged=claims(record.response, texts_of(record.contexts)))
        for record in judged.records
    ]
    nothing = {name: 0.0 for reading in readings if reading.judged for name in whole(reading.judged)}
    faithful = [whole(reading.judged) if reading.judged else nothing for reading in readings]
    sufficient = [of_the_whole(reading.answer.holding) for reading in readings]
    if encode:
        closest = similarities(judged.records, encode, passage_encoder(encode))
        sufficient = [one | more for one, more in zip(sufficient, closest, strict=True)]
    return faithful, sufficient


def fit_sets(
    sets: Sequence[tuple[list[Measured], Judged]], measures: Sequence[str], strength: float = STRENGTH
) -> Combination:
    """One combination over several sets; a set weighs by the root of its size, so that none drowns the others."""
    rows = [row for found, _ in sets for row in found]
    labels = [label for _, judged in sets for label in judged.labels]
    weights = np.concatenate([np.full(len(found), len(found) ** -0.5) for found, _ in sets])
    fitted = fit_combination(rows, labels, measures, weights=weights / weights.mean(), strength=strength)
    least = {name: min(fitted.weights.get(name, 0.0), most) for name, most in AT_MOST.items() if name in measures}
    return fitted.model_copy(update={"weights": fitted.weights | least})


def leave_one_family_out(
    found: dict[str, tuple[list[Measured], Judged]], measures: Sequence[str]
) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Logits of each set by a combination that saw no set of its family."""
    logits = {}
    for name, (rows, _) in found.items():
        fitted = fit_sets([found[other] for other in found if FAMILIES[other] != FAMILIES[name]], measures)
        logits[name] = np.array([fitted.logit(row) for row in rows])
    return logits


def cross_validated(
    rows: Sequence[Measured], judged: Judged, measures: Sequence[str], strength: float
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Logits of each example by a combination fitted on the other folds; groups stay whole."""
    at = folds(judged.groups)
    logits = np.zeros(len(rows))
    for fold in range(5):
        train = [n for n in range(len(rows)) if at[n] != fold]
        fitted = fit_combination(
            [rows[n] for n in train], [judged.labels[n] for n in train], measures, strength=strength
        )
        for n in np.flatnonzero(at == fold).tolist():
            logits[n] = fitted.logit(rows[n])
    return logits


def _rows(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise SystemExit(
            f"There is no file {file}: give --data the folder that holds groundedness/ and answerability/."
        )
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _record(name: str, query: str, response: str, contexts: Sequence[str]) -> RagRecord:
    return RagRecord(
        source="judged", source_id=name, occurred_at=MOMENT, query=query or "-", response=response,
        contexts=tuple(Context(text=text) for text in contexts),
    )  # fmt: skip
